"""Mirostat and adaptive-p against llama.cpp's, and the numpy picker: state by position, new numbers."""

from __future__ import annotations

from dataclasses import replace

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama import samplers
from easy_llama.decoding.sampling import Sampling, picker_for
from easy_llama.engine import Logits
from easy_llama.engines.table import TableEngine
from easy_llama.errors import NoTokenLeft, SettingsError
from easy_llama.samplers import NumpyPicker, SamplerSettings, numpy_picker
from easy_llama.steps.basic import probabilities
from easy_llama.steps.draws import AdaptiveP, DrawRule, Mirostat, MirostatV2, draw
from tests.c_chain import build_chain

from .candidates import Candidates, fits

OFF = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None)
LOGITS = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))


def settings_of(rule: DrawRule) -> SamplerSettings:
    if isinstance(rule, AdaptiveP):
        return replace(OFF, adaptive_target=rule.target, adaptive_decay=rule.decay)
    assert isinstance(rule, MirostatV2)
    return replace(
        OFF, mirostat=1 if isinstance(rule, Mirostat) else 2, mirostat_tau=rule.tau, mirostat_eta=rule.eta
    )


RULES: list[DrawRule] = [
    MirostatV2(3.0, 0.1), MirostatV2(1.0, 0.5), MirostatV2(7.0, 0.05), Mirostat(3.0, 0.1), Mirostat(1.5, 0.4),
    Mirostat(5.0, 0.1), AdaptiveP(0.5, 0.9), AdaptiveP(0.2, 0.5), AdaptiveP(0.9, 0.99), AdaptiveP(0.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "n_vocab"),
    # 5 bits are more than few tokens have; mu then grows until llama.cpp's k overflows
    [(rule, n) for rule in RULES for n in (20, 50, 900) if n == 900 or rule != Mirostat(5.0, 0.1)],
    ids=str,
)
def test_a_rule_follows_llama_cpp_token_by_token(rule: DrawRule, n_vocab: int) -> None:
    """Both see the same logits and learn from the tokens that llama.cpp draws."""
    random = np.random.default_rng(n_vocab)
    chain, state = build_chain(settings_of(rule), 7, n_vocab), rule.start()
    states = []
    for _ in range(80):
        logits = (random.normal(size=n_vocab) * random.choice([2, 3, 5])).astype(np.float32)
        candidates = Candidates(logits)
        token = candidates.apply(chain)
        llama_cpp.llama_sampler_accept(chain, token)
        shaped = rule.shape(logits, state)
        assert np.allclose(probabilities(shaped), candidates.probabilities(), atol=1e-4)
        assert shaped[token] > -np.inf
        state = rule.learn(state, logits, shaped, token)
        states.append(state[0])
    llama_cpp.llama_sampler_free(chain)
    assert np.ptp(states) > 0, "it learned"


def test_mirostat_holds_the_surprise() -> None:
    logits = np.sort(np.random.default_rng(1).normal(size=2000) * 2).astype(np.float32)
    for version in (1, 2):
        chosen = SamplerSettings(mirostat=version, mirostat_tau=4.0, temp=None)
        pick, rule = numpy_picker(chosen, 3), chosen.draw_rule()
        assert isinstance(rule, MirostatV2)
        tokens: list[int] = []
        surprises = []
        for _ in range(1500):
            shaped = rule.shape(logits, pick._state(tokens))
            tokens.append(pick(tokens, logits))
            surprises.append(-np.log2(probabilities(shaped)[tokens[-1]]))
        assert abs(np.mean(surprises[200:]) - 4.0) < 0.15


def test_mirostat_has_limits_where_the_formula_has_none() -> None:
    even, rule = np.zeros(50, dtype=np.float32), Mirostat(3.0, 0.1)
    assert (rule.shape(even, (6.0,)) == even).all(), "s = 0: k is infinite, where llama.cpp overflows to 1"
    assert (rule.shape(even, (-5.0,)) > -np.inf).sum() == 1
    zipf = -np.log(np.arange(1, 200, dtype=np.float32))  # s = 1
    assert (rule.shape(zipf, (5.0,)) > -np.inf).sum() == int(2**5 / np.log(199))
    one = np.array([-np.inf, 2.0, -np.inf], dtype=np.float32)
    for kind in (Mirostat(3.0, 0.1), MirostatV2(3.0, 0.1), AdaptiveP(0.3, 0.5)):
        shaped = kind.shape(one, kind.start())
        assert np.flatnonzero(shaped > -np.inf).tolist() == [1]
        assert np.isfinite(kind.learn(kind.start(), one, shaped, 1)).all()


# --- the picker ----------------------------------------------------------------------------------------


def test_no_token_left_is_an_error_of_its_own() -> None:
    nothing = np.full(4, -np.inf, dtype=np.float32)
    for chosen in (
        SamplerSettings(), samplers.GreedyDecoding, SamplerSettings(mirostat=2), SamplerSettings(mirostat=1),
        SamplerSettings(adaptive_target=0.5),
        SamplerSettings(typical_p=0.5, top_n_sigma=1.0, xtc_probability=1.0, dynatemp_range=0.5),
    ):  # fmt: skip
        with pytest.raises(NoTokenLeft, match="all 4 logits are -inf"):
            numpy_picker(chosen, 1)([], nothing)
    banned = SamplerSettings(logit_bias=dict.fromkeys(range(4), -np.inf))
    with pytest.raises(NoTokenLeft):
        numpy_picker(banned, 1)([], LOGITS)
    assert draw(np.array([-np.inf, 0.0], dtype=np.float32), lambda: pytest.fail("no choice, no draw")) == 1


