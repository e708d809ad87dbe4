"""Reading a GGUF header: right values, and a ModelFileError with file and fault for anything broken."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engines.llama.gguf import _TENSOR_TYPES, read_gguf, shard_paths
from easy_llama.errors import ModelFileError
from easy_llama.model import BUNDLED_MODEL
from tests.conftest import SHARED

DATA = BUNDLED_MODEL.read_bytes()


def write_gguf(path: Path, change: Callable[[gguf.GGUFWriter], None] = lambda w: None, **values: Any) -> Path:
    """Write a small file that looks like a model, with changes."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"block_count": 1, "context_length": 64, **values}.items():
        if value is not None:
            writer.add_uint32(f"llama.{key}", value)
    change(writer)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def broken(tmp_path: Path, data: bytes) -> ModelFileError:
    """Write ``data`` and return the error that reading and loading it gives."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        ez.Model(path)
    assert "broken.gguf" in str(caught.value)
    return caught.value


def test_the_bundled_model() -> None:
    header = read_gguf(BUNDLED_MODEL)
    assert header.architecture == "llama"
    assert header.get("context_length") == 512
    assert header.get("rope.freq_base") == 10000
    assert header.metadata["general.license"] == "MIT"
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.array_lengths["tokenizer.ggml.tokens"] == 1024
    assert header.file_size == len(DATA)


def test_values_equal_those_of_the_gguf_package(tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_array("x.texts", ["a", "é", ""])
        writer.add_array("x.numbers", [1.5, 2.5])
        writer.add_array("x.long", list(range(2000)))
        writer.add_int8("x.int8", -5)
        writer.add_uint64("x.uint64", 2**63)
        writer.add_float64("x.float64", 0.1)
        writer.add_bool("x.bool", False)
        writer.add_string("x.text", "zwölf")

    header = read_gguf(write_gguf(tmp_path / "m.gguf", change))
    assert header.metadata["x.texts"] == ["a", "é", ""]
    assert header.metadata["x.numbers"] == [1.5, 2.5]
    assert "x.long" not in header.metadata
    assert header.array_lengths["x.long"] == 2000
    found = [header.metadata[f"x.{key}"] for key in ("int8", "uint64", "float64", "bool", "text")]
    assert found == [-5, 2**63, 0.1, False, "zwölf"]
    assert [(t.name, t.shape, t.n_elements) for t in header.tensors] == [("token_embd.weight", (32, 4), 128)]


def test_tensor_types_equal_those_of_the_gguf_package() -> None:
    sizes = {kind.value: size for kind, size in gguf.constants.GGML_QUANT_SIZES.items()}
    for kind, size in _TENSOR_TYPES.items():
        assert sizes.get(kind, size) == size


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere") as missing:
        ez.Model(tmp_path / "nowhere.gguf")
    assert isinstance(missing.value, ModelFileError)
    with pytest.raises(IsADirectoryError, match="directory") as directory:
        ez.Model(tmp_path)
    assert isinstance(directory.value, ModelFileError)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "it is empty"),
        (b"GGUF", "ends inside the header"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(100), "version is 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1) + bytes(100), "claims"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + bytes(100), "beyond the end"),
        (DATA[:-1], "beyond the end"),
        (DATA[:5000], "array"),
        (DATA.replace(b"llama.block_count", b"llama.vocab_size\0"), "block_count is None"),
        (DATA.replace(b"llama.block_count", b"general.file_type"), "'general.file_type' stands twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(100), "architecture is missing"),
    ],
    ids=lambda value: value[:12].hex() if isinstance(value, bytes) else value[:12],
)
def test_files_that_are_no_models(tmp_path: Path, data: bytes, fault: str) -> None:
    assert re.search(fault, str(broken(tmp_path, data)))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"block_count": 0}, "block_count is 0"),
        ({"block_count": 513}, "block_count is 513"),
        ({"block_count": None}, "block_count is None"),
        ({"context_length": 2130706688}, "context_length is 2130706688"),
        ({"context_length": 0}, "context_length is 0"),
    ],
)
def test_values_that_end_or_hang_llama_cpp(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", **values)
    with pytest.raises(ModelFileError, match=fault):
        ez.Model(path)


def test_a_token_that_stands_twice(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", lambda w: w.add_token_list(["a", "b", "a"]))
    with pytest.raises(ModelFileError, match="token b'a' twice"):
        ez.Model(path)


def test_a_tensor_type_that_llama_cpp_cannot_multiply(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", lambda w: w.add_tensor("blk.0.x", np.zeros((2, 32))))
    with pytest.raises(ModelFileError, match="type 28"):
        ez.Model(path)


def test_what_llama_cpp_refuses_is_quoted(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    with pytest.raises(ModelFileError, match=r"m\.gguf.*tokenizer|m\.gguf.*embedding_length|m\.gguf.*key"):
        ez.Model(path)


def test_split_files_name_the_missing_part(tmp_path: Path) -> None:
    for i in (1, 3):
        write_gguf(tmp_path / f"big-{i:05d}-of-00003.gguf")
    with pytest.raises(ModelFileError, match=r"big-00002-of-00003\.gguf") as caught:
        ez.Model(tmp_path / "big-00003-of-00003.gguf")
    assert "big-00001" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        ez.Model(tmp_path / "big-00002-of-00003.gguf")
    assert shard_paths(tmp_path / "one.gguf") == [tmp_path / "one.gguf"]


def test_any_part_of_a_split_model_loads_it(tmp_path: Path, model: ez.Model) -> None:
    parts = split_bundled_model(tmp_path)
    with ez.Model(parts[1], n_threads=1) as whole:
        assert whole.tokenize("Once upon a time") == model.tokenize("Once upon a time")
        greedy = ez.samplers.GreedyDecoding
        assert whole.generate("Once upon", sampler=greedy) == model.generate("Once upon", sampler=greedy)


def split_bundled_model(folder: Path) -> list[Path]:
    """Write the bundled model in two parts, as llama.cpp's gguf-split does."""
    reader = gguf.GGUFReader(BUNDLED_MODEL)
    halves = [reader.tensors[:20], reader.tensors[20:]]
    paths = [folder / f"tiny-{i:05d}-of-00002.gguf" for i in (1, 2)]
    for number, (path, tensors) in enumerate(zip(paths, halves, strict=True)):
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for key, value in reader.fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    kind = value.types[0]
                    sub = value.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(key, value.contents(), kind, sub)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


@given(st.integers(0, 20000), st.binary(min_size=1, max_size=8))
def test_a_header_with_random_bytes_is_read_or_refused(at: int, noise: bytes) -> None:
    path = Path(tempfile.gettempdir()) / "easy_llama_fuzz.gguf"
    path.write_bytes(DATA[:at] + noise + DATA[at + len(noise) :])
    with suppress(ModelFileError):
        read_gguf(path)


@pytest.mark.skipif(not SHARED.exists(), reason="the real vocabularies are not here")
@pytest.mark.parametrize(("name", "n"), [("llama-bpe", 128256), ("qwen2", 151936), ("llama-spm", 32000)])
def test_real_vocabularies(name: str, n: int) -> None:
    header = read_gguf(SHARED / "vocab" / f"ggml-vocab-{name}.gguf")
    assert header.array_lengths["tokenizer.ggml.tokens"] == n
