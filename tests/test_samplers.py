"""SamplerSettings: checked when made, presets, and llama.cpp's chain against the numpy steps."""

from __future__ import annotations

import ctypes
import json
import math
from dataclasses import asdict, replace
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama import samplers
from easy_llama.chat.storage import sampler_from_dict
from easy_llama.engine import Logits
from easy_llama.errors import SettingsError
from easy_llama.samplers import SamplerSettings, numpy_picker, resolve_biases
from easy_llama.steps.basic import probabilities
from tests.c_chain import build_chain

from .candidates import Candidates, fits

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
        ("penalty_last_n", -1, "an integer from 0 to 16777216"),
        ("typical_p", 1.01, "from 0 to 1"),
        ("top_n_sigma", -1, "from 0 to 100, or None"),
        ("xtc_probability", 2, "from 0 to 1"),
        ("xtc_threshold", None, "from 0 to 1; got"),
        ("dry_multiplier", -0.1, "from 0 to 100"),
        ("dry_base", 0.9, "from 1 to 100"),
        ("dry_allowed_length", 1.5, "an integer from 0"),
        ("dry_penalty_last_n", -1, "an integer from 0"),
        ("dry_sequence_breakers", "ab", "a list of texts"),
        ("dry_sequence_breakers", ["a", ""], "1 to 40 bytes"),
        ("dry_sequence_breakers", ["é" * 21], "1 to 40 bytes"),
        ("dry_sequence_breakers", ["a\0b"], "without NUL"),
        ("dry_sequence_breakers", ["\ud800"], "UTF-8"),
        ("dry_sequence_breakers", 7, "a list of texts"),
        ("dynatemp_range", 101, "from 0 to 100"),
        ("dynatemp_exponent", float("nan"), "from 0 to 100"),
        ("mirostat", 3, "an integer from 0 to 2"),
        ("mirostat", True, "an integer from 0 to 2"),
        ("mirostat_tau", -1, "from 0 to 100"),
        ("mirostat_eta", 1.1, "from 0 to 1"),
        ("adaptive_target", -1.0, "from 0 to 1, or None"),
        ("adaptive_decay", 1.0, "from 0 to 0.99"),
        ("logit_bias", 3, "a dictionary or a list of pairs"),
        ("grammar", "", "GBNF"),
        ("grammar", " \n", "GBNF"),
        ("grammar", b"root", "GBNF"),
        ("json_schema", {}, "a dictionary"),
        ("json_schema", "{}", "a dictionary"),
        ("json_schema", int, "a dictionary"),
        ("json_schema", {"type": {1, 2}}, "JSON values only"),
        ("penalty_alpha", 1.1, "from 0 to 1"),
        ("num_beams", 0, "an integer from 1 to 256"),
        ("num_beams", None, "an integer from 1 to 256"),
        ("length_penalty", "long", "from -10 to 10"),
        ("early_stopping", "always", "True, False or 'never'"),
        ("early_stopping", None, "True, False or 'never'"),
    ],
)
def test_a_wrong_value_names_field_value_and_range(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SamplerSettings(**{field: value})
    assert field in str(caught.value)
    assert allowed in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "pair",
    [(-1, 1.0), (1 << 31, 1.0), (True, 1.0), (2.0, 1.0), ("", 1.0), (1, float("inf")), (1, float("nan")),
     (1, 1e10), (1, "x"), (1, True), (1, 2, 3), "ab", 5],
)  # fmt: skip
def test_a_wrong_bias_is_named(pair: Any) -> None:
    with pytest.raises(SettingsError, match="logit_bias must give each token") as caught:
        SamplerSettings(logit_bias=[(3, 1.0), pair])
    assert repr(pair) in str(caught.value)


def test_settings_keep_one_form_of_a_value() -> None:
    biases = {3: -math.inf, "yes": np.float32(2)}
    chosen = SamplerSettings(
        logit_bias=biases, dry_sequence_breakers=["a", "b"], mirostat=None, temp=np.float32(0.5)  # type: ignore[arg-type]  # numbers of numpy and None are taken, too
    )  # fmt: skip
    assert chosen.logit_bias == ((3, -math.inf), ("yes", 2.0))
    assert chosen.dry_sequence_breakers == ("a", "b")
    assert (chosen.mirostat, type(chosen.temp)) == (0, float)
    assert chosen == SamplerSettings(
        logit_bias=[(3, -math.inf), ("yes", 2)], dry_sequence_breakers=("a", "b"), temp=0.5
    )
    assert len({chosen, replace(chosen, top_k=3), replace(chosen, top_k=40)}) == 2
    nothing = SamplerSettings(logit_bias=None, dry_sequence_breakers=None)  # type: ignore[arg-type]  # off
    assert (nothing.logit_bias, nothing.dry_sequence_breakers) == ((), ())


