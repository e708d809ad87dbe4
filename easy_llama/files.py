"""GGUF files by their names: the parts of split models, what is a model by itself, unfinished downloads.

No file is opened here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["is_later_part", "is_model", "model_name", "models_in", "part_names", "size_text", "unfinished"]

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_PROJECTOR = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)  # eyes and ears, which need a model
_DEPTH = 3  # folders below the models folder that are looked into: publisher/repository/file.gguf
# what browsers and download managers append while they are at it
_UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".incomplete", ".aria2", ".opdownload")


def part_names(name: str) -> list[str]:
    """Return the names of all files of the model that ``name`` is of, in order; folders before it stay.

    >>> part_names("big/a-00002-of-00002.gguf")
    ['big/a-00001-of-00002.gguf', 'big/a-00002-of-00002.gguf']
    >>> part_names("a.gguf")
    ['a.gguf']
    """
    match = _PART.fullmatch(name)
    if match is None or not 0 < int(match["number"]) <= int(match["count"]):
        return [name]
    count = int(match["count"])
    return [f"{match['stem']}-{i:05d}-of-{count:05d}.gguf" for i in range(1, count + 1)]


def is_later_part(name: str) -> bool:
    """Whether ``name`` is that of the second or a later part of a split model."""
    return part_names(name)[0] != name


def is_model(name: str) -> bool:
    """Whether ``name`` is that of a GGUF file one loads: no later part, no projector (mmproj)."""
    base = re.split(r"[/\\]", name)[-1]
    return base.lower().endswith(".gguf") and not is_later_part(base) and not _PROJECTOR.search(base[:-5])


def model_name(name: str) -> str:
    """Return the name of a GGUF file without its ending, and without the number of a part.

    >>> model_name("big/a-00001-of-00002.gguf"), model_name("b.Q4_K_M.GGUF")
    ('big/a', 'b.Q4_K_M')
    """
    match = _PART.fullmatch(name)
    return match["stem"] if match else re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)


def models_in(folder: Path, depth: int = _DEPTH) -> list[Path]:
    """Return the models in ``folder`` and ``depth - 1`` levels of folders below it, sorted; [] if none."""
    found = []
    for level in range(depth):
        # so far and no farther: links may lead round in a circle
        found += [
            path for path in folder.glob("*/" * level + "*") if is_model(path.name) and os.path.isfile(path)
        ]
    return sorted(found, key=lambda path: path.as_posix().casefold())


def unfinished(path: Path) -> str:
    """Return "", or what there is to say of a download to ``path`` that has not come to its end."""
    if path.suffix.lower() in _UNFINISHED:
        return f"the ending {path.suffix} says that the download is not finished"
    for ending in _UNFINISHED:
        if os.path.exists(f"{path}{ending}"):
            return f"{path.name}{ending} beside it says that the download is not finished"
    return ""


def size_text(n_bytes: int) -> str:
    """Return a size as people read it.

    >>> size_text(98_200_000), size_text(4_370_000_000), size_text(133)
    ('98.2 MB', '4.4 GB', '133 bytes')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes} bytes"
