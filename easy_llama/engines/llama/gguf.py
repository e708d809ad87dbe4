"""Reading and checking a GGUF header before libllama sees the file.

libllama ends the process on some bad files (a vocabulary with a token twice, too many blocks, unknown
tensor types), so every fault is found here and raised as ModelFileError with the file's name.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import ModelFileError, ModelIsDirectoryError, ModelNotFoundError
from ...files import is_later_part, part_names, unfinished
from .foreign import HEAD, what_a_directory_holds, what_it_is

__all__ = ["GGUFHeader", "TensorInfo", "read_gguf", "shard_paths"]

Value: TypeAlias = "int | float | bool | str | list[Any]"

MAX_ARRAY = 1024  # longer arrays (vocabulary, merges) are walked over and not kept
MAX_BLOCKS = 512  # libllama aborts above (LLAMA_MAX_LAYERS)
MAX_CONTEXT = 1 << 26  # llama.cpp allocates by this number in places; real models are far below

_SCALARS: dict[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9

# type number -> (elements in a block, bytes of a block); what libllama can multiply with
_TENSOR_TYPES: dict[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 29: (256, 56), 34: (256, 54), 35: (256, 66),
    39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip

_F32, _INTEGER_TYPES = 0, (24, 25, 26)
_NORM = re.compile(r"norm(_\d+)?\.weight$")
_MATRIX = re.compile(r"(token_embd|output|blk\.\d+\.(attn|ffn)_(q|k|v|qkv|output|gate|up|down))\.weight")


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape (fastest axis first), type number and byte offset in the data part of one tensor."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def n_elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Size of its data in bytes."""
        elements, size = _TENSOR_TYPES[self.type]
        return self.n_elements // elements * size


@dataclass(frozen=True)
class GGUFHeader:
    """What stands before the weights.

    ``metadata`` holds numbers, flags, texts and arrays of up to 1,024 elements; ``array_lengths`` the
    length of every array. Keys of the architecture are found by ``get("context_length")``.
    """

    path: Path
    version: int
    metadata: dict[str, Value]
    array_lengths: dict[str, int]
    tensors: list[TensorInfo] = field(repr=False)
    file_size: int

    @property
    def architecture(self) -> str:
        """The value of ``general.architecture``."""
        return str(self.metadata["general.architecture"])

    def get(self, key: str) -> Value | None:
        """Return the metadata under ``<architecture>.<key>``, or None."""
        return self.metadata.get(f"{self.architecture}.{key}")


