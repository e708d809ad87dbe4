"""The terminal: reading lines with editing where there is a terminal and plainly where there is none,
and writing in colours where they are wanted. All ANSI codes of the package are here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

__all__ = ["PlainReader", "Reader", "Screen", "TerminalReader", "make_reader"]

_COLOURS = {"bot": "32", "system": "35", "note": "2", "error": "31"}
_PLAIN = "\x1b[0m"
PROGRESS_AFTER = 0.5  # seconds


class Reader(Protocol):
    """Reads a line; EOFError at the end of the input, KeyboardInterrupt at Ctrl-C."""

    def read(self, prompt: str) -> str:
        """Return the next line."""
        ...


class PlainReader:
    """Lines from any input, such as a pipe; ``prompt`` is shown only if the input is a terminal."""

    def __init__(self, source: TextIO, out: TextIO) -> None:
        self._source, self._out = source, out

    def read(self, prompt: str) -> str:
        """Return the next line without its end."""
        if self._source.isatty():
            self._out.write(prompt)
            self._out.flush()
        line = self._source.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


class TerminalReader:
    """Lines with editing, a history that outlives the session, and completion of ``words``."""

    def __init__(self, words: Sequence[str], history: Path | None = None) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        completer = WordCompleter(list(words), sentence=True)
        self._session: Any = PromptSession(
            history=FileHistory(str(history)) if history else InMemoryHistory(),
            completer=completer,
            complete_while_typing=False,
        )

    def read(self, prompt: str) -> str:
        """Return the next line; a paste with line breaks comes back as one text."""
        line: str = self._session.prompt(prompt)
        return line


def make_reader(words: Sequence[str], history: Path | None = None) -> Reader:
    """Return the best reader for standard input and output."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalReader(words, history)
    return PlainReader(sys.stdin or open(os.devnull, encoding="utf-8"), sys.stdout)


class Screen:
    """Writes text for a person; colours only on a terminal, and never where NO_COLOR is set."""

    def __init__(self, out: TextIO, *, color: bool = True) -> None:
        self.out = out
        self.is_terminal = out.isatty()
        self.color = color and self.is_terminal and not os.environ.get("NO_COLOR")

    def write(self, text: str, style: str = "") -> None:
        """Write ``text`` at once, as it is."""
        if self.color and style and text:
            text = f"\x1b[{_COLOURS[style]}m{text}{_PLAIN}"
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
                self.write(_PLAIN)

    def note(self, text: str) -> None:
        """Write a remark of the console's own."""
        self.line(f"[{text}]", "note")

    def clear(self) -> None:
        """Empty the terminal."""
        if self.is_terminal:
            self.write("\x1b[2J\x1b[H")

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
                    self.write("\r" + " " * len(text) + "\r")
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
