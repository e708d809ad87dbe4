"""The numpy steps: tables worked out by hand, invariants, and inputs left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from easy_llama import steps
from easy_llama.engine import Logits, Step
from easy_llama.samplers import SamplerSettings, numpy_picker

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


@given(some_logits, st.sampled_from([steps.top_k(3), steps.min_p(0.1), steps.top_p(0.9)]))
def test_truncation_keeps_the_likeliest_and_changes_no_logit(logits: Logits, step: Step) -> None:
    out = step([], logits)
    kept = out > -np.inf
    assert out.max() == logits.max()
    assert np.array_equal(out[kept], logits[kept])
    if not kept.all():
        assert logits[kept].min() >= logits[~kept].max()


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
