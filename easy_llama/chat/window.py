"""Window: what of a conversation the model is told, and how room is made for the next reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..decoding.selection import room_for
from ..errors import ExceededContextLengthException
from ..generation.speaker import Speaker
from ..samplers.settings import SamplerSettings
from .encoder import MessageEncoder
from .layouts import Layout, alone
from .message import Message
from .overflow import drop_oldest, shift_cache, usable_tokens
from .summary import summarize, with_summary

__all__ = ["Fitted", "Window", "is_said"]


class Fitted(NamedTuple):
    """The messages after making room, the tokens to continue, and how many messages were dropped."""

    messages: list[Message]
    tokens: list[int]
    n_dropped: int


def is_said(message: Message) -> bool:
    """Whether a model is told ``message`` where it is in the context: an empty system message is not."""
    return bool(message["content"]) or message["role"] != "system"


class Window:
    """The context of ``model``, filled with messages as ``layout`` writes them."""

    def __init__(self, model: Speaker, layout: Layout, encoder: MessageEncoder) -> None:
        self._model, self._layout, self._encoder = model, layout, encoder

    def told(self, messages: Sequence[Message]) -> list[Message]:
        """Return those that the model is told: in the context, and no empty system message."""
        return [m for m in messages if m.in_context and is_said(m)]

    def tokens(self, messages: Sequence[Message], begun: Sequence[int] = ()) -> list[int]:
        """Return the tokens of what is told, up to where the next reply begins, and those it begins with."""
        return [*self._layout.tokens(self.told(messages)), *begun]

    def fit(
        self, messages: list[Message], sampler: SamplerSettings, overflow: str, begun: Sequence[int] = ()
    ) -> Fitted:
        """Make room for a reply as ``overflow`` says; dropped messages are marked, and stay among them.

        Raises ExceededContextLengthException, and changes nothing, where that makes no room.
        """
        n_ctx = room_for(sampler, self._model.engine.n_ctx, 0)
        usable = usable_tokens(n_ctx, sampler.max_len_tokens)
        before = self.tokens(messages, begun)
        if len(before) <= usable:
            return Fitted(messages, before, 0)
        if overflow == "error":
            raise ExceededContextLengthException(len(before), n_ctx, n_ctx - usable)
        dropped = drop_oldest(messages, lambda: len(self.tokens(messages, begun)), usable, n_ctx)
        if overflow == "shift":
            shift_cache(self._model.engine, before, self.tokens(messages, begun))
        if overflow == "summarize" and dropped:
            try:
                messages = self._with_summary(messages, dropped, sampler, usable, begun)
            except BaseException:  # Ctrl-C while the summary is written: as if nothing had been dropped
                for message in dropped:
                    message.in_context = True
                raise
        return Fitted(messages, self.tokens(messages, begun), len(dropped))

    def _with_summary(
        self,
        messages: list[Message],
        dropped: list[Message],
        sampler: SamplerSettings,
        usable: int,
        begun: Sequence[int],
    ) -> list[Message]:
        """Tell the model in a system message what the dropped messages said, if there is room for that."""
        text = self.summary([*(m for m in messages if m.is_summary), *dropped], sampler)
        message = alone(self._layout, "system", f"Earlier in this conversation: {text}")
        message.is_summary = True
        longer = with_summary(messages, message)
        if len(self.tokens(longer, begun)) > usable:
            return [m for m in longer if not m.is_summary]
        return longer

    def summary(self, messages: Sequence[Message], sampler: SamplerSettings) -> str:
        """Return a summary of ``messages``, written by the model."""
        return summarize(self._model, self._layout, self._encoder, sampler, messages)