def test_a_schema_is_copied_and_read_from_a_class() -> None:
    class Answer:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": {"n": {"type": "integer"}}}

    class Broken:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            raise RuntimeError("no way")

    assert SamplerSettings(json_schema=Answer).json_schema == Answer.model_json_schema()
    with pytest.raises(SettingsError, match="Broken has no JSON schema: no way"):
        SamplerSettings(json_schema=Broken)
    schema: dict[str, Any] = {"enum": [1, 2]}
    chosen = SamplerSettings(json_schema=schema)
    schema["enum"].append(3)
    assert chosen.json_schema == {"enum": [1, 2]}
    assert hash(chosen) == hash(SamplerSettings())
    assert chosen != SamplerSettings()
    assert chosen.is_constrained
    assert not SamplerSettings().is_constrained


def test_contradictions_are_refused() -> None:
    with pytest.raises(SettingsError, match="grammar and json_schema"):
        SamplerSettings(grammar='root ::= "a"', json_schema={"type": "object"})
    with pytest.raises(SettingsError, match=r"num_beams=2 .* penalty_alpha=0\.6"):
        SamplerSettings(num_beams=2, penalty_alpha=0.6)
    assert SamplerSettings(num_beams=1, penalty_alpha=0.6).penalty_alpha == 0.6


def test_what_is_stored_as_json_is_read_again() -> None:
    chosen = SamplerSettings(
        logit_bias={3: -math.inf, "yes": 2}, json_schema={"a": 1}, dry_sequence_breakers=("\n",), seed=5
    )
    stored = json.dumps(asdict(chosen))
    assert sampler_from_dict(json.loads(stored)) == chosen
    assert sampler_from_dict({}) == SamplerSettings()


def test_the_order_of_the_steps(loaded: ez.Model) -> None:
    everything = SamplerSettings(
        logit_bias={"!": 1}, repeat_penalty=1.1, dry_multiplier=0.8, top_n_sigma=1.0, typical_p=0.9,
        xtc_probability=0.5, dynatemp_range=0.1, mirostat=0,
    )  # fmt: skip
    names = [name for name, _ in everything.named_steps(loaded.tokenizer)]
    assert names == [
        "logit_bias", "penalties", "dry", "top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc",
        "temperature",
    ]  # fmt: skip
    assert len(everything.model_steps(loaded.tokenizer)) == 3
    for version in (1, 2):
        held = replace(everything, mirostat=version)
        assert [name for name, _ in held.named_steps(loaded.tokenizer)] == ["logit_bias", "temperature"]
        assert held.window == 0
    assert everything.window == 64
    assert replace(everything, dry_penalty_last_n=200).window == 200
    assert SamplerSettings().window == 0


def test_which_settings_draw_with_a_state() -> None:
    assert not SamplerSettings().draws_with_state
    for fields in ({"mirostat": 1}, {"mirostat": 2}, {"adaptive_target": 0.5}):
        assert SamplerSettings(**fields).draws_with_state
        assert not SamplerSettings(temp=0.0, **fields).draws_with_state
    assert SamplerSettings(temp=0.0, dynatemp_range=0.5, adaptive_target=0.5).draws_with_state


def test_a_tokenizer_is_asked_for_only_where_it_is_needed() -> None:
    for fields in ({"logit_bias": {"yes": 1.0}}, {"dry_multiplier": 0.8}):
        with pytest.raises(SettingsError, match="tokenizer"):
            SamplerSettings(**fields).steps()
    assert (
        len(SamplerSettings(logit_bias={5: 1.0}, dry_multiplier=0.8, dry_sequence_breakers=()).steps()) == 6
    )


