"""Sampler steps in numpy: pure functions ``(tokens, logits) -> logits``. To add one, write it here.

A removed token has the logit ``-inf``. History is an argument, so rolling back needs no bookkeeping. What is
out of range is a SettingsError when a step is made. These are the oracle of llama.cpp's sampler chain: same
survivors, same probabilities.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import check_callable, check_integer, check_number, is_number
from ..engine import Logits, Step
from ..errors import SettingsError

__all__ = [
    "MAX_TEMP",
    "MIN_TEMP",
    "NEGLIGIBLE",
    "dynamic_temperature",
    "largest",
    "likeliest",
    "logit_bias",
    "min_p",
    "penalties",
    "probabilities",
    "temperature",
    "temperature_bounds",
    "top_k",
    "top_n_sigma",
    "top_p",
    "typical",
    "xtc",
]

MIN_TEMP = 1e-6  # divided by less, logits leave the range of float32
MAX_TEMP = 3.0e38
NEGLIGIBLE = 1e-30  # share of the likeliest; steps with an entropy drop what is below, as the chain does

_NEG_INF = np.float32(-np.inf)


def logit_bias(biases: Mapping[int, float]) -> Step:
    """Add ``biases`` (token -> number) to the logits: -inf bans a token, -5 to 5 is usual.

    Source: llama.cpp ``logit_bias``. A token outside the vocabulary is an error when the step is used.
    """
    for token, value in biases.items():
        check_integer("a token of logit_bias", token, 0)
        if not is_number(value) or not value < math.inf:
            raise SettingsError(f"a bias must be a number, or -inf for a ban; got {value!r:.80}")
    ids = np.fromiter(biases, dtype=np.intp, count=len(biases))
    values = np.fromiter(biases.values(), dtype=np.float32, count=len(biases))

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        if len(ids) == 0:
            return logits
        if ids.max() >= len(logits):
            raise SettingsError(
                f"logit_bias names the token {ids.max()}; the vocabulary has 0 to {len(logits) - 1}"
            )
        out = logits.copy()
        out[ids] += values
        return out

    return step


def penalties(last_n: int, repeat: float, frequency: float, presence: float) -> Step:
    """Make tokens that occur among the last ``last_n`` tokens less likely.

    A logit above 0 is divided by ``repeat`` (1 is off, 1.05 to 1.3 is usual) and one below 0 is
    multiplied by it; then ``count * frequency + presence`` is subtracted (0 is off, 0.1 to 1 is usual).
    Source: llama.cpp ``penalties``; the repeat penalty is from CTRL (https://arxiv.org/abs/1909.05858).
    """
    check_integer("last_n of penalties", last_n, 0)
    check_number("repeat of penalties", repeat, 0.01, 100)
    check_number("frequency of penalties", frequency, -100, 100)
    check_number("presence of penalties", presence, -100, 100)

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


def top_n_sigma(n: float) -> Step:
    """Keep tokens whose logit is at most ``n`` standard deviations below the highest (1 is usual).

    Source: https://arxiv.org/abs/2411.07641; llama.cpp takes the deviation over the finite logits.
    """
    check_number("n of top_n_sigma", n, 0, 100)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        finite = logits[logits > _NEG_INF]
        if len(finite) < 2:
            return logits
        lowest = float(finite.max()) - n * float(finite.std(dtype=np.float64))
        return np.where(logits >= lowest, logits, _NEG_INF)

    return step


def top_k(k: int) -> Step:
    """Keep the ``k`` most likely tokens (1 is greedy, 40 is usual).

    Source: https://arxiv.org/abs/1805.04833. Among equal logits at the border the choice is free.
    """
    check_integer("k of top_k", k, 1)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        return logits if k >= len(logits) else _only(largest(logits, k), logits)

    return step


def typical(p: float) -> Step:
    """Keep the tokens whose surprise is nearest to the expected one, until their probabilities sum to over
    ``p`` (0.2 to 0.95 is usual). The most likely token can be among those that go.

    Source: locally typical sampling, https://arxiv.org/abs/2202.00666.
    """
    check_number("p of typical", p, 0, 1)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        alive = _alive(logits)
        if len(alive) < 2:
            return _only(alive, logits)
        chances, surprise, entropy = _surprise(logits[alive])
        kept = _fewest(np.abs(surprise - entropy), chances, p, over=True)
        return _only(alive[kept], logits)

    return step


def top_p(p: float) -> Step:
    """Keep the fewest most likely tokens whose probabilities sum to at least ``p`` (0.8 to 0.95 is usual).

    The token that crosses ``p`` is kept, and so is the first one always.
    Source: nucleus sampling, https://arxiv.org/abs/1904.09751.
    """
    check_number("p of top_p", p, 0, 1)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        alive = np.flatnonzero(logits > _NEG_INF)
        if len(alive) < 2:
            return logits
        values = logits[alive]
        kept = _fewest(-values, probabilities(values), p)
        return logits if len(kept) == len(alive) else _only(alive[kept], logits)

    return step


def min_p(p: float) -> Step:
    """Keep tokens at least ``p`` times as likely as the most likely one (0.02 to 0.2 is usual).

    Source: https://arxiv.org/abs/2407.01082. In logits: ``l >= max + ln(p)``, so no softmax is needed.
    """
    check_number("p of min_p", p, 0, 1)
    offset = np.float32(math.log(p)) if p > 0 else _NEG_INF

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        return np.where(logits >= logits.max() + offset, logits, _NEG_INF)

    return step


def xtc(probability: float, threshold: float, coin: Callable[[int], float]) -> Step:
    """With ``probability`` (0.5 is usual), of the tokens that are at least as probable as ``threshold``
    (0.05 to 0.2 is usual) keep only the least probable; the others stay as they are.

    Nothing happens where fewer than two reach it, so never above 0.5. ``coin`` gives the random number in
    [0, 1) for a position. Source: https://github.com/oobabooga/text-generation-webui/pull/6335.
    """
    check_number("probability of xtc", probability, 0, 1)
    check_number("threshold of xtc", threshold, 0, 1)
    check_callable("coin of xtc", coin)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        if coin(len(tokens)) >= probability:
            return logits
        alive = np.flatnonzero(logits > _NEG_INF)
        if len(alive) < 2:
            return logits
        top = alive[probabilities(logits[alive]) >= np.float32(max(threshold, NEGLIGIBLE))]
        if len(top) < 2:
            return logits
        out = logits.copy()
        out[top] = _NEG_INF
        spared = top[logits[top].argmin()]
        out[spared] = logits[spared]
        return out

    return step


def temperature(temp: float) -> Step:
    """Divide the logits by ``temp`` (below 1 is more predictable, 0.6 to 1.2 is usual).

    At 0 only the most likely token is kept, the first one among equals.
    """
    check_number("temp of temperature", temp, 0, MAX_TEMP)
    if 0 < temp < MIN_TEMP:
        raise SettingsError(
            f"temp of temperature must be 0, which is greedy, or at least {MIN_TEMP}; got {temp!r}"
        )

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        if temp > 0:
            return logits / np.float32(temp)
        return _only(logits.argmax(axis=0, keepdims=True), logits)

    return step


def dynamic_temperature(temp: float, spread: float, exponent: float = 1.0) -> Step:
    """Divide the logits by a temperature from ``temp - spread`` (sure) to ``temp + spread`` (unsure).

    Between the two it goes with (entropy / highest possible entropy) ** exponent, over the tokens that are
    left. A spread of 0.1 to 1 is usual. Source: llama.cpp ``temp_ext``, https://arxiv.org/abs/2309.02772.
    """
    check_number("temp of dynamic_temperature", temp, 0, MAX_TEMP)
    check_number("spread of dynamic_temperature", spread, 0, 100)
    check_number("exponent of dynamic_temperature", exponent, 0, 100)
    low, high = temperature_bounds(temp, spread)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        alive = _alive(logits)
        if len(alive) < 2:
            return _only(alive, logits)
        _, _, entropy = _surprise(logits[alive])
        share = max(entropy, 0.0) / math.log(len(alive))
        return _only(alive, logits) / np.float32(low + (high - low) * share**exponent)

    return step


def temperature_bounds(temp: float, spread: float) -> tuple[float, float]:
    """Lowest and highest dynamic temperature; never below MIN_TEMP."""
    return max(temp - spread, MIN_TEMP), temp + spread


def probabilities(logits: Logits) -> Logits:
    """Softmax in float32: non-negative, sums to 1, shape as given."""
    out: Logits = np.exp(logits - logits.max())
    out /= out.sum(dtype=np.float64)
    return out


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """The places of the ``k`` largest values, in no order; fewer where fewer are above -inf.

    Looks at the maxima of stretches of 64 first: at least k values reach the k-th largest of them, and not
    many more do. That is 5 times faster on 150,000 values than partitioning them.
    """
    n_stretches, bound = len(values) // 64, -np.inf
    if 0 < k < n_stretches:
        maxima = values[: n_stretches * 64].reshape(n_stretches, 64).max(axis=1)
        bound = np.partition(maxima, -k)[-k]
    candidates = np.flatnonzero(values >= bound if bound > -np.inf else values > -np.inf)
    if k >= len(candidates):
        return candidates
    return candidates[np.argpartition(values[candidates], -k)[len(candidates) - k :]]


def likeliest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """The places of the ``k`` largest values, the largest first, of equal ones the lower place; fewer where
    fewer are above -inf. Works on logits and on probabilities."""
    places = np.sort(largest(values, k))
    return places[np.argsort(-values[places], kind="stable")]


def _only(kept: NDArray[np.intp], logits: Logits) -> Logits:
    """The logits of ``kept``, -inf for all others."""
    out = np.full_like(logits, _NEG_INF)
    out[kept] = logits[kept]
    return out


def _alive(logits: Logits) -> NDArray[np.intp]:
    """The tokens that count for an entropy."""
    peak = logits.max()
    if not peak > _NEG_INF:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(logits >= peak + np.float32(math.log(NEGLIGIBLE)))


def _surprise(logits: Logits) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Probabilities, their negative logarithms, and the entropy (in nats) of finite logits."""
    below = (logits.max() - logits).astype(np.float64)
    chances = np.exp(-below)
    total = chances.sum()
    chances /= total
    surprise = below + math.log(total)
    return chances, surprise, float(chances @ surprise)


def _fewest(
    keys: NDArray[np.floating], weights: NDArray[np.floating], mass: float, *, over: bool = False
) -> NDArray[np.intp]:
    """The places of the smallest keys, the fewest whose weights sum to ``mass`` (to more, if ``over``).

    Mostly few are enough, so few are sorted first.
    """
    k = 256
    side: Literal["left", "right"] = "right" if over else "left"
    while True:
        if k < len(keys):
            few = largest(-keys, k)
            order = few[np.argsort(keys[few], kind="stable")]
        else:
            order = np.argsort(keys, kind="stable")
        reached = np.cumsum(weights[order], dtype=np.float64)
        n_kept = int(np.searchsorted(reached, mass, side=side)) + 1
        if n_kept <= len(order) or len(order) == len(keys):
            return order[:n_kept]
        k *= 16
