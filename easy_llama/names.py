"""What a person calls a model, to the file: a path, a name in the models folder, a file on the hub, ``tiny``.

``resolve`` is the one place where names get their meaning, for Python and for every command.
"""

from __future__ import annotations

import difflib
import ntpath
import os
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .errors import MissingExtraError, ModelFileError, ModelNotFoundError, SettingsError
from .files import model_name, models_in, unfinished
from .folders import models_folder
from .hub import HubName, cached, fetch, parse
from .terminal.escape import escaped

__all__ = ["BUNDLED_MODEL", "BUNDLED_NAME", "lasting", "names_in", "resolve"]

BUNDLED_MODEL = Path(__file__).parent / "data" / "tiny.gguf"
BUNDLED_NAME = "tiny"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MANGLED = re.compile(r"(https?|hf):[/\\](?![/\\])")
_WHAT = (
    "the path of a GGUF file, a name that `easy-llama models` lists, or owner/repo:file.gguf for a file "
    "on the Hugging Face hub"
)


def resolve(name: str | os.PathLike[str] | None) -> Path:
    """Return the file or folder that ``name`` means; a file on the hub is downloaded unless it is cached.

    What lies at a path comes first, then the models folder, then the hub. None is the bundled model; a
    ``PathLike`` is always a path. Raises ModelFileError that says what was understood and what to do,
    ModelNotFoundError where nothing has that name, MissingExtraError for the hub without its extra, and
    SettingsError for what is neither text nor path. What the file holds is not looked at.
    """
    found = _place(name)
    return fetch(found) if isinstance(found, HubName) else found


def lasting(name: str) -> str:
    """Return ``name`` as it can be kept for another day and another current folder; no network is used.

    Raises as ``resolve`` does, but not for what only the hub knows.
    """
    found = _place(name)
    if isinstance(found, HubName):
        return str(found) if found.file else f"hf://{found}"
    if found == BUNDLED_MODEL:
        return BUNDLED_NAME
    return str(found.absolute()) if os.path.exists(_local(name)) else name


def names_in(folder: Path) -> dict[str, Path]:
    """Return the models in ``folder`` by the shortest names that mean them when it is the models folder."""
    models = _by_path(folder)
    found = {}
    for path_name, path in models.items():
        names = (model_name(path.name), model_name(path_name), path_name)
        own = (name for name in names if name.casefold() != BUNDLED_NAME and _called(name, models) == [path])
        found[next(own, str(path))] = path
    return found


def _place(name: Any) -> Path | HubName:
    if name is None:
        return BUNDLED_MODEL
    if not isinstance(name, str):
        return _checked(_path(name))
    if not name.strip():
        raise ModelFileError(f"the name of the model is empty; give {_WHAT}, or none for the bundled model")
    path = _local(name)
    if os.path.isfile(path):
        return path
    if _URL.match(name):
        return _behind_url(name)
    found = _in_the_folder(name)
    if found is not None:
        return found
    hub = None if os.path.exists(path) else parse(name)
    # some/file without an ending may be a repository, but not in a folder that is there
    if hub is not None and (hub.file or not (path.parent.is_dir() or path.suffix.lower() == ".gguf")):
        return hub
    return _checked(path, typed=name)


def _path(name: Any) -> Path:
    if not isinstance(name, os.PathLike):
        raise SettingsError(
            f"model_path must be a str or a Path, or None for the bundled model; got {name!r:.80}"
        )
    try:
        return _local(os.fspath(name))
    except TypeError as error:  # a path of bytes
        raise ModelFileError(f"model_path must be the path of a GGUF file; got {name!r} ({error})") from None


def _local(name: str) -> Path:
    return Path(os.path.expanduser(name))


def _behind_url(url: str) -> Path | HubName:
    """What an address means; ModelFileError where it is none of the hub's."""
    hub = parse(url)
    if hub is not None:
        return hub
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ModelFileError(f"{escaped(url)} is not an address: {error}") from None
    if parts.scheme.lower() == "file":
        return _checked(Path(url2pathname(parts.path)))
    if parts.scheme.lower() == "hf":
        raise ModelFileError(f"{escaped(url)} is not of the form hf://owner/repo/file.gguf")
    if (parts.hostname or "").endswith(("huggingface.co", "hf.co")):
        raise ModelFileError(
            f"{escaped(url)} is not the address of a model file; write owner/repo:file.gguf, or copy the "
            "address of the file's download button"
        )
    raise ModelFileError(
        f"{escaped(url)} is an address, and only those of the Hugging Face hub are understood; download the "
        f"file (curl -L -O {shlex.quote(escaped(url))}) and give its path"
    )


