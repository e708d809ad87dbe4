"""LlamaChain on the real engine: given logits, going back, constraints, freed memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engine import Logits, prefill
from easy_llama.engines.llama.chain import LlamaChain
from easy_llama.engines.llama.engine import LlamaEngine
from easy_llama.errors import EngineError, ModelUnloadedException, NoTokenLeft, SettingsError
from easy_llama.samplers import GreedyDecoding, NumpyPicker, SamplerSettings
from easy_llama.steps.basic import probabilities

from .candidates import fits

PLAIN = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None)
EVERYTHING = SamplerSettings(
    logit_bias={"!": 1.0, 7: -2.0}, repeat_penalty=1.3, frequency_penalty=0.1, penalty_last_n=9,
    dry_multiplier=2.0, dry_allowed_length=1, dry_penalty_last_n=30, top_n_sigma=3.0, top_k=100,
    typical_p=0.95, xtc_probability=0.5, xtc_threshold=0.02, temp=1.5, dynatemp_range=0.5,
)  # fmt: skip


def engine_of(model: ez.Model) -> LlamaEngine:
    assert isinstance(model.engine, LlamaEngine)
    return model.engine


def row(n_vocab: int, position: int) -> Logits:
    return (np.random.default_rng(position).normal(size=n_vocab) * 2).astype(np.float32)


def run(chain: LlamaChain, tokens: list[int], n: int) -> list[int]:
    """Draw n tokens, each from logits that depend on the position only."""
    for _ in range(n):
        tokens.append(chain(tokens, row(chain.source.n_vocab, len(tokens))))
    return tokens


# --- the logits that are given -------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [GreedyDecoding, PLAIN, EVERYTHING], ids=str)
def test_all_ways_to_give_logits_lead_to_the_same_tokens(model: ez.Model, chosen: SamplerSettings) -> None:
    engine, prompt = engine_of(model), model.tokenize("Once upon a time")
    view = prefill(engine, prompt)
    chains = {way: LlamaChain(engine, chosen, 4, prompt) for way in ("view", "copy", "apart", "constrained")}
    chains["constrained"]._constraint = Allowing(set(range(engine.n_vocab)))
    tokens: dict[str, list[int]] = {way: list(prompt) for way in chains}
    for position in range(12):
        wanted = row(engine.n_vocab, position)
        for way in ("view", "copy", "constrained"):
            if way == "view":
                view[:] = wanted
            tokens[way].append(chains[way](tokens[way], view if way == "view" else wanted.copy()))
    fork = engine.fork()
    fork.extend([3])  # now the newest row is the fork's
    try:
        for position in range(12):
            tokens["apart"].append(chains["apart"](tokens["apart"], row(engine.n_vocab, position)))
    finally:
        fork.close()
    assert tokens["view"] == tokens["copy"] == tokens["apart"] == tokens["constrained"]
    assert len(set(tokens["view"][len(prompt) :])) > 3


def test_logits_written_in_place_are_seen(model: ez.Model) -> None:
    engine = engine_of(model)
    view = prefill(engine, [1, 5, 8])
    chain = LlamaChain(engine, GreedyDecoding, 1)
    first = chain([], view)
    view[first] = -np.inf
    assert chain([], view) != first
    given = np.zeros(engine.n_vocab, dtype=np.float32)
    given[77] = 1.0
    assert chain([], given) == 77
    assert engine.live_view() is view
    assert view[77] == 1.0, "given logits take the place of the row"


def test_wrong_and_empty_logits_are_refused(model: ez.Model) -> None:
    engine = engine_of(model)
    view = prefill(engine, [1, 5])
    chain = LlamaChain(engine, PLAIN, 1)
    with pytest.raises(EngineError, match="there are no logits"):
        chain([], view[:5])
    with pytest.raises(NoTokenLeft, match="all 1024 logits are -inf"):
        chain([], np.full(1024, -np.inf, dtype=np.float32))
    banned = SamplerSettings(logit_bias=dict.fromkeys(range(1024), -np.inf))
    fork = engine.fork()
    fork.extend([3])
    try:
        with pytest.raises(NoTokenLeft, match="no token is left"):
            LlamaChain(engine, banned, 1)([], view)
    finally:
        fork.close()


def test_settings_that_do_not_fit_the_vocabulary_are_named(model: ez.Model) -> None:
    with pytest.raises(SettingsError, match="the token 1024; the vocabulary has 0 to 1023"):
        LlamaChain(engine_of(model), SamplerSettings(logit_bias={1024: 1.0}), 1)
    with pytest.raises(SettingsError, match="is 3 tokens"):
        LlamaChain(engine_of(model), SamplerSettings(logit_bias={"!!!": 1.0}), 1)


# --- going back ----------------------------------------------------------------------------------------


@given(
    st.sampled_from([GreedyDecoding, PLAIN, EVERYTHING, replace(EVERYTHING, xtc_probability=0.0)]),
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=4),
    st.integers(0, 40),
)
@settings(max_examples=60)
def test_a_chain_that_went_back_is_a_fresh_one(
    loaded: ez.Model, chosen: SamplerSettings, trips: list[tuple[int, int, int]], n_prompt: int
) -> None:
    engine = engine_of(loaded)
    prefill(engine, [1, 2])
    prompt = [token % 6 for token in range(n_prompt)]  # repeats itself, for DRY and the penalties
    chain, tokens = LlamaChain(engine, chosen, 6, prompt), list(prompt)
    run(chain, tokens, 8)
    for back, salt, n in trips:
        del tokens[max(n_prompt, len(tokens) - back) :]
        chain.rewind(tokens, salt)
        fresh = LlamaChain(engine, chosen, 6, tokens)
        if salt:
            fresh.rewind(tokens, salt)
        assert run(chain, list(tokens), 12) == run(fresh, list(tokens), 12)
        chain.rewind(tokens, salt)
        run(chain, tokens, n)
    chain.close()


def test_rewinding_looks_at_the_history_and_changes_nothing_else(model: ez.Model) -> None:
    """The probabilities after a rewind are those of the numpy steps on the same history."""
    engine = engine_of(model)
    prefill(engine, [1, 2])
    chosen = replace(PLAIN, repeat_penalty=1.5, dry_multiplier=3.0, penalty_last_n=6, temp=0.6)
    history = model.tokenize("the cat saw the cat and the dog saw the")
    chain = LlamaChain(engine, chosen, 3, history[:4])
    run(chain, list(history[:4]), 20)
    logits = np.full(engine.n_vocab, -np.inf, dtype=np.float32)
    seen = sorted(set(history))[:9]
    logits[seen] = np.linspace(0, 1, len(seen), dtype=np.float32)
    expected = logits
    for step in chosen.steps(model.tokenizer):
        expected = step(history, expected)
    drawn = []
    for salt in range(5000):
        chain.rewind(history, salt)
        drawn.append(chain(history, logits))
    assert fits(drawn, probabilities(expected))
    assert not fits(drawn, probabilities(logits))


@pytest.mark.parametrize("chosen", [PLAIN, replace(PLAIN, xtc_probability=0.5, xtc_threshold=0.15)], ids=str)
def test_a_redraw_of_a_rejected_token_is_not_biased(model: ez.Model, chosen: SamplerSettings) -> None:
    engine = engine_of(model)
    prefill(engine, [1, 2])
    logits = np.full(engine.n_vocab, -np.inf, dtype=np.float32)
    logits[:4] = np.log([0.4, 0.3, 0.2, 0.1])
    expected = np.array([0.4, 0.3, 0.2, 0.1])
    if chosen.xtc_probability:  # both draws toss its coin
        expected = (expected + np.array([0, 0, 2 / 3, 1 / 3])) / 2
    chain, drawn, first = LlamaChain(engine, chosen, 2), [], []
    for n in range(6000):
        chain.rewind([], 2 * n + 1)
        token = chain([], logits)
        first.append(token)
        if token == 3:
            chain.rewind([], 2 * n + 2)
            token = chain([], logits)
        drawn.append(token)
    twice = expected + expected[3] * (expected - np.array([0, 0, 0, 1.0]))
    assert fits(first, expected.astype(np.float32))
    assert fits(drawn, twice.astype(np.float32))


def test_dry_is_not_made_anew(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = LlamaChain(engine_of(model), EVERYTHING, 1)
    monkeypatch.setattr(llama_cpp, "llama_sampler_init_dry", lambda *a: pytest.fail("made anew"))
    n = llama_cpp.llama_sampler_chain_n(chain._chain)
    for salt in range(3):
        chain.rewind([1, 2, 3], salt)
    assert llama_cpp.llama_sampler_chain_n(chain._chain) == n


# --- constraints ---------------------------------------------------------------------------------------


class Allowing:
    """A constraint that allows a fixed set of tokens and notes what is done with it."""

    def __init__(self, allowed: set[int]) -> None:
        self.allowed = allowed
        self.accepted: list[int] = []
        self.n_tests = self.n_masks = self.n_closed = 0

    def allows(self, token: int) -> bool:
        self.n_tests += 1
        return token in self.allowed

    def accept(self, token: int) -> None:
        assert token in self.allowed
        self.accepted.append(token)

    def mask(self, array: Any) -> None:
        self.n_masks += 1
        assert (array.selected, array.sorted) == (-1, False)
        for i in range(array.size):
            assert array.data[i].id == i, "filled anew"
            if i not in self.allowed:
                array.data[i].logit = -np.inf

    def rewind(self, tokens: Sequence[int]) -> None:
        self.accepted = []
        for token in tokens:
            self.accept(token)

    def close(self) -> None:
        self.n_closed += 1


class Shortcut(Allowing):
    """A constraint that knows a shorter way back."""

    def rewind(self, tokens: Sequence[int]) -> None:
        self.accepted = [-1, *tokens]


def test_only_allowed_tokens_are_drawn_and_only_where_needed_all_are_tested(model: ez.Model) -> None:
    engine = engine_of(model)
    prefill(engine, [1, 2])
    logits = np.full(engine.n_vocab, -np.inf, dtype=np.float32)
    logits[:5] = np.log([0.3, 0.3, 0.2, 0.15, 0.05])
    constraint = Allowing({1, 3, 900})
    chain = LlamaChain(engine, PLAIN, 3, (), constraint)
    drawn = [chain([], logits) for _ in range(5000)]
    assert fits(drawn, np.array([0, 2 / 3, 0, 1 / 3], dtype=np.float32))
    assert constraint.accepted == drawn
    assert constraint.n_tests == 5000
    assert abs(constraint.n_masks / 5000 - 0.55) < 0.03, "as often as the first draw is forbidden"


def test_the_settings_cut_anew_behind_the_constraint(model: ez.Model) -> None:
    engine = engine_of(model)
    prefill(engine, [1, 2])
    logits = np.linspace(8, 0, engine.n_vocab, dtype=np.float32)
    constraint = Allowing({500, 501, 502})
    chain = LlamaChain(engine, replace(PLAIN, top_k=2), 3, (), constraint)
    assert {chain([], logits) for _ in range(60)} == {500, 501}, "top-k of what is allowed"
    constraint.allowed = {501}
    assert LlamaChain(engine, GreedyDecoding, 3, (), constraint)([], logits) == 501


def test_a_constraint_that_allows_nothing_is_an_error(model: ez.Model) -> None:
    engine = engine_of(model)
    view = prefill(engine, [1, 2])
    constraint = Allowing(set())
    with pytest.raises(NoTokenLeft, match="the grammar allows no token"):
        LlamaChain(engine, PLAIN, 3, (), constraint)([], view)
    constraint.allowed = {5}
    with pytest.raises(NoTokenLeft, match="no token is left"):
        LlamaChain(engine, replace(PLAIN, logit_bias={5: -np.inf}), 3, (), constraint)([], view)
    assert constraint.accepted == []


@pytest.mark.parametrize("kind", [Allowing, Shortcut])
def test_a_rewind_brings_the_constraint_back_too(model: ez.Model, kind: type[Allowing]) -> None:
    engine, prompt = engine_of(model), [5, 6, 7]
    prefill(engine, prompt)
    constraint = kind({2, 4, 9})
    chain, tokens = LlamaChain(engine, EVERYTHING, 3, prompt, constraint), list(prompt)
    run(chain, tokens, 6)
    assert constraint.accepted == tokens[3:]
    del tokens[5:]
    chain.rewind(tokens, 1)
    assert constraint.accepted == ([-1] if kind is Shortcut else []) + tokens[3:]
    run(chain, tokens, 3)
    assert constraint.accepted[-5:] == tokens[3:]
    chain.rewind(prompt, 2)
    assert constraint.accepted == ([-1] if kind is Shortcut else [])


def test_end_tokens_are_accepted_like_others(model: ez.Model) -> None:
    engine, end = engine_of(model), model.eot_token
    assert end is not None
    view = prefill(engine, [1, 2])
    constraint = Allowing({end})
    assert LlamaChain(engine, SamplerSettings(), 3, (), constraint)([], view) == end
    assert constraint.accepted == [end]


def test_the_fast_way_of_the_engine_keeps_the_constraint(model: ez.Model) -> None:
    engine = engine_of(model)
    view = prefill(engine, [1, 2])
    constraint = Allowing({10, 11, 12})
    chain = LlamaChain(engine, replace(PLAIN, temp=3.0), 3, [1, 2], constraint)
    tokens = [chain([1, 2], view)]
    step = engine.advance(chain)
    assert step is not None
    for _ in range(10):
        tokens.append(step(tokens[-1]))
    assert set(tokens) <= {10, 11, 12}
    assert constraint.accepted == tokens


# --- memory --------------------------------------------------------------------------------------------


def test_a_closed_chain_says_so_and_frees_once(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(model)
    view = prefill(engine, [1, 2])
    constraint = Allowing({1})
    chain = LlamaChain(engine, EVERYTHING, 3, (), constraint)
    chain.close()
    chain.close()
    assert constraint.n_closed == 2, "its close may be called twice, too"
    context = engine.context()
    for use in (lambda: chain([], view), lambda: chain.draw(context), lambda: chain.rewind([], 0)):
        with pytest.raises(EngineError, match="this picker is closed"):
            use()


def watch_free(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is handed to llama_sampler_free from now on."""
    freed: list[Any] = []
    free = llama_cpp.llama_sampler_free

    def watched(sampler: Any) -> None:
        freed.append(sampler)
        free(sampler)

    monkeypatch.setattr(llama_cpp, "llama_sampler_free", watched)
    return freed


