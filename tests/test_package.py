"""The shape of the package: the floor plan file by file, contracts and no private parts, light imports."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama.cli.entry import COMMANDS

PACKAGE = Path(ez.__file__).parent
ROOT = PACKAGE.parent

# the rooms from the ground up; a file imports what stands in a room below, or beside it in its own
ROOMS = [
    "version", "errors", "caller", "terminal", "checks", "folders", "files", "hub", "names", "engine",
    "prompt", "formats", "text", "steps", "constraints", "samplers", "decoding", "engines", "engines/llama",
    "engines/pytorch", "generation", "token_samplers", "study", "model", "chat", "console", "thread",
    "__init__", "cli", "__main__",
]  # fmt: skip

# imports inside functions: (file, what) -> which heavy library stays out of start-up
LATE = {
    ("__init__.py", "importlib"): "half a millisecond of start-up",
    ("chat/layouts.py", "formats/derive.py"): "jinja2",
    ("chat/layouts.py", "formats/template.py"): "jinja2",
    ("cli/defaults.py", "engines/llama/plan.py"): "llama_cpp",
    ("cli/tools.py", "engines/llama/devices.py"): "llama_cpp",
    ("cli/__init__.py", "cli/entry.py"): "click: what Ctrl-C does is said before",
    ("cli/entry.py", "cli/defaults.py"): "numpy, for --version",
    ("cli/group.py", "caller.py"): "inspect, which only a wrong flag needs",
    ("cli/group.py", "cli/wording.py"): "numpy, which only a wrong flag needs",
    ("cli/group.py", "folders.py"): "what only a name that is no command needs",
    ("cli/group.py", "names.py"): "what only a name that is no command needs",
    ("cli/entry.py", "cli/wording.py"): "numpy, where all goes well",
    ("cli/entry.py", "terminal/screen.py"): "re, where all goes well",
    ("cli/tools.py", "engines/llama/open.py"): "llama_cpp",
    ("console/loop.py", "rich.console"): "rich",
    ("console/loop.py", "rich.markdown"): "rich",
    ("engines/pytorch/cache.py", "torch"): "torch",
    ("engines/pytorch/model.py", "torch"): "torch",
    ("engines/pytorch/tokenizer.py", "transformers"): "transformers",
    ("formats/doctor.py", "formats/derive.py"): "jinja2",
    ("formats/doctor.py", "formats/template.py"): "jinja2",
    ("formats/thinking.py", "formats/template.py"): "jinja2",
    ("generation/providers.py", "engines/llama/engine.py"): "llama_cpp",
    ("generation/providers.py", "engines/llama/handles.py"): "llama_cpp",
    ("generation/providers.py", "engines/llama/vocab.py"): "llama_cpp",
    ("generation/providers.py", "llama_cpp"): "llama_cpp",
    ("folders.py", "platformdirs"): "platformdirs",
    ("hub.py", "huggingface_hub.errors"): "huggingface_hub, which may be missing",
    ("model.py", "engines/llama/load.py"): "llama_cpp",
    ("model.py", "engines/llama/plan.py"): "llama_cpp",
    ("terminal/editor.py", "click"): "click, which the library itself does without",
    ("terminal/menu.py", "prompt_toolkit.application"): "prompt_toolkit",
    ("terminal/menu.py", "prompt_toolkit.key_binding"): "prompt_toolkit",
    ("terminal/menu.py", "prompt_toolkit.layout"): "prompt_toolkit",
    ("terminal/menu.py", "prompt_toolkit.utils"): "prompt_toolkit",
    ("terminal/reader.py", "prompt_toolkit"): "prompt_toolkit",
    ("terminal/reader.py", "prompt_toolkit.completion"): "prompt_toolkit",
    ("terminal/reader.py", "prompt_toolkit.document"): "prompt_toolkit",
    ("terminal/reader.py", "prompt_toolkit.history"): "prompt_toolkit",
    ("terminal/reader.py", "termios"): "termios, which Windows has not",
    ("terminal/tables.py", "rich"): "rich",
    ("terminal/tables.py", "rich.console"): "rich",
    ("terminal/tables.py", "rich.table"): "rich",
    ("terminal/wrap.py", "regex"): "regex",
    ("terminal/wrap.py", "wcwidth"): "wcwidth",
    ("text/phrases.py", "regex"): "regex",
}

# where another package's private parts are touched, and why there is no other way
FOREIGN_PRIVATE = {
    "engines/llama/devices.py": "the loaded ggml library, whose functions llama_cpp does not declare",
    "engines/llama/handles.py": "Llama has no public way to its C handles, nor to another context",
    "engines/llama/log.py": "llama-cpp-python's own logger, whose lines must go on",
    "engines/llama/rows.py": "the loaded library, of which a function is declared anew",
}

# where an attribute is asked for by a name in a string, and why no protocol can say it
BY_NAME = {
    "__init__.py": "the public names, each loaded when it is used",
    "cli/group.py": "the commands, each loaded when it is used",
    "cli/entry.py": "standard streams may be replaced by objects without reconfigure",
    "cli/flags.py": "click keeps the options of a command there",
    "chat/storage.py": "the fields of a dataclass, in a loop",
    "console/settings.py": "the fields of a dataclass, in a loop, and the presets of ez.samplers",
    "constraints/document.py": "a class of pydantic, which may not be installed",
    "prompt.py": "arrays of numpy and torch as prompts",
    "engines/pytorch/cache.py": "caches of any transformers release",
    "engines/pytorch/model.py": "any object that can be called on tensors",
    "engines/pytorch/tensors.py": "whatever was given instead of a tensor; configurations of models",
    "engines/pytorch/tokenizer.py": "models and tokenizers of any transformers release",
    "formats/template.py": "values inside a Jinja template",
    "generation/providers.py": "models and tokenizers of any transformers release",
    "samplers/fields.py": "the fields of a dataclass, in a loop",
    "study/outcome.py": "the figures of an outcome, in a loop",
}

MODULES = sorted(PACKAGE.rglob("*.py"))
LONG_FUNCTIONS: dict[str, str] = {}  # "file:function" -> why it may be longer


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


NAMES = [name_of(path) for path in MODULES]
TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def room_of(name: str) -> str:
    """The innermost room that a file stands in; a file at the top is a room of its own."""
    parts = name.removesuffix(".py").split("/")
    rooms = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next(room for room in rooms if room in ROOMS)


def file_of(module: list[str]) -> str | None:
    """The file of a module inside the package, None if there is none."""
    for name in ("/".join(module) + ".py", "/".join([*module, "__init__.py"])):
        if name in TREES:
            return name
    return None


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """The files, or modules of other packages, that are imported anywhere in ``tree``, a part of ``name``."""
    package = name.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] + (node.module or "").split(".")
            base = [part for part in base if part]
            for alias in node.names:  # a module, or a name in one
                found = file_of([*base, alias.name]) or file_of(base) or file_of(["__init__"])
                assert found is not None, f"{name} imports {base}"
                yield found


GRAPH = {name: {one for one in imports(name, tree) if one in TREES} for name, tree in TREES.items()}
# what is imported by a name in a table counts, too; the names of the package itself are in its TYPE_CHECKING
GRAPH["cli/entry.py"] |= {f"cli/{entry.module}.py" for part in COMMANDS.values() for entry in part.values()}


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name: str) -> None:
    here = ROOMS.index(room_of(name))
    for other in sorted(GRAPH[name]):
        assert ROOMS.index(room_of(other)) <= here, f"{name} imports {other}, which stands above it"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """What can be reached from itself: the strongly connected components with an edge inside (Tarjan)."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = lows[node] = len(numbers)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in numbers:
                visit(other)
                lows[node] = min(lows[node], lows[other])
            elif other in stack:
                lows[node] = min(lows[node], numbers[other])
        if lows[node] == numbers[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1 or node in graph[node]:
                found.append(component)

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(GRAPH) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]], "the test can tell"
    assert circles({"a": {"a"}}) == [["a"]]


