"""``easy-llama models``: what is on this machine, by the names to type, without loading llama.cpp."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import llama_cpp
import pytest

from easy_llama.engines.llama.outline import FILE_TYPES, outline
from easy_llama.model import BUNDLED_MODEL
from tests.command import run, spawn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with a model in a folder, and a page that was saved instead of one."""
    models = tmp_path / "models"
    (models / "maker").mkdir(parents=True)
    shutil.copy(BUNDLED_MODEL, models / "maker" / "Some-Model.Q4_K_M.gguf")
    (models / "page.gguf").write_bytes(b"<!doctype html><title>Sign in\x1b[2J</title>")
    monkeypatch.setenv("EASY_LLAMA_MODELS", str(models))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return models


def test_the_list(folder: Path) -> None:
    done = run("models")
    assert done.returncode == 0
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "tiny 2.6 MB llama 1.3 M F16 512 yes" in rows
    assert "Some-Model.Q4_K_M 2.6 MB llama 1.3 M F16 512 yes" in rows
    assert "page can't be used" in rows
    assert [row for row in rows if row.endswith(":")] == ["in the box:", "models folder:"]
    assert rows[-1] == f"The models folder is {folder}"
    assert done.stderr.startswith(f"page: {folder / 'page.gguf'} is not a GGUF file: it is a web page")
    assert "\x1b" not in done.stdout + done.stderr


def test_as_json(folder: Path) -> None:
    listed = json.loads(run("models", "--json").stdout)
    assert [one["name"] for one in listed] == ["tiny", "Some-Model.Q4_K_M", "page"]
    assert listed[1] == {
        "name": "Some-Model.Q4_K_M",
        "where": "models folder",
        "path": str(folder / "maker" / "Some-Model.Q4_K_M.gguf"),
        "size": BUNDLED_MODEL.stat().st_size,
        "parameters": 1271200,
        "architecture": "llama",
        "quantization": "F16",
        "context_length": 512,
        "chat_template": True,
        "error": None,
    }
    assert "it is a web page" in listed[2]["error"]


def test_json_holds_nothing_that_a_terminal_obeys(folder: Path) -> None:
    (folder / "a\u202eb\x9b2J.gguf").write_bytes(b"no model")
    done = run("models", "--json")
    assert done.stdout.isascii()
    assert "a\u202eb\x9b2J" in [one["name"] for one in json.loads(done.stdout)]


@pytest.mark.parametrize("hidden", [(), ("huggingface_hub",)])
def test_it_loads_neither_llama_cpp_nor_what_is_not_installed(folder: Path, hidden: tuple[str, ...]) -> None:
    code = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {hidden!r}]\n"
        "sys.argv = ['easy-llama', 'models']\nfrom easy_llama.cli import main\nmain()\n"
        "assert 'llama_cpp' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Some-Model" in done.stdout
    assert ("pip install huggingface-hub" in done.stderr) is bool(hidden)


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_a_narrow_terminal_shows_every_name_whole(folder: Path) -> None:
    import pexpect

    name = f"{'a-long-name-' * 6}Q4_K_M"
    shutil.copy(BUNDLED_MODEL, folder / f"{name}.gguf")
    child = spawn("models", env={"NO_COLOR": "1", "TERM": "xterm"})
    child.expect(pexpect.EOF)
    lines = child.before.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("The models folder"))]
    assert all(len(line) <= max(80, len(name) + 2) for line in table)
    assert f"  {name}" in table, "a line of its own, to be copied"
    assert "\x1b" not in child.before


def test_the_names_of_file_types_are_llama_cpps() -> None:
    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    theirs = {
        getattr(llama_cpp, name): name.removeprefix(prefixes[0]).removeprefix(prefixes[1])
        for name in dir(llama_cpp)
        if name.startswith(prefixes)
    }
    assert theirs.items() <= FILE_TYPES.items()


def test_a_file_that_names_no_type_has_that_of_its_weights(tmp_path: Path) -> None:
    assert outline(BUNDLED_MODEL).quantization == "F16"
    path = tmp_path / "unnamed.gguf"
    path.write_bytes(BUNDLED_MODEL.read_bytes().replace(b"general.file_type", b"general.file_tipe"))
    assert outline(path).quantization == "F16"
