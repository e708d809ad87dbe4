"""Fork: a LlamaEngine in a further sequence of the same context; it shares the cells of the common prefix."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from .llama import LlamaEngine

__all__ = ["Fork"]


class Fork(LlamaEngine):
    """An engine in a further sequence; it keeps its own record. Its sequence is freed with it."""

    def __init__(self, parent: LlamaEngine, seq: int) -> None:
        self._prepare(parent._shared, seq, parent.n_ctx)
        self._own: NDArray[np.intc] = np.zeros(parent.n_ctx, dtype=np.intc)
        self._n = parent._held()
        self._own[: self._n] = parent._held_tokens()
        self._free = weakref.finalize(self, parent._shared.give_back, seq)
        parent._shared.free.discard(seq)
        llama_cpp.llama_memory_seq_rm(self._memory, seq, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, parent._seq, seq, -1, -1)

    def close(self) -> None:
        """Give the sequence back; the parent lives on."""
        self._closed = True
        self._free()

    def _context(self) -> Any:
        if self._closed:
            raise EngineError("this fork is closed")
        return self._shared.context()

    def _held_tokens(self) -> NDArray[np.intc]:
        return self._own[: self._n]

    def _held(self) -> int:
        return self._n

    def _record(self, tokens: Sequence[int], held: int) -> None:
        self._own[held : held + len(tokens)] = tokens
        self._n = held + len(tokens)
        self._shared.n_evaluated += len(tokens)

    def _record_one(self, token: int, held: int) -> None:
        self._own[held] = token
        self._n = held + 1
        self._shared.n_evaluated += 1

    def _forget(self, n: int) -> None:
        self._n = n
