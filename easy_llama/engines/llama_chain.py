"""SamplerSettings as llama.cpp's own sampler chain: the fast picker.

The chain reads the logits of the last decoded token from the context, so a strategy that writes into that
row in place is seen. Where another engine has decoded since, the chain is run on the logits it is given.
Its draws come from llama.cpp's generator, so they differ from the numpy picker's for the same seed.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import llama_cpp
import numpy as np

from ..engine import Logits
from ..errors import EngineError
from ..samplers import SamplerSettings

__all__ = ["LlamaChain", "build_chain"]

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class _Source(Protocol):
    """What of an engine is needed here."""

    n_vocab: int

    @property
    def lock(self) -> AbstractContextManager[object]: ...
    def newest_row(self) -> Any: ...


class LlamaChain:
    """A picker around a C sampler chain for the logits of the engine ``source``.

    ``history`` are the tokens before the first draw, which the penalties count; every token drawn is
    counted by llama.cpp itself.
    """

    def __init__(
        self, source: _Source, settings: SamplerSettings, seed: int, history: Sequence[int] = ()
    ) -> None:
        self.source = source
        self._lock, self._newest_row, self._n_vocab = source.lock, source.newest_row, source.n_vocab
        self._chain = build_chain(settings, seed, source.n_vocab)
        self._free = weakref.finalize(self, llama_cpp.llama_sampler_free, self._chain)
        self._sample = llama_cpp.llama_sampler_sample
        if settings.penalizes:
            for token in history[-settings.penalty_last_n :]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    def __call__(self, tokens: Sequence[int], logits: Logits) -> int:
        """Draw the next token."""
        with self._lock:
            context = self._newest_row()
            return self._pick_from(logits) if context is None else self.draw(context)

    def draw(self, context: Any) -> int:
        """Draw from the newest row of ``context``, which must have one; hold the source's lock."""
        if self._chain is None:
            raise EngineError("this picker is closed")
        token: int = self._sample(self._chain, context, -1)
        return token

    def _pick_from(self, logits: Logits) -> int:
        """Run the chain on an array: slower by a copy, for engines that take turns on one context."""
        if self._chain is None:
            raise EngineError("this picker is closed")
        if getattr(logits, "shape", None) != (self._n_vocab,):
            raise EngineError("there are no logits to choose from; extend the engine first")
        candidates = np.zeros(self._n_vocab, dtype=_CANDIDATE)
        candidates["id"], candidates["logit"] = np.arange(self._n_vocab), logits
        array = llama_cpp.llama_token_data_array(
            data=candidates.ctypes.data_as(llama_cpp.llama_token_data_p),
            size=self._n_vocab,
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        token: int = array.data[array.selected].id
        llama_cpp.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free the chain; a second call does nothing."""
        with self._lock:
            self._chain = None
            self._free()


def build_chain(settings: SamplerSettings, seed: int, n_vocab: int) -> Any:
    """Return a ``llama_sampler`` chain with the steps of ``settings`` and a draw at its end."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        if not sampler:
            raise EngineError("llama.cpp made no sampler for these settings")
        llama_cpp.llama_sampler_chain_add(chain, sampler)

    if settings.penalizes:
        add(
            llama_cpp.llama_sampler_init_penalties(
                n_vocab,
                settings.penalty_last_n,
                settings.repeat_penalty or 1.0,
                settings.frequency_penalty or 0.0,
                settings.presence_penalty or 0.0,
            )
        )
    if settings.top_k is not None and 0 < settings.top_k < n_vocab:
        add(llama_cpp.llama_sampler_init_top_k(settings.top_k))
    if settings.top_p is not None and settings.top_p < 1:
        add(llama_cpp.llama_sampler_init_top_p(settings.top_p, 1))
    if settings.min_p is not None and settings.min_p > 0:
        add(llama_cpp.llama_sampler_init_min_p(settings.min_p, 1))
    if settings.temp == 0:
        add(llama_cpp.llama_sampler_init_greedy())
    else:
        if settings.temp is not None and settings.temp != 1:
            add(llama_cpp.llama_sampler_init_temp(settings.temp))
        add(llama_cpp.llama_sampler_init_dist(seed))
    return chain
