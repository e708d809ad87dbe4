"""What a model or a file says, written: harmless on a terminal; into a pipe or a file exactly as it is."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
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
    error or Ctrl-C in the middle ends the line. On a terminal lines break at words.
    """
    with closing(pieces):
        if sys.stdout is None:
            for _ in pieces:
                pass
        elif sys.stdout.isatty():
            _flow(Screen(sys.stdout), pieces, before)
        else:
            _write_raw(pieces, before)


def _flow(screen: Screen, pieces: Generator[str, None, None], before: str) -> None:
    with screen.progress("… reading the prompt"):
        first = next(pieces, "")
    try:
        with screen.flow() as flow:
            for piece in chain([before, first], pieces):
                flow.write(piece)
    finally:
        screen.line()


def _write_raw(pieces: Generator[str, None, None], before: str) -> None:
    first = next(pieces, "")
    try:
        for piece in chain([before, first], pieces):
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        sys.stdout.write("\n")
        sys.stdout.flush()
