"""What a person calls a model, to the file: from Python and from the commands."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engines.llama.gguf import read_gguf, shard_paths
from easy_llama.errors import (
    EasyLlamaError,
    ModelFileError,
    ModelIsDirectoryError,
    ModelNotFoundError,
    SettingsError,
)
from easy_llama.files import is_model, unfinished
from easy_llama.hub import HubName, parse
from easy_llama.model import BUNDLED_MODEL
from easy_llama.names import lasting, names_in, resolve
from tests.command import run

DATA = BUNDLED_MODEL.read_bytes()
FILES = [
    "SmolLM2-135M.Q4_1.gguf", "qwen.gguf", "maker/repo/model.gguf", "maker/other/model.gguf", "tiny.gguf",
    "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "mmproj-qwen.gguf",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with a few models, and another current folder, which is empty."""
    models, here = tmp_path / "models", tmp_path / "here"
    here.mkdir()
    for name in FILES:
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUNDLED_MODEL, models / name)
    monkeypatch.setenv("EASY_LLAMA_MODELS", str(models))
    monkeypatch.chdir(here)
    return models


# --- names of the models folder ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("qwen", "qwen.gguf"),
        ("qwen.gguf", "qwen.gguf"),
        ("QWEN.GGUF", "qwen.gguf"),
        ("SmolLM2-135M.Q4_1", "SmolLM2-135M.Q4_1.gguf"),
        ("smollm2", "SmolLM2-135M.Q4_1.gguf"),
        ("big", "big-00001-of-00002.gguf"),
        ("maker/repo/model", "maker/repo/model.gguf"),
        ("maker/repo", "maker/repo/model.gguf"),
        ("tiny.gguf", "tiny.gguf"),
    ],
)
def test_a_name_in_the_models_folder(folder: Path, name: str, file: str) -> None:
    assert resolve(name) == folder / file


def test_names_that_are_listed_mean_their_files(folder: Path) -> None:
    found = names_in(folder)
    assert set(found) == {
        "SmolLM2-135M.Q4_1",
        "qwen",
        "maker/repo/model",
        "maker/other/model",
        "big",
        "tiny.gguf",
    }
    assert {name: resolve(name) for name in found} == found


def test_the_bundled_model_has_a_name(folder: Path) -> None:
    assert resolve("tiny") == resolve("Tiny") == resolve(None) == BUNDLED_MODEL
    (folder / "tiny.gguf").unlink()
    assert resolve("tiny.gguf") == BUNDLED_MODEL
    with ez.Model("tiny", n_threads=1) as model:
        assert model.filename == "tiny.gguf"


def test_what_lies_at_the_path_comes_first(folder: Path) -> None:
    shutil.copy(BUNDLED_MODEL, "qwen")
    assert resolve("qwen") == Path("qwen")
    Path("smollm2").mkdir()  # but not a folder that happens to be there
    assert resolve("smollm2") == folder / "SmolLM2-135M.Q4_1.gguf"
    assert resolve(Path("smollm2")) == Path("smollm2")


def test_a_name_of_several_is_refused(folder: Path) -> None:
    shutil.copy(BUNDLED_MODEL, folder / "qwen-next.gguf")
    assert resolve("qwen") == folder / "qwen.gguf"
    with pytest.raises(ModelFileError, match=r"qw is not one model.*2: qwen-next\.gguf, qwen\.gguf"):
        resolve("qw")
    with pytest.raises(ModelFileError, match=r"2: maker/other/model\.gguf, maker/repo/model\.gguf"):
        resolve("model")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "smolm2",
            r"there is no file at smolm2, nor a model of that name in .*did you mean SmolLM2-135M\.Q4_1\?",
        ),
        ("quen.gguf", r"there is no file at quen\.gguf.*did you mean qwen\?"),
        ("llama3.2:1b", r"`easy-llama models` lists what there is"),
        ("tinny", r"did you mean tiny or tiny\.gguf\?"),
        ("evil\x1b[2J", r"there is no file at evil\\x1b\[2J, nor"),
        ("nul\0byte.gguf", r"^nul\\x00byte\.gguf can't be a path"),
    ],
)
def test_a_near_miss_is_asked_for(folder: Path, name: str, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        read_gguf(resolve(name))


def test_the_folder_of_the_user_is_used_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EASY_LLAMA_MODELS")
    monkeypatch.setenv("EASY_LLAMA_DATA", str(tmp_path))
    (tmp_path / "models").mkdir()
    shutil.copy(BUNDLED_MODEL, tmp_path / "models" / "mine.gguf")
    assert resolve("mine") == tmp_path / "models" / "mine.gguf"


# --- paths and addresses -------------------------------------------------------------------------------


def test_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(folder / "qwen.gguf")) == folder / "qwen.gguf"
    assert resolve((folder / "qwen.gguf").as_uri()) == folder / "qwen.gguf"
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert resolve("~/qwen.gguf") == resolve(Path("~/qwen.gguf")) == folder / "qwen.gguf"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "the name of the model is empty; give the path"),
        ("  ", "is empty"),
        (5, "model_path must be a str or a Path, or None for the bundled model; got 5"),
        (b"x.gguf", "model_path must be a str or a Path"),
        ("no/such/x.gguf", r"no file at no.such.x\.gguf, nor a folder no.such"),
        ("C:\\x.gguf", r"no file at C:\\x\.gguf"),
        ("C:/x.gguf", r"no file at C:.x\.gguf"),
        (Path("https://example.com/x.gguf"), "is an address in a path; give it as a text"),
        ("https://example.com/a b.gguf", r"curl -L -O 'https://example\.com/a b\.gguf'.*give its path"),
        ("HTTP://example.com/x.gguf", "download the file"),
        ("s3://bucket/x.gguf", "is an address, and only those of the Hugging Face hub"),
        ("https://huggingface.co/datasets/o/r/resolve/main/x.gguf", "is not the address of a model file"),
        ("https://huggingface.co/models", "write owner/repo:file.gguf"),
        ("hf://x", "is not of the form hf://owner/repo/file.gguf"),
        ("file:///no/such.gguf", "there is no file at"),
    ],
)
def test_what_is_no_name(folder: Path, name: object, words: str) -> None:
    with pytest.raises((ModelFileError, SettingsError), match=words):
        resolve(name)  # type: ignore[arg-type]  # wrong kinds are the point


