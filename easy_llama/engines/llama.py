"""LlamaEngine: the engine protocol on the context of a real ``llama_cpp.Llama``.

``llama.input_ids[:llama.n_tokens]`` is the one record of what sequence 0 holds. It is read before every
call, so calls made by hand on the same ``Llama`` in between are noticed and harmless. Forks are further
sequences of the same context that share the cells of their common prefix.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ..engine import Logits
from ..errors import (
    EngineBusyError,
    EngineError,
    ExceededContextLengthException,
    ModelUnloadedException,
    PromptError,
)
from ..samplers import SamplerSettings
from .llama_batch import Batch, OneToken
from .llama_chain import LlamaChain
from .llama_interrupt import interruptible

__all__ = ["LlamaEngine"]

_ABORTED = 2
llama_decode = llama_cpp.llama_decode
_GUARD_ABOVE = 0.05  # seconds; a single-token decode as slow as this is made interruptible too

# the same C function as llama_cpp's, but returning the address as a number: no pointer object each token
_logits_address: Callable[[Any, int], int | None] = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)(("llama_get_logits_ith", llama_cpp.llama_cpp._lib))


class _Shared:
    """What an engine and its forks have in common: the Llama, its locks, its free sequences."""

    def __init__(self, llama: Llama) -> None:
        self.llama = llama
        self.call = threading.RLock()  # one call into the context at a time
        self.session = threading.Lock()  # one generation at a time
        self.session_owner: int | None = None
        self.n_evaluated = 0
        self.seconds = 0.0
        self.free = list(range(_n_seq_max(llama) - 1, 0, -1))

    def context(self) -> Any:
        """The live context pointer; raises when the model was unloaded or closed by hand."""
        context = self.llama._ctx.ctx
        if context is None:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        return context


def _n_seq_max(llama: Llama) -> int:
    return int(llama_cpp.llama_n_seq_max(llama._ctx.ctx))


class LlamaEngine:
    """Evaluates tokens with llama.cpp and remembers them in its key-value cache.

    ``n_evaluated`` counts every token evaluated through this engine and its forks, ``seconds`` the time
    that took. Calls are safe from several threads; ``session()`` keeps a whole generation together.
    """

    def __init__(self, llama: Llama, *, n_ctx: int | None = None) -> None:
        self._shared = _Shared(llama)
        self._seq = 0
        cells = min(llama._ctx.n_ctx(), len(llama.input_ids))
        self.n_ctx = min(n_ctx or cells, cells)
        self.n_vocab = llama.n_vocab()
        self._prepare(llama)

    def _prepare(self, llama: Llama) -> None:
        context, model = llama._ctx.ctx, llama._model.model
        self._memory = llama_cpp.llama_get_memory(context)
        self._batch = Batch(int(llama_cpp.llama_n_batch(context)), self._seq)
        self._one = OneToken(self._seq)
        self._n_swa = int(llama_cpp.llama_model_n_swa(model))
        self._view_address: int | None = None
        self._view: Logits = np.empty(0, dtype=np.float32)
        self._slow = False
        self._closed = False

    @property
    def llama(self) -> Llama:
        """The ``Llama`` whose context this is."""
        return self._shared.llama

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far, by this engine and its forks."""
        return self._shared.n_evaluated

    @property
    def seconds(self) -> float:
        """How long that took, in seconds inside llama.cpp."""
        return self._shared.seconds

    @property
    def tokens(self) -> list[int]:
        """The tokens this engine holds, a copy."""
        llama = self._shared.llama
        record: list[int] = llama.input_ids[: llama.n_tokens].tolist()
        return record

    @contextmanager
    def session(self) -> Iterator[None]:
        """Reserve the context for one generation.

        Another thread waits. Raises EngineBusyError when the calling thread has the reservation itself,
        in an unfinished stream for example, because it would wait for ever.
        """
        shared, me = self._shared, threading.get_ident()
        if shared.session_owner == me:
            raise EngineBusyError(
                "this thread still has an unfinished stream on this model; read it to its end or close() it"
            )
        with shared.session:
            shared.session_owner = me
            try:
                yield
            finally:
                shared.session_owner = None

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens`` and return the logits after the last: float32 (n_vocab,), a writable view
        that is valid until the next call on this engine or a fork of it.

        Raises ExceededContextLengthException, PromptError for ids outside the vocabulary, and
        KeyboardInterrupt in the middle of a long evaluation, which keeps what was evaluated.
        """
        if len(tokens) == 1 and not self._slow:
            return self._extend_one(tokens[0])
        with self._shared.call:
            context, held = self._context(), self._held()
            self._check(tokens, held)
            try:
                self._extend_guarded(context, tokens, held)
            except KeyboardInterrupt:
                self.rollback(self._held())  # what was evaluated but not recorded must go
                raise
            return self._logits(context)

    def _extend_one(self, token: int) -> Logits:
        """``extend`` for one token at a time: every microsecond here is paid for each token of a text."""
        shared = self._shared
        with shared.call:
            context, held = self._context(), self._held()
            if not (0 <= token < self.n_vocab and held < self.n_ctx):
                self._check((token,), held)
            self._one.put(token, held)
            start = perf_counter()
            try:
                status = llama_decode(context, self._one.struct)
                if status:
                    raise self._failure(status, 1)
                self._record_one(token, held)
            except KeyboardInterrupt:
                self.rollback(self._held())
                raise
            seconds = perf_counter() - start
            shared.seconds += seconds
            self._slow = seconds > _GUARD_ABOVE
            return self._logits(context)

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens; re-evaluates them where the memory can't be cut (recurrent models,
        sliding windows that have moved on)."""
        with self._shared.call:
            self._context()
            held = self._held()
            if not 0 <= n <= held:
                raise PromptError(f"can't keep the first {n} tokens: the engine holds {held}")
            kept = self.tokens[:n] if not self._cut(n) else None
            self._forget(n)
            if kept:
                llama_cpp.llama_memory_seq_rm(self._memory, self._seq, -1, -1)
                self._forget(0)
                self.extend(kept)

    def fork(self) -> LlamaEngine:
        """Return an engine with the same tokens in another sequence of the same context.

        The common prefix is shared, so this costs microseconds. Raises EngineError when all sequences of
        the context are in use; ``close`` a fork to free its sequence.
        """
        with self._shared.call:
            self._context()
            if not self._shared.free:
                raise EngineError(
                    f"all {_n_seq_max(self._shared.llama)} sequences of the context are in use; close a fork"
                )
            return _Fork(self, self._shared.free.pop())

    def picker(self, settings: SamplerSettings, seed: int, history: Sequence[int] = ()) -> LlamaChain:
        """Return llama.cpp's sampler chain for ``settings``; ``history`` is what the penalties count."""
        return LlamaChain(self._sampling_context, self.n_vocab, settings, seed, history)

    def _sampling_context(self) -> Any:
        if not self._shared.n_evaluated:
            raise EngineError("there are no logits to choose from; extend the engine first")
        return self._context()

    def close(self) -> None:
        """Free the context and the model; a second call does nothing."""
        with self._shared.call:
            self._closed = True
            self._shared.llama.close()

    def _context(self) -> Any:
        if self._closed:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        return self._shared.context()

    def _held(self) -> int:
        """How many tokens the sequence holds."""
        return int(self._shared.llama.n_tokens)

    def _record(self, tokens: Sequence[int], held: int) -> None:
        """Note that ``tokens`` were evaluated after the first ``held``."""
        llama = self._shared.llama
        llama.input_ids[held : held + len(tokens)] = tokens
        llama.n_tokens = held + len(tokens)
        llama._requires_eval = False
        self._shared.n_evaluated += len(tokens)

    def _record_one(self, token: int, held: int) -> None:
        """``_record`` for the hot path."""
        llama = self._shared.llama
        llama.input_ids[held] = token
        llama.n_tokens = held + 1
        llama._requires_eval = False
        self._shared.n_evaluated += 1

    def _forget(self, n: int) -> None:
        """Note that only the first ``n`` tokens are left; their logits are not."""
        self._shared.llama.n_tokens = n
        self._shared.llama._requires_eval = True

    def _check(self, tokens: Sequence[int], held: int) -> None:
        if not len(tokens):
            raise PromptError("there is nothing to evaluate; give at least one token")
        low, high = min(tokens), max(tokens)
        if low < 0 or high >= self.n_vocab:
            bad = low if low < 0 else high
            raise PromptError(f"the token id {bad} is outside the vocabulary (0 to {self.n_vocab - 1})")
        if held + len(tokens) > self.n_ctx:
            raise ExceededContextLengthException(held + len(tokens), self.n_ctx)

    def _extend_guarded(self, context: Any, tokens: Sequence[int], held: int) -> None:
        """Evaluate in batches, each one interruptible by Ctrl-C; the record is true after every batch."""
        done = 0
        while done < len(tokens):
            part = tokens[done : done + self._batch.size]
            with interruptible(context):
                self._batch.fill(part, held + done, logits=done + len(part) == len(tokens))
                status = self._decode(context)
                if status == _ABORTED:
                    part = part[: self._last_position() + 1 - (held + done)]
                elif status:
                    raise self._failure(status, len(part))
                self._record(part, held + done)
            done += len(part)

    def _decode(self, context: Any) -> int:
        start = perf_counter()
        status: int = llama_decode(context, self._batch.struct)
        seconds = perf_counter() - start
        self._shared.seconds += seconds
        self._slow = seconds > _GUARD_ABOVE * self._batch.struct.n_tokens
        return status

    def _failure(self, status: int, n: int) -> EngineError:
        self._forget(min(self._held(), self._last_position() + 1))
        if status == 1:
            return EngineError(
                f"no room for {n} more tokens in the {self._shared.llama._n_ctx} cells of the "
                "context, which forks share; close some or load with a larger context_length"
            )
        return EngineError(f"llama_decode returned {status}; the evaluated tokens are kept")

    def _last_position(self) -> int:
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, self._seq))

    def _cut(self, n: int) -> bool:
        """Remove everything from position ``n`` on, if the memory can do that and stay right."""
        if n == 0:
            return bool(llama_cpp.llama_memory_seq_rm(self._memory, self._seq, -1, -1))
        if self._n_swa and n < self._held():
            # llama.cpp says yes to cuts below a window that has moved on, and computes nonsense afterwards
            oldest = int(llama_cpp.llama_memory_seq_pos_min(self._memory, self._seq))
            if oldest > max(0, n - self._n_swa):
                return False
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, self._seq, n, -1))

    def _logits(self, context: Any) -> Logits:
        address = _logits_address(context, -1)
        if address != self._view_address:
            if not address:
                raise EngineError("llama.cpp has no logits for the last token")
            buffer = (ctypes.c_float * self.n_vocab).from_address(address)
            self._view = np.frombuffer(buffer, dtype=np.float32)
            self._view_address = address
        return self._view


