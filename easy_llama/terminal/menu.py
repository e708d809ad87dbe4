"""A menu in the terminal: take one of the next tokens, go back, or end the text.

Arrow keys where there is a terminal, numbered lines on standard error where there is none. Texts come from a
model: whatever a terminal could obey is shown escaped.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .escape import escaped

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings

__all__ = ["Choice", "Option", "choose"]

Choice: TypeAlias = int | Literal["back", "end"]
"""The index of an option, or one of the two words."""

_TAIL = 4000  # characters of the text that are shown; more than a terminal holds


@dataclass(frozen=True, slots=True)
class Option:
    """A token that can come next.

    ``text`` is what it adds, with U+FFFD for bytes that are no whole character; ``probability`` is the
    model's, 0 to 1; ``is_end`` tells that it ends the text.
    """

    token: int
    text: str
    probability: float
    is_end: bool = False


def choose(text: str, options: Sequence[Option], can_go_back: bool) -> Choice:
    """Ask a person at the terminal which of ``options`` follows ``text``.

    Keys: up, down and Enter, or the number of an option; left, Backspace or b goes back; q or Ctrl-D ends
    the text. Ctrl-C raises KeyboardInterrupt. Where standard input or output is no terminal, the options
    are written to standard error, and a line of the input holds a number, ``b`` or ``q``; an empty line is
    the first option, the end of the input ends the text.
    """
    if _has_terminal():
        return _Menu(text, options, can_go_back).ask()
    return _ask_by_number(text, options, can_go_back)


def _has_terminal() -> bool:
    from prompt_toolkit.utils import is_dumb_terminal

    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams) and not is_dumb_terminal()


def _line(number: int, option: Option) -> str:
    """One option as a line; the text is quoted, so that spaces are seen."""
    shown = "(end of the text)" if option.is_end else repr(option.text)
    return f"{number} {100 * option.probability:5.1f}%  {shown}"


# --- without a terminal --------------------------------------------------------------------------------


def _ask_by_number(text: str, options: Sequence[Option], can_go_back: bool) -> Choice:
    """Write the options down and read the answer; what is no answer is asked again."""
    if sys.stdin is None:
        return "end"
    answers: dict[str, Choice] = {str(i + 1): i for i in range(len(options))}
    answers[""], answers["q"] = 0, "end"
    if can_go_back:
        answers["b"] = "back"
    _say(f"\n{escaped(text[-_TAIL:], keep=chr(10))}")
    for i, option in enumerate(options):
        _say(f"  {_line(i + 1, option)}")
    while True:
        try:
            answer = input().strip().lower()
        except EOFError:
            return "end"
        except UnicodeDecodeError:
            answer = "?"
        if answer in answers:
            return answers[answer]
        back = "b: back, " if can_go_back else ""
        _say(f"type a number from 1 to {len(options)}; {back}q: end, empty: 1")


def _say(line: str) -> None:
    """Write to standard error, so that standard output holds the text only."""
    print(line, file=sys.stderr, flush=True)


# --- with a terminal -----------------------------------------------------------------------------------


class _Menu:
    """The text, the options below it and a line that explains the keys; it vanishes when it is answered."""

    def __init__(self, text: str, options: Sequence[Option], can_go_back: bool) -> None:
        self._text = escaped(text[-_TAIL:], keep="\n")
        self._options, self._can_go_back = options, can_go_back
        self._selected = 0

    def ask(self) -> Choice:
        """Show the menu until a key answers it."""
        from prompt_toolkit.application import Application

        app: Application[Choice] = Application(
            layout=self._layout(), key_bindings=self._keys(), erase_when_done=True
        )
        try:
            return app.run(in_thread=_inside_event_loop())
        except EOFError:  # the terminal was closed
            return "end"

    def _layout(self) -> Any:
        from prompt_toolkit.layout import Dimension, FormattedTextControl, HSplit, Layout, Window

        def part(content: Any, rows: int) -> Window:
            # the cursor is not shown; it tells which line stays in sight where there are too many
            control = FormattedTextControl(content, show_cursor=False)
            height = Dimension(min=1, preferred=None, weight=rows)
            return Window(control, height=height, wrap_lines=True, dont_extend_height=True)

        back = "left: back; " if self._can_go_back else ""
        keys = f"up, down, Enter; {back}q: end"
        cursor = ("[SetCursorPosition]", "")
        shown = [("bold", self._text), cursor]
        return Layout(HSplit([part(shown, 1), part(self._lines, 4), part([("", keys)], 1)]))

    def _lines(self) -> list[tuple[str, str]]:
        """The options as styled text, the selected one marked also for those who see no styles."""
        lines = []
        for i, option in enumerate(self._options):
            is_selected = i == self._selected
            if is_selected:
                lines.append(("[SetCursorPosition]", ""))
            line_end = "\n" if i + 1 < len(self._options) else ""
            lines.append(("reverse" if is_selected else "", f"{'>' if is_selected else ' '} "))
            lines.append(("reverse" if is_selected else "", _line(i + 1, option) + line_end))
        return lines

    def _keys(self) -> KeyBindings:
        from prompt_toolkit.key_binding import KeyBindings

        keys = KeyBindings()

        def bind(names: Sequence[str], action: Any) -> None:
            for name in names:
                keys.add(name)(lambda event: action(event.app))

        bind(("up", "c-p", "s-tab"), lambda app: self._move(-1))
        bind(("down", "c-n", "tab"), lambda app: self._move(1))
        bind(("enter",), lambda app: app.exit(self._selected))
        for i in range(min(9, len(self._options))):
            bind((str(i + 1),), lambda app, i=i: app.exit(i))
        if self._can_go_back:
            bind(("left", "backspace", "b"), lambda app: app.exit("back"))
        bind(("q", "c-d"), lambda app: app.exit("end"))
        bind(("c-c", "<sigint>"), lambda app: app.exit(exception=KeyboardInterrupt))
        return keys

    def _move(self, step: int) -> None:
        self._selected = (self._selected + step) % len(self._options)


def _inside_event_loop() -> bool:
    """Whether an event loop runs in this thread; the menu needs another thread then."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
