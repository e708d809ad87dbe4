"""Messages as OpenAI's API has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import PromptError
from ..formats.shape import ROLE_NAMES
from .message import Message

__all__ = ["from_openai", "to_openai"]

_FROM = {"developer": "system", **{name: role for role, name in ROLE_NAMES.items()}}


def to_openai(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Return ``messages`` with roles ``system``, ``user``, ``assistant``."""
    return [{"role": ROLE_NAMES[m["role"]], "content": m["content"]} for m in messages]


def from_openai(messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return (role, content) for each message; PromptError for a role that is none. Contents are as given."""
    found = []
    for message in messages:
        role = _FROM.get(str(message.get("role")))
        if role is None:
            raise PromptError(f"role must be one of {', '.join(_FROM)}; got {message.get('role')!r}")
        found.append((role, message.get("content")))
    return found
