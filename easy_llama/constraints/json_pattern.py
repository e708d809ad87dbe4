"""Regular expressions of JSON schemas (ECMA 262), brought into the form that llama.cpp's converter reads.

The result matches whole strings, and only characters that may stand in a JSON string as they are: no quote,
no backslash, no control character. The converter itself would let them through and break the JSON.
"""

from __future__ import annotations

import re
from typing import NoReturn, TypeAlias

from ..errors import SettingsError
from .gbnf import MAX_REPEAT

__all__ = ["plain_pattern"]

_Ranges: TypeAlias = "list[tuple[int, int]]"

_TOP = 0x10FFFF
_FORBIDDEN: _Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
_CLASSES: dict[str, _Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0)],
}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_QUANTIFIER = re.compile(r"([*+?]|\{(\d{1,9})(,(\d{1,9})?)?\})\??")  # lazy ones match the same texts
_HEX = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")


def plain_pattern(pattern: str) -> str:
    """Return ``pattern`` as ``^(...)$`` with only groups, classes, alternatives and quantifiers.

    Where an anchor is missing, any text may stand. Raises SettingsError for what a grammar can't say:
    lookarounds, word boundaries, back references, and patterns that ask for a quote or a backslash.

    >>> plain_pattern(r"^\\d{3}$")
    '^([\\\\x30-\\\\x39]{3})$'
    """
    if not isinstance(pattern, str):
        raise SettingsError(f"the JSON schema's pattern must be a text; got {pattern!r}")
    begin = pattern.startswith("^")
    end = pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 == 1
    body = _Reader(pattern, begin, len(pattern) - end).read()
    if begin and end:
        return f"^({body})$"
    any_text = _class(_without(_FORBIDDEN)) + "*"
    return f"^({'' if begin else any_text}({body}){'' if end else any_text})$"


class _Reader:
    """One pass over the pattern from ``at`` to ``end``."""

    def __init__(self, pattern: str, at: int, end: int) -> None:
        self.pattern, self.at, self.end = pattern, at, end

    def fail(self, fault: str) -> NoReturn:
        raise SettingsError(f"the JSON schema's pattern {self.pattern!r} can't be used: {fault}")

    def read(self) -> str:
        out: list[str] = []
        depth = 0
        while self.at < self.end:
            char = self.pattern[self.at]
            quantifier = _QUANTIFIER.match(self.pattern, self.at, self.end)
            if quantifier:
                out.append(self.quantifier(quantifier))
            elif self.pattern.startswith("(?:", self.at):
                out.append("(")
                self.at += 3
            elif self.pattern.startswith("(?", self.at):
                self.fail("groups that begin with (? other than (?: are not supported")
            elif char in "()|":
                out.append(char)
                self.at += 1
            elif char in "^$":
                self.fail("^ may only stand at the beginning and $ only at the end")
            else:
                out.append(self.allowed(self.one()))
            depth += (out[-1] == "(") - (out[-1] == ")")
            if depth < 0 or (depth and self.at >= self.end):
                self.fail("there must be as many ( as ), in the right order")
        return "".join(out)

    def quantifier(self, match: re.Match[str]) -> str:
        self.at = match.end()
        low, high = int(match[2] or 0), int(match[4] or match[2] or 0)
        if max(low, high) > MAX_REPEAT or high < low:
            self.fail(f"{match[0]} must be at most {MAX_REPEAT:,} repetitions, the lower number first")
        return match[1]

    def one(self) -> _Ranges:
        """Read one character, escape or class and return what it matches."""
        char = self.pattern[self.at]
        if char == "[":
            return self.char_class()
        if char == "\\":
            return self.escape()
        self.at += 1
        return _without([(10, 10), (13, 13)]) if char == "." else [(ord(char), ord(char))]

    def char_class(self) -> _Ranges:
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        found: _Ranges = []
        while not self.pattern.startswith("]", self.at):
            low = self.member()
            follows = self.pattern[self.at : self.at + 2]
            if follows[:1] == "-" and follows != "-]" and len(low) == 1:
                self.at += 1
                high = self.member()
                if len(high) != 1 or high[0][1] < low[0][0]:
                    self.fail("a range in a class goes from a lower to a higher character")
                low = [(low[0][0], high[0][1])]
            found += low
        self.at += 1
        return _without(found) if negated else found

    def member(self) -> _Ranges:
        if self.at >= self.end:
            self.fail("a ] is missing")
        if self.pattern[self.at] == "\\":
            return self.escape()
        self.at += 1
        return [(ord(self.pattern[self.at - 1]),) * 2]

    def escape(self) -> _Ranges:
        kind = self.pattern[self.at + 1 : self.at + 2]
        code = _HEX.match(self.pattern, self.at + 1, self.end)
        self.at = code.end() if code else self.at + 2
        if code:
            point = int(code[1] or code[2] or code[3], 16)
        elif kind.lower() in _CLASSES:
            ranges = _CLASSES[kind.lower()]
            return ranges if kind.islower() else _without(ranges)
        elif kind in _CONTROLS:
            point = _CONTROLS[kind]
        elif kind and not kind.isalnum():
            point = ord(kind)
        else:
            self.fail(f"\\{kind} is not supported")
        return [(point, point)]

    def allowed(self, ranges: _Ranges) -> str:
        left = _without(_without(ranges) + _FORBIDDEN)
        if not left:
            self.fail("quotes, backslashes and control characters can't be asked for")
        return _class(left)


def _without(ranges: _Ranges) -> _Ranges:
    """All code points that are in none of the ``ranges``."""
    out, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            out.append((begin, low - 1))
        begin = max(begin, high + 1)
    return [*out, (begin, _TOP)] if begin <= _TOP else out


def _class(ranges: _Ranges) -> str:
    return "[" + "".join(_point(a) if a == b else f"{_point(a)}-{_point(b)}" for a, b in ranges) + "]"


def _point(point: int) -> str:
    return f"\\x{point:02X}" if point < 0x100 else f"\\U{point:08X}"
