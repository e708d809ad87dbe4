"""The context shift: tokens removed from the middle, the later ones moved down in the cache.

Whether that can be done is llama.cpp's own answer, less the cases in which it would crash.
"""

from __future__ import annotations

import os

import llama_cpp

from ...errors import PromptError
from .context import LlamaContext
from .handles import model_handle
from .sequence import LlamaSequence

__all__ = ["can_shift", "shift"]

_PLAIN_TYPES = (0, 1)  # f32, f16: caches that can always be shifted
_NO_SHIFT_TYPES = (30,)  # bf16: llama.cpp aborts


def can_shift(context: LlamaContext) -> bool:
    """Return whether tokens of ``context`` can be moved."""
    llama, memory = context.llama, context.memory
    # forks share the cells; a state has none, though llama.cpp says that it can shift
    if context.has_forks or memory.has_state or not llama_cpp.llama_memory_can_shift(memory.handle):
        return False
    # moving a quantised cache crashes unless its heads suit the rotation that llama.cpp applies to it
    type_k, model = llama.context_params.type_k, model_handle(llama)
    head = llama_cpp.llama_model_n_embd(model) // max(1, llama_cpp.llama_model_n_head(model))
    quantised_ok = head % 64 == 0 and not os.environ.get("LLAMA_ATTN_ROT_DISABLE")
    return type_k in _PLAIN_TYPES or (type_k not in _NO_SHIFT_TYPES and quantised_ok)


def shift(context: LlamaContext, sequence: LlamaSequence, start: int, stop: int) -> bool:
    """Remove the tokens from ``start`` to before ``stop``; see ``LlamaEngine.discard``."""
    with context.lock:
        context.pointer()
        held = sequence.record.n
        if not 0 <= start <= stop <= held:
            raise PromptError(f"can't discard tokens {start} to {stop}: the engine holds {held}")
        if not can_shift(context):
            return False
        later = sequence.tokens[stop:]
        sequence.record.cut(start)
        context.memory.close_up(sequence.number, start, stop)
        sequence.record.extend(later)
        sequence.record.cut(start + len(later))  # their logits are gone
        return True
