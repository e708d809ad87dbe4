"""Making room in a full context: which messages go, and what comes in their place.

Whole exchanges are dropped from the oldest on; system messages and pinned ones stay. It is dropped down to
three quarters at once, so that not every later turn has to evaluate everything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..engine import Engine, ShiftingEngine
from ..errors import ExceededContextLengthException
from .message import Message

__all__ = ["POLICIES", "drop_oldest", "shift_cache", "usable_tokens"]

POLICIES = ("trim", "shift", "summarize", "error")
_TARGET = 0.75  # share of the usable context that is left after dropping
_RESERVE = 0.25  # share of the context kept free for the reply, at most


def usable_tokens(n_ctx: int, longest_reply: int) -> int:
    """Return how many tokens a prompt may have so that a reply still fits; ``longest_reply`` < 1 is any."""
    reserve = max(1, int(n_ctx * _RESERVE))
    return n_ctx - (min(longest_reply, reserve) if longest_reply > 0 else reserve)


def drop_oldest(
    messages: Sequence[Message], length: Callable[[], int], usable: int, n_ctx: int
) -> list[Message]:
    """Take the oldest exchanges out of the context until ``length()`` is three quarters of ``usable``.

    Returns the messages that were dropped; they stay in the thread. Raises ExceededContextLengthException,
    and drops nothing, where even the last exchange and what must stay do not fit.
    """
    dropped: list[Message] = []
    for exchange in _exchanges(messages):
        for message in exchange:
            message.in_context = False
        dropped += exchange
        if length() <= usable * _TARGET:
            return dropped
    if length() <= usable:
        return dropped
    needed = length()
    for message in dropped:
        message.in_context = True
    raise ExceededContextLengthException(needed, n_ctx, n_ctx - usable)


def _exchanges(messages: Sequence[Message]) -> list[list[Message]]:
    """The droppable messages, oldest first: each user message with what follows it, but not the last one."""
    last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages))
    groups: list[list[Message]] = []
    for message in messages[:last_user]:
        if not message.in_context or message["role"] == "system":
            continue
        if message["role"] == "user" or not groups:
            groups.append([])
        groups[-1].append(message)
    return [group for group in groups if not any(message.pinned for message in group)]


def shift_cache(engine: Engine, before: list[int], after: list[int]) -> bool:
    """Move the engine's cache from the tokens ``before`` dropping to those ``after``, if that is one step.

    Returns False where it isn't, or where the engine can't; then the next prompt is evaluated anew.
    """
    if not isinstance(engine, ShiftingEngine):
        return False
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
    stop, held = start + len(before) - len(after), engine.tokens
    is_one_step = before[stop:] == after[start:] and held[:stop] == before[:stop]
    return is_one_step and engine.discard(start, stop)
