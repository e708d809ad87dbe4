"""What the documents show, runs: Python examples as doctests, commands in a shell."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama import SamplerSettings
from easy_llama.errors import EasyLlamaWarning
from easy_llama.samplers.fields import FIELDS, SamplerFields

ROOT = Path(__file__).parent.parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# the name that the examples give their own model file; here it is the bundled model
EXAMPLE_MODEL = "mistral-7b-instruct-v0.1.Q4_K_S.gguf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that holds the file the examples load, and the command on the path."""
    shutil.copy(ez.model.BUNDLED_MODEL, tmp_path / EXAMPLE_MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", "DOCS.md"])
def test_python_examples(name: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EasyLlamaWarning)
        failed, tried = doctest.testfile(
            str(ROOT / name), module_relative=False, optionflags=FLAGS, encoding="utf-8"
        )
    assert tried > 0
    assert failed == 0


def scripts(name: str) -> list[str]:
    """The Python blocks that are whole scripts: those without prompts."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if ">>>" not in block]


def needs_torch(script: str) -> bool:
    return "import torch" in script or "transformers" in script


def test_scripts_in_the_documents(folder: Path) -> None:
    """As they stand, with the bundled model under the name of the file they load."""
    found = [s for name in ("README.md", "DOCS.md") for s in scripts(name) if not needs_torch(s)]
    assert found
    for script in found:
        for name in re.findall(r"[\w.-]+\.gguf", script):
            shutil.copy(ez.model.BUNDLED_MODEL, folder / name)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.parametrize("name", ["README.md", "DOCS.md"])
@pytest.mark.skipif(os.name != "posix", reason="the commands are written for a POSIX shell")
def test_commands(name: str, folder: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    check = doctest.OutputChecker().check_output
    for command, expected in (
        example for block in blocks for example in re.findall(r"\$ (.*)\n((?:(?!\$ ).*\n)*)", block)
    ):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=folder)
        assert check(expected, done.stdout + done.stderr, FLAGS), f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "module", ["engine", "steps.random", "model", "hub", "formats.catalogue", "terminal.escape", "thread"]
)
def test_docstring_examples(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"easy_llama.{module}"), optionflags=FLAGS)
    assert tried > 0
    assert failed == 0


def field_table() -> str:
    """The table of SamplerSettings' fields as DOCS.md has it."""
    defaults = {field.name: field.default for field in fields(SamplerFields)}
    lines = ["| field | default | allowed | meaning | usual |", "|---|---|---|---|---|"]
    for name, row in FIELDS.items():
        source = f" ([source]({row.source}))" if row.source else ""
        text = f"{row.help.rstrip('.')}{source}"
        lines.append(f"| `{name}` | `{defaults[name]!r}` | {row.kind.allowed} | {text} | {row.usual} |")
    return "\n".join(lines)


def test_the_table_of_fields_is_that_of_the_package() -> None:
    assert f"\n{field_table()}\n" in (ROOT / "DOCS.md").read_text(encoding="utf-8")
    assert all(f"``{name}``: " in (SamplerSettings.__doc__ or "") for name in FIELDS)


def test_links_inside_the_documents_lead_somewhere() -> None:
    for name in ("README.md", "DOCS.md", "CHANGELOG.md", "training/README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)?(?:#([^)]*))?\)", text):
            path, anchor = target
            if path.startswith("http"):
                continue
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), f"{name} links to {path}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
                assert anchor in slugs, f"{name} links to {path}#{anchor}"
