"""What a model is in a few figures, from the headers of its files alone: nothing of llama.cpp is loaded."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from .gguf import GGUFHeader, read_gguf, shard_paths

__all__ = ["FILE_TYPES", "Outline", "outline"]

# general.file_type -> the name by which people know it (llama.h, enum llama_ftype)
FILE_TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

# type of a tensor -> the file type that a file of such tensors has; for files that do not name one
_BY_TENSOR = {
    0: 0, 1: 1, 2: 2, 3: 3, 6: 8, 7: 9, 8: 7, 10: 10, 11: 12, 12: 15, 13: 17, 14: 18, 16: 19, 17: 20, 18: 23,
    19: 24, 20: 25, 21: 26, 22: 28, 23: 30, 29: 31, 30: 32, 34: 36, 35: 37, 39: 38, 40: 39,
}  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """What a model is: sizes of all its files together, and what its first header says.

    ``quantization`` is "" where it is not known; ``has_template`` whether the file has a chat template.
    """

    header: GGUFHeader
    n_files: int
    n_bytes: int
    n_parameters: int
    architecture: str
    quantization: str
    context_length: int
    has_template: bool


def outline(path: str | os.PathLike[str]) -> Outline:
    """Read the headers of the model at ``path``, any part of a split one.

    Raises ModelFileError as ``read_gguf`` and ``shard_paths`` do.
    """
    headers = [read_gguf(part) for part in shard_paths(path)]
    first, n_ctx = headers[0], headers[0].get("context_length")
    template = first.metadata.get("tokenizer.chat_template")
    return Outline(
        header=first,
        n_files=len(headers),
        n_bytes=sum(header.file_size for header in headers),
        n_parameters=sum(tensor.n_elements for header in headers for tensor in header.tensors),
        architecture=first.architecture,
        quantization=_quantization(headers),
        context_length=n_ctx if isinstance(n_ctx, int) else 0,
        has_template=isinstance(template, str) and bool(template.strip()),
    )


def _quantization(headers: list[GGUFHeader]) -> str:
    """The file type that the file names, or that of most of its weights."""
    named = headers[0].metadata.get("general.file_type")
    if isinstance(named, int) and named in FILE_TYPES:
        return FILE_TYPES[named]
    sizes: Counter[int] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] += tensor.n_elements
    most = sizes.most_common(1)
    return FILE_TYPES[_BY_TENSOR[most[0][0]]] if most and most[0][0] in _BY_TENSOR else ""