def test_a_biased_text_is_exactly_one_token(loaded: ez.Model) -> None:
    tokenizer = loaded.tokenizer
    end = loaded.eot_token
    chosen = SamplerSettings(logit_bias=[("!", 1.0), (3, 0.5), ("<|im_end|>", -math.inf)])
    assert resolve_biases(chosen, tokenizer) == {3: 1.5, end: -math.inf}
    with pytest.raises(SettingsError, match=r"'What a pity' is \d+ tokens, .* ids, or use AntiSlopStrategy"):
        resolve_biases(SamplerSettings(logit_bias={"What a pity": -1.0}), tokenizer)
    for work in (steps_logits, chain_logits):
        with pytest.raises(SettingsError, match="names the token 9; the vocabulary has 0 to 3"):
            work(SamplerSettings(logit_bias={9: 1.0}), [], np.zeros(4, dtype=np.float32))


def test_tokens_that_the_model_suppresses_are_never_drawn(
    loaded: ez.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suppressed(vocab: Any, n: Any) -> Any:
        n._obj.value = 2
        return (ctypes.c_int32 * 2)(1, 2)

    monkeypatch.setattr(llama_cpp, "llama_vocab_get_suppress_tokens", suppressed)
    left = chain_logits(
        SamplerSettings(logit_bias={2: 9.0, 0: 1.0}), [], np.ones(5, dtype=np.float32), loaded
    )
    assert np.flatnonzero(left > -np.inf).tolist() == [0, 3, 4]


def test_unknown_names_and_too_many_positions_are_refused() -> None:
    with pytest.raises(TypeError, match="temperature"):
        SamplerSettings(temperature=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="8 arguments by position"):
        SamplerSettings(1, 1, 1, 1, 1, 1, 1, 1, 1)  # type: ignore[call-arg]


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
    for preset, alpha in ((samplers.ContrastiveSearch, 0.6), (samplers.WarmContrastiveSearch, 0.8)):
        assert (preset.penalty_alpha, preset.top_k, preset.temp) == (alpha, 4, None)
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


def chain_logits(
    settings: SamplerSettings, history: list[int], logits: Logits, model: ez.Model | None = None
) -> Logits:
    """What llama.cpp's chain leaves, -inf for what is removed."""
    vocab, tokenizer = (model.llama._model.vocab, model.tokenizer) if model else (None, None)
    chain = build_chain(settings, 1, len(logits), vocab, tokenizer)
    for token in history:
        llama_cpp.llama_sampler_accept(chain, token)
    candidates = Candidates(logits)
    selected = candidates.apply(chain)
    llama_cpp.llama_sampler_free(chain)
    if settings.is_greedy:  # greedy selects without removing
        return np.where(np.arange(len(logits)) == selected, candidates.logits(), -np.inf)
    return candidates.logits()


def steps_logits(
    settings: SamplerSettings,
    history: list[int],
    logits: Logits,
    model: ez.Model | None = None,
    noise: np.random.Generator | None = None,
) -> Logits:
    """What the numpy steps leave; ``noise`` shakes the logits a little before every step."""
    for step in settings.steps(model.tokenizer if model else None):
        if noise is not None:
            size = np.where(logits > -np.inf, np.abs(logits) + 1, 0) * np.float32(1e-6)
            logits = logits + size * noise.normal(size=len(logits)).astype(np.float32)
        logits = step(history, logits)
    return logits


def is_shaky(settings: SamplerSettings, history: list[int], logits: Logits, model: ez.Model) -> bool:
    """Whether rounding decides: a token is on the border of a cut, or two are tied."""
    clear, noise = steps_logits(settings, history, logits, model), np.random.default_rng(0)
    for _ in range(8):
        shaken = steps_logits(settings, history, logits, model, noise)
        if not np.array_equal(clear > -np.inf, shaken > -np.inf):
            return True
        if not np.allclose(probabilities(clear), probabilities(shaken), atol=3e-5):
            return True
    return False


def random_logits(seed: int, n: int, scale: float) -> Logits:
    return (np.random.default_rng(seed).normal(size=n) * scale).astype(np.float32)


some_logits = st.builds(
    random_logits, st.integers(0, 1 << 32), st.integers(40, 60), st.sampled_from([0.5, 2.0, 6.0])
)
truncating = {
    "top_k": st.sampled_from([None, 1, 3, 40, 1000]),
    "top_p": st.sampled_from([None, 0.2, 0.57, 0.95]),
    "min_p": st.sampled_from([None, 0.033, 0.21]),
    "typical_p": st.sampled_from([None, 1.0, 0.0, 0.31, 0.88]),
    "top_n_sigma": st.sampled_from([None, 0.0, 0.7, 1.6]),
    "xtc_probability": st.sampled_from([None, 0.0, 1.0]),
    "xtc_threshold": st.sampled_from([0.0, 0.07, 0.23, 0.6]),
}
penalizing = {
    "repeat_penalty": st.sampled_from([None, 1.0, 1.3, 0.8]),
    "frequency_penalty": st.sampled_from([0.0, 0.37, -0.2]),
    "presence_penalty": st.sampled_from([None, 0.41]),
    "penalty_last_n": st.sampled_from([0, 2, 64]),
    "dry_multiplier": st.sampled_from([None, 0.8, 2.1]),
    "dry_base": st.sampled_from([1.0, 1.31, 4.0]),
    "dry_allowed_length": st.sampled_from([0, 1, 2, 5]),
    "dry_penalty_last_n": st.sampled_from([0, 7, 64, 1000]),
    "dry_sequence_breakers": st.sampled_from([(), ('"',), ("\n", ":", '"', "*")]),
    "logit_bias": st.sampled_from([(), {1: -np.inf, 0: 1.5}, [("!", 0.7), (3, -2)], {"*": -1.0}]),
}
heating = {
    "temp": st.sampled_from([None, 0.0, 0.1, 0.8, 1.7, 20.0]),
    "dynatemp_range": st.sampled_from([None, 0.0, 0.3, 0.8, 1.9]),
    "dynatemp_exponent": st.sampled_from([0.0, 0.7, 1.0, 2.2]),
}
some_settings = st.builds(SamplerSettings, **truncating, **penalizing, **heating)


@given(some_settings, some_logits, st.lists(st.integers(0, 59), max_size=80), st.integers(1, 60))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_the_chain_and_the_steps_leave_the_same_tokens_with_the_same_probabilities(
    loaded: ez.Model, chosen: SamplerSettings, logits: Logits, history: list[int], n_kinds: int
) -> None:
    history = [token % min(n_kinds, len(logits)) for token in history]  # few kinds repeat themselves
    assume(not is_shaky(chosen, history, logits, loaded))
    slow, fast = (work(chosen, history, logits, loaded) for work in (steps_logits, chain_logits))
    assert np.array_equal(slow > -np.inf, fast > -np.inf)
    assert np.allclose(probabilities(slow), probabilities(fast), atol=1e-5)


ONE_STEP = [
    {"typical_p": 0.6}, {"top_n_sigma": 1.1}, {"xtc_probability": 1.0, "xtc_threshold": 0.02},
    {"temp": 0.9, "dynatemp_range": 0.5}, {"temp": 0.9, "dynatemp_range": 2.0, "dynatemp_exponent": 3.0},
    {"top_p": 0.9}, {"min_p": 0.1}, {"top_k": 17}, {"dry_multiplier": 0.8, "dry_sequence_breakers": ()},
    {"dry_multiplier": 0.8, "dry_penalty_last_n": 500, "dry_sequence_breakers": ("the", "\n", " a ")},
    {"repeat_penalty": 1.2}, {"logit_bias": {5: 3.0, " ": -np.inf}}, {"temp": 0.0}, {"temp": 3.0},
    {"typical_p": 0.9, "logit_bias": {7: -np.inf}}, {"typical_p": 0.7, "top_n_sigma": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("fields", ONE_STEP, ids=str)
def test_every_step_alone_is_the_one_of_llama_cpp_on_a_real_vocabulary(
    loaded: ez.Model, fields: dict[str, Any]
) -> None:
    off: dict[str, Any] = {"top_k": None, "top_p": None, "min_p": None, "temp": None}
    chosen, random = SamplerSettings(**{**off, **fields}), np.random.default_rng(5)
    changed = 0
    for trial in range(12):
        logits = (random.normal(size=loaded.n_vocab) * random.choice([1, 3, 6])).astype(np.float32)
        history = random.integers(0, random.choice([3, 30, 1000]), size=200).tolist()
        if trial % 3 == 0:
            history += loaded.tokenize("the cat: the cat saw the cat\nthe cat saw the")
        slow, fast = (work(chosen, history, logits, loaded) for work in (steps_logits, chain_logits))
        if is_shaky(chosen, history, logits, loaded):
            continue
        assert np.array_equal(slow > -np.inf, fast > -np.inf)
        assert np.allclose(probabilities(slow), probabilities(fast), atol=1e-5)
        changed += not np.array_equal(slow, logits)
    assert changed >= 3, "the step did something, and was compared"


def test_masked_logits_make_no_nonsense_of_typical_xtc_and_dynamic_temperature() -> None:
    logits = np.array([2.0, 1.5, 1.0, 0.0, -1.0] + [-np.inf] * 30, dtype=np.float32)
    for chosen in (
        SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None, typical_p=0.5),
        SamplerSettings(top_k=None, top_p=None, min_p=None, temp=1.0, dynatemp_range=0.7),
    ):
        slow, fast = steps_logits(chosen, [], logits), chain_logits(chosen, [], logits)
        alone = steps_logits(chosen, [], logits[:5])
        assert np.allclose(probabilities(slow), probabilities(fast), atol=1e-6)
        assert np.allclose(probabilities(slow)[:5], probabilities(alone), atol=1e-6)
    everything = SamplerSettings(
        top_k=None, top_p=None, min_p=None, temp=None, xtc_probability=1.0, xtc_threshold=0.0
    )
    assert np.flatnonzero(probabilities(chain_logits(everything, [], logits))).tolist() == [4]


DRAWING = [
    SamplerSettings(top_k=None, top_p=None, min_p=0.3, temp=0.7),
    SamplerSettings(top_k=None, top_p=None, min_p=None, xtc_probability=0.4, xtc_threshold=0.15),
    SamplerSettings(top_k=6, top_p=None, min_p=None, temp=1.3, dynatemp_range=0.4),
    SamplerSettings(top_k=None, min_p=None, mirostat=1, mirostat_tau=1.4, temp=1.2),
    SamplerSettings(top_k=None, min_p=None, mirostat=2, mirostat_tau=1.2, temp=0.9),
    SamplerSettings(top_k=None, top_p=0.97, min_p=None, adaptive_target=0.3, temp=1.0),
]


@pytest.mark.parametrize("chosen", DRAWING, ids=str)
def test_chain_and_picker_draw_the_same_distribution(chosen: SamplerSettings) -> None:
    logits = np.log(np.array([0.3, 0.2, 0.16, 0.13, 0.1, 0.06, 0.03, 0.02], dtype=np.float32))
    expected = first_draw(chosen, logits)
    assert not np.allclose(expected, probabilities(logits), atol=0.01)
    drawn = []
    for seed in range(6000):  # a chain for each draw, because what is drawn changes mirostat and adaptive-p
        chain = build_chain(chosen, seed, len(logits))
        drawn.append(Candidates(logits).apply(chain))
        llama_cpp.llama_sampler_free(chain)
    assert fits(drawn, expected), "llama.cpp"
    assert fits([numpy_picker(chosen, 9 + n)(range(n), logits) for n in range(6000)], expected), "numpy"
    assert not fits(drawn, probabilities(logits)), "the test can tell"


def first_draw(chosen: SamplerSettings, logits: Logits) -> Logits:
    """The probabilities of the first draw, with XTC's coin summed up."""
    rule, total = chosen.draw_rule(), np.zeros(len(logits), dtype=np.float32)
    often = chosen.xtc_probability or 0.0
    for toss, weight in ((0.0, often), (1.0, 1 - often)):
        left = logits
        for step in chosen.steps(coin=lambda position, toss=toss: toss):  # type: ignore[misc]  # bound now
            left = step([], left)
        total += np.float32(weight) * probabilities(rule.shape(left, rule.start()) if rule else left)
    return total


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_generates_on_both_paths(model: ez.Model, name: str) -> None:
    settings = replace(getattr(samplers, name), max_len_tokens=12, seed=5)
    fast = model.generate("Once upon a time", sampler=settings)
    assert model.stats.generated >= 1
    if settings.temp == 0:
        logits = model.engine.extend([1])
        assert np.isfinite(logits).all()
    assert fast == model.generate("Once upon a time", sampler=settings), "same seed, same text"


def test_mirostat_replaces_draws_not_the_steps_that_change_the_model(model: ez.Model) -> None:
    plain = SamplerSettings(repeat_penalty=1.3, frequency_penalty=0.5, num_beams=3, max_len_tokens=12)
    mirostat = replace(plain, mirostat=2)
    assert len(mirostat.model_steps(model.tokenizer)) == len(plain.model_steps(model.tokenizer)) == 1
    prompt = "one two one two one two"
    assert model.generate(prompt, sampler=mirostat) == model.generate(prompt, sampler=plain)