def test_every_sampler_is_freed_once(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are replaced, and at last the chain, which frees what it holds."""
    freed = watch_free(monkeypatch)
    chain = LlamaChain(engine_of(model), EVERYTHING, 1)
    for salt in range(4):
        chain.rewind([], salt)
    assert len(freed) == 8, "XTC and the draw, four times"
    del chain
    gc.collect()
    assert len(freed) == 9


@pytest.mark.parametrize("fields", [{"mirostat": 2}, {"adaptive_target": 0.5}])
def test_draws_with_a_state_are_refused(model: ez.Model, fields: dict[str, Any]) -> None:
    chosen = SamplerSettings(**fields)
    with pytest.raises(SettingsError, match="draw with a NumpyPicker"):
        LlamaChain(engine_of(model), chosen, 1)
    assert isinstance(engine_of(model).picker(chosen, 1), NumpyPicker)


def test_a_failed_chain_is_freed(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = watch_free(monkeypatch)
    monkeypatch.setattr(llama_cpp, "llama_sampler_init_dist", lambda seed: None)
    with pytest.raises(EngineError, match="made no sampler"):
        LlamaChain(engine_of(model), PLAIN, 1)
    assert len(freed) == 1


def test_a_model_that_is_gone_is_an_error_not_a_crash() -> None:
    model = ez.Model(n_threads=1, context_length=64)
    engine = engine_of(model)
    view = engine.extend([1, 2]).copy()
    chain = LlamaChain(engine, EVERYTHING, 1)
    model.unload()
    for use in (
        lambda: chain([], view),
        lambda: chain.rewind([1], 1),
        lambda: LlamaChain(engine, EVERYTHING, 1),
    ):
        with pytest.raises(ModelUnloadedException):
            use()
    chain.close()
