"""All formats by name: which there are, one found by what a person typed, and what is a format at all."""

from __future__ import annotations

import difflib
from typing import cast

from ..errors import FormatError
from . import community, families
from .shape import KEYS, OPTIONAL_KEYS, Format

__all__ = ["check_format", "find", "names"]

_FORMATS: dict[str, Format] = {
    name: cast(Format, value)
    for module in (families, community)
    for name, value in vars(module).items()
    if isinstance(value, dict) and not name.startswith("_")
}
_ALL = f"ez.formats.names() lists all {len(_FORMATS)}"


def names() -> list[str]:
    """Return the names of all formats, sorted."""
    return sorted(_FORMATS)


def find(name: str) -> Format:
    """Return the format called ``name``; FormatError with near misses if there is none.

    >>> find("llma3")
    Traceback (most recent call last):
    easy_llama.errors.FormatError: there is no format 'llma3'; did you mean 'llama3' or ...
    """
    wanted = _normal(name)
    if wanted in _FORMATS:
        return _FORMATS[wanted]
    near = _near(wanted)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise FormatError(f"there is no format {name!r}; {hint}{_ALL}")


def check_format(format: object) -> Format:
    """Return ``format`` if it is one; FormatError names the missing key or the wrong value.

    The name of a format is none, and the error says where that name's dictionary is.
    """
    if isinstance(format, str):
        near = " or ".join(f"ez.formats.{name}" for name in _near(_normal(format)))
        hint = f"did you mean {near}?" if near else "take one such as ez.formats.chatml;"
        raise FormatError(f"a format is a dict, not its name; got {format!r}; {hint} {_ALL}")
    if not isinstance(format, dict):
        raise FormatError(f"a format is a dict with the keys {', '.join(KEYS)}; got {type(format).__name__}")
    missing = [key for key in KEYS if key not in format]
    unknown = [key for key in format if key not in (*KEYS, *OPTIONAL_KEYS)]
    if missing or unknown:
        which = f"lacks {', '.join(missing)}" if missing else f"has the unknown key {unknown[0]!r}"
        raise FormatError(f"the format {which}; it needs {', '.join(KEYS)}")
    for key, value in format.items():
        if key == "stops":
            wrong = not isinstance(value, list) or not all(isinstance(s, (str, int)) for s in value)
        else:
            wrong = not isinstance(value, str)
        if wrong:
            kind = "a list of texts and token ids" if key == "stops" else "a str"
            raise FormatError(f"{key} of a format must be {kind}; got {value!r}")
    checked: Format = format  # type: ignore[assignment]  # every key was checked
    return checked


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")


def _near(wanted: str) -> list[str]:
    """The names that are like ``wanted``, or the name itself where there is one."""
    return [wanted] if wanted in _FORMATS else difflib.get_close_matches(wanted, names(), n=3)
