"""SamplerSettings: checked when made, presets, and llama.cpp's chain against the numpy steps."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import easy_llama as ez
from easy_llama import samplers
from easy_llama.engine import Logits
from easy_llama.engines.llama_chain import build_chain
from easy_llama.errors import SettingsError
from easy_llama.samplers import SamplerSettings
from easy_llama.steps import probabilities

PRESETS = [name for name in samplers.__all__ if isinstance(getattr(samplers, name), SamplerSettings)]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("temp", -0.1, "at least 0"),
        ("temp", 1e-7, "at least 0"),
        ("temp", float("nan"), "at least 0"),
        ("temp", float("inf"), "at least 0"),
        ("temp", "hot", "a number"),
        ("top_p", 1.1, "from 0 to 1"),
        ("min_p", -1, "from 0 to 1"),
        ("top_k", 2.5, "an integer"),
        ("top_k", True, "an integer"),
        ("repeat_penalty", 0, "from 0.01 to 100"),
        ("frequency_penalty", 1e9, "from -100 to 100"),
        ("presence_penalty", None.__class__, "from -100 to 100"),
        ("seed", -1, "from 0 to 4294967294"),
        ("seed", 0xFFFFFFFF, "from 0 to 4294967294"),
        ("max_len_tokens", None, "an integer"),
        ("penalty_last_n", -1, "an integer from 0"),
    ],
)
def test_a_wrong_value_names_field_value_and_range(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SamplerSettings(**{field: value})
    assert field in str(caught.value)
    assert allowed in str(caught.value)
    assert repr(value) in str(caught.value)


def test_unknown_names_and_positions_are_refused() -> None:
    with pytest.raises(TypeError, match="temperature"):
        SamplerSettings(temperature=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        SamplerSettings(1)  # type: ignore[call-arg]


def test_defaults_are_those_of_llama_cpp() -> None:
    default = SamplerSettings()
    assert (default.top_k, default.top_p, default.min_p, default.temp) == (40, 0.95, 0.05, 0.8)
    assert [name for name, _ in default.named_steps()] == ["top_k", "top_p", "min_p", "temperature"]
    assert not default.penalizes


def test_none_and_neutral_values_switch_a_step_off() -> None:
    for off in (
        SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None),
        SamplerSettings(top_k=-1, top_p=1.0, min_p=0.0, temp=1.0),
        samplers.SimpleSampling,
    ):
        assert off.steps() == []


def test_settings_are_values() -> None:
    assert replace(samplers.GreedyDecoding, temp=0.8) == samplers.DefaultSampling
    with pytest.raises(AttributeError):
        samplers.DefaultSampling.temp = 1.0  # type: ignore[misc]


def test_all_presets_of_the_specification_are_there() -> None:
    assert len(PRESETS) == 14
    assert samplers.GreedyDecoding.temp == 0
    assert ez.SamplerSettings is SamplerSettings


def test_the_limit() -> None:
    assert SamplerSettings(max_len_tokens=0).limit(100) == 100
    assert SamplerSettings(max_len_tokens=7).limit(100) == 7
    assert SamplerSettings(max_len_tokens=700).limit(100) == 100


def test_a_seed_is_drawn_once_and_0_is_a_seed() -> None:
    assert SamplerSettings(seed=0).real_seed() == 0
    drawn = {SamplerSettings().real_seed() for _ in range(10)}
    assert len(drawn) > 1
    assert all(0 <= seed <= samplers.MAX_SEED for seed in drawn)


# --- llama.cpp's chain: fast, and equal to the steps ---------------------------------------------------


class CandidateArray:
    """A ``llama_token_data_array`` over ``logits``, to run a chain on without a model."""

    def __init__(self, logits: Logits) -> None:
        n = len(logits)
        self.data = (llama_cpp.llama_token_data * n)()
        for i in range(n):
            self.data[i].id, self.data[i].logit, self.data[i].p = i, float(logits[i]), 0.0
        self.array = llama_cpp.llama_token_data_array(
            data=ctypes.cast(self.data, llama_cpp.llama_token_data_p), size=n, selected=-1, sorted=False
        )

    def apply(self, chain: Any) -> int:
        """Run the chain and return the id it selected."""
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(self.array))
        selected: int = self.array.data[self.array.selected].id
        return selected

    def probabilities(self, n_vocab: int) -> Logits:
        """Probabilities of what the chain left, by id."""
        logits = np.full(n_vocab, -np.inf, dtype=np.float32)
        for i in range(self.array.size):
            logits[self.array.data[i].id] = self.array.data[i].logit
        return probabilities(logits)


def chain_result(settings: SamplerSettings, history: list[int], logits: Logits) -> Logits:
    """Probabilities after llama.cpp's chain."""
    chain = build_chain(settings, 1, len(logits))
    for token in history:
        llama_cpp.llama_sampler_accept(chain, token)
    candidates = CandidateArray(logits)
    selected = candidates.apply(chain)
    llama_cpp.llama_sampler_free(chain)
    out = candidates.probabilities(len(logits))
    if settings.temp == 0:  # greedy selects without removing
        out = np.where(np.arange(len(logits)) == selected, 1, 0).astype(np.float32)
    return out


