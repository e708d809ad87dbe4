"""What a model or a file says, written: harmless on a terminal; into a pipe or a file exactly as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from itertools import chain

from ..terminal.escape import harmless
from ..terminal.screen import Screen

__all__ = ["write_answer", "write_text"]


def write_text(text: str) -> None:
    """Write a whole text to standard output."""
    if sys.stdout is not None:
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()


def write_answer(pieces: Generator[str, None, None], before: str = "") -> None:
    """Write ``pieces`` as they come, ``before`` in front of them, and a line break after the last.

    Nothing is written before the first piece is there, so that what goes wrong until then stands alone. An
    error or Ctrl-C in the middle ends the line.
    """
    begun = False
    try:
        write, first = _first(pieces)
        begun = True
        for piece in chain([before, first], pieces):
            write(piece)
    finally:
        pieces.close()
        if begun:
            write("\n")


def _first(pieces: Generator[str, None, None]) -> tuple[Callable[[str], None], str]:
    """Return what writes, and the first piece; a person is told if it takes long."""
    if sys.stdout is None:
        return (lambda text: None), next(pieces, "")
    screen = Screen(sys.stdout)
    if not screen.is_terminal:
        return _raw, next(pieces, "")
    with screen.progress("… reading the prompt"):
        return screen.write, next(pieces, "")


def _raw(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
