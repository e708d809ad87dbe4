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
from ..chat.reply import Part
from ..errors import EasyLlamaError
from ..generation.stats import Stats
from ..terminal.escape import harmless, shortened
from ..terminal.reader import Reader, make_reader, without_echo
from ..terminal.screen import Screen
from .commands import COMMANDS, completions, run_command
from .lines import read_line
from .view import ReplyView

__all__ = ["Console"]

PROMPT = "> "


class Console:
    """A chat with ``thread`` in a terminal, or through pipes.

    ``on_change`` is called with the thread after every finished turn or command, and with the running
    reply's text for every piece of it. ``show_speed`` and ``markdown`` are switched by commands. Remarks and
    errors go to ``notes`` where ``out`` is no terminal; ``has_failed`` tells whether there was an error.
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
        notes: TextIO | None = None,
        input_history: Path | None = None,
        on_change: Callable[[Conversation, str | None], None] = lambda thread, reply: None,
    ) -> None:
        self.thread, self.stream, self.header = thread, stream, header
        self.screen = Screen(out or sys.stdout, color=color, notes=notes)
        self.reader = reader or make_reader(completions, input_history)
        self.show_speed = self.markdown = self.has_failed = False
        self.on_change = on_change
        self._prefix = ""
        self._interrupted = False

    @property
    def is_person(self) -> bool:
        """Whether somebody is there who can be asked."""
        return self.reader.is_person

    def run(self, first: str = "") -> None:
        """Do the command ``first``; talk until Ctrl-C at the prompt, the end of the input, or ``!exit``."""
        if self.header is not None:
            self.screen.line(self.header, "system")
        if first:
            run_command(self, first)
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
                self.has_failed = True
                self.screen.error(str(error) or type(error).__name__)

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

    def confirm(self, question: str) -> bool:
        """Ask a person a question that yes or no answers; False where nobody is there."""
        return self.is_person and self._ask(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    def _do(self, line: str) -> bool:
        """Do what a line says; return whether the chat goes on."""
        interrupted, self._interrupted = self._interrupted, False
        said = read_line(line, COMMANDS)
        if said.kind == "empty":
            if interrupted and self.thread.messages and self.thread.messages[-1]["role"] == "bot":
                self.reroll()
        elif said.kind == "hint":
            self.screen.note(said.text)
        elif said.kind == "prefix":
            self._set_prefix(said.text or self._ask("reply begins with: "))
        elif said.kind == "system":
            self._system(said.text or self._ask("system: "))
        elif said.kind == "command":
            command = said.text or self._ask("command: ").strip().removeprefix("!")
            if command and not run_command(self, command):
                return False
            self.on_change(self.thread, None)
        else:
            prefix, self._prefix = self._prefix, ""
            self.show_reply(self.thread.stream_parts(said.text, prefix=prefix))
        return True

    def _set_prefix(self, text: str) -> None:
        self._prefix = text
        if text.strip():
            self.screen.note(f"the next reply begins with '{shortened(text)}'; now type your message")

    def _system(self, text: str) -> None:
        if text.strip():
            self.thread.add_message("system", text)
            self.screen.note("a system message is added")
            self.on_change(self.thread, None)

    def reroll(self) -> None:
        """Generate the last reply anew and show it."""
        parts = self.thread.stream_reroll_parts()
        before, last = len(self.thread.messages[-1].alternatives), self.thread.last
        self.show_reply(parts)
        n = len(self.thread.messages[-1].alternatives)
        if self.thread.last is last:
            return
        if n > before:
            self.screen.note(f"reply {n} of {n}; !alternatives lists them")
        else:
            is_fixed = self.thread.sampler.seed is not None
            self.screen.note("the same reply again" + "; !sampler seed off lets it vary" * is_fixed)

    def show_reply(self, parts: Generator[Part, None, None]) -> None:
        """Show a reply as it comes; Ctrl-C stops it and keeps what was written."""
        shown, thought, before = "", "", self.thread.last
        streaming, view = self.stream and not self.markdown, ReplyView(self.screen)
        with without_echo():  # what is typed meanwhile would stand among the reply's words
            try:
                with self.screen.progress("… reading the prompt") as begun:
                    for part in parts:
                        begun()
                        if part.is_thinking:
                            thought += part.text
                        else:
                            shown += part.text
                        self.on_change(self.thread, shown)
                        if streaming:
                            view.write(part)
            except KeyboardInterrupt:
                self._interrupted = True
            finally:
                parts.close()
                view.close()
        if not streaming:
            if thought and self.screen.is_terminal:
                self.screen.line(thought, "thinking")
                self.screen.line()
            self.show_text(shown, "bot")
        if self.thread.last is before:  # Ctrl-C came first, and ENTER must not reroll the reply before
            self._interrupted = False
            self.screen.note("stopped before the reply began; the conversation is as it was before")
        else:
            self._tell_how_it_went()

    def _tell_how_it_went(self) -> None:
        """Say of the newest reply what can't be seen, and store it."""
        last = self.thread.last
        if not last.stats.generated and not self._interrupted:
            self.screen.note("the model ended its reply at once")
        if last.dropped:
            self.screen.note(f"the context was full: the {last.dropped} oldest messages are out of it")
        if self._interrupted:
            self.screen.note("stopped; ENTER generates another reply, !continue goes on, or type on")
        if self.show_speed:
            self.screen.note(_cost(last.stats))
        self.on_change(self.thread, None)

    def show_text(self, text: str, style: str) -> None:
        """Show a whole text, as Markdown where that is switched on."""
        if self.markdown:
            from rich.console import Console as RichConsole
            from rich.markdown import Markdown

            RichConsole(file=self.screen.out, no_color=not self.screen.color).print(Markdown(harmless(text)))
        else:
            self.screen.line(text, style)


def _cost(stats: Stats) -> str:
    """What a reply cost. The speed is that of the tokens after the first, which waits for the prompt."""
    speed = ""
    if stats.generated > 1 and stats.generate_seconds > 0:
        speed = f", {(stats.generated - 1) / stats.generate_seconds:,.0f} a second"
    tokens = f"{stats.generated} token{'s' * (stats.generated != 1)}"
    prompt = f"{stats.evaluated} evaluated in {stats.prompt_seconds:.2f} s, {stats.reused} reused"
    return f"{tokens}{speed}; prompt: {prompt}"
