"""Readers: lines from a person, with editing where there is a terminal and plainly where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

__all__ = ["PlainReader", "Reader", "TerminalReader", "make_reader"]


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