class _Fork(LlamaEngine):
    """An engine in a further sequence; it keeps its own record, and its logits are copies."""

    def __init__(self, parent: LlamaEngine, seq: int) -> None:
        self._shared = parent._shared
        self._seq = seq
        self._own: NDArray[np.intc] = np.zeros(parent.n_ctx, dtype=np.intc)
        self._n = parent._held()
        self._own[: self._n] = parent.tokens
        self.n_ctx, self.n_vocab = parent.n_ctx, parent.n_vocab
        self._prepare(self._shared.llama)
        llama_cpp.llama_memory_seq_rm(self._memory, seq, -1, -1)
        llama_cpp.llama_memory_seq_cp(self._memory, parent._seq, seq, -1, -1)

    @property
    def tokens(self) -> list[int]:
        """The tokens this fork holds, a copy."""
        record: list[int] = self._own[: self._n].tolist()
        return record

    def close(self) -> None:
        """Give the sequence back; the parent lives on."""
        with self._shared.call:
            if not self._closed and self._shared.llama._ctx.ctx is not None:
                llama_cpp.llama_memory_seq_rm(self._memory, self._seq, -1, -1)
                self._shared.free.append(self._seq)
            self._closed = True

    def _held(self) -> int:
        return self._n

    def _record(self, tokens: Sequence[int], held: int) -> None:
        self._own[held : held + len(tokens)] = tokens
        self._n = held + len(tokens)
        self._shared.n_evaluated += len(tokens)

    def _record_one(self, token: int, held: int) -> None:
        self._record((token,), held)

    def _forget(self, n: int) -> None:
        self._n = n

    def _logits(self, context: Any) -> Logits:
        return super()._logits(context).copy()
