"""Screen: writing for a person, in colours where they are wanted; every text is made harmless on its way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from .escape import harmless

__all__ = ["Screen"]

_COLOURS = {"bot": "32", "system": "35", "note": "2", "error": "31"}
_PLAIN = "\x1b[0m"
_CLEAR = "\x1b[2J\x1b[H"
PROGRESS_AFTER = 0.5  # seconds


class Screen:
    """Writes text for a person; colours only on a terminal, and never where NO_COLOR is set."""

    def __init__(self, out: TextIO, *, color: bool = True) -> None:
        self.out = out
        self.is_terminal = out.isatty()
        self.color = color and self.is_terminal and not os.environ.get("NO_COLOR")

    def write(self, text: str, style: str = "") -> None:
        """Write ``text`` at once; what a terminal could obey is escaped, but for tabs and line breaks."""
        text = harmless(text)
        if self.color and style and text:
            text = f"\x1b[{_COLOURS[style]}m{text}{_PLAIN}"
        self._put(text)

    def _put(self, text: str) -> None:
        """Write as it is, with ``?`` for what the terminal's encoding lacks."""
        encoding = self.out.encoding or "utf-8"
        self.out.write(text.encode(encoding, "replace").decode(encoding))
        self.out.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """Write ``text`` and a line break."""
        self.write(text, style)
        self.write("\n")

    @contextmanager
    def styled(self, style: str) -> Iterator[None]:
        """Write everything inside the block in one style, with codes at its ends only."""
        if self.color:
            self.out.write(f"\x1b[{_COLOURS[style]}m")
        try:
            yield
        finally:
            if self.color:
                self._put(_PLAIN)

    def note(self, text: str) -> None:
        """Write a remark of the console's own."""
        self.line(f"[{text}]", "note")

    def clear(self) -> None:
        """Empty the terminal."""
        if self.is_terminal:
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
