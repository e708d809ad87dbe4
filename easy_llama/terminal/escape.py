"""Text of strangers made harmless: what a model, a file or a title says must not steer the terminal."""

from __future__ import annotations

import re

__all__ = ["escaped", "harmless", "one_line", "shortened"]

# control characters but tab and newline, line separators, what turns the direction of text, half characters
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str, keep: str = "") -> str:
    r"""Return ``text`` with everything that is not printable as an escape such as ``\x1b``, but for ``keep``.

    For names and single tokens, where every character must be seen.

    >>> escaped("a\x1b[2J\n", keep="\n")
    'a\\x1b[2J\n'
    """
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def harmless(text: str) -> str:
    r"""Return ``text`` with what a terminal could obey as escapes; all else stays, such as joined emoji.

    >>> harmless("a\x1b[2J\u200db\n")
    'a\\x1b[2J\u200db\n'
    """
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def _escape(char: str) -> str:
    return repr(char)[1:-1]


def shortened(text: str, width: int = 60) -> str:
    """Return ``text`` escaped, on one line of at most ``width`` characters."""
    line = escaped(text)
    return line if len(line) <= width else line[: width - 1] + "…"


def one_line(text: str, width: int = 60) -> str:
    """Return ``text`` as a title: one line of at most ``width`` characters; control codes become spaces."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"
