"""The shape of the package: imports point down, exports are sorted, nothing is heavy or long."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import easy_llama as ez

PACKAGE = Path(ez.__file__).parent
ROOT = PACKAGE.parent

# a module imports only what stands before it; the modules of a rack count as the rack
ORDER = [
    "errors", "checks", "hub", "formats", "engine", "dry", "steps", "draws", "setting_checks",
    "settings", "presets", "picker", "samplers", "setting_texts", "menu", "text", "decoding", "stats",
    "generation", "engines", "loaded", "providers", "explain", "token_samplers", "model", "tables",
    "study", "message", "layout", "overflow", "storage", "thread", "history", "recorder", "terminal",
    "console_commands", "console", "__init__", "cli_flags", "cli_tools", "cli_compare", "cli",
    "__main__",
]  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))
LONG_FUNCTIONS: dict[str, str] = {}  # "file:function" -> why it may be longer


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> list[str]:
    """The layers that a module imports from, at any depth of its code."""
    package = path.relative_to(PACKAGE).parent.parts
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            inside = [*base, *(node.module.split(".") if node.module else [])]
            found += [inside[0]] if inside else [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = ORDER.index(layer(path))
    for name in imports(path):
        if name == "__version__" or (path.name, name) == ("thread.py", "console"):
            continue  # Thread.interact imports the console inside the function: the one arrow that runs up
        assert ORDER.index(name) <= here, f"{path.name} imports {name}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short_and_documented(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= 400, f"{path.name} has over 400 lines"
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            name = f"{path.name}:{node.name}"
            assert length <= 50 or name in LONG_FUNCTIONS, f"{name} has {length} lines"


def test_exports_are_sorted_and_there() -> None:
    for info in pkgutil.walk_packages([str(PACKAGE)], "easy_llama."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", [])
        assert list(names) == sorted(names, key=export_order), info.name
        for name in names:
            assert hasattr(module, name), f"{info.name}.{name}"
    assert ez.__all__ == sorted(ez.__all__, key=export_order)


def export_order(name: str) -> tuple[int, str]:
    """ruff's order: constants, then classes, then the rest."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


def test_import_is_light() -> None:
    code = "import easy_llama, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "llama_cpp", "huggingface_hub", "rich", "click", "jinja2", "ray"}
    assert not heavy & set(loaded.split())


def test_decoders_import_neither_torch_nor_llama_cpp() -> None:
    for path in (PACKAGE / "decoding").glob("*.py"):
        assert "llama_cpp" not in path.read_text().replace("None imports torch or llama_cpp", "")


def test_every_error_is_in_the_drawn_tree() -> None:
    for name in ez.errors.__all__:
        if name.endswith("Warning"):
            continue
        assert name in (ez.errors.__doc__ or "")
        assert issubclass(getattr(ez.errors, name), ez.EasyLlamaError)


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {ez.__version__}" in (ROOT / "CHANGELOG.md").read_text()
