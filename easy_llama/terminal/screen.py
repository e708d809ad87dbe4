"""Screen: writing for a person, in colours where they are wanted, broken at words.

Every text is made harmless on its way. Without a terminal lines stay as they are, and remarks and errors go
to another stream, so that what is read by a program holds the answers alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from .escape import harmless
from .wrap import Wrapper

__all__ = ["Flow", "Screen", "wants_color"]

_COLOURS = {"bot": "32", "thinking": "2;3", "system": "35", "note": "2", "error": "31"}
_PLAIN = "\x1b[0m"
_CLEAR = "\x1b[2J\x1b[H"
PROGRESS_AFTER = 0.5  # seconds


def wants_color(out: TextIO) -> bool:
    """Whether ``out`` is a terminal that understands colours, and NO_COLOR is not set."""
    return out.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


class Flow:
    """A text that is written piece by piece; the screen that made it is told every piece."""

    def __init__(self, put: Callable[[str], None], wrapper: Wrapper) -> None:
        self._put, self._wrapper = put, wrapper

    def write(self, piece: str) -> None:
        """Write a piece; the word at its end is held back until it is complete."""
        self._put(self._wrapper.push(harmless(piece)))

    def finish(self) -> None:
        """Write what was held back."""
        self._put(self._wrapper.finish())


class Screen:
    """Writes to ``out``, and remarks to ``notes``, which is ``out`` where there is a terminal.

    ``color`` False never writes colours; True does where ``wants_color`` says so.
    """

    def __init__(self, out: TextIO, *, color: bool = True, notes: TextIO | None = None) -> None:
        self.out = out
        self.is_terminal = out.isatty()
        self.color = color and wants_color(out)
        self._notes = out if notes is None or self.is_terminal else notes

    def width(self) -> int | None:
        """Return the terminal's columns now; None where there is no terminal."""
        if not self.is_terminal:
            return None
        try:
            return os.get_terminal_size(self.out.fileno()).columns or None
        except (OSError, ValueError):  # a terminal that doesn't tell, or no real file
            return None

    def write(self, text: str, style: str = "") -> None:
        """Write ``text`` at once; what a terminal could obey is escaped, but for tabs and line breaks."""
        self._put(self._styled(harmless(text), style))

    def line(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """Write ``text`` broken at words, and a line break; ``indent`` is for the lines after a break."""
        self._put(self._styled(self._wrapped(text, indent), style) + "\n")

    def row(self, label: str, text: str, width: int = 16) -> None:
        """Write a line of a list: ``label`` in a column of ``width``, and ``text`` beside it."""
        self.line(f"{label:{width - 1}} {text}", indent=width)

    def note(self, text: str) -> None:
        """Write a remark of the console's own."""
        self._put(self._styled(self._wrapped(f"[{text}]"), "note") + "\n", self._notes)

    def error(self, text: str) -> None:
        """Write what went wrong."""
        self._put(self._styled(self._wrapped(text), "error") + "\n", self._notes)

    def _wrapped(self, text: str, indent: int = 0) -> str:
        wrapper = Wrapper(self.width, indent)
        return wrapper.push(harmless(text)) + wrapper.finish()

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}{_PLAIN}" if self.color and style and text else text

    def _put(self, text: str, out: TextIO | None = None) -> None:
        """Write as it is, with ``?`` for what the terminal's encoding lacks."""
        out = out or self.out
        encoding = out.encoding or "utf-8"
        out.write(text.encode(encoding, "replace").decode(encoding))
        out.flush()

    @contextmanager
    def flow(self, style: str = "") -> Iterator[Flow]:
        """Write a text as it comes, in one style, with codes at its ends only."""
        flow, is_styled = Flow(self._put, Wrapper(self.width)), self.color and bool(style)
        if is_styled:
            self.out.write(f"\x1b[{_COLOURS[style]}m")
        try:
            yield flow
        finally:
            flow.finish()
            if is_styled:
                self._put(_PLAIN)

    def clear(self) -> None:
        """Empty the terminal."""
        if self.is_terminal and os.environ.get("TERM") != "dumb":
            self._put(_CLEAR)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[], None]]:
        """Show ``text`` if the block takes long; call the yielded function when it is over."""
        lock, state = threading.Lock(), {"done": False, "shown": False}

        def show() -> None:
            with lock:
                if not state["done"]:
                    state["shown"] = True
                    self.write(text, "note")

        def hide() -> None:
            with lock:
                if state["shown"]:
                    self._put("\r" + " " * len(text) + "\r")
                state["done"], state["shown"] = True, False

        timer = threading.Timer(PROGRESS_AFTER, show)
        timer.daemon = True
        if self.is_terminal:
            timer.start()
        try:
            yield hide
        finally:
            timer.cancel()
            hide()
