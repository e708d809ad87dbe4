"""The samplers of llama.cpp that SamplerSettings ask for, in llama.cpp's order, as a chain.

Order and conditions are those of llama.cpp's ``common/sampling.cpp``. What differs: XTC has random numbers of
its own (llama.cpp gives it the same as the draw), and what is as good as impossible is dropped before the
two steps that take an entropy, because masked tokens would make it NaN or count as possible.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp

from ..engine import Tokenizer
from ..errors import EngineError, SettingsError
from ..samplers import MAX_SEED, SamplerSettings, resolve_biases
from ..steps import DRAW, NEGLIGIBLE, XTC, stream_seed, temperature_bounds

__all__ = ["PlannedSampler", "build_chain", "chain_of", "chain_seed", "plan_samplers"]

_N_FITTED = 100  # tokens that mirostat fits Zipf's law to, as in llama.cpp


@dataclass(frozen=True)
class PlannedSampler:
    """A ``llama_sampler`` to be made: from a seed, which counts only where it draws (``stream``)."""

    make: Callable[[int], Any]
    stream: int | None = None


def build_chain(
    settings: SamplerSettings,
    seed: int,
    n_vocab: int,
    vocab: Any = None,
    tokenizer: Tokenizer | None = None,
) -> Any:
    """Return a ``llama_sampler`` chain with the steps of ``settings`` and a draw at its end.

    ``vocab`` is llama.cpp's vocabulary, needed for DRY; ``tokenizer`` is needed for texts in ``logit_bias``.
    Free the chain with ``llama_sampler_free``.
    """
    return chain_of(plan_samplers(settings, n_vocab, vocab, tokenizer), seed)


def chain_of(plan: Sequence[PlannedSampler], seed: int) -> Any:
    """Make the samplers and chain them; EngineError where llama.cpp makes none, and nothing is leaked."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for planned in plan:
        sampler = planned.make(chain_seed(seed, planned.stream, 0))
        if not sampler:
            llama_cpp.llama_sampler_free(chain)
            raise EngineError("llama.cpp made no sampler for these settings")
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def chain_seed(seed: int, stream: int | None, salt: int) -> int:
    """Return the seed, 0 to MAX_SEED, of a sampler that draws for ``stream``; ``seed`` itself for DRAW, 0."""
    return seed if stream is None else stream_seed(seed, stream, salt) % (MAX_SEED + 1)


def plan_samplers(
    settings: SamplerSettings, n_vocab: int, vocab: Any = None, tokenizer: Tokenizer | None = None
) -> list[PlannedSampler]:
    """Return the samplers for ``settings`` in order; the arguments are those of ``build_chain``."""
    c, plan = llama_cpp, _bias(settings, n_vocab, vocab, tokenizer)

    def add(make: Callable[..., Any], *arguments: Any) -> None:
        plan.append(PlannedSampler(lambda seed: make(*arguments)))

    if settings.mirostat:
        return plan + _temperature(settings) + [_selector(settings, n_vocab)]
    if settings.penalizes:
        repeat, often, there = (
            settings.repeat_penalty,
            settings.frequency_penalty,
            settings.presence_penalty,
        )
        last_n = settings.penalty_last_n
        add(c.llama_sampler_init_penalties, n_vocab, last_n, repeat or 1.0, often or 0.0, there or 0.0)
    if settings.breaks_repeats:
        plan.append(_dry(settings, vocab))
    if settings.top_n_sigma:
        add(c.llama_sampler_init_top_n_sigma, settings.top_n_sigma)
    if settings.top_k is not None and 0 < settings.top_k < n_vocab:
        add(c.llama_sampler_init_top_k, settings.top_k)
    if settings.typical_p is not None and settings.typical_p < 1:
        add(c.llama_sampler_init_min_p, NEGLIGIBLE, 1)
        add(c.llama_sampler_init_typical, settings.typical_p, 1)
    if settings.top_p is not None and settings.top_p < 1:
        add(c.llama_sampler_init_top_p, settings.top_p, 1)
    if settings.min_p is not None and settings.min_p > 0:
        add(c.llama_sampler_init_min_p, settings.min_p, 1)
    if settings.xtc_probability and settings.xtc_threshold <= 0.5:
        # at 0 it would take masked tokens for candidates
        often, threshold = settings.xtc_probability, max(settings.xtc_threshold, NEGLIGIBLE)
        plan.append(PlannedSampler(lambda seed: c.llama_sampler_init_xtc(often, threshold, 1, seed), XTC))
    return plan + _temperature(settings) + [_selector(settings, n_vocab)]