def steps_result(settings: SamplerSettings, history: list[int], logits: Logits) -> Logits:
    """Probabilities after the numpy steps."""
    for step in settings.steps():
        logits = step(history, logits)
    return probabilities(logits)


# distinct logits at distances that float32 tells apart: at ties and borders both are right
distinct_logits = (
    arrays(np.int32, st.integers(2, 60), elements=st.integers(-3000, 3000), unique=True)
    .map(lambda a: (a / 300).astype(np.float32))
    .filter(lambda a: len(np.unique(a)) == len(a))
)  # fmt: skip
some_settings = st.builds(
    SamplerSettings,
    top_k=st.sampled_from([None, 1, 3, 40, 1000]),
    top_p=st.sampled_from([None, 0.2, 0.57, 0.95]),
    min_p=st.sampled_from([None, 0.033, 0.21]),
    temp=st.sampled_from([None, 0.0, 0.1, 0.8, 1.7, 20.0]),
    repeat_penalty=st.sampled_from([None, 1.0, 1.3, 0.8]),
    frequency_penalty=st.sampled_from([0.0, 0.37, -0.2]),
    presence_penalty=st.sampled_from([None, 0.41]),
    penalty_last_n=st.sampled_from([0, 2, 64]),
)


@given(some_settings, distinct_logits, st.lists(st.integers(0, 59), max_size=80))
def test_the_chain_and_the_steps_leave_the_same_tokens_with_the_same_probabilities(
    settings: SamplerSettings, logits: Logits, history: list[int]
) -> None:
    history = [token % len(logits) for token in history]
    slow, fast = steps_result(settings, history, logits), chain_result(settings, history, logits)
    different = (slow > 0) != (fast > 0)
    # a token may fall on the border of a sum or a quotient; then its probability decides nothing
    assert max(slow[different], default=0) < 1e-5 or _on_border(settings, history, logits)
    assert np.allclose(slow, fast, atol=1e-5) or _on_border(settings, history, logits)


def _on_border(settings: SamplerSettings, history: list[int], logits: Logits) -> bool:
    """Whether a cut hits a token within float32 rounding, so that either answer is right."""
    for name, step in settings.named_steps():
        chances = np.sort(probabilities(logits))[::-1]
        if name == "top_p" and np.abs(np.cumsum(chances) - (settings.top_p or 0)).min() < 1e-5:
            return True
        if name == "min_p" and np.abs(chances / chances[0] - (settings.min_p or 0)).min() < 1e-5:
            return True
        if name in ("top_k", "temperature") and len(np.unique(logits)) < len(logits):
            return True  # penalties made a tie
        logits = step(history, logits)
    return False


def test_the_chain_draws_the_distribution() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    settings = SamplerSettings(top_k=None, top_p=None, min_p=0.3, temp=0.7)
    expected = steps_result(settings, [], logits) * 6000
    chain = build_chain(settings, 12345, 4)
    drawn = np.zeros(4)
    for _ in range(6000):
        drawn[CandidateArray(logits).apply(chain)] += 1
    llama_cpp.llama_sampler_free(chain)
    alive = expected > 0
    assert drawn[~alive].sum() == 0
    chi_square = float(((drawn - expected)[alive] ** 2 / expected[alive]).sum())
    assert chi_square < 13.8, "2 degrees of freedom, 1 in 1,000"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_generates_on_both_paths(model: ez.Model, name: str) -> None:
    settings = replace(getattr(samplers, name), max_len_tokens=12, seed=5)
    fast = model.generate("Once upon a time", sampler=settings)
    assert model.stats.generated >= 1
    if settings.temp == 0:
        logits = model.engine.extend([1])
        assert np.isfinite(logits).all()
    assert fast == model.generate("Once upon a time", sampler=settings), "same seed, same text"
