"""Wrapper: text broken at words to the width of a terminal, also while it is still being written.

A word is held back until it is known to be complete, so nothing written is ever taken back. Wide characters
(CJK, emoji) count two columns and may break between each other, but not before a closing or behind an
opening mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from unicodedata import category

__all__ = ["Wrapper"]

TAB = 8  # columns, as terminals have them
_TOKENS = re.compile(r"\n|[ \t]+|[^ \t\n]+")
_CLOSING, _OPENING = ("Pe", "Pf", "Po"), ("Ps", "Pi")  # categories of Unicode
_SMALL = frozenset("ー々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ")  # belong to the sign before them
# letters of scripts that put no spaces between words: a break anywhere is better than none
_UNSPACED = r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]"


class Wrapper:
    """Breaks lines of at most ``width()`` columns; None is a width without an end, and changes nothing.

    ``width`` is asked anew for every line, so a terminal may be resized meanwhile. Lines that a break begins
    are indented by ``indent`` columns.
    """

    def __init__(self, width: Callable[[], int | None], indent: int = 0) -> None:
        self._get_width, self._indent = width, indent
        self._column = 0
        self._space = self._held = ""
        self._is_cut = False  # a word longer than a line has been begun
        self._width = width()

    def push(self, text: str) -> str:
        """Return what of the text until now can be written."""
        if self._width is None:
            return text
        tokens = _TOKENS.findall(self._held + text)
        self._held = ""
        if tokens and tokens[-1] != "\n":
            self._held = tokens.pop()
        placed = "".join(map(self._place, tokens))
        if self._held and not self._held.isspace():
            *units, self._held = _units(self._held)
            placed += "".join(map(self._unit, units))
            if _columns(self._held) > self._width:  # no word: nothing is gained by waiting for its end
                *known, self._held = _clusters(self._held)
                placed += self._unit("".join(known))
                self._is_cut = True
        return placed

    def finish(self) -> str:
        """Return what was held back; the text is over."""
        held, self._held = self._held, ""
        placed, space = "".join(map(self._place, _TOKENS.findall(held))), self._drop_space()
        fits = self._width is None or _end_of(self._column, space) <= self._width
        return placed + (space if fits else "")

    def _drop_space(self) -> str:
        space, self._space = self._space, ""
        return space

    def _place(self, token: str) -> str:
        if token == "\n":
            self._space, self._column, self._is_cut = "", 0, False
            self._width = self._get_width()
            return token
        if token.isspace() and token[0] in " \t":
            self._space += token
            self._is_cut = False
            return ""
        return "".join(map(self._unit, _units(token)))

    def _unit(self, unit: str) -> str:
        """Write a unit behind the space before it, or on a new line in place of that space."""
        width = max(self._width or 1, 1)
        space, size = self._drop_space(), _columns(unit)
        start = _end_of(self._column, space)
        if start + size <= width:
            self._column = start + size
            return space + unit
        placed, indent = space, min(self._indent, width // 2)
        if not self._is_cut and (self._column > indent or start >= width):
            placed = "\n" + " " * indent
            self._column = indent
        else:  # it goes on here and is cut
            self._column = start
        for cluster in _clusters(unit):
            columns = _columns(cluster)
            if self._column + columns > width and self._column > indent:
                placed += "\n" + " " * indent
                self._column = indent
            placed += cluster
            self._column += columns
        return placed


def _end_of(column: int, space: str) -> int:
    """The column behind ``space``, with tab stops."""
    for char in space:
        column += TAB - column % TAB if char == "\t" else 1
    return column


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    return max(wcswidth(text), 0)


def _clusters(text: str) -> list[str]:
    """The characters as a person sees them: a letter with its accents, an emoji with what is joined to it."""
    if text.isascii():
        return list(text)
    import regex

    return list(regex.findall(r"\X", text))


def _units(word: str) -> Iterator[str]:
    """Cut a word into parts between which a line may break."""
    if word.isascii():
        yield word
        return
    import regex

    unit, may_break = "", False
    for cluster in _clusters(word):
        breaks = _columns(cluster) > 1 or regex.match(_UNSPACED, cluster) is not None
        is_bound = category(cluster[0]) in _CLOSING or cluster[0] in _SMALL
        if unit and (breaks or may_break) and not is_bound and category(unit[-1]) not in _OPENING:
            yield unit
            unit = ""
        unit += cluster
        may_break = breaks
    yield unit
