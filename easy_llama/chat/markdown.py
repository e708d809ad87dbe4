"""A conversation as Markdown, for people to read: what a terminal could obey is made harmless."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..terminal.escape import harmless

__all__ = ["markdown_of"]


def markdown_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return messages, which have a ``role`` and a ``content``, as a text."""
    return "\n".join(f"**{harmless(m['role'])}**\n\n{harmless(m['content'])}\n" for m in messages)
