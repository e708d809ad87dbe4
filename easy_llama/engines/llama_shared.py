"""What a LlamaEngine and its forks have in common: one ``Llama``, its locks, its counters, its sequences."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp
from llama_cpp import Llama

from ..errors import EngineBusyError, ModelUnloadedException
from .llama_batch import Batch, OneToken

__all__ = ["SharedContext"]

_BUSY = (
    "there is an unfinished stream on this model, and it would never end while this call waits for it; "
    "read it to its end or close() it"
)


class SharedContext:
    """A llama.cpp context with everything that must not be done twice at once.

    ``lock`` guards single calls into libllama; ``session`` keeps a whole generation together. ``row`` is
    the sequence whose logits are the newest in the context, None while there are none.
    """

    def __init__(self, llama: Llama) -> None:
        self.llama = llama
        self.lock = threading.RLock()
        self.n_evaluated = 0
        self.row: int | None = None
        self.n_seq_max = int(llama_cpp.llama_n_seq_max(llama._ctx.ctx))
        self.free = set(range(1, self.n_seq_max))  # a set: what is given back twice is there once
        self.slow = False  # whether a batch of one token for several sequences takes long
        self.group = Batch(self.n_seq_max)  # one token for each sequence
        self._one_tokens: dict[int, OneToken] = {}
        self._session = threading.Lock()
        self._owner: int | None = None

    def context(self) -> Any:
        """The live context pointer; raises when the model was unloaded or closed by hand."""
        context = self.llama._ctx.ctx
        if context is None:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        return context

    @property
    def has_forks(self) -> bool:
        """Whether a sequence beside the first is in use."""
        return len(self.free) < self.n_seq_max - 1

    @contextmanager
    def session(self) -> Iterator[Callable[[], None]]:
        """Reserve the context for one generation; another thread waits for its turn.

        A generator must call the yielded function each time it is resumed, because another thread may
        have taken it over. Raises EngineBusyError where waiting would never end: the unfinished stream
        belongs to the calling thread, or to a thread that is gone.
        """
        if self._owner == threading.get_ident():
            raise EngineBusyError(_BUSY)
        while not self._session.acquire(timeout=0.2):
            owner = self._owner  # None for a moment while one goes and the next comes
            if owner is not None and not any(thread.ident == owner for thread in threading.enumerate()):
                raise EngineBusyError(_BUSY)
        try:
            self._claim()
            yield self._claim
        finally:
            self._owner = None
            self._session.release()

    def _claim(self) -> None:
        self._owner = threading.get_ident()

    def one_token(self, seq: int) -> OneToken:
        """Return the batch of one token for a sequence; making one costs more than all else about a fork."""
        if seq not in self._one_tokens:
            self._one_tokens[seq] = OneToken(seq)
        return self._one_tokens[seq]

    def take_sequence(self) -> int | None:
        """Return the number of a free sequence, or None; it is free until its owner discards it."""
        with self.lock:
            return min(self.free) if self.free else None

    def give_back(self, seq: int) -> None:
        """Empty a sequence and make it free again."""
        with self.lock:
            if self.llama._ctx.ctx is not None:
                memory = llama_cpp.llama_get_memory(self.llama._ctx.ctx)
                llama_cpp.llama_memory_seq_rm(memory, seq, -1, -1)
            self.free.add(seq)