def _in_the_folder(name: str) -> Path | None:
    """The model called ``name`` in the models folder, or the bundled one; None if there is none."""
    if name.casefold() == BUNDLED_NAME:
        return BUNDLED_MODEL
    if os.path.isabs(name) or ntpath.splitdrive(name)[0] or name in (".", ".."):
        return None
    folder = models_folder()
    found = _called(name, _by_path(folder))
    if len(found) > 1:
        listed = ", ".join(escaped(path.relative_to(folder).as_posix()) for path in found)
        raise ModelFileError(f"{escaped(name)} is not one model in {folder}, but {len(found)}: {listed}")
    if found:
        return found[0]
    return BUNDLED_MODEL if name.casefold() == BUNDLED_MODEL.name else None


def _by_path(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in models_in(folder)}


def _called(name: str, models: dict[str, Path]) -> list[Path]:
    """The models that ``name`` means: the strictest reading that any of them fits."""
    name = name.replace("\\", "/")
    plain = model_name(name).casefold()
    readings: list[Callable[[str], bool]] = [
        lambda path: path == name,
        lambda path: path.casefold() == name.casefold(),
        lambda path: model_name(path) == name,
        lambda path: model_name(path).casefold() == plain,
        lambda path: model_name(path).casefold().split("/")[-1] == plain,
    ]
    if not name.lower().endswith(".gguf"):
        readings.append(lambda path: path.casefold().startswith(f"{plain}/"))  # a folder with one model
        if _is_bare(name):
            readings.append(lambda path: path.casefold().split("/")[-1].startswith(plain))
    for reading in readings:
        if found := [models[path] for path in models if reading(path)]:
            return found
    return []


def _is_bare(name: str) -> bool:
    """Whether ``name`` has no folders in it."""
    return not re.search(r"[/\\]", name) and not ntpath.splitdrive(name)[0]


def _checked(path: Path, typed: str = "") -> Path:
    """Return ``path`` if there is something; ModelNotFoundError with what may be meant if there is not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError:  # not to be read, too long: who opens it says what is wrong
        return path
    except ValueError as error:
        raise ModelFileError(f"{escaped(str(path))} can't be a path: {error}") from None
    else:
        return path
    text = escaped(str(path))
    if _MANGLED.match(text):
        raise ModelNotFoundError(f"{text} is an address in a path; give it as a text, not as a Path")
    if hint := unfinished(path):
        raise ModelNotFoundError(f"there is no file at {text}; {hint}")
    is_name = bool(typed) and _is_bare(typed)
    if not is_name and not path.parent.is_dir():
        raise ModelNotFoundError(f"there is no file at {text}, nor a folder {escaped(str(path.parent))}")
    beside = [str(path.with_name(one.name)) for one in models_in(path.parent, depth=1)]
    if not is_name:
        raise ModelNotFoundError(f"there is no file at {text}{_did_you_mean(text, beside)}")
    folder = models_folder()
    known = [BUNDLED_NAME, *names_in(folder), *beside, *_cached_names()]
    hint = _did_you_mean(typed, known) or "; `easy-llama models` lists what there is"
    raise ModelNotFoundError(f"there is no file at {text}, nor a model of that name in {folder}{hint}")


def _cached_names() -> list[str]:
    try:
        return [str(one.name) for one in cached()]
    except MissingExtraError:
        return []


def _did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """The end of an error: up to three names that are like ``wanted``, or nothing."""
    key = model_name(re.split(r"[/\\]", wanted)[-1]).casefold()
    plain = {name: model_name(re.split(r"[/\\:]", name)[-1]).casefold() for name in names}
    # its beginning is what one types of a long name
    starts = {name: one[: len(key) + 1] for name, one in plain.items()}
    close = difflib.get_close_matches(key, [*plain.values(), *starts.values()], n=3, cutoff=0.7)
    near = [
        name
        for name, one in plain.items()
        if one in close or starts[name] in close or (len(key) > 2 and key in one)
    ]
    return f"; did you mean {' or '.join(map(escaped, near[:3]))}?" if near else ""
