"""The context shift: tokens removed from the middle, the later ones moved down in the cache.

Whether that can be done is llama.cpp's own answer, less the cases in which it would crash.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import llama_cpp
from llama_cpp import Llama

from ..errors import PromptError

if TYPE_CHECKING:
    from .llama import LlamaEngine

__all__ = ["can_shift", "shift"]

_PLAIN_TYPES = (0, 1)  # f32, f16: caches that can always be shifted
_NO_SHIFT_TYPES = (30,)  # bf16: llama.cpp aborts


def can_shift(llama: Llama, memory: Any) -> bool:
    """Return whether tokens in ``memory``, which holds cells and no state, can be moved."""
    if not llama_cpp.llama_memory_can_shift(memory):
        return False
    # moving a quantised cache crashes unless its heads suit the rotation that llama.cpp applies to it
    type_k, model = llama.context_params.type_k, llama._model.model
    head = llama_cpp.llama_model_n_embd(model) // max(1, llama_cpp.llama_model_n_head(model))
    quantised_ok = head % 64 == 0 and not os.environ.get("LLAMA_ATTN_ROT_DISABLE")
    return type_k in _PLAIN_TYPES or (type_k not in _NO_SHIFT_TYPES and quantised_ok)


def shift(engine: LlamaEngine, start: int, stop: int) -> bool:
    """Remove tokens and move the later ones down; see ``LlamaEngine.discard``."""
    with engine._shared.lock:
        engine._context()
        held = engine._held()
        if not 0 <= start <= stop <= held:
            raise PromptError(f"can't discard tokens {start} to {stop}: the engine holds {held}")
        # forks share the cells; a state has none, though llama.cpp says that it can shift
        if engine._shared.has_forks or engine._has_state or not can_shift(engine.llama, engine._memory):
            return False
        later = engine.tokens[stop:]
        engine._forget(start)
        llama_cpp.llama_memory_seq_rm(engine._memory, engine._seq, start, stop)
        llama_cpp.llama_memory_seq_add(engine._memory, engine._seq, stop, -1, start - stop)
        engine._shared.llama.input_ids[start : start + len(later)] = later
        engine._forget(start + len(later))
        return True
