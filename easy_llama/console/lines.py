"""What a typed line means: a message, a command, a prefix, a system message, or a slip that needs a hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

__all__ = ["Line", "near_command", "read_line"]

Kind = Literal["empty", "message", "prefix", "system", "command", "hint"]
_SIGNS: tuple[tuple[str, Kind], ...] = (("!!", "system"), ("!", "command"), ("<", "prefix"))
_WORDS = {"exit": "exit", "quit": "exit", "help": "help"}  # what people type who look for the way out
_SLASHED = re.compile(r"/([A-Za-z_?]+)(\s|$)")


@dataclass(frozen=True)
class Line:
    """What a line says; ``text`` is without the sign, and for a hint what to tell the person."""

    kind: Kind
    text: str = ""


def read_line(line: str, commands: Collection[str]) -> Line:
    r"""Return what ``line`` means, where ``commands`` are the names behind ``!``.

    A backslash before a sign makes it a message; a line of one of the words ``exit``, ``quit``, ``help``, or
    one that looks like a command of another program, is not sent but answered.

    >>> read_line("< Sure,", ["help"])
    Line(kind='prefix', text='Sure,')
    >>> read_line(r"\!important", ["help"])
    Line(kind='message', text='!important')
    >>> read_line("/hepl", ["help"]).text
    "commands begin with !: did you mean !help? To send this as a message, type \\/hepl"
    """
    word = line.strip()
    if not word:
        return Line("empty")
    if word[0] == "\\" and (word[1:2] in ("!", "<", "/") or word[1:].lower() in _WORDS):
        return Line("message", line.replace("\\", "", 1))
    for sign, kind in _SIGNS:
        if word.startswith(sign):
            return Line(kind, word[len(sign) :].strip())
    hint = _hint(word, commands)
    return Line("message", line) if hint is None else Line("hint", hint)


def _hint(word: str, commands: Collection[str]) -> str | None:
    """What to say of a line that is likely no message, or None."""
    if word.lower() in _WORDS:
        meant = _WORDS[word.lower()]
        does = "ends the chat" if meant == "exit" else "lists the commands"
        return f"!{meant} {does}; to send {word!r} as a message, type \\{word}"
    slashed = _SLASHED.match(word)
    if slashed is None:
        return None
    near = near_command(slashed[1], commands)
    if near is None and slashed.end() < len(word):
        return None  # a text that happens to begin with a slash
    meant = f"did you mean !{near}?" if near else "!help lists them."
    return f"commands begin with !: {meant} To send this as a message, type \\{slashed[0].strip()}"


def near_command(name: str, commands: Collection[str]) -> str | None:
    """Return the command that ``name`` most likely means, or None."""
    name = name.lower()
    if name in commands:
        return name
    begun = [command for command in sorted(commands) if name and command.startswith(name)]
    return next(iter(begun or difflib.get_close_matches(name, commands, n=1)), None)