def test_a_missing_path_names_what_is_beside_it(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"did you mean .*qwen\.gguf\?") as error:
        ez.Model(folder / "qwenn.gguf")
    assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize("ending", [".part", ".crdownload", ".aria2", ".incomplete"])
def test_an_unfinished_download_is_told(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.gguf{ending}"
    path.write_bytes(DATA[:100_000])
    assert unfinished(tmp_path / "y.gguf") == ""
    with pytest.raises(ModelNotFoundError, match=rf"x\.gguf{ending} beside it says that the download is not"):
        resolve(str(tmp_path / "x.gguf"))
    with pytest.raises(ModelFileError, match=rf"ending {ending} says that the download is not finished"):
        read_gguf(path)
    (tmp_path / "x.gguf").touch()  # as some browsers do
    with pytest.raises(ModelFileError, match=r"it is empty.*beside it says that the download is not"):
        ez.Model(tmp_path / "x.gguf")


def test_options_are_checked_before_the_name(folder: Path) -> None:
    with pytest.raises(ez.errors.SettingsError, match="context_length"):
        ez.Model("someone/something:big.gguf", context_length=-1)


@given(
    st.text(max_size=40) | st.from_regex(r"(hf|https?|file|C):(//?)?[\[\]@%:/.~a-z]{0,20}", fullmatch=True)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("http://[")
@example("https://huggingface.co/o/r/resolve/%00/x.gguf")
@example(".")
def test_any_text_is_a_name_or_refused_by_us(folder: Path, name: str) -> None:
    with suppress(EasyLlamaError):
        assert lasting(name)


# --- names of the hub ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("o/r:f.gguf", HubName("o/r", "f.gguf")),
        ("o/r:sub/f.gguf", HubName("o/r", "sub/f.gguf")),
        ("o/r@v1:f.gguf", HubName("o/r", "f.gguf", "v1")),
        ("o/r:Q4_K_M", HubName("o/r", "Q4_K_M")),
        ("hf.co/o/r:Q4_K_M", HubName("o/r", "Q4_K_M")),
        ("o/r", HubName("o/r")),
        ("hf://o/r", HubName("o/r")),
        ("hf://o/r/f.gguf", HubName("o/r", "f.gguf")),
        ("hf://o/r:f.gguf", HubName("o/r", "f.gguf")),
        ("hf://o/r@v1/sub/f.gguf", HubName("o/r", "sub/f.gguf", "v1")),
        ("https://huggingface.co/o/r", HubName("o/r")),
        ("https://huggingface.co/o/r/tree/main", HubName("o/r")),
        ("https://huggingface.co/o/r/blob/main/f.gguf", HubName("o/r", "f.gguf")),
        ("https://huggingface.co/o/r/resolve/main/a%20b.gguf?download=true", HubName("o/r", "a b.gguf")),
        ("https://hf.co/o/r/resolve/refs%2Fpr%2F1/f.gguf", HubName("o/r", "f.gguf", "refs/pr/1")),
    ],
)
def test_names_of_the_hub(folder: Path, name: str, meaning: HubName) -> None:
    assert parse(name) == meaning
    assert parse(str(meaning)) == meaning
    assert parse(lasting(name)) == meaning


def test_a_folder_with_a_slash_is_no_repository(folder: Path) -> None:
    Path("models").mkdir()
    shutil.copy(BUNDLED_MODEL, "models/qwen.gguf")
    with pytest.raises(ModelNotFoundError, match=r"no file at models.qwn; did you mean models.qwen\.gguf\?"):
        resolve("models/qwn")


def test_what_is_kept_of_a_name(folder: Path) -> None:
    shutil.copy(BUNDLED_MODEL, "here.gguf")
    assert lasting("here.gguf") == str(Path("here.gguf").absolute())
    assert lasting("smollm2") == "smollm2"
    with pytest.raises(ModelNotFoundError):
        lasting("nowhere")


