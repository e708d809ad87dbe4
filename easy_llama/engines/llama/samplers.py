"""The samplers of llama.cpp that SamplerSettings ask for, as a chain: what is on and in which order say the
settings' own rows of steps.

What differs from llama.cpp's ``common/sampling.cpp``: XTC has random numbers of its own (llama.cpp gives it
the same as the draw), and what is as good as impossible is dropped before the two steps that take an entropy,
because masked tokens would make it NaN or count as possible.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import llama_cpp as c

from ...engine import Tokenizer
from ...errors import EngineError, SettingsError
from ...samplers.fields import MAX_SEED, resolve_biases
from ...samplers.settings import SamplerSettings
from ...steps.basic import NEGLIGIBLE, temperature_bounds
from ...steps.random import DRAW, XTC, stream_seed

__all__ = ["PlannedSampler", "chain_of", "chain_seed", "plan_draw", "plan_samplers"]


@dataclass(frozen=True)
class PlannedSampler:
    """A ``llama_sampler`` to be made: from a seed, which counts only where it draws (``stream``)."""

    make: Callable[[int], Any]
    stream: int | None = None


class _Vocabulary(NamedTuple):
    """What samplers may need of a model: llama.cpp's vocabulary for DRY, the tokenizer for texts."""

    n: int
    handle: Any
    tokenizer: Tokenizer | None


def chain_of(plan: Sequence[PlannedSampler], seed: int) -> Any:
    """Make the samplers and chain them; EngineError where llama.cpp makes none, and nothing is leaked."""
    chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
    for planned in plan:
        sampler = planned.make(chain_seed(seed, planned.stream, 0))
        if not sampler:
            c.llama_sampler_free(chain)
            raise EngineError("llama.cpp made no sampler for these settings")
        c.llama_sampler_chain_add(chain, sampler)
    return chain


def chain_seed(seed: int, stream: int | None, salt: int) -> int:
    """Return the seed, 0 to MAX_SEED, of a sampler that draws for ``stream``; ``seed`` itself for DRAW, 0."""
    return seed if stream is None else stream_seed(seed, stream, salt) % (MAX_SEED + 1)


def plan_samplers(
    settings: SamplerSettings, n_vocab: int, vocab: Any = None, tokenizer: Tokenizer | None = None
) -> list[PlannedSampler]:
    """Return the samplers for the steps of ``settings`` in order; ``plan_draw`` is what follows them.

    ``vocab`` is llama.cpp's vocabulary, needed for DRY; ``tokenizer`` is needed for texts in ``logit_bias``.
    """
    vocabulary = _Vocabulary(n_vocab, vocab, tokenizer)
    plan = _suppressed(vocabulary)
    for row in settings.active_steps:
        plan += _SAMPLERS[row.name](settings, vocabulary)
    return plan


def plan_draw(settings: SamplerSettings) -> PlannedSampler:
    """Return the sampler that chooses; SettingsError for mirostat and adaptive-p: NumpyPicker has these."""
    if settings.draws_with_state:
        raise SettingsError("mirostat and adaptive_target have a state; draw with a NumpyPicker")
    if settings.is_greedy:
        return _plain(c.llama_sampler_init_greedy)
    return PlannedSampler(lambda seed: c.llama_sampler_init_dist(seed), DRAW)


def _plain(make: Callable[..., Any], *arguments: Any) -> PlannedSampler:
    """A sampler that draws nothing."""
    return PlannedSampler(lambda seed: make(*arguments))


def _suppressed(vocabulary: _Vocabulary) -> list[PlannedSampler]:
    """Ban the tokens that the model's file says are never generated."""
    if vocabulary.handle is None:
        return []
    n = ctypes.c_int32()
    tokens = c.llama_vocab_get_suppress_tokens(vocabulary.handle, ctypes.byref(n))
    return _biased({tokens[i]: float("-inf") for i in range(n.value)}, vocabulary)


def _bias(settings: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    biases = resolve_biases(settings, vocabulary.tokenizer)
    if max(biases) >= vocabulary.n:
        raise SettingsError(
            f"logit_bias names the token {max(biases)}; the vocabulary has 0 to {vocabulary.n - 1}"
        )
    return _biased(biases, vocabulary)


def _biased(biases: Mapping[int, float], vocabulary: _Vocabulary) -> list[PlannedSampler]:
    if not biases:
        return []
    pairs = (c.llama_logit_bias * len(biases))(*biases.items())
    return [_plain(c.llama_sampler_init_logit_bias, vocabulary.n, len(pairs), pairs)]


def _penalties(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    often, there = s.frequency_penalty or 0.0, s.presence_penalty or 0.0
    make, last_n = c.llama_sampler_init_penalties, s.penalty_last_n
    return [_plain(make, vocabulary.n, last_n, s.repeat_penalty or 1.0, often, there)]


def _dry(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    if vocabulary.handle is None:
        raise EngineError("DRY reads the vocabulary of the model; pass vocab")
    breakers = [text.encode() for text in s.dry_sequence_breakers]
    texts = (ctypes.c_char_p * len(breakers))(*breakers)
    arguments = (s.dry_multiplier, s.dry_base, s.dry_allowed_length, s.dry_penalty_last_n)
    # by name at the time it is made: the vocabulary is read then
    return [
        PlannedSampler(
            lambda seed: c.llama_sampler_init_dry(vocabulary.handle, *arguments, texts, len(texts))
        )
    ]


def _top_k(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    return [_plain(c.llama_sampler_init_top_k, s.top_k)] if (s.top_k or 0) < vocabulary.n else []


def _typical(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    return [_no_impossible(), _plain(c.llama_sampler_init_typical, s.typical_p, 1)]


def _xtc(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    # with a threshold of 0 it would take masked tokens for candidates
    often, threshold = s.xtc_probability, max(s.xtc_threshold, NEGLIGIBLE)
    return [PlannedSampler(lambda seed: c.llama_sampler_init_xtc(often, threshold, 1, seed), XTC)]


def _temperature(s: SamplerSettings, vocabulary: _Vocabulary) -> list[PlannedSampler]:
    if s.is_greedy:
        return []
    if not s.moves_temperature:
        return [_plain(c.llama_sampler_init_temp, s.temp)]
    middle, half = 1.0 if s.temp is None else s.temp, s.dynatemp_range or 0.0
    low, high = temperature_bounds(middle, half)
    if low > middle - half:  # llama.cpp goes from middle - half to middle + half
        middle, half = (high + low) / 2, (high - low) / 2
    return [_no_impossible(), _plain(c.llama_sampler_init_temp_ext, middle, half, s.dynatemp_exponent)]


def _no_impossible() -> PlannedSampler:
    return _plain(c.llama_sampler_init_min_p, NEGLIGIBLE, 1)


_SAMPLERS: dict[str, Callable[[SamplerSettings, _Vocabulary], list[PlannedSampler]]] = {
    "logit_bias": _bias,
    "penalties": _penalties,
    "dry": _dry,
    "top_n_sigma": lambda s, _: [_plain(c.llama_sampler_init_top_n_sigma, s.top_n_sigma)],
    "top_k": _top_k,
    "typical": _typical,
    "top_p": lambda s, _: [_plain(c.llama_sampler_init_top_p, s.top_p, 1)],
    "min_p": lambda s, _: [_plain(c.llama_sampler_init_min_p, s.min_p, 1)],
    "xtc": _xtc,
    "temperature": _temperature,
}
"""The C chain: each step of ``samplers.fields.STEPS`` as what llama.cpp has for it."""
