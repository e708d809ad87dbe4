"""Summaries that the model writes of a conversation, and their place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..generation.speaker import Speaker
from ..samplers.settings import SamplerSettings
from .encoder import MessageEncoder
from .layouts import Layout, alone
from .message import Message

__all__ = ["summarize", "with_summary"]


def summarize(
    model: Speaker,
    layout: Layout,
    encoder: MessageEncoder,
    sampler: SamplerSettings,
    messages: Sequence[Message],
) -> str:
    """Return a summary of ``messages``; what does not fit into half of the context is left out in front."""
    n_ctx = model.engine.n_ctx
    lines = "\n".join(f"{m['role']}: {m['content']}" for m in messages if m["content"])
    tokens = encoder.text(lines, special=False)[-(n_ctx // 2) :]
    request = f"Summarize this conversation in two sentences:\n\n{model.detokenize(tokens)}"
    asked = [alone(layout, "user", request)]
    settings = replace(sampler, max_len_tokens=max(1, n_ctx // 8))
    return model.generate(layout.tokens(asked), layout.stops, settings).strip()


def with_summary(messages: Sequence[Message], summary: Message) -> list[Message]:
    """Return ``messages`` with ``summary`` in place of earlier ones, behind the system messages."""
    rest = [m for m in messages if not m.is_summary]
    at = next((i for i, m in enumerate(rest) if m["role"] != "system"), len(rest))
    return [*rest[:at], summary, *rest[at:]]
