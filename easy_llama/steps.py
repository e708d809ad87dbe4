"""Sampler steps in numpy: pure functions ``(tokens, logits) -> logits``.

A removed token has the logit ``-inf``. History is an argument, so rolling back needs no bookkeeping.
These are the oracle of llama.cpp's sampler chain: same survivors, same probabilities.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .engine import Logits, Step

__all__ = ["min_p", "penalties", "probabilities", "temperature", "top_k", "top_p", "uniform"]

_NEG_INF = np.float32(-np.inf)


def penalties(last_n: int, repeat: float, frequency: float, presence: float) -> Step:
    """Make tokens that occur among the last ``last_n`` tokens less likely.

    A logit above 0 is divided by ``repeat`` (1 is off, 1.05 to 1.3 is usual) and one below 0 is
    multiplied by it; then ``count * frequency + presence`` is subtracted (0 is off, 0.1 to 1 is usual).
    Source: llama.cpp ``penalties``; the repeat penalty is from CTRL (https://arxiv.org/abs/1909.05858).
    """

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        counts = Counter(tokens[-last_n:]) if last_n > 0 else Counter()
        if not counts:
            return logits
        ids = np.fromiter(counts, dtype=np.intp, count=len(counts))
        seen = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
        out = logits.copy()
        values = out[ids]
        values = np.where(values <= 0, values * np.float32(repeat), values / np.float32(repeat))
        out[ids] = values - (seen * np.float32(frequency) + np.float32(presence))
        return out

    return step


def top_k(k: int) -> Step:
    """Keep the ``k`` most likely tokens (1 is greedy, 40 is usual).

    Source: https://arxiv.org/abs/1805.04833. Among equal logits at the border the choice is free.
    """

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        if k >= len(logits):
            return logits
        kept = np.argpartition(logits, -k)[-k:]
        out = np.full_like(logits, _NEG_INF)
        out[kept] = logits[kept]
        return out

    return step


def top_p(p: float) -> Step:
    """Keep the fewest most likely tokens whose probabilities sum to at least ``p`` (0.8 to 0.95 is usual).

    The token that crosses ``p`` is kept, and so is the first one always.
    Source: nucleus sampling, https://arxiv.org/abs/1904.09751.
    """

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        alive = np.flatnonzero(logits > _NEG_INF)
        values = logits[alive]
        order = np.argsort(-values, kind="stable")
        mass = np.cumsum(probabilities(values[order]))
        n_kept = int(np.searchsorted(mass, p)) + 1
        if n_kept >= len(alive):
            return logits
        kept = alive[order[:n_kept]]
        out = np.full_like(logits, _NEG_INF)
        out[kept] = logits[kept]
        return out

    return step


def min_p(p: float) -> Step:
    """Keep tokens at least ``p`` times as likely as the most likely one (0.02 to 0.2 is usual).

    Source: https://arxiv.org/abs/2407.01082. In logits: ``l >= max + ln(p)``, so no softmax is needed.
    """
    offset = np.float32(math.log(p)) if p > 0 else _NEG_INF

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        return np.where(logits >= logits.max() + offset, logits, _NEG_INF)

    return step


def temperature(temp: float) -> Step:
    """Divide the logits by ``temp`` (below 1 is more predictable, 0.6 to 1.2 is usual).

    At 0 only the most likely token is kept, the first one among equals.
    """

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        if temp > 0:
            return logits / np.float32(temp)
        best = int(logits.argmax())
        out = np.full_like(logits, _NEG_INF)
        out[best] = logits[best]
        return out

    return step


def probabilities(logits: Logits) -> Logits:
    """Softmax in float32: non-negative, sums to 1, shape as given."""
    out: Logits = np.exp(logits - logits.max())
    out /= out.sum(dtype=np.float64)
    return out


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on seed and position only (SplitMix64).

    A draw without state: whoever comes back to a position draws the same number again.

    >>> uniform(1, 5) == uniform(1, 5), uniform(1, 5) == uniform(1, 6)
    (True, False)
    """
    mask = 0xFFFFFFFFFFFFFFFF
    z = (seed * 0xD1342543DE82EF95 + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)
