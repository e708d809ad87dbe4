"""What a command may do with the console, and how a reply is shown while it is being written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Protocol

from ..chat.conversation import Conversation
from ..chat.reply import Part
from ..terminal.screen import Flow, Screen

__all__ = ["ConsoleView", "ReplyView"]


class ConsoleView(Protocol):
    """What of the console a command needs."""

    thread: Conversation
    screen: Screen
    show_speed: bool
    markdown: bool

    @property
    def is_person(self) -> bool:
        """Whether somebody is there who can be asked."""
        ...

    def show_text(self, text: str, style: str) -> None:
        """Show a whole text."""
        ...

    def show_reply(self, parts: Generator[Part, None, None]) -> None:
        """Show a reply as it comes."""
        ...

    def reroll(self) -> None:
        """Generate the last reply anew and show it."""
        ...

    def confirm(self, question: str) -> bool:
        """Ask a person a question that yes or no answers; False where nobody is there."""
        ...


class ReplyView:
    """Writes the parts of a reply to ``screen`` as they come, what is thought apart from the answer.

    Where no terminal is, what is thought is left out: a program reads the answers.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._style = ""
        self._block = ExitStack()
        self._flow: Flow | None = None

    def write(self, part: Part) -> None:
        """Write a part; a change from thinking to answering begins a new line."""
        if part.is_thinking and not self._screen.is_terminal:
            return
        style = "thinking" if part.is_thinking else "bot"
        if self._flow is None or style != self._style:
            if self._flow is not None:
                self.close()
                self._screen.line()
            self._style, self._flow = style, self._block.enter_context(self._screen.flow(style))
        self._flow.write(part.text)

    def close(self) -> None:
        """Write what was held back, and end the line; calling it again does nothing."""
        if self._flow is not None:
            self._block.close()
            self._screen.line()
        self._flow = None
