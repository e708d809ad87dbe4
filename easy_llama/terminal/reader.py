"""Readers: lines from a person, with editing where there is a terminal and plainly where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

__all__ = ["Complete", "PlainReader", "Reader", "TerminalReader", "make_reader", "without_echo"]

Complete = Callable[[str], Sequence[str]]
"""Takes the line up to the cursor and returns what its last word can become."""


class Reader(Protocol):
    """Reads a line; EOFError at the end of the input, KeyboardInterrupt at Ctrl-C.

    ``is_person`` tells whether somebody is there who can be asked.
    """

    is_person: bool

    def read(self, prompt: str) -> str:
        """Return the next line."""
        ...


class PlainReader:
    """Lines from any input, such as a pipe; ``prompt`` is shown only if the input is a terminal."""

    def __init__(self, source: TextIO, out: TextIO) -> None:
        self._source, self._out = source, out
        self.is_person = source.isatty()

    def read(self, prompt: str) -> str:
        """Return the next line without its end."""
        if self.is_person:
            self._out.write(prompt)
            self._out.flush()
        line = self._source.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


class TerminalReader:
    """Lines with editing, a history that outlives the session, and completion by the Tab key.

    Ctrl-Z sends the program to the background, as anywhere else in a shell.
    """

    is_person = True

    def __init__(self, complete: Complete | None = None, history: Path | None = None) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        self._session: Any = PromptSession(
            history=FileHistory(str(history)) if history else InMemoryHistory(),
            completer=_completer(complete) if complete else None,
            complete_while_typing=False,
            enable_suspend=True,
        )

    def read(self, prompt: str) -> str:
        """Return the next line; a paste with line breaks comes back as one text."""
        line: str = self._session.prompt(prompt)
        return line


def _completer(complete: Complete) -> Completer:
    """Offer the words that ``complete`` names in place of the last word before the cursor."""
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.document import Document

    class LastWord(Completer):
        def get_completions(self, document: Document, event: object) -> Iterator[Completion]:
            line = document.text_before_cursor
            last = line.rpartition(" ")[2]
            for word in complete(line):
                yield Completion(word, start_position=-len(last))

    return LastWord()


def make_reader(complete: Complete | None = None, history: Path | None = None) -> Reader:
    """Return the best reader for standard input and output."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalReader(complete, history)
    return PlainReader(sys.stdin or open(os.devnull, encoding="utf-8"), sys.stdout)


@contextmanager
def without_echo() -> Iterator[None]:
    """Do not show what is typed inside the block; it is not lost, the next line begins with it.

    Ctrl-C works as ever. Does nothing where standard input is no terminal, and on Windows, whose console
    shows nothing while nobody reads.
    """
    try:
        import termios
    except ImportError:
        yield
        return
    try:
        handle = sys.stdin.fileno()
        before = termios.tcgetattr(handle)
    except (AttributeError, OSError, ValueError, termios.error):  # closed, replaced, or no terminal
        yield
        return
    quiet = list(before)
    quiet[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(handle, termios.TCSADRAIN, quiet)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
