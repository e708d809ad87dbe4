"""Memory: what llama.cpp keeps for the numbered sequences of a context, and what can be done with it.

Positions count tokens. Not locked: hold the context's lock.
"""

from __future__ import annotations

import llama_cpp
from llama_cpp import Llama

from .handles import context_handle, model_handle

__all__ = ["Memory"]


class Memory:
    """The memory of one context.

    ``window`` is the length of a sliding window in tokens, 0 without one. ``has_state`` tells that a sequence
    is a state instead of cells (recurrent and hybrid models): it can't be cut, and an aborted batch leaves it
    half changed.
    """

    def __init__(self, llama: Llama) -> None:
        model = model_handle(llama)
        self.handle = llama_cpp.llama_get_memory(context_handle(llama))
        self.window = int(llama_cpp.llama_model_n_swa(model))
        self.has_state = bool(
            llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model)
        )

    def first(self, number: int) -> int:
        """The oldest position that the sequence has, -1 for none."""
        return int(llama_cpp.llama_memory_seq_pos_min(self.handle, number))

    def last(self, number: int) -> int:
        """The newest position that the sequence has, -1 for none."""
        return int(llama_cpp.llama_memory_seq_pos_max(self.handle, number))

    def cut(self, number: int, n: int) -> bool:
        """Keep the first ``n`` positions; False, and nothing is changed, where llama.cpp can't."""
        return bool(llama_cpp.llama_memory_seq_rm(self.handle, number, n if n else -1, -1))

    def clear(self, number: int) -> None:
        """Empty the sequence."""
        llama_cpp.llama_memory_seq_rm(self.handle, number, -1, -1)

    def copy(self, source: int, target: int, start: int = -1, stop: int = -1) -> None:
        """Let ``target`` have what ``source`` has, from ``start`` to before ``stop``; cells are shared."""
        llama_cpp.llama_memory_seq_cp(self.handle, source, target, start, stop)

    def close_up(self, number: int, start: int, stop: int) -> None:
        """Remove the positions from ``start`` to before ``stop`` and move the later ones down."""
        llama_cpp.llama_memory_seq_rm(self.handle, number, start, stop)
        llama_cpp.llama_memory_seq_add(self.handle, number, stop, -1, start - stop)
