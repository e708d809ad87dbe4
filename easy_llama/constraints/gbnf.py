"""GBNF, llama.cpp's grammar notation, read as llama.cpp reads it: text to rules, or a SettingsError.

The parser makes the same rules in the same order as ``llama-grammar.cpp`` (groups and repetitions become
rules of their own), so what is counted here is what llama.cpp will hold. ``gbnf_check`` judges the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from ..errors import SettingsError

__all__ = [
    "MAX_ELEMENTS",
    "MAX_NESTING",
    "MAX_REPEAT",
    "MAX_TEXT",
    "Chars",
    "Gbnf",
    "Named",
    "check_text",
    "parse_gbnf",
]

MAX_TEXT = 200_000  # characters; a JSON schema with hundreds of fields has about 50,000
MAX_ELEMENTS = 300_000  # of llama.cpp's 8 bytes; a copy of a sampler takes a millisecond or two then
MAX_NESTING = 100  # brackets; llama.cpp's parser recurses and overflows the stack (8 MB) above 10,000
MAX_REPEAT = 2000  # llama.cpp's own limit; it reads {0,2001} as {0,} without a word

_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_NAME = re.compile(r"[a-zA-Z0-9-]+")
_BLANKS = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_BOUNDS = re.compile(r"\{ *(\d{1,9}) *(?:(,) *(\d{1,9})? *)?\}")
_TOKEN = re.compile(r"!?(<(?:\[(\d{1,10})\]|[^>\[][^>]*)>)")


@dataclass(frozen=True, slots=True)
class Chars:
    """One character: of ``ranges`` (code points, both ends count), or none of them if ``negated``."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """One token of the vocabulary, named by its text ``<think>`` or its id, or any other if ``negated``."""

    text: str
    id: int | None
    negated: bool = False


Item: TypeAlias = "int | Chars | Named"  # an int refers to a rule
Sequence_: TypeAlias = "list[Item]"


@dataclass
class Gbnf:
    """The rules of a grammar: ``rules[i]`` are the alternatives of the rule ``names[i]``."""

    rules: list[list[Sequence_]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    root: int = 0

    def items(self) -> Iterator[Item]:
        """All items of all alternatives."""
        return (item for rule in self.rules for alternative in rule for item in alternative)


def parse_gbnf(text: str) -> Gbnf:
    """Return the rules of ``text``; SettingsError with line and column where llama.cpp would refuse it.

    Also refused is what llama.cpp would take in silence and not do: a rule defined twice, ``[]``, ``[z-a]``,
    a repetition of more than 2,000, text after a NUL. And what ends or blocks the process: ``{3,1}``, very
    deep brackets, very large results.
    """
    check_text(text)
    parser = _Parser(text)
    parser.grammar()
    for name, rule in parser.symbols.items():
        if rule not in parser.rules:
            raise SettingsError(f"the grammar uses the rule {name!r} but does not define it")
    if "root" not in parser.symbols:
        raise SettingsError('the grammar has no rule named "root", which is where it begins')
    n = len(parser.symbols)
    return Gbnf([parser.rules[i] for i in range(n)], list(parser.symbols), parser.symbols["root"])


def check_text(text: object) -> None:
    """Raise SettingsError unless ``text`` is a text that may hold a grammar."""
    if not isinstance(text, str):
        raise SettingsError(f"a grammar must be a text in GBNF notation; got {type(text).__name__}")
    if not text.strip():
        raise SettingsError("the grammar is empty; leave it away to set no constraint")
    if len(text) > MAX_TEXT:
        raise SettingsError(f"the grammar has {len(text):,} characters; at most {MAX_TEXT:,} are allowed")
    if "\0" in text:
        raise SettingsError(r"the grammar has a NUL character; write \x00 in a class to mean one")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"the grammar is not valid Unicode: {error}") from None


class _Parser:
    """One pass over the text; ``symbols`` are the rules by name, in llama.cpp's order."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.symbols: dict[str, int] = {}
        self.rules: dict[int, list[Sequence_]] = {}
        self.n_elements, self.nesting = 0, 0

    def fail(self, fault: str) -> NoReturn:
        before = self.text[: self.at]
        line, column = before.count("\n") + 1, self.at - before.rfind("\n")
        raise SettingsError(f"line {line}, column {column} of the grammar: {fault}")

    def peek(self, n: int = 1) -> str:
        return self.text[self.at : self.at + n]

    def skip(self, newlines: bool) -> None:
        match = (_LINES if newlines else _BLANKS).match(self.text, self.at)
        self.at = match.end() if match else self.at

    def symbol(self, name: str) -> int:
        return self.symbols.setdefault(name, len(self.symbols))

    def new_symbol(self, base: str) -> int:
        return self.symbol(f"{base}_{len(self.symbols)}")  # a user's name has no underscore

    def add(self, sequence: Sequence_, *items: Item) -> None:
        """Append ``items`` and count them."""
        sequence += items
        self.count(items)

    def count(self, items: Sequence_ | tuple[Item, ...], times: int = 1) -> None:
        size = sum(
            1 + (a < b) for item in items if isinstance(item, Chars) for a, b in item.ranges or [(0, 0)]
        )
        size += sum(not isinstance(item, Chars) for item in items)
        self.n_elements += size * times
        if self.n_elements > MAX_ELEMENTS:
            self.fail(f"repetitions make it larger than {MAX_ELEMENTS:,} elements; lower their counts")

    # --- rules -----------------------------------------------------------------------------------------

    def grammar(self) -> None:
        self.skip(True)
        while self.at < len(self.text):
            self.rule()

    def rule(self) -> None:
        name = self.name("a rule must begin with its name")
        rule = self.symbol(name)
        self.skip(False)
        if self.peek(3) != "::=":
            self.fail(f'"::=" must follow the name {name!r}{self.hint()}')
        if rule in self.rules:
            self.fail(f"the rule {name!r} is defined twice; join the two with |")
        self.at += 3
        self.skip(True)
        self.alternatives(name, rule, False)
        if self.at < len(self.text) and self.peek() not in "\r\n":
            self.fail(f"the end of the line must follow, not {self.peek()!r}{self.hint()}")
        self.skip(True)

    def hint(self) -> str:
        return "; names hold letters, digits and - only" if self.peek() == "_" else ""

    def name(self, fault: str) -> str:
        match = _NAME.match(self.text, self.at)
        if match is None:
            self.fail(f"{fault}, not {self.peek()!r}{self.hint()}")
        self.at = match.end()
        return match[0]

    def alternatives(self, base: str, rule: int, nested: bool) -> None:
        found = [self.sequence(base, nested)]
        while self.peek() == "|":
            self.at += 1
            self.skip(True)
            found.append(self.sequence(base, nested))
        self.rules[rule] = found

    # --- sequences -------------------------------------------------------------------------------------

    def sequence(self, base: str, nested: bool) -> Sequence_:
        """Read items up to the end of the alternative; a repetition rewrites the newest one."""
        out: Sequence_ = []
        start, n_rules = 0, 1  # where the newest symbol begins in ``out``; how many rules it stands for
        while char := self.peek():
            if char in "*+?{":
                low, high = self.bounds(char)
                n_rules *= self.repeat(out, start, base, low, high, n_rules)
            elif char in '"[.<!(' or _NAME.match(char):
                start, before = len(out), len(self.symbols)
                self.symbol_at(char, out, base)
                n_rules = max(1, len(self.symbols) - before) if char == "(" else 1
            else:
                break
            self.skip(nested)
        return out

    def symbol_at(self, char: str, out: Sequence_, base: str) -> None:
        if char == '"':
            self.literal(out)
        elif char == "[":
            self.add(out, self.char_class())
        elif char == ".":
            self.at += 1
            self.add(out, Chars((), negated=True))
        elif char == "(":
            self.add(out, self.group(base))
        elif char in "<!":
            self.add(out, self.token())
        else:
            self.add(out, self.symbol(self.name("")))

    def group(self, base: str) -> int:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            self.fail(f"more than {MAX_NESTING} brackets in each other; give the inner ones a rule")
        self.at += 1
        self.skip(True)
        rule = self.new_symbol(base)
        self.alternatives(base, rule, True)
        if self.peek() != ")":
            self.fail(f"a ) is missing, found {self.peek()!r}{self.hint()}")
        self.at += 1
        self.nesting -= 1
        return rule

    def literal(self, out: Sequence_) -> None:
        opened = self.at
        self.at += 1
        while self.peek() != '"':
            if not self.peek():
                self.at = opened
                self.fail('the closing " of this text is missing')
            point = self.char()
            self.add(out, Chars(((point, point),)))
        self.at += 1

    def char_class(self) -> Chars:
        opened = self.at
        negated = self.peek(2) == "[^"
        self.at += 1 + negated
        ranges: list[tuple[int, int]] = []
        while self.peek() != "]":
            if not self.peek():
                self.at = opened
                self.fail("the ] of this class is missing")
            low = high = self.char()
            if self.peek() == "-" and self.peek(2) not in ("-", "-]"):
                self.at += 1
                high = self.char()
            if high < low:
                self.fail("a range of characters goes from the lower to the higher one; swap them")
            ranges.append((low, high))
        if not ranges:
            self.fail("an empty class, which llama.cpp takes for nothing at all; . is any character")
        self.at += 1
        return Chars(tuple(ranges), negated)

    def char(self) -> int:
        """Read one character or escape and return its code point."""
        char = self.peek()
        if char != "\\":
            self.at += 1
            return ord(char)
        kind = self.text[self.at + 1 : self.at + 2]
        digits = self.text[self.at + 2 : self.at + 2 + _HEX_DIGITS.get(kind, 0)]
        if kind in _ESCAPES:
            self.at += 2
            return ord(_ESCAPES[kind])
        if kind not in _HEX_DIGITS or not re.fullmatch(f"[0-9a-fA-F]{{{_HEX_DIGITS[kind]}}}", digits):
            self.fail(
                f'no such escape: {self.peek(2)!r}; there are \\t \\r \\n \\\\ \\" \\[ \\] \\- \\xFF \\uFFFF'
            )
        self.at += 2 + len(digits)
        return int(digits, 16)

    def token(self) -> Named:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            self.fail("a token is written <its text> or <[its id]>, with ! before it for any other token")
        self.at = match.end()
        return Named(match[1], int(match[2]) if match[2] else None, match[0].startswith("!"))

    # --- repetitions -----------------------------------------------------------------------------------

    def bounds(self, char: str) -> tuple[int, int | None]:
        """Read ``*``, ``+``, ``?`` or ``{m,n}`` and return (lowest, highest or None) number of times."""
        if char != "{":
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        match = _BOUNDS.match(self.text, self.at)
        if match is None:
            self.fail("a number of repetitions is written {2}, {2,} or {2,5}")
        low = int(match[1])
        high = low if not match[2] else int(match[3]) if match[3] else None
        if max(low, high or 0) > MAX_REPEAT:
            self.fail(f"{match[0]}: more than {MAX_REPEAT:,} repetitions; use * and limit the tokens instead")
        if high is not None and high < low:
            self.fail(f"{match[0]}: the lowest number of repetitions is above the highest")
        self.at = match.end()
        return low, high

    def repeat(self, out: Sequence_, start: int, base: str, low: int, high: int | None, n_rules: int) -> int:
        """Rewrite the symbol ``out[start:]`` as llama.cpp does: S{m,n} is S S S (m times) and n - m rules
        S'(x) ::= S S'(x-1) | , one that refers to itself where there is no n. Return the times counted."""
        if start == len(out):
            self.fail("there is nothing before this to repeat")
        times = high or low or 1
        if n_rules * times > MAX_REPEAT:
            self.fail(
                f"nested repetitions give {n_rules * times:,} rules; at most {MAX_REPEAT:,} are allowed"
            )
        symbol = out[start:]
        optional = 1 if high is None else high - low
        self.count([*symbol, 0, 0, 0], low + optional)  # and a reference, and two ends
        out[start:] = symbol * low
        newest: int | None = None
        for i in range(optional):
            rule = self.new_symbol(base)
            further: Sequence_ = [rule] if high is None else [newest] if i and newest is not None else []
            self.rules[rule] = [symbol + further, []]
            newest = rule
        if newest is not None:
            out.append(newest)
        return times