STATEFUL = [
    SamplerSettings(mirostat=1, mirostat_tau=1.0, mirostat_eta=0.5),
    SamplerSettings(mirostat=2, mirostat_tau=1.0, mirostat_eta=0.5),
    SamplerSettings(adaptive_target=0.4, adaptive_decay=0.6, min_p=0.02),
    SamplerSettings(xtc_probability=0.5),
]


def row(position: int) -> Logits:
    return (np.random.default_rng(position).normal(size=40) * 2).astype(np.float32)


def run(pick: NumpyPicker, tokens: list[int], n: int) -> list[int]:
    for _ in range(n):
        tokens.append(pick(tokens, row(len(tokens))))
    return tokens


@given(
    st.sampled_from(STATEFUL),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 12)), max_size=5),
)
def test_after_a_rewind_all_is_as_if_only_the_kept_tokens_had_been_drawn(
    chosen: SamplerSettings, trips: list[tuple[int, int, int]]
) -> None:
    pick, tokens = numpy_picker(chosen, 5), [1, 2]
    drawn_with: list[int] = []  # the salt of every token after the first two
    salt = 0
    run(pick, tokens, 6)
    drawn_with += [0] * 6
    for back, salt, n in trips:
        keep = max(2, len(tokens) - back)
        del tokens[keep:], drawn_with[keep - 2 :]
        pick.rewind(tokens, salt)
        run(pick, tokens, n)
        drawn_with += [salt] * n
    fresh, again = numpy_picker(chosen, 5), [1, 2]
    for one in drawn_with:
        fresh.rewind(again, one)
        run(fresh, again, 1)
    assert again == tokens
    fresh.rewind(again, salt)
    assert run(fresh, again, 5) == run(pick, tokens, 5)


def test_coming_back_to_a_position_finds_its_state_and_its_number() -> None:
    for chosen in STATEFUL:
        pick = numpy_picker(chosen, 8)
        tokens = run(pick, [3], 20)
        for n in (20, 4, 11, 1, 11):
            assert pick(tokens[:n], row(n)) == tokens[n]


def test_nothing_is_learned_from_tokens_that_were_not_drawn() -> None:
    chosen = SamplerSettings(adaptive_target=0.4, min_p=None, top_p=None)
    for forced in (True, False):
        pick = numpy_picker(chosen, 1)
        drawn = pick([5], row(1))
        token = (drawn + 1) % 40 if forced else drawn
        at_start = pick._state([5, token]) == AdaptiveP(0.4, 0.9).start()
        assert at_start == forced
    assert pick._state([5, drawn, 7, 7]) == pick._state([5, drawn]), "nor from tokens put in between"
    tokens = run(pick, [5], 6)
    pick.rewind(tokens[:2], 1)
    assert pick._state(tokens) == pick._state(tokens[:2]), "nor from what was taken back"


def test_a_redraw_of_a_rejected_token_is_not_biased() -> None:
    """Rejecting token 0 and drawing anew must leave the others their shares of what is left."""
    banned = LOGITS.copy()
    banned[0] = -np.inf
    accepted, same_number = [], []
    for n in range(6000):
        pick = numpy_picker(OFF, n)
        token = again = pick([], LOGITS)
        if token == 0:
            again = pick([], banned)
            pick.rewind([], 1)
            token = pick([], banned)
        accepted.append(token)
        same_number.append(again)
    expected = probabilities(banned)
    assert fits(accepted, expected)
    assert not fits(same_number, expected), "what it would be without new numbers"


def test_salts_give_independent_draws_and_0_the_first_ones() -> None:
    pick = numpy_picker(OFF, 4)
    first = run(pick, [], 50)
    drawn = []
    for salt in range(2000):
        pick.rewind([], salt)
        drawn.append(pick([], LOGITS))
    assert fits(drawn, probabilities(LOGITS))
    pick.rewind([], 0)
    assert run(pick, [], 50) == first


def test_the_number_follows_the_seed_whatever_its_size() -> None:
    assert run(numpy_picker(OFF, 1), [], 9) != run(numpy_picker(OFF, 2), [], 9)
    assert run(numpy_picker(OFF, samplers.MAX_SEED), [], 9) == run(
        numpy_picker(OFF, samplers.MAX_SEED), [], 9
    )


def test_constraints_are_refused_where_nothing_keeps_them() -> None:
    engine = TableEngine(np.zeros((3, 3)), n_ctx=8)
    grammar, schema = SamplerSettings(grammar='root ::= "a"'), SamplerSettings(json_schema={"type": "object"})
    for chosen, name in ((grammar, "grammar"), (schema, "json_schema")):
        with pytest.raises(SettingsError, match=f"{name} needs a llama.cpp engine"):
            picker_for(engine, chosen, 1, [0])
        with pytest.raises(SettingsError, match=f"{name} needs a llama.cpp engine"):
            list(Sampling(chosen, 1)(engine, [0], frozenset(), 2))
    with pytest.raises(SettingsError, match="can't be combined with mirostat"):
        numpy_picker(SamplerSettings(grammar='root ::= "a"', mirostat=2), 1)


def test_a_picker_for_an_engine_without_one_knows_the_tokenizer(loaded: ez.Model) -> None:
    engine = TableEngine(np.zeros((1024, 1024)), n_ctx=8)
    chosen = SamplerSettings(logit_bias={"!": 60.0}, dry_multiplier=0.0)
    assert picker_for(engine, chosen, 1, [0], loaded.tokenizer)([0], engine.extend([0])) == 3
    assert next(iter(Sampling(chosen, 1, loaded.tokenizer)(engine, [0], frozenset(), 2))) == 3
    with pytest.raises(SettingsError, match="a tokenizer is needed"):
        picker_for(engine, chosen, 1, [0])
