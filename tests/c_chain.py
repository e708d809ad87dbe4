"""llama.cpp's sampler chain with any draw at its end: the oracle of the numpy steps and draws."""

from __future__ import annotations

from typing import Any

import llama_cpp as c

from easy_llama.engine import Tokenizer
from easy_llama.engines.llama.samplers import PlannedSampler, chain_of, plan_draw, plan_samplers
from easy_llama.samplers import SamplerSettings
from easy_llama.steps import DRAW

_N_FITTED = 100  # tokens that mirostat fits Zipf's law to, as in llama.cpp


def build_chain(
    settings: SamplerSettings,
    seed: int,
    n_vocab: int,
    vocab: Any = None,
    tokenizer: Tokenizer | None = None,
) -> Any:
    """Return a chain with the steps of ``settings`` and a draw; free it with ``llama_sampler_free``."""
    plan = plan_samplers(settings, n_vocab, vocab, tokenizer)
    return chain_of([*plan, _draw(settings, n_vocab)], seed)


def _draw(settings: SamplerSettings, n_vocab: int) -> PlannedSampler:
    tau, eta = settings.mirostat_tau, settings.mirostat_eta
    target, decay = settings.adaptive_target, settings.adaptive_decay
    if settings.is_greedy or not settings.draws_with_state:
        return plan_draw(settings)
    if settings.mirostat == 1:
        return PlannedSampler(
            lambda seed: c.llama_sampler_init_mirostat(n_vocab, seed, tau, eta, _N_FITTED), DRAW
        )
    if settings.mirostat == 2:
        return PlannedSampler(lambda seed: c.llama_sampler_init_mirostat_v2(seed, tau, eta), DRAW)
    return PlannedSampler(lambda seed: c.llama_sampler_init_adaptive_p(target, decay, seed), DRAW)