# --- files that are something else ---------------------------------------------------------------------


def packed(kind: str) -> bytes:
    """An archive, or a checkpoint, with one small file."""
    out = io.BytesIO()
    if kind == "gzip":
        return gzip.compress(DATA)
    if kind == "tar":
        with tarfile.open(fileobj=out, mode="w") as tar:
            entry = tarfile.TarInfo("model.gguf")
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"GGUF"))
    else:
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("archive/data.pkl" if kind == "torch" else "model.gguf", b"GGUF")
    return out.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 98362432\n" % (b"a" * 64)
SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
FOREIGN = [
    (b"", "it is empty; download it again"),
    (b"GGUF\x03\0\0\0", "it ends inside the header; the download may be incomplete"),
    (POINTER, r"Git LFS pointer to a file of 98\.4 MB, which was not downloaded; run git lfs pull"),
    (b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; go\x1b[2J</title>",
     r"it is a web page with the title 'Sign in & go \[2J', saved instead of the file"),
    (b"\xef\xbb\xbf<HTML lang=en>", "it is a web page, saved"),
    (b"Entry not found", r"it is a text that begins with 'Entry not found'; .* download it again"),
    (b'{"error":"Invalid credentials"}', "it is a text that begins with"),
    (struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4), "safetensors.*convert_hf_to_gguf.py"),
    (packed("torch"), "PyTorch checkpoint.*TransformersProvider"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch checkpoint"),
    (packed("zip"), r"zip archive that begins with model\.gguf; unpack it first"),
    (b"PK\x03\x04" + bytes(100), "zip archive; unpack it first"),
    (packed("gzip"), "packed by gzip; unpack it: gunzip"),
    (packed("tar"), "tar archive; unpack it"),
    (b"lmgg\x01\0\0\0" + bytes(100), "GGML file from before August 2023"),
    (b"tjgg\x03\0\0\0" + bytes(100), "GGML file from before August 2023"),
    (b"\x08\x07\x12\x07pytorch\x1a\x05", "ONNX"),
    (bytes(5000), "nothing but zeros"),
    (b"\xde\xad\xbe\xef" * 9, r"it starts with b'\\xde\\xad\\xbe\\xef', not b'GGUF'"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), FOREIGN, ids=[words[:24] for _, words in FOREIGN])
def test_files_that_are_something_else(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=words) as error:
        ez.Model(path)
    assert str(error.value).startswith(f"{path} is not a GGUF file: ")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "is a directory; it is empty"),
        (["notes.txt"], "there is no GGUF file in it"),
        (["a.gguf", "mmproj-a.gguf"], r"give the path of the GGUF file in it: .*a\.gguf$"),
        (["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"], r"file in it: .*b-00001-of-00002\.gguf$"),
        (["snapshots/0123/c.gguf"], r"file in it: .*c\.gguf$"),
        (["a.gguf", "b.gguf"], r"one of the GGUF files in it: a\.gguf, b\.gguf$"),
        ([f"m{i}.gguf" for i in range(12)], r"m5\.gguf and 4 more$"),
        (["config.json", "model.safetensors"], "it holds a Transformers model; load it with transformers"),
        (["adapter_config.json", "adapter_model.safetensors"], "it holds an adapter"),
    ],
)
def test_directories(tmp_path: Path, files: list[str], words: str) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.raises(ModelIsDirectoryError, match=words):
        ez.Model(str(folder))


def test_what_is_loaded_by_itself() -> None:
    assert is_model("a/B.GGUF")
    assert is_model("x-00001-of-00003.gguf")
    for name in ("x-00002-of-00003.gguf", "mmproj-F16.gguf", "a.mmproj-Q8.gguf", "a.gguf.part", "a.bin"):
        assert not is_model(name), name
    assert shard_paths("a-00000-of-00000.gguf") == [Path("a-00000-of-00000.gguf")]


# --- the commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["info", "generate", "chat", "candidates", "explain", "guide", "compare"])
def test_every_command_takes_every_name(folder: Path, command: str) -> None:
    args = {"info": ["qwn"], "chat": ["qwn"]}.get(command, ["x", "-m", "qwn"])
    done = run(command, *args, stdin="\n")
    assert done.returncode == 1
    assert done.stderr.startswith("easy-llama: there is no file at qwn, nor a model of that name in ")
    assert done.stderr.endswith("did you mean qwen?\n")
    assert done.stderr.count("\n") == 1


def test_commands_load_by_name(folder: Path) -> None:
    assert "qwen.gguf" in run("info", "QWEN").stdout
    done = run("generate", "Once", "-m", "smollm2", "--temp", "0", "--max-len-tokens", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("generate", "Once", "-m", "tiny", "--temp", "0", "--max-len-tokens", "4").stdout


def test_a_path_that_is_too_long_says_so(folder: Path) -> None:
    with pytest.raises(ModelFileError, match=r"too long|there is no file"):
        ez.Model("x" * 5000 + ".gguf")
