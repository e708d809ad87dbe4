"""SamplerSettings as llama.cpp's own sampler chain: the fast picker.

The chain draws from the newest row of logits in the context. Logits that are given and are not that row are
copied into it; where another engine's row is there, the chain runs on a copy of its own. Its draws come from
llama.cpp's generator, so they differ from the numpy picker's for the same seed.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import llama_cpp
import numpy as np

from ...engine import Logits
from ...errors import EngineError, NoTokenLeft
from ...samplers.fields import resolve_biases
from ...samplers.settings import SamplerSettings
from .handles import vocab_handle
from .rows import CANDIDATE
from .samplers import chain_of, chain_seed, plan_draw, plan_samplers
from .vocab import LlamaTokenizer

__all__ = ["Candidates", "Constraint", "LlamaChain", "Source"]

_NOTHING_LEFT = "no token is left to choose from: all {} logits are -inf; ban fewer tokens"


class Source(Protocol):
    """What of an engine a chain needs; ``LlamaEngine`` says what each is."""

    n_vocab: int

    @property
    def llama(self) -> Any:
        """The ``Llama``."""
        ...

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held during every call into libllama."""
        ...

    def context(self) -> Any:
        """The live ``llama_context``."""
        ...

    def is_live(self, logits: Logits) -> bool:
        """Whether ``logits`` is the row that is drawn from next."""
        ...

    def live_view(self) -> Logits | None:
        """That row, None where it is another engine's."""
        ...


class Constraint(Protocol):
    """What a text must follow, a grammar for example. Its state goes from token to token."""

    def allows(self, token: int) -> bool:
        """Whether ``token`` may come next."""
        ...

    def accept(self, token: int) -> None:
        """Go on behind ``token``, which is allowed."""
        ...

    def mask(self, array: Any) -> None:
        """Set the logits of all that is not allowed in a ``llama_token_data_array`` to -inf."""
        ...

    def rewind(self, tokens: Sequence[int]) -> None:
        """Become the state after exactly ``tokens``, which are allowed."""
        ...

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        ...


