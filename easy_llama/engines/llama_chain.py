"""SamplerSettings as llama.cpp's own sampler chain: the fast picker.

The chain reads the logits of the last decoded token from the context, so the picker ignores the array it
is given; a strategy that writes into that array in place is seen all the same. Its draws come from
llama.cpp's generator, so they differ from the numpy picker's for the same seed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp

from ..engine import Logits
from ..errors import EngineError
from ..samplers import SamplerSettings

__all__ = ["LlamaChain"]


class LlamaChain:
    """A picker around a C sampler chain; ``context`` returns the live context that has logits.

    ``history`` are the tokens before the first draw, which the penalties count; every token drawn is
    counted by llama.cpp itself.
    """

    def __init__(
        self,
        context: Callable[[], Any],
        n_vocab: int,
        settings: SamplerSettings,
        seed: int,
        history: Sequence[int] = (),
    ) -> None:
        self._context = context
        self._chain = build_chain(settings, seed, n_vocab)
        self._free = weakref.finalize(self, llama_cpp.llama_sampler_free, self._chain)
        if settings.penalizes:
            for token in history[-settings.penalty_last_n :]:
                llama_cpp.llama_sampler_accept(self._chain, token)

    def __call__(self, tokens: Sequence[int], logits: Logits) -> int:
        """Draw the next token from the logits of the last decoded token."""
        token: int = llama_cpp.llama_sampler_sample(self._chain, self._context(), -1)
        return token

    def close(self) -> None:
        """Free the chain; a second call does nothing."""
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
    if settings.top_k is not None and settings.top_k > 0:
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