def read_gguf(path: str | os.PathLike[str]) -> GGUFHeader:
    """Read and check the header of the GGUF file at ``path``; 0.1 s for 152,000 tokens at most.

    Raises ModelNotFoundError, ModelIsDirectoryError, or ModelFileError naming file and fault.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise ModelIsDirectoryError(f"{file} is a directory; {what_a_directory_holds(file)}")
        header = _read(file)
    except FileNotFoundError:
        raise ModelNotFoundError(f"there is no file at {file}") from None
    except ModelIsDirectoryError:
        raise
    except ModelFileError as error:
        hint = unfinished(file)
        raise ModelFileError(f"{error}; {hint}" if hint else str(error)) from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{file} can't be read: {error}") from error
    _check_model(header)
    return header


def _read(file: Path) -> GGUFHeader:
    size = file.stat().st_size
    with file.open("rb") as handle:
        head = handle.read(HEAD)
        if not head.startswith(b"GGUF") or size < 24:
            raise ModelFileError(f"{file} is not a GGUF file: {what_it_is(head, size)}")
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(file, data, size).header()


def shard_paths(path: str | os.PathLike[str]) -> list[Path]:
    """Return all files of the model at ``path`` in order; any shard of a split model may be named.

    Raises ModelFileError that names the shards which are not there.
    """
    file = Path(path)
    names = part_names(file.name)
    if len(names) == 1:
        return [file]
    paths = [file.with_name(name) for name in names]
    missing = [shard.name for shard in paths if not shard.is_file()]
    if file.name in missing:
        raise ModelNotFoundError(f"there is no file at {file}")
    if missing:
        raise ModelFileError(
            f"{file} is one of {len(paths)} parts and {len(missing)} are missing: {', '.join(missing)}; "
            f"put them into {file.parent}"
        )
    return paths


class _Reader:
    """A position in the mapped file, with every read checked against its end."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path, self.data, self.size = path, data, size
        self.at = 0

    def fail(self, fault: str) -> ModelFileError:
        return ModelFileError(f"{self.path} is not a usable GGUF file: {fault}")

    def unpack(self, code: str) -> Any:
        end = self.at + struct.calcsize(code)
        if end > self.size:
            raise self.fail(f"it ends at byte {self.size} inside the header; the download may be incomplete")
        (value,) = struct.unpack_from(code, self.data, self.at)
        self.at = end
        return value

    def string(self) -> bytes:
        length = self.unpack("<Q")
        if length > self.size - self.at:
            raise self.fail(f"a text of {length} bytes at byte {self.at} reaches beyond the end")
        value = self.data[self.at : self.at + length]
        self.at += length
        return value

    def text(self) -> str:
        return self.string().decode("utf-8", "replace")

    def string_spans(self, count: int) -> list[tuple[int, int]]:
        """Walk over ``count`` texts and return where each starts and ends (the hot loop of a header)."""
        unpack_from, data, at = struct.Struct("<Q").unpack_from, self.data, self.at
        spans = []
        try:
            if count * 8 > self.size - at:
                raise struct.error
            for _ in range(count):
                start = at + 8
                at = start + unpack_from(data, at)[0]
                spans.append((start, at))
            if at > self.size:
                raise struct.error
        except (struct.error, OverflowError):
            raise self.fail(f"an array of {count} texts at byte {self.at} reaches beyond the end") from None
        self.at = at
        return spans

    def header(self) -> GGUFHeader:
        self.at = 4  # behind the magic bytes
        version = self.unpack("<I")
        if version not in (2, 3):
            swapped = version & 0xFFFF == 0
            fault = "it is big-endian" if swapped else f"its version is {version}"
            raise self.fail(f"{fault}; little-endian files of version 2 and 3 can be loaded")
        n_tensors, n_values = self.unpack("<Q"), self.unpack("<Q")
        if max(n_tensors, n_values) > self.size // 8:
            raise self.fail(f"it claims {n_tensors} tensors and {n_values} metadata values")
        metadata: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(n_values):
            self.metadata_value(metadata, lengths)
        tensors = [self.tensor() for _ in range(n_tensors)]
        self.check_tensors(tensors, metadata)
        return GGUFHeader(self.path, version, metadata, lengths, tensors, self.size)

    def metadata_value(self, metadata: dict[str, Value], lengths: dict[str, int]) -> None:
        key, kind = self.text(), self.unpack("<I")
        if key in metadata or key in lengths:
            raise self.fail(f"the metadata key {key!r} stands twice")
        if kind == _STRING:
            metadata[key] = self.text()
        elif kind == _ARRAY:
            values, lengths[key] = self.array(key)
            if values is not None:
                metadata[key] = values
        else:
            metadata[key] = self.unpack(self.scalar_code(key, kind))

    def scalar_code(self, key: str, kind: int) -> str:
        code = _SCALARS.get(kind)
        if code is None:
            raise self.fail(f"the metadata value {key!r} has the unknown type {kind}")
        return code

    def array(self, key: str) -> tuple[list[Any] | None, int]:
        kind, count = self.unpack("<I"), self.unpack("<Q")
        if kind == _STRING:
            spans = self.string_spans(count)
            if key == "tokenizer.ggml.tokens":
                self.check_vocabulary([self.data[start:end] for start, end in spans])
            if count > MAX_ARRAY:
                return None, count
            return [self.data[start:end].decode("utf-8", "replace") for start, end in spans], count
        code = self.scalar_code(key, kind)
        n_bytes = count * struct.calcsize(code)
        if n_bytes > self.size - self.at:
            raise self.fail(f"the array {key!r} of {count} values reaches beyond the end")
        start, self.at = self.at, self.at + n_bytes
        if count > MAX_ARRAY:
            return None, count
        return list(struct.unpack_from(f"<{count}{code[1]}", self.data, start)), count

    def check_vocabulary(self, tokens: list[bytes]) -> None:
        if len(set(tokens)) == len(tokens):
            return
        twice, _ = Counter(tokens).most_common(1)[0]
        raise self.fail(f"its vocabulary has the token {twice!r} twice")

    def tensor(self) -> TensorInfo:
        name, n_dims = self.text(), self.unpack("<I")
        if not 0 <= n_dims <= 4:
            raise self.fail(f"the tensor {name!r} has {n_dims} dimensions; at most 4 are allowed")
        shape = tuple(self.unpack("<Q") for _ in range(n_dims))
        kind, offset = self.unpack("<I"), self.unpack("<Q")
        if kind not in _TENSOR_TYPES:
            raise self.fail(f"the tensor {name!r} has the type {kind}, which llama.cpp can't use")
        return TensorInfo(name, shape, kind, offset)

    def check_tensors(self, tensors: list[TensorInfo], metadata: dict[str, Value]) -> None:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            raise self.fail(f"general.alignment is {alignment!r}; it must be a power of 2 from 8 on")
        start = -(-self.at // alignment) * alignment
        names: set[str] = set()
        for tensor in tensors:
            if tensor.name in names:
                raise self.fail(f"the tensor {tensor.name!r} stands twice")
            names.add(tensor.name)
            if any(n == 0 for n in tensor.shape) or math.prod(tensor.shape) >= 1 << 62:
                raise self.fail(f"the tensor {tensor.name!r} has the impossible shape {tensor.shape}")
            if tensor.shape and tensor.shape[0] % _TENSOR_TYPES[tensor.type][0]:
                raise self.fail(f"the rows of tensor {tensor.name!r} do not fill whole blocks")
            if tensor.offset % alignment or start + tensor.offset + tensor.n_bytes > self.size:
                raise self.fail(
                    f"the data of tensor {tensor.name!r} lies beyond the end of the file; "
                    "the download may be incomplete"
                )


def _check_model(header: GGUFHeader) -> None:
    """Check the values that libllama trusts: each of these faults ends the process there."""

    def fail(fault: str) -> ModelFileError:
        return ModelFileError(f"{header.path} is not a usable model: {fault}")

    if header.metadata.get("split.no", 0):
        if not is_later_part(header.path.name):
            raise fail("it is a later part of a split model, and its name does not say of which")
        return  # later shards carry tensors only
    if not isinstance(header.metadata.get("general.architecture"), str):
        raise fail("general.architecture is missing; is it a LoRA adapter or a part of a model?")
    if header.metadata.get("tokenizer.ggml.model") == "no_vocab":
        raise fail("it has no vocabulary")
    for key, low, high in (("block_count", 1, MAX_BLOCKS), ("context_length", 1, MAX_CONTEXT)):
        value = header.get(key)
        if not isinstance(value, int) or not low <= value <= high:
            raise fail(f"{header.architecture}.{key} is {value}; it must be {low} to {high}")
    for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        epsilon = header.get(key)
        if epsilon is not None and not (isinstance(epsilon, float) and 0 <= epsilon < 1):
            raise fail(f"{header.architecture}.{key} is {epsilon}")
    _check_heads(header, fail)
    n_experts, n_used = header.get("expert_count") or 0, header.get("expert_used_count") or 0
    counted = isinstance(n_experts, int) and isinstance(n_used, int)
    if counted and n_experts and not 0 < n_used <= n_experts:  # type: ignore[operator]  # ints, as counted
        raise fail(f"it uses {n_used} of {n_experts} experts")
    for tensor in header.tensors:
        if _NORM.search(tensor.name) and len(tensor.shape) == 1 and tensor.type != _F32:
            raise fail(f"the norm {tensor.name!r} has the type {tensor.type}; llama.cpp needs F32 there")
        if tensor.type in _INTEGER_TYPES and _MATRIX.fullmatch(tensor.name):
            raise fail(f"the matrix {tensor.name!r} has the integer type {tensor.type}")


def _check_heads(header: GGUFHeader, fail: Callable[[str], ModelFileError]) -> None:
    """Check that attention heads divide evenly; lists hold a value for each block."""
    n_head, n_head_kv = header.get("attention.head_count"), header.get("attention.head_count_kv")
    n_embd, key_length = header.get("embedding_length"), header.get("attention.key_length")
    if not isinstance(n_head, int) or n_head <= 0:
        return
    if isinstance(n_head_kv, int) and n_head_kv > 0 and n_head % n_head_kv:
        raise fail(f"{n_head} attention heads can't share {n_head_kv} key-value heads")
    head = key_length if isinstance(key_length, int) else isinstance(n_embd, int) and n_embd // n_head
    if head is not False and (head <= 0 or head % 2):
        raise fail(f"its attention heads have {head} numbers; RoPE needs an even count")
