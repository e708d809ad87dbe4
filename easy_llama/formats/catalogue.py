"""All formats by name: which there are, and one found by what a person typed."""

from __future__ import annotations

import difflib
from typing import cast

from ..errors import FormatError
from . import community, families
from .shape import Format

__all__ = ["find", "names"]

_FORMATS: dict[str, Format] = {
    name: cast(Format, value)
    for module in (families, community)
    for name, value in vars(module).items()
    if isinstance(value, dict) and not name.startswith("_")
}


def names() -> list[str]:
    """Return the names of all formats, sorted."""
    return sorted(_FORMATS)


def find(name: str) -> Format:
    """Return the format called ``name``; FormatError with near misses if there is none.

    >>> find("llma3")
    Traceback (most recent call last):
    easy_llama.errors.FormatError: there is no format 'llma3'; did you mean 'llama3' or ...
    """
    wanted = name.lower().replace("-", "_")
    if wanted in _FORMATS:
        return _FORMATS[wanted]
    near = difflib.get_close_matches(wanted, names(), n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise FormatError(f"there is no format {name!r}; {hint}ez.formats.names() lists all {len(_FORMATS)}")
