"""Rows of floats that llama.cpp computed, as numpy views: logits and hidden states, without a copy.

A view is valid until the next ``llama_decode``, and after one with more rows its memory is gone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

__all__ = ["CANDIDATE", "embeddings_address", "logits_address", "rows_at"]

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""A ``llama_token_data``: what samplers work on."""


def _address_of(name: str) -> Callable[[Any, int], int | None]:
    """The C function of that name, returning the address as a number: no pointer object each token."""
    kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
    return kind((name, llama_cpp.llama_cpp._lib))


logits_address = _address_of("llama_get_logits_ith")
"""(context, index of the output or -1) -> address of its n_vocab floats, or None."""

embeddings_address = _address_of("llama_get_embeddings_ith")
"""(context, index of the output) -> address of its n_embd floats, or None."""


def rows_at(address: int, n: int, width: int) -> NDArray[np.float32]:
    """Return ``n`` rows of ``width`` floats at ``address``: a writable view, float32 (n, width)."""
    pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (n, width))