class Candidates:
    """A ``llama_token_data_array`` for all tokens of the vocabulary, to be filled again and again."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._data = np.zeros(n_vocab, dtype=CANDIDATE)
        self._ids = np.arange(n_vocab, dtype=np.int32)

    def fill(self, logits: Logits) -> Any:
        """Return the array with these logits, in the order of the ids."""
        self._data["id"], self._data["logit"] = self._ids, logits
        return llama_cpp.llama_token_data_array(
            data=self._data.ctypes.data_as(llama_cpp.llama_token_data_p),
            size=self._n_vocab,
            selected=-1,
            sorted=False,
        )

    def logits(self) -> Logits:
        """The logits now, float32 (n_vocab,): a copy, by id unless a sampler has sorted them."""
        found: Logits = self._data["logit"].copy()
        return found


class LlamaChain:
    """A picker around a C sampler chain for the logits of the engine ``source``.

    ``history`` are the tokens before the first draw, which penalties and DRY look at; every token drawn is
    counted by llama.cpp itself. ``constraint`` limits the tokens drawn, and is closed with the chain: as in
    llama.cpp a token is drawn without it first, and only where it forbids that one again with it.
    """

    def __init__(
        self,
        source: Source,
        settings: SamplerSettings,
        seed: int,
        history: Sequence[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self.source = source
        self._lock, self._n_vocab, self._seed = source.lock, source.n_vocab, seed
        self._context, self._is_live, self._live_view = source.context, source.is_live, source.live_view
        self._constraint, self._n_prompt, self._window = constraint, len(history), settings.window
        with self._lock:
            source.context()  # raises where the model is gone, before its vocabulary is looked at
            tokenizer = LlamaTokenizer(source.llama, source.lock)
            plan = plan_samplers(settings, source.n_vocab, vocab_handle(source.llama), tokenizer)
            plan.append(plan_draw(settings))
            self._chain = chain_of(plan, seed)
            self._free = weakref.finalize(self, llama_cpp.llama_sampler_free, self._chain)
            biases = resolve_biases(settings, tokenizer)
            self._banned = frozenset(token for token, bias in biases.items() if bias == -np.inf)
            self._drawing = {i: sampler for i, sampler in enumerate(plan) if sampler.stream is not None}
            self._look_back(history)
        self._sample = llama_cpp.llama_sampler_sample
        self._candidates: Candidates | None = None

    def __call__(self, tokens: Sequence[int], logits: Logits) -> int:
        """Draw the next token from ``logits``; NoTokenLeft where every one is -inf, then ``rewind`` it."""
        with self._lock:
            if self._constraint is None and self._is_live(logits):
                view = logits
            else:
                self._check(logits)
                found = self._live_view()
                if found is None or self._constraint is not None:
                    return self._pick_from(logits)
                np.copyto(found, logits)
                view = found
            token = self.draw(self._context())
            if not view[token] > -np.inf:  # cheaper than to look at all of them before
                raise NoTokenLeft(_NOTHING_LEFT.format(self._n_vocab))
            return token

    def draw(self, context: Any) -> int:
        """Draw from the newest row of ``context``, which must be the source's; hold its lock."""
        if self._chain is None:
            raise EngineError("this picker is closed")
        if self._constraint is not None:
            view = self._live_view()
            if view is None:
                raise EngineError("the newest logits are another engine's")
            return self._pick_from(view)
        token: int = self._sample(self._chain, context, -1)
        if token in self._banned:  # llama.cpp takes one of them where there is nothing else
            raise NoTokenLeft(_NOTHING_LEFT.format(self._n_vocab))
        return token

    def rewind(self, tokens: Sequence[int], salt: int) -> None:
        """Go back to having drawn exactly ``tokens`` (the prompt and what was generated).

        What is drawn from now on comes from new numbers, which derive from the seed and ``salt``; with
        salt 0 they begin again like those of a new chain.
        """
        with self._lock:
            self._context()  # raises where the model is gone, whose vocabulary is read here
            if self._chain is None:
                raise EngineError("this picker is closed")
            llama_cpp.llama_sampler_reset(self._chain)
            self._reseed(salt)
            self._look_back(tokens)
            if self._constraint is not None:
                self._constraint.rewind(tokens[self._n_prompt :])

    def close(self) -> None:
        """Free the chain and its constraint; a second call does nothing."""
        with self._lock:
            self._chain = None
            self._free()
            if self._constraint is not None:
                self._constraint.close()

    def _look_back(self, tokens: Sequence[int]) -> None:
        """Let the steps that count tokens see as many of the last ones as they look at."""
        for token in tokens[-self._window :] if self._window else ():
            llama_cpp.llama_sampler_accept(self._chain, token)

    def _reseed(self, salt: int) -> None:
        """Replace the samplers that draw. A chain can only be added to at its end, so what stands behind
        the first of them is taken out and put back; DRY stands before them and is slow to make."""
        if not self._drawing:
            return
        chain, first = self._chain, min(self._drawing)
        n = llama_cpp.llama_sampler_chain_n(chain)
        for i, old in enumerate(
            [llama_cpp.llama_sampler_chain_remove(chain, first) for _ in range(first, n)]
        ):
            sampler = self._drawing.get(first + i)
            if sampler is None:
                llama_cpp.llama_sampler_chain_add(chain, old)
                continue
            llama_cpp.llama_sampler_free(old)
            new = sampler.make(chain_seed(self._seed, sampler.stream, salt))
            llama_cpp.llama_sampler_chain_add(chain, new)

    def _check(self, logits: Logits) -> None:
        if self._chain is None:
            raise EngineError("this picker is closed")
        if np.shape(logits) != (self._n_vocab,):
            raise EngineError("there are no logits to choose from; extend the engine first")

    def _pick_from(self, logits: Logits) -> int:
        """Run the chain on an array: slower by a copy."""
        constraint = self._constraint
        token = self._apply(logits)
        if constraint is not None and not constraint.allows(token):
            # the generator has moved on: a redraw with the number that led to ``token`` would be biased
            token = self._apply(logits, constraint)
        llama_cpp.llama_sampler_accept(self._chain, token)
        if constraint is not None:
            constraint.accept(token)
        return token

    def _apply(self, logits: Logits, constraint: Constraint | None = None) -> int:
        """Run the chain on a copy of ``logits``, where a constraint is given on what it allows."""
        if self._candidates is None:
            self._candidates = Candidates(self._n_vocab)
        array = self._candidates.fill(logits)
        if constraint is not None:
            constraint.mask(array)
            if not self._candidates.logits().max() > -np.inf:
                raise NoTokenLeft("the grammar allows no token that is left; ban fewer tokens or loosen it")
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        chosen = array.data[array.selected]
        if not chosen.logit > -np.inf:
            raise NoTokenLeft(_NOTHING_LEFT.format(self._n_vocab))
        token: int = chosen.id
        return token