def test_every_room_has_files_and_tells_what_it_holds() -> None:
    for room in ROOMS:
        assert any(room_of(name) == room for name in NAMES), f"{room} is empty"
    for path in PACKAGE.rglob("*"):
        if path.is_dir() and any(path.glob("*.py")):
            assert (path / "__init__.py").is_file(), f"{path} has no __init__.py"


def late_imports() -> set[tuple[str, str]]:
    """What is imported inside functions."""
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found |= {(name, other) for other in imports(name, node)}
    return found


def test_imports_inside_functions_keep_heavy_libraries_out_of_start_up_and_nothing_else() -> None:
    assert late_imports() == set(LATE)
    assert all(LATE.values())


_PUBLIC = ("_replace", "_asdict", "_fields")  # of named tuples; the line is there to keep field names free


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in _PUBLIC


def own_private_names(tree: ast.AST) -> set[str]:
    """The private names that a file defines itself: of classes, functions, attributes of self, slots."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_file_touches_private_parts_of_another(name: str) -> None:
    own = own_private_names(TREES[name])
    for node in ast.walk(TREES[name]):
        touched = ""
        if isinstance(node, ast.ImportFrom):
            touched = next((alias.name for alias in node.names if private(alias.name)), "")
        elif isinstance(node, ast.Attribute) and private(node.attr):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            touched = "" if is_own or node.attr in own else node.attr
        assert not touched or name in FOREIGN_PRIVATE, f"{name}, line {node.lineno}: {touched}"  # type: ignore[attr-defined]  # what is touched has a line


def test_contracts_are_no_names_in_strings() -> None:
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            function = node.func if isinstance(node, ast.Call) else None
            if isinstance(function, ast.Name) and function.id in ("getattr", "hasattr", "setattr"):
                found.add(name)
    assert found == set(BY_NAME)


# which packages are imported where, at any depth
ONLY_IN = {
    "llama_cpp": {"engines/llama", "generation", "model"},
    "torch": {"engines/pytorch"},
    "transformers": {"engines/pytorch"},
    "jinja2": {"formats", "engines/llama"},
    "click": {"cli", "terminal"},
    "sqlite3": {"chat"},
}


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    found = set()
    for name, tree in TREES.items():
        if any(other.split(".")[0] == library for other in imports(name, tree)):
            found.add(room_of(name))
    assert found == ONLY_IN[library]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_are_short_and_documented(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
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


def loaded_by(code: str) -> set[str]:
    """The modules that are there after ``code`` and were not before, in a process of its own."""
    code = f"import sys; before = {{*sys.modules}}; {code}; print(*{{*sys.modules}} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "llama_cpp", "huggingface_hub", "rich", "click", "jinja2", "ray"}
HEAVY |= {"regex", "prompt_toolkit", "platformdirs"}


def test_import_is_light() -> None:
    assert loaded_by("import easy_llama") == {"easy_llama", "__future__"}
    every = "; ".join(f"easy_llama.{name}" for name in ez.__all__)
    assert not HEAVY & loaded_by(f"import easy_llama; {every}")


def test_names_of_the_package_are_there_before_they_are_loaded() -> None:
    """The table of names and what type checkers see are the same, and every name is listed."""
    seen: dict[str, str] = {}
    for node in ast.walk(TREES["__init__.py"]):
        if isinstance(node, ast.ImportFrom) and node.level:
            seen |= {alias.name: node.module or alias.name for alias in node.names}
    assert set(seen) | {"__version__"} == set(ez.__all__)
    for name, home in seen.items():
        module = importlib.import_module(f"easy_llama.{home}")
        assert getattr(ez, name) is (
            module if name == home and name not in vars(module) else getattr(module, name)
        )
    code = "import easy_llama; names = dir(easy_llama); assert {*easy_llama.__all__} <= {*names}"
    assert loaded_by(code) == {"easy_llama", "__future__"}
    loaded_by("from easy_llama import *; assert Model.__name__ == 'Model'")
    with pytest.raises(AttributeError, match="has no attribute 'Modle'") as caught:
        ez.Modle  # type: ignore[attr-defined]  # noqa: B018
    assert caught.value.name == "Modle"
    assert caught.value.obj is ez


def test_every_error_is_in_the_drawn_tree() -> None:
    for name in ez.errors.__all__:
        if name.endswith("Warning"):
            continue
        assert name in (ez.errors.__doc__ or "")
        assert issubclass(getattr(ez.errors, name), ez.EasyLlamaError)


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {ez.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