def _bias(
    settings: SamplerSettings, n_vocab: int, vocab: Any, tokenizer: Tokenizer | None
) -> list[PlannedSampler]:
    """The biases of the settings, and the tokens that the model's file says are never generated."""
    biases = resolve_biases(settings, tokenizer)
    if biases and max(biases) >= n_vocab:
        raise SettingsError(
            f"logit_bias names the token {max(biases)}; the vocabulary has 0 to {n_vocab - 1}"
        )
    if vocab is not None:
        n = ctypes.c_int32()
        suppressed = llama_cpp.llama_vocab_get_suppress_tokens(vocab, ctypes.byref(n))
        biases |= {suppressed[i]: float("-inf") for i in range(n.value)}
    if not biases:
        return []
    pairs = (llama_cpp.llama_logit_bias * len(biases))(*biases.items())
    make = llama_cpp.llama_sampler_init_logit_bias
    return [PlannedSampler(lambda seed: make(n_vocab, len(pairs), pairs))]


def _dry(settings: SamplerSettings, vocab: Any) -> PlannedSampler:
    if vocab is None:
        raise EngineError("DRY reads the vocabulary of the model; pass vocab")
    breakers = [text.encode() for text in settings.dry_sequence_breakers]
    texts = (ctypes.c_char_p * len(breakers))(*breakers)
    arguments = (
        settings.dry_multiplier,
        settings.dry_base,
        settings.dry_allowed_length,
        settings.dry_penalty_last_n,
    )
    return PlannedSampler(lambda seed: llama_cpp.llama_sampler_init_dry(vocab, *arguments, texts, len(texts)))


def _temperature(settings: SamplerSettings) -> list[PlannedSampler]:
    if settings.dynatemp_range and not settings.mirostat:
        temp = 1.0 if settings.temp is None else settings.temp
        low, high = temperature_bounds(temp, settings.dynatemp_range)
        exponent = settings.dynatemp_exponent
        middle, half = temp, settings.dynatemp_range  # llama.cpp goes from middle - half to middle + half
        if low > middle - half:
            middle, half = (high + low) / 2, (high - low) / 2
        return [
            PlannedSampler(lambda seed: llama_cpp.llama_sampler_init_min_p(NEGLIGIBLE, 1)),
            PlannedSampler(lambda seed: llama_cpp.llama_sampler_init_temp_ext(middle, half, exponent)),
        ]
    if settings.temp is None or settings.temp == 1 or settings.is_greedy:
        return []
    plain = settings.temp
    return [PlannedSampler(lambda seed: llama_cpp.llama_sampler_init_temp(plain))]


def _selector(settings: SamplerSettings, n_vocab: int) -> PlannedSampler:
    """What chooses the token at the end of the chain."""
    c = llama_cpp
    tau, eta = settings.mirostat_tau, settings.mirostat_eta
    target, decay = settings.adaptive_target, settings.adaptive_decay
    if settings.is_greedy:
        return PlannedSampler(lambda seed: c.llama_sampler_init_greedy())
    if settings.mirostat == 1:
        return PlannedSampler(
            lambda seed: c.llama_sampler_init_mirostat(n_vocab, seed, tau, eta, _N_FITTED), DRAW
        )
    if settings.mirostat == 2:
        return PlannedSampler(lambda seed: c.llama_sampler_init_mirostat_v2(seed, tau, eta), DRAW)
    if target is not None:
        return PlannedSampler(lambda seed: c.llama_sampler_init_adaptive_p(target, decay, seed), DRAW)
    return PlannedSampler(lambda seed: c.llama_sampler_init_dist(seed), DRAW)
