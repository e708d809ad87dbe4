"""Marks in place of contents: what a chat template writes around them, and which of them it writes at all.

White space at a content's borders stays beside its mark, so a template that strips it shows it. In past
answers the markers of thinking stay too, so a template that takes thinking out shows that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .shape import Told, parts_of

__all__ = ["Marked"]

_MARK = re.compile(r"(Qm\d+xQ)")


class Marked:
    """``messages`` are those given, with a mark for each text in them; ``markers`` are left standing in
    the bot's contents."""

    def __init__(self, messages: Sequence[Told], markers: Sequence[str] = ()) -> None:
        self._texts: dict[str, tuple[str, str, str]] = {}
        self._markers = re.compile(f"({'|'.join(map(re.escape, markers))})") if markers else None
        self.messages: list[Told] = [self._marked(message) for message in messages]

    def cut(self, text: str) -> list[str]:
        """Cut what a template wrote of ``messages`` at the marks: markup, mark, markup, ... markup."""
        return _MARK.split(text)

    def text_of(self, piece: str) -> str:
        """Return the text that a mark stands for, or the piece itself where it is none."""
        return self._texts[piece][1] if piece in self._texts else piece

    def around(self, mark: str) -> tuple[str, str, str]:
        """Return the white space before a text, the text, and the white space behind it."""
        return self._texts.get(mark, ("", mark, ""))

    def _marked(self, message: Told) -> Told:
        role, content, thinking = parts_of(message)
        parts = [content]
        if role == "bot" and self._markers:
            parts = self._markers.split(content)  # every second one is a marker
        marked = "".join(part if i % 2 else self._mark(part) for i, part in enumerate(parts))
        return (role, marked, self._mark(thinking)) if thinking else (role, marked)

    def _mark(self, text: str) -> str:
        """Return ``text`` with a mark in place of all but its outer white space."""
        body = text.strip()
        if not body:
            return text  # templates ask whether there is any
        before, _, behind = text.partition(body)
        mark = f"Qm{len(self._texts)}xQ"
        self._texts[mark] = before, body, behind
        return before + mark + behind
