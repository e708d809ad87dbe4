"""LlamaEngine: the engine protocol on the context of a real ``llama_cpp.Llama``.

``llama.input_ids[:llama.n_tokens]`` is the one record of what sequence 0 holds. It is read before every
call, so calls made by hand on the same ``Llama`` in between are noticed and harmless. Forks are further
sequences of the same context that share the cells of their common prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ..engine import Engine, Logits, Picker
from ..errors import (
    ContextFullError,
    EngineError,
    ExceededContextLengthException,
    ModelUnloadedException,
    PromptError,
)
from ..samplers import NumpyPicker, SamplerSettings
from .llama_batch import Batch
from .llama_chain import LlamaChain
from .llama_hidden import HiddenStates
from .llama_interrupt import GUARD_ABOVE, interruptible
from .llama_picker import picker_of
from .llama_rows import logits_address, rows_at
from .llama_shared import SharedContext
from .llama_shift import shift
from .llama_together import extend_together

__all__ = ["LlamaEngine"]

_ABORTED = 2

_decode = llama_cpp.llama_decode


class LlamaEngine:
    """Evaluates tokens with llama.cpp and remembers them in its key-value cache.

    ``n_evaluated`` counts every token evaluated through this engine and its forks. Calls are safe from
    several threads; ``session()`` keeps a whole generation together.
    """

    def __init__(self, llama: Llama, *, n_ctx: int | None = None) -> None:
        cells = min(llama._ctx.n_ctx(), len(llama.input_ids))
        self._prepare(SharedContext(llama), 0, min(n_ctx or cells, cells))

    def _prepare(self, shared: SharedContext, seq: int, n_ctx: int) -> None:
        context, model = shared.context(), shared.llama._model.model
        self._shared, self._seq, self.n_ctx = shared, seq, n_ctx
        self.n_vocab = int(shared.llama.n_vocab())
        self._memory = llama_cpp.llama_get_memory(context)
        self._one = shared.one_token(seq)
        self._n_swa = int(llama_cpp.llama_model_n_swa(model))
        # a state instead of cells: it can't be cut, and an aborted batch leaves it half changed
        self._has_state = bool(
            llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model)
        )
        self._view_address: int | None = None
        self._view: Logits = np.empty(0, dtype=np.float32)
        self._hidden_states = HiddenStates(self)
        self._slow = False
        self._closed = False

    @cached_property
    def _batch(self) -> Batch:
        """For several tokens at once; most forks never need one."""
        return Batch(int(llama_cpp.llama_n_batch(self._shared.context())), self._seq)

    @property
    def llama(self) -> Llama:
        """The ``Llama`` whose context this is."""
        return self._shared.llama

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held during every call into libllama; who calls libllama by other ways must hold it too."""
        return self._shared.lock

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return not self._closed and self._shared.llama._ctx.ctx is not None

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far, by this engine and its forks."""
        return self._shared.n_evaluated

    @property
    def tokens(self) -> list[int]:
        """The tokens this engine holds, a copy."""
        record: list[int] = self._held_tokens().tolist()
        return record

    def session(self) -> AbstractContextManager[Callable[[], None]]:
        """Reserve the context for one generation; see ``SharedContext.session``."""
        return self._shared.session()

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens`` and return the logits after the last: float32 (n_vocab,), a writable view
        that is valid until the next call on this engine (a copy while there are forks).

        Raises ExceededContextLengthException, PromptError for ids outside the vocabulary, and
        KeyboardInterrupt in the middle of a long evaluation, which keeps what was evaluated.
        """
        if len(tokens) == 1 and not self._slow:
            return self._extend_one(tokens[0])
        with self._shared.lock:
            context = self._context()
            self._check(tokens, self._held())
            self._shared.row = None
            try:
                self._extend_guarded(context, [*self.tokens, *tokens])
            except KeyboardInterrupt:
                self._drop_unrecorded()
                raise
            return self._logits(context)

    def _extend_one(self, token: int) -> Logits:
        """``extend`` for one token at a time."""
        with self._shared.lock:
            context = self._step(token)
            self._shared.llama._requires_eval = False
            return self._logits(context)

    def _step(self, token: int) -> Any:
        """Evaluate one token and return the context; every microsecond here is paid for each token of a
        text. Hold the lock."""
        shared, held = self._shared, self._held()
        context = shared.llama._ctx.ctx
        if context is None or self._closed or not 0 <= token < self.n_vocab or held >= self.n_ctx:
            self._context()
            self._check((token,), held)
        shared.row = None
        self._one.put(token, held)
        start = 0.0 if held & 15 else perf_counter()  # now and then is enough to notice a slow model
        try:
            status = _decode(context, self._one.struct)
            if status:
                raise self._failure(status)
            self._record_one(token, held)
        except KeyboardInterrupt:
            self._drop_unrecorded()
            raise
        if start:
            self._slow = perf_counter() - start > GUARD_ABOVE
        shared.row = self._seq
        return context

    def advance(self, picker: Picker) -> Callable[[int], int] | None:
        """Return a function that evaluates a token and picks the next, where ``picker`` is a chain of
        this engine: the same as ``extend`` and ``picker``, with one turn at the lock and no array."""
        if not (isinstance(picker, LlamaChain) and picker.source is self):
            return None
        lock, step, draw = self._shared.lock, self._step, picker.draw

        def evaluate_and_pick(token: int) -> int:
            if self._slow:  # then a microsecond is nothing, and Ctrl-C must be able to interrupt
                return picker((), self.extend((token,)))
            with lock:
                return draw(step(token))

        return evaluate_and_pick

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens; re-evaluates them where the memory can't be cut (recurrent models,
        sliding windows that have moved on, a memory that was emptied by hand)."""
        with self._shared.lock:
            self._context()
            self._hidden_states.drop()
            held = self._held()
            if not 0 <= n <= held:
                raise PromptError(f"can't keep the first {n} tokens: the engine holds {held}")
            kept, intact = self.tokens[:n], self._can_cut(n, held)
            self._forget(n)  # first: a record that is shorter than the memory is mended by the next rollback
            if not (intact and llama_cpp.llama_memory_seq_rm(self._memory, self._seq, n if n else -1, -1)):
                self._clear()
                self.extend(kept)

    def discard(self, start: int, stop: int) -> bool:
        """Remove the tokens from ``start`` to before ``stop`` and move the later ones down in their place.

        A context shift: nothing is evaluated, but what is kept still carries traces of what was removed.
        Returns False, and changes nothing, where llama.cpp can't do it or would crash: recurrent models,
        some RoPE kinds, some quantised caches, a context with forks.
        """
        return shift(self, start, stop)

    def fork(self) -> LlamaEngine:
        """Return an engine with the same tokens in another sequence of the same context.

        The common prefix is shared, so this costs microseconds. Raises EngineError when all sequences of
        the context are in use; ``close`` a fork to free its sequence.
        """
        with self._shared.lock:
            self._context()
            self._hidden_states.drop()
            seq = self._shared.take_sequence()
            if seq is None:
                raise EngineError(
                    f"all {self._shared.n_seq_max} sequences of the context are in use; close a fork"
                )
            from .llama_fork import Fork  # a Fork is a LlamaEngine, so it stands above this module

            return Fork(self, seq)

    def picker(
        self, settings: SamplerSettings, seed: int, history: Sequence[int] = ()
    ) -> LlamaChain | NumpyPicker:
        """Return the picker for ``settings``; ``history`` is what penalties count."""
        return picker_of(self, settings, seed, history)

    @property
    def n_forks_free(self) -> int:
        """How many more forks the context has room for."""
        return len(self._shared.free) + self._hidden_states.n_candidates

    def extend_batch(self, engines: Sequence[Engine], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate one token on each of ``engines``, forks of one context, in one batch.

        Returns a view of the logits, float32 (len(engines), n_vocab), valid until the next call on any.
        """
        return extend_together(self._shared, engines, tokens)

    def context(self) -> Any:
        """The live ``llama_context``; hold ``lock`` meanwhile. ModelUnloadedException when it is gone."""
        return self._context()

    def is_live(self, logits: Logits) -> bool:
        """Whether ``logits`` is the very array that the sampler chain draws from next."""
        return logits is self._view and self._shared.row == self._seq

    def live_view(self) -> Logits | None:
        """The writable row in the context that the sampler chain draws from next, None where it is
        another engine's; hold ``lock`` meanwhile. It outlives a rollback, which does not touch it."""
        context = self._context()
        return self._row_of(context) if self._shared.row == self._seq else None

    # --- hidden states -----------------------------------------------------------------------------------

    @property
    def hidden(self) -> NDArray[np.float32]:
        """The known hidden states of the first tokens held, float32 (n, n_embd)."""
        return self._hidden_states.known(self.tokens)

    def extend_hidden(self, tokens: Sequence[int]) -> Logits:
        """Do what ``extend`` does and note the hidden state of every token (after the final norm)."""
        return self._hidden_states.extend(tokens)

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate as the next token in one batch; return (logits, hidden states)."""
        return self._hidden_states.look_ahead(candidates)

    def take(self, index: int) -> None:
        """Append that candidate of the last ``look_ahead``; nothing is evaluated."""
        self._hidden_states.take(index)

    def close(self) -> None:
        """Free the context and the model; a second call does nothing."""
        with self._shared.lock:
            self._closed = True
            self._shared.llama.close()

    def _context(self) -> Any:
        if self._closed:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        return self._shared.context()

    def _held_tokens(self) -> NDArray[np.intc]:
        """The tokens that the sequence holds, a view."""
        record: NDArray[np.intc] = self._shared.llama.input_ids[: self._shared.llama.n_tokens]
        return record

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
        self._shared.n_evaluated += 1

    def _forget(self, n: int) -> None:
        """Note that only the first ``n`` tokens are left; their logits are not."""
        self._shared.llama.n_tokens = n
        self._shared.llama._requires_eval = True

    def _clear(self) -> None:
        """Empty the sequence and its record."""
        self._forget(0)
        llama_cpp.llama_memory_seq_rm(self._memory, self._seq, -1, -1)

    def _drop_unrecorded(self) -> None:
        """After an interrupt: what was evaluated and not recorded must go."""
        if self._has_state:
            self._clear()
        else:
            llama_cpp.llama_memory_seq_rm(self._memory, self._seq, self._held() or -1, -1)

    def _check(self, tokens: Sequence[int], held: int) -> None:
        if not len(tokens):
            raise PromptError("there is nothing to evaluate; give at least one token")
        low, high = min(tokens), max(tokens)
        if low < 0 or high >= self.n_vocab:
            bad = low if low < 0 else high
            raise PromptError(f"the token id {bad} is outside the vocabulary (0 to {self.n_vocab - 1})")
        if held + len(tokens) > self.n_ctx:
            raise ExceededContextLengthException(held + len(tokens), self.n_ctx)

    def _extend_guarded(self, context: Any, whole: list[int], *, all_rows: bool = False) -> None:
        """Evaluate until ``whole`` is held, in batches that Ctrl-C can interrupt.

        The record is true after every batch. Where a signal's handler returns, the loop goes on.
        ``all_rows`` asks for the output of every token.
        """
        while (held := self._held()) < len(whole):
            part = whole[held : held + self._batch.size]
            with interruptible(context):
                self._batch.fill(part, held, logits=held + len(part) == len(whole))
                if all_rows:
                    self._batch.want_all()
                start = perf_counter()
                status = _decode(context, self._batch.struct)
                self._slow = perf_counter() - start > GUARD_ABOVE * len(part)
                if status == _ABORTED and self._has_state:
                    self._clear()
                elif status == _ABORTED:
                    self._record(part[: self._last_position() + 1 - held], held)
                elif status:
                    raise self._failure(status)
                else:
                    self._record(part, held)

    def _failure(self, status: int) -> EngineError:
        """Make the record true again and say what happened."""
        if self._has_state:
            self._clear()
        elif self._last_position() + 1 < self._held():
            self._forget(self._last_position() + 1)
        if status == 1:
            return ContextFullError(
                f"no room is left in the {self._shared.llama._n_ctx} cells of the context, which forks "
                "share; close some or load with a larger context_length"
            )
        return EngineError(
            f"llama_decode returned {status}: the context was changed by hand in the middle of a generation, "
            "or llama.cpp failed; the next prompt is evaluated anew"
        )

    def _last_position(self) -> int:
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, self._seq))

    def _can_cut(self, n: int, held: int) -> bool:
        """Whether the memory has the first ``n`` tokens and computes rightly after a cut behind them."""
        if self._last_position() + 1 < n:
            return False  # emptied by hand
        if self._n_swa and n < held:
            # llama.cpp says yes to cuts below a window that has moved on, and computes nonsense afterwards
            oldest = int(llama_cpp.llama_memory_seq_pos_min(self._memory, self._seq))
            return oldest <= max(0, n - self._n_swa)
        return True

    def _logits(self, context: Any) -> Logits:
        """The logits after the last token: a view, or a copy while forks take turns on the row."""
        view = self._row_of(context)
        self._shared.row = self._seq
        return view.copy() if self._shared.has_forks else view

    def _row_of(self, context: Any) -> Logits:
        """The last row of logits in the context; hold the lock."""
        address = logits_address(context, -1)
        if address != self._view_address:
            if not address:
                raise EngineError("llama.cpp has no logits for the last token")
            self._view = rows_at(address, 1, self.n_vocab)[0]
            self._view_address = address
        return self._view
