"""Whether a context can be shifted: llama.cpp's own answer, less the cases in which it would crash."""

from __future__ import annotations

import os
from typing import Any

import llama_cpp
from llama_cpp import Llama

__all__ = ["can_shift"]

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
