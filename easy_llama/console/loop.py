"""The console's loop: what a person types, and what becomes of it.

Reads a line and does what it says: a message to the model, a command behind ``!``, a prefix for the
reply behind ``<``, a system message behind ``!!``. Ctrl-C stops the model, at the prompt it ends the chat.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TextIO

from ..chat.conversation import Conversation
from ..errors import EasyLlamaError
from ..terminal.escape import harmless
from ..terminal.reader import Reader, make_reader
from ..terminal.screen import Screen
from .commands import COMMANDS, run_command

__all__ = ["Console"]

PROMPT = "> "


class Console:
    """A chat with ``thread`` in a terminal, or through pipes.

    ``on_change`` is called with the thread after every finished turn or command, and with the running
    reply's text for every piece of it. ``show_speed`` and ``markdown`` are switched by commands.
    """

    def __init__(
        self,
        thread: Conversation,
        *,
        color: bool = True,
        header: str | None = None,
        stream: bool = True,
        reader: Reader | None = None,
        out: TextIO | None = None,
        input_history: Path | None = None,
        on_change: Callable[[Conversation, str | None], None] = lambda thread, reply: None,
    ) -> None:
        self.thread, self.stream, self.header = thread, stream, header
        self.screen = Screen(out or sys.stdout, color=color)
        self.reader = reader or make_reader([f"!{name}" for name in COMMANDS], input_history)
        self.show_speed = self.markdown = False
        self.on_change = on_change
        self._prefix = ""
        self._interrupted = False

    def run(self) -> None:
        """Talk until Ctrl-C at the prompt, the end of the input, or ``!exit``."""
        if self.header is not None:
            self.screen.line(self.header, "system")
        while True:
            try:
                line = self._read(PROMPT)
            except (EOFError, KeyboardInterrupt):
                if self.screen.is_terminal:
                    self.screen.line()
                return
            try:
                if not self._do(line):
                    return
            except KeyboardInterrupt:
                self.screen.line()
                self.screen.note("stopped")
            except (EasyLlamaError, OSError, ValueError, RuntimeError) as error:
                # a path that is none, a file that can't be written: no reason to end a chat
                self.screen.line(str(error) or type(error).__name__, "error")

    def _read(self, prompt: str) -> str:
        """Read a line, or several where each but the last ends with a backslash."""
        lines = [self.reader.read(prompt)]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self.reader.read("… "))
        return "\n".join(lines)

    def _ask(self, prompt: str) -> str:
        """Read the rest of what a sign began; Ctrl-C and the end of the input give it up."""
        try:
            return self._read(prompt)
        except (EOFError, KeyboardInterrupt):
            self.screen.line()
            return ""

    def _do(self, line: str) -> bool:
        """Do what a line says; return whether the chat goes on."""
        interrupted, self._interrupted = self._interrupted, False
        word = line.strip()
        if not word:
            if interrupted and self.thread.messages and self.thread.messages[-1]["role"] == "bot":
                self.reroll()
            return True
        if word == "<":
            self._prefix = self._ask("reply begins with: ")
        elif word == "!!":
            self._system(self._ask("system: "))
        elif word.startswith("!!"):
            self._system(word[2:].strip())
        elif word.startswith("!"):
            command = word[1:].strip() or self._ask("command: ").strip()
            if command and not run_command(self, command):
                return False
            self.on_change(self.thread, None)
        else:
            prefix, self._prefix = self._prefix, ""
            self.show_reply(self.thread.stream(line, prefix=prefix))
        return True

    def _system(self, text: str) -> None:
        if text.strip():
            self.thread.add_message("system", text)
            self.on_change(self.thread, None)

    def reroll(self) -> None:
        """Generate the last reply anew and show it."""
        self.show_reply(self.thread.stream_reroll())

    def show_reply(self, pieces: Generator[str, None, None]) -> None:
        """Show a reply as it comes; Ctrl-C stops it and keeps what was written."""
        shown, streaming = "", self.stream and not self.markdown
        try:
            with self.screen.styled("bot"), self.screen.progress("… reading the prompt") as begun:
                for piece in pieces:
                    begun()
                    shown += piece
                    self.on_change(self.thread, shown)
                    if streaming:
                        self.screen.write(piece)
        except KeyboardInterrupt:
            self._interrupted = True
        finally:
            pieces.close()
        self._finish_reply(shown, streaming)

    def _finish_reply(self, shown: str, streaming: bool) -> None:
        if not streaming:
            self.show_text(shown, "bot")
        else:
            self.screen.line()
        last = self.thread.last
        if last.dropped:
            self.screen.note(f"the context was full: the {last.dropped} oldest messages are out of it")
        if self._interrupted:
            self.screen.note("stopped; ENTER generates another reply, or type on")
        if self.show_speed:
            stats = last.stats
            speed = (stats.generated - 1) / stats.generate_seconds if stats.generate_seconds else 0.0
            self.screen.note(
                f"{stats.generated} tokens, {speed:,.0f} a second; prompt: {stats.evaluated} evaluated in "
                f"{stats.prompt_seconds:.2f} s, {stats.reused} reused"
            )
        self.on_change(self.thread, None)

    def show_text(self, text: str, style: str) -> None:
        """Show a whole text, as Markdown where that is switched on."""
        if self.markdown:
            from rich.console import Console as RichConsole
            from rich.markdown import Markdown

            RichConsole(file=self.screen.out, no_color=not self.screen.color).print(Markdown(harmless(text)))
        else:
            self.screen.line(text, style)
