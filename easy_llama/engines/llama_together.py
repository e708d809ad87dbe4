"""One batch for several sequences of a context: the next token of every beam at once."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from ..engine import Engine
from ..errors import EngineError, PromptError
from .llama_batch import Batch
from .llama_interrupt import GUARD_ABOVE, interruptible
from .llama_rows import logits_address, rows_at
from .llama_shared import SharedContext

if TYPE_CHECKING:
    from .llama import LlamaEngine

__all__ = ["decode_each", "extend_together"]


def extend_together(
    shared: SharedContext, engines: Sequence[Engine], tokens: Sequence[int]
) -> NDArray[np.float32]:
    """Evaluate one token on each of ``engines``; see ``LlamaEngine.extend_batch``."""
    members: list[LlamaEngine] = []
    for engine in engines:
        if getattr(engine, "_shared", None) is not shared:
            raise EngineError("only forks of one context can be evaluated together")
        members.append(engine)  # type: ignore[arg-type]  # what has a SharedContext is a LlamaEngine
    if len(members) != len(tokens) or len({member._seq for member in members}) != len(members):
        raise PromptError(f"give one token for each engine, each once; got {len(tokens)} for {len(members)}")
    with shared.lock:
        context = shared.context()
        held = [member._held() for member in members]
        for member, token, n in zip(members, tokens, held, strict=True):
            member._context()
            member._check((token,), n)
        try:
            status = decode_each(shared, context, tokens, held, [member._seq for member in members])
        except KeyboardInterrupt:
            for member in members:
                member._drop_unrecorded()
            raise
        if status:
            failures = [member._failure(status) for member in members]  # makes every record true again
            raise failures[0]
        for member, token, n in zip(members, tokens, held, strict=True):
            member._record_one(token, n)
        first = logits_address(context, 0)
        if not first:
            raise EngineError("llama.cpp has no logits for this batch")
        return rows_at(first, len(members), members[0].n_vocab)


def decode_each(
    shared: SharedContext, context: Any, tokens: Sequence[int], positions: Sequence[int], seqs: Sequence[int]
) -> int:
    """Decode one token in each sequence, with logits for all, and return llama.cpp's status. Hold the lock.

    Raises KeyboardInterrupt after Ctrl-C; then what was evaluated is not recorded anywhere.
    """
    batch: Batch = shared.group
    batch.fill_each(tokens, positions, seqs)
    shared.row = None
    if not shared.slow:
        start = perf_counter()
        status: int = llama_cpp.llama_decode(context, batch.struct)
        shared.slow = perf_counter() - start > GUARD_ABOVE
        return status
    with interruptible(context):
        return int(llama_cpp.llama_decode(context, batch.struct))
