"""The numpy steps: tables worked out by hand, invariants, and inputs left alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from easy_llama import steps
from easy_llama.engine import Logits, Step
from easy_llama.errors import SettingsError
from easy_llama.samplers import SamplerSettings, numpy_picker
from easy_llama.steps.draws import AdaptiveP, Mirostat, MirostatV2

P = [0.5, 0.25, 0.15, 0.1]


def logits_of(probabilities: list[float]) -> Logits:
    return np.log(np.array(probabilities, dtype=np.float32))


def after(step: Step, history: list[int] | None = None, probabilities: list[float] = P) -> list[float]:
    """Probabilities after ``step``, rounded."""
    out = steps.probabilities(step(history or [], logits_of(probabilities)))
    return [round(float(p), 4) for p in out]


CASES = [
    (steps.top_k(2), [0.6667, 0.3333, 0, 0]),
    (steps.top_k(9), [0.5, 0.25, 0.15, 0.1]),
    (steps.top_p(0.5), [1, 0, 0, 0]),
    (steps.top_p(0.6), [0.6667, 0.3333, 0, 0]),  # the token that crosses p is kept
    (steps.top_p(0.76), [0.5556, 0.2778, 0.1667, 0]),
    (steps.top_p(0.0), [1, 0, 0, 0]),
    (steps.min_p(0.3), [0.5556, 0.2778, 0.1667, 0]),
    (steps.min_p(0.4), [0.6667, 0.3333, 0, 0]),
    (steps.min_p(1.0), [1, 0, 0, 0]),
    (steps.typical(0.2), [0, 1, 0, 0]),  # the entropy is 1.21: nearest is ln 4 = 1.39, then 0.69, 1.9, 2.3
    (steps.typical(0.3), [0.6667, 0.3333, 0, 0]),
    (steps.typical(0.76), [0.5556, 0.2778, 0.1667, 0]),
    (steps.typical(0.0), [0, 1, 0, 0]),
    (steps.top_n_sigma(1.0), [1, 0, 0, 0]),  # the deviation of the logits is 0.601
    (steps.top_n_sigma(1.2), [0.6667, 0.3333, 0, 0]),
    (steps.top_n_sigma(3.0), [0.5, 0.25, 0.15, 0.1]),
    (steps.xtc(0.5, 0.2, lambda position: 0.49), [0, 0.5, 0.3, 0.2]),
    (steps.xtc(0.5, 0.12, lambda position: 0.49), [0, 0, 0.6, 0.4]),
    (steps.xtc(0.5, 0.12, lambda position: 0.5), [0.5, 0.25, 0.15, 0.1]),
    (steps.xtc(0.5, 0.3, lambda position: 0.49), [0.5, 0.25, 0.15, 0.1]),  # one alone stays
    (steps.logit_bias({1: math.log(2), 3: -math.inf}), [0.4348, 0.4348, 0.1304, 0]),
    (steps.logit_bias({}), [0.5, 0.25, 0.15, 0.1]),
    (steps.dynamic_temperature(0.5, 0.0), [0.7246, 0.1812, 0.0652, 0.029]),
    (steps.dynamic_temperature(0.8, 0.3, 0.0), [0.4765, 0.2537, 0.1595, 0.1103]),  # always 1.1
    (steps.dynamic_temperature(0.8, 0.3), [0.4942, 0.251, 0.1523, 0.1025]),  # entropy / ln 4 = 0.8714
    (steps.dynamic_temperature(0.8, 0.3, 2.0), [0.5119, 0.2478, 0.1452, 0.095]),
    (steps.temperature(0.5), [0.7246, 0.1812, 0.0652, 0.029]),
    (steps.temperature(0.0), [1, 0, 0, 0]),
]


@pytest.mark.parametrize(("step", "expected"), CASES)
def test_tables(step: Step, expected: list[float]) -> None:
    assert after(step) == expected


def test_repeat_penalty_divides_above_zero_and_multiplies_below() -> None:
    logits = np.array([2.0, -2.0, 1.0], dtype=np.float32)
    out = steps.penalties(64, 2.0, 0.0, 0.0)([0, 1], logits)
    assert out.tolist() == [1.0, -4.0, 1.0]


def test_frequency_counts_and_presence_does_not() -> None:
    logits = np.zeros(3, dtype=np.float32)
    out = steps.penalties(64, 1.0, 0.5, 0.25)([0, 0, 1], logits)
    assert out.tolist() == [-1.25, -0.75, 0.0]


def test_penalties_look_at_the_last_n_tokens_only() -> None:
    logits = np.zeros(3, dtype=np.float32)
    step = steps.penalties(2, 1.0, 1.0, 0.0)
    assert step([0, 0, 0, 1, 2], logits).tolist() == [0.0, -1.0, -1.0]
    assert steps.penalties(0, 1.0, 1.0, 0.0)([0], logits) is logits


some_logits = arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))
some_steps = st.sampled_from(
    [
        steps.top_k(3), steps.top_p(0.9), steps.top_p(0.1), steps.min_p(0.05), steps.temperature(0.7),
        steps.temperature(0.0), steps.temperature(3e38), steps.penalties(64, 1.1, 0.1, 0.1),
        steps.typical(0.5), steps.typical(0.0), steps.top_n_sigma(0.5), steps.logit_bias({0: 1.5}),
        steps.xtc(1.0, 0.0, lambda position: 0.0),
        steps.dynamic_temperature(0.8, 0.9), steps.dynamic_temperature(1.0, 1.0, 5.0),
        steps.dry(0.8, 1.75, 0, 64),
    ]
)  # fmt: skip


@given(some_logits, some_steps)
def test_a_step_keeps_somebody_and_leaves_its_input_alone(logits: Logits, step: Step) -> None:
    before, history = logits.copy(), [0]
    out = step(history, logits)
    assert np.array_equal(logits, before)
    assert history == [0]
    assert out.dtype == np.float32
    assert (out > -np.inf).any()
    assert steps.probabilities(out).sum() == pytest.approx(1, abs=1e-5)


@given(some_steps)
def test_a_step_stays_calm_where_nothing_or_one_token_is_left(step: Step) -> None:
    logits = np.full(7, -np.inf, dtype=np.float32)
    assert (step([], logits) == -np.inf).all()
    logits[4] = -3.0
    assert np.flatnonzero(step([], logits) > -np.inf).tolist() == [4]


@given(
    some_logits,
    st.sampled_from([steps.top_k(3), steps.min_p(0.1), steps.top_p(0.9), steps.top_n_sigma(1.0)]),
)
def test_truncation_keeps_the_likeliest_and_changes_no_logit(logits: Logits, step: Step) -> None:
    out = step([], logits)
    kept = out > -np.inf
    assert out.max() == logits.max()
    assert np.array_equal(out[kept], logits[kept])
    if not kept.all():
        assert logits[kept].min() >= logits[~kept].max()


def test_a_cut_of_a_large_vocabulary_is_the_same_as_by_sorting_all() -> None:
    random = np.random.default_rng(1)
    for scale in (0.1, 1.0, 8.0):  # from nearly even, where most tokens stay, to a few
        logits = (random.normal(size=20_000) * scale).astype(np.float32)
        chances = probabilities_exactly(logits)
        order = np.argsort(-chances)
        n = int(np.searchsorted(np.cumsum(chances[order]), 0.9)) + 1
        assert set(np.flatnonzero(steps.top_p(0.9)([], logits) > -np.inf)) == set(order[:n])
        entropy = -float(chances @ np.log(chances))
        order = np.argsort(np.abs(-np.log(chances) - entropy))
        n = int(np.searchsorted(np.cumsum(chances[order]), 0.4)) + 1
        assert set(np.flatnonzero(steps.typical(0.4)([], logits) > -np.inf)) == set(order[:n])


def probabilities_exactly(logits: Logits) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64))
    out: NDArray[np.float64] = weights / weights.sum()
    return out


def test_ties_are_cut_to_as_many_as_wanted() -> None:
    even = np.zeros(10, dtype=np.float32)
    for step, n in (
        (steps.top_k(3), 3), (steps.top_p(0.35), 4), (steps.typical(0.35), 4), (steps.min_p(1.0), 10),
        (steps.top_n_sigma(0.1), 10), (steps.xtc(1.0, 0.1, lambda position: 0.0), 1),
        (steps.temperature(0.0), 1),
    ):  # fmt: skip
        assert int((step([], even) > -np.inf).sum()) == n
    four = np.zeros(4, dtype=np.float32)
    assert int((steps.top_p(0.5)([], four) > -np.inf).sum()) == 2, "p is enough"
    assert int((steps.typical(0.5)([], four) > -np.inf).sum()) == 3, "over p, as in llama.cpp"


@given(st.integers(1, 900), st.integers(0, 400), st.integers(1, 600), st.integers(2, 2000))
def test_the_largest_are_found_by_the_maxima_of_stretches(
    seed: int, n_gone: int, k: int, n_kinds: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, n_kinds, size=random.integers(1, 1000)).astype(np.float32)
    values[random.permutation(len(values))[:n_gone]] = -np.inf
    found = steps.largest(values, k)
    alive = np.sort(values[values > -np.inf])[::-1]
    assert len(set(found.tolist())) == len(found) == min(k, len(alive))
    assert np.array_equal(np.sort(values[found])[::-1], alive[:k])


def test_a_bias_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(SettingsError, match="logit_bias names the token 4; the vocabulary has 0 to 3"):
        steps.logit_bias({1: 1.0, 4: 1.0})([], logits_of(P))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: steps.min_p(1.05), "p of min_p must be a number from 0 to 1; got 1.05"),
        (lambda: steps.min_p(-0.1), "p of min_p"),
        (lambda: steps.min_p(math.nan), "p of min_p .* got nan"),
        (lambda: steps.top_p(1.01), "p of top_p"),
        (lambda: steps.typical(-1), "p of typical"),
        (lambda: steps.top_k(0), "k of top_k must be an integer of at least 1; got 0"),
        (lambda: steps.top_k(2.5), "k of top_k"),  # type: ignore[arg-type]
        (lambda: steps.top_n_sigma(-1), "n of top_n_sigma"),
        (lambda: steps.xtc(1.5, 0.1, lambda position: 0.0), "probability of xtc"),
        (lambda: steps.xtc(0.5, -0.1, lambda position: 0.0), "threshold of xtc"),
        (lambda: steps.xtc(0.5, 0.1, 0.3), "coin of xtc must be a function"),  # type: ignore[arg-type]
        (lambda: steps.temperature(-0.5), "temp of temperature"),
        (lambda: steps.temperature(1e-9), "0, which is greedy, or at least"),
        (lambda: steps.temperature(math.inf), "temp of temperature"),
        (lambda: steps.dynamic_temperature(1.0, -1.0), "spread of dynamic_temperature"),
        (lambda: steps.dynamic_temperature(1.0, 0.5, -1.0), "exponent of dynamic_temperature"),
        (lambda: steps.penalties(-1, 1.0, 0.0, 0.0), "last_n of penalties"),
        (lambda: steps.penalties(64, 0.0, 0.0, 0.0), "repeat of penalties"),
        (lambda: steps.penalties(64, 1.0, math.nan, 0.0), "frequency of penalties"),
        (lambda: steps.penalties(64, 1.0, 0.0, math.inf), "presence of penalties"),
        (lambda: steps.logit_bias({-1: 1.0}), "a token of logit_bias"),
        (lambda: steps.logit_bias({1: math.nan}), "a bias must be a number, or -inf .* got nan"),
        (lambda: steps.logit_bias({1: math.inf}), "a bias"),
        (lambda: steps.dry(-1, 1.75, 2, 64), "multiplier of dry"),
        (lambda: steps.dry(0.8, 0.5, 2, 64), "base of dry"),
        (lambda: steps.dry(0.8, 1.75, -1, 64), "allowed_length of dry"),
        (lambda: steps.dry(0.8, 1.75, 2, -1), "last_n of dry"),
        (lambda: MirostatV2(-1.0, 0.1), "tau"),
        (lambda: Mirostat(5.0, 1.5), "eta"),
        (lambda: AdaptiveP(1.5, 0.9), "target"),
        (lambda: AdaptiveP(0.5, 1.0), "decay must be a number from 0 to 0.99; got 1.0"),
    ],
)
def test_a_step_out_of_range_is_refused_when_it_is_made(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make()


def test_xtc_removes_as_often_as_asked() -> None:
    coin = SamplerSettings(xtc_probability=0.3, seed=4, top_k=None, top_p=None, min_p=None, temp=None)
    (step,) = coin.steps()
    removed = sum(bool(np.isinf(step(range(n), logits_of(P))[0])) for n in range(5000))
    assert abs(removed / 5000 - 0.3) < 0.02, "3 standard deviations"
    assert step([1] * 17, logits_of(P)).tolist() == step([2] * 17, logits_of(P)).tolist(), "no hidden state"


def test_streams_of_random_numbers_have_nothing_in_common() -> None:
    seeds = [steps.stream_seed(5, purpose, salt) for purpose in (steps.DRAW, steps.XTC) for salt in range(3)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 6
    numbers = np.array([[steps.uniform(seed, n) for n in range(4000)] for seed in seeds])
    apart = np.corrcoef(numbers) - np.eye(6)
    assert np.abs(apart).max() < 0.06, "3.8 standard deviations"
    late = np.corrcoef(numbers[:, :-1], numbers[:, 1:])[:6, 6:]
    assert np.abs(late).max() < 0.06


def test_uniform_is_uniform() -> None:
    draws = np.array([steps.uniform(seed, position) for seed in range(50) for position in range(200)])
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    expected = len(draws) / 20
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 43.8, "19 degrees of freedom, 1 in 1,000"
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.04


def test_the_numpy_picker_draws_the_distribution() -> None:
    logits = logits_of(P)
    pick = numpy_picker(SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None), seed=11)
    drawn = np.bincount([pick(range(n), logits) for n in range(8000)], minlength=4)
    expected = np.array(P) * 8000
    assert float(((drawn - expected) ** 2 / expected).sum()) < 16.3, "3 degrees of freedom, 1 in 1,000"


def test_greedy_takes_the_likeliest() -> None:
    pick = numpy_picker(SamplerSettings(temp=0.0), seed=1)
    assert {pick([0] * n, logits_of([0.1, 0.2, 0.6, 0.1])) for n in range(50)} == {2}


def test_probabilities_survive_extreme_logits() -> None:
    out = steps.probabilities(np.array([1e38, -1e38, -math.inf], dtype=np.float32))
    assert out.tolist() == [1.0, 0.0, 0.0]
