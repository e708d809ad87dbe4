"""LlamaEngine: the engine protocol on one sequence of the context of a real ``llama_cpp.Llama``.

``llama.input_ids[:llama.n_tokens]`` is the one record of what sequence 0 holds. It is read before every
call, so calls made by hand on the same ``Llama`` in between are noticed and harmless. Forks are further
sequences of the same context that share the cells of their common prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ...checks import check_each_once, check_rollback
from ...engine import Engine, Logits, Picker, Step
from ...errors import EngineError, ModelUnloadedException
from ...samplers.picker import NumpyPicker
from ...samplers.settings import SamplerSettings
from .chain import LlamaChain
from .context import LlamaContext
from .handles import context_handle
from .hidden import HiddenStates
from .jobs import Ask
from .picker import constraint_step_of, picker_of
from .sequence import LlamaSequence
from .shift import shift

__all__ = ["LlamaEngine"]


class LlamaEngine:
    """Evaluates tokens with llama.cpp and remembers them in its key-value cache.

    ``n_evaluated`` counts every token evaluated through this engine and its forks. Calls are safe from
    several threads; ``session()`` keeps a whole generation together.
    """

    def __init__(self, llama: Llama, *, n_ctx: int | None = None) -> None:
        context = LlamaContext(llama, n_ctx)
        self._set_up(context, context.root)

    def _set_up(self, context: LlamaContext, sequence: LlamaSequence) -> None:
        self._shared, self._sequence = context, sequence
        self._hidden = HiddenStates(context, sequence)
        self._closed = False
        self.n_ctx, self.n_vocab = sequence.n_ctx, sequence.n_vocab

    # --- the protocol ----------------------------------------------------------------------------------

    @property
    def tokens(self) -> list[int]:
        """The tokens this engine holds, a copy."""
        return self._sequence.tokens

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens`` and return the logits after the last: float32 (n_vocab,), a writable view
        that is valid until the next call on this engine (a copy while there are forks).

        Raises ExceededContextLengthException, PromptError for ids outside the vocabulary, and
        KeyboardInterrupt in the middle of a long evaluation, which keeps what was evaluated.
        """
        context, sequence = self._shared, self._sequence
        with context.lock:
            self._check_open()
            if len(tokens) == 1 and not context.slow:
                context.step(sequence, tokens[0])
            else:
                context.decode([Ask(sequence, tokens)])
            return context.newest(sequence)

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens; re-evaluates them where the memory can't be cut (recurrent models,
        sliding windows that have moved on, a memory that was emptied by hand)."""
        with self._shared.lock:
            self._check_open()
            self._hidden.drop()
            check_rollback(n, self._sequence.record.n)
            kept = self.tokens[:n]
            if not self._sequence.cut(n):
                self.extend(kept)

    def fork(self) -> LlamaEngine:
        """Return an engine with the same tokens in another sequence of the same context.

        The common prefix is shared, so this costs microseconds. Raises EngineError when all sequences of
        the context are in use; ``close`` a fork to free its sequence.
        """
        with self._shared.lock:
            self._check_open()
            self._hidden.drop()
            child = object.__new__(type(self))
            child._set_up(self._shared, self._shared.branch(self._sequence))
            return child

    def close(self) -> None:
        """Free the context and the model, of a fork only its sequence; a second call does nothing."""
        with self._shared.lock:
            self._closed = True
            if self._is_fork:
                self._sequence.close()
            else:
                self._shared.llama.close()

    # --- capabilities ----------------------------------------------------------------------------------

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far, by this engine and its forks."""
        return self._shared.n_evaluated

    def session(self) -> AbstractContextManager[Callable[[], None]]:
        """Reserve the context for one generation; see ``Session``."""
        return self._shared.session()

    @property
    def n_forks_free(self) -> int:
        """How many more forks the context has room for."""
        return self._shared.n_free + self._hidden.n_candidates

    def extend_batch(self, engines: Sequence[Engine], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate one token on each of ``engines``, forks of one context, in one batch.

        Returns a view of the logits, float32 (len(engines), n_vocab), valid until the next call on any.
        """
        members = [engine for engine in engines if isinstance(engine, LlamaEngine)]
        if len(members) < len(engines) or any(member._shared is not self._shared for member in members):
            raise EngineError("only forks of one context can be evaluated together")
        check_each_once(members, tokens)
        return self._shared.step_each([member._sequence for member in members], tokens).logits

    def extend_rows(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate ``tokens`` and return the logits after each of them, float32 (len(tokens), n_vocab)."""
        with self._shared.lock:
            self._check_open()
            return self._shared.decode([Ask(self._sequence, tokens, len(tokens))]).logits

    def discard(self, start: int, stop: int) -> bool:
        """Remove the tokens from ``start`` to before ``stop`` and move the later ones down in their place.

        A context shift: nothing is evaluated, but what is kept still carries traces of what was removed.
        Returns False, and changes nothing, where llama.cpp can't do it or would crash: recurrent models,
        some RoPE kinds, some quantised caches, a context with forks.
        """
        self._check_open()
        return shift(self._shared, self._sequence, start, stop)

    # --- picking ---------------------------------------------------------------------------------------

    def picker(
        self, settings: SamplerSettings, seed: int, history: Sequence[int] = ()
    ) -> LlamaChain | NumpyPicker:
        """Return the picker for ``settings``; ``history`` is what penalties count."""
        return picker_of(self, settings, seed, history)

    def advance(self, picker: Picker) -> Callable[[int], int] | None:
        """Return a function that evaluates a token and picks the next, where ``picker`` is a chain of
        this engine: the same as ``extend`` and ``picker``, with one turn at the lock and no array."""
        if not (isinstance(picker, LlamaChain) and picker.source is self):
            return None
        context, sequence = self._shared, self._sequence
        lock, step, draw = context.lock, context.step, picker.draw

        def evaluate_and_pick(token: int) -> int:
            if context.slow:  # then a microsecond is nothing, and Ctrl-C must be able to interrupt
                return picker((), self.extend((token,)))
            with lock:
                return draw(step(sequence, token))

        return evaluate_and_pick

    def constraint_step(self, settings: SamplerSettings) -> Step:
        """Return what the constraint of ``settings`` leaves of the first token, as a step."""
        return constraint_step_of(self, settings)

    # --- hidden states ---------------------------------------------------------------------------------

    @property
    def hidden(self) -> NDArray[np.float32]:
        """The known hidden states of the first tokens held, float32 (n, n_embd)."""
        return self._hidden.known()

    def extend_hidden(self, tokens: Sequence[int]) -> Logits:
        """Do what ``extend`` does and note the hidden state of every token (after the final norm)."""
        self._check_open()
        return self._hidden.extend(tokens)

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate as the next token in one batch; return (logits, hidden states)."""
        self._check_open()
        return self._hidden.look_ahead(candidates)

    def take(self, index: int) -> None:
        """Append that candidate of the last ``look_ahead``; nothing is evaluated."""
        self._check_open()
        self._hidden.take(index)

    # --- what the sampler chain needs ------------------------------------------------------------------

    @property
    def llama(self) -> Llama:
        """The ``Llama`` whose context this is."""
        return self._shared.llama

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held during every call into libllama; who calls libllama by other ways must hold it too."""
        return self._shared.lock

    def context(self) -> Any:
        """The live ``llama_context``; hold ``lock`` meanwhile. ModelUnloadedException when it is gone."""
        self._check_open()
        return self._shared.pointer()

    def is_live(self, logits: Logits) -> bool:
        """Whether ``logits`` is the very array that the sampler chain draws from next."""
        return self._shared.is_live(self._sequence, logits)

    def live_view(self) -> Logits | None:
        """The writable row in the context that the sampler chain draws from next, None where it is
        another engine's; hold ``lock`` meanwhile. It outlives a rollback, which does not touch it."""
        self._check_open()
        return self._shared.last_row() if self._shared.row == self._sequence.number else None

    # --- being open ------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return not self._closed and context_handle(self.llama) is not None

    @property
    def _is_fork(self) -> bool:
        return self._sequence is not self._shared.root

    def _check_open(self) -> None:
        if self._closed and self._is_fork:
            raise EngineError("this fork is closed")
        if self._closed:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        self._shared.pointer()  # raises where the Llama was closed by hand
