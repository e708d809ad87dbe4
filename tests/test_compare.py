"""Decoding methods compared: exact figures on table engines, the report, the command."""

from __future__ import annotations

import doctest
import io
import json
import math
import re
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.decoding import BeamSearch, ContrastiveDecoder, Sampling
from easy_llama.engine import Engine, prefill
from easy_llama.engines.table import TableEngine
from easy_llama.errors import (
    EasyLlamaWarning,
    EngineBusyError,
    EngineError,
    ExceededContextLengthException,
    PromptError,
    SettingsError,
)
from easy_llama.samplers import SimpleSampling
from easy_llama.steps.basic import probabilities, temperature
from easy_llama.study import Outcome, Study, chart, compare, measures, writing
from easy_llama.study.measures import (
    distinct,
    find_json,
    logprob_and_rank,
    longest_repeat,
    perplexity,
    pieces_of,
)
from easy_llama.study.methods import NAMES, nucleus
from easy_llama.study.rows import COLUMNS
from easy_llama.text.pieces import text_pieces

from .conftest import chatml
from .toys import PieceTokenizer, ToyProvider, table_of, toy

ROOT = Path(__file__).parent.parent
WORDS = ["a", "b", " c"]
STORY = chatml("Tell me a story about a brave owl named Bubbles.")


def chain(*, n_ctx: int = 64) -> ToyProvider:
    """After a comes b (0.6), after b comes c (0.8), after c the end (0.5); the rest is shared evenly."""
    tokenizer = PieceTokenizer(WORDS)
    table = np.log(
        [[0.2, 0.6, 0.1, 0.1], [0.1, 0.05, 0.8, 0.05], [0.2, 0.2, 0.1, 0.5], [0.25, 0.25, 0.25, 0.25]]
    )
    return ToyProvider(TableEngine(table, n_ctx=n_ctx), tokenizer)


# --- measures ----------------------------------------------------------------------------------------------


def test_logprob_and_rank_by_hand() -> None:
    logits = np.log(np.array([0.5, 0.125, 0.25, 0.125], dtype=np.float32)) + np.float32(7)
    found = [logprob_and_rank(logits, token) for token in range(4)]
    assert [rank for _, rank in found] == [1, 3, 2, 3]
    assert [logprob for logprob, _ in found] == pytest.approx(np.log([0.5, 0.125, 0.25, 0.125]), abs=1e-6)
    for broken in (np.nan, np.inf):
        with pytest.raises(EngineError, match="no numbers"):
            logprob_and_rank(np.array([0.0, broken], dtype=np.float32), 0)


@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=30))
def test_the_probabilities_of_all_tokens_sum_to_one(values: list[float]) -> None:
    logits = np.array(values, dtype=np.float32)
    assert sum(math.exp(logprob_and_rank(logits, i)[0]) for i in range(len(logits))) == pytest.approx(1.0)
    assert min(logprob_and_rank(logits, i)[1] for i in range(len(logits))) == 1


def test_distinct_and_perplexity_by_hand() -> None:
    text = [1, 2, 1, 2, 3]
    assert [distinct(text, n) for n in (1, 2, 3, 5, 6)] == [3 / 5, 3 / 4, 1.0, 1.0, 1.0]
    assert distinct([], 1) == 1.0
    assert perplexity([math.log(0.5), math.log(0.125)]) == pytest.approx(4.0)
    assert perplexity([]) is None
    assert perplexity([-1e6]) == math.inf


@given(st.lists(st.integers(0, 2), max_size=24))
def test_the_longest_repeat_is_that_of_trying_all(tokens: list[int]) -> None:
    def first_of_two(length: int) -> int | None:
        grams = [tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)]
        return next((i for i, gram in enumerate(grams) if gram in grams[i + 1 :]), None)

    lengths = [n for n in range(1, len(tokens)) if first_of_two(n) is not None]
    expected = (first_of_two(max(lengths)), max(lengths)) if lengths else (0, 0)
    assert longest_repeat(tokens) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', "whole"),
        (' [1, {"a": null}]\n', "whole"),
        ('Sure! {"a": {"b": "}"}} Anything else?', "inside"),
        ('```json\n{"sum": 100}\n```', "inside"),
        ('{"a": {"b": 1}', None),
        ("{'a': 1}", None),
        ('{x} {"a": 1}', None),
        ("[1, 2] is a list", None),
        ("", None),
        ("NaN", None),
        ('{"a": Infinity}', None),
        ('{"a": ' * 100_000, None),
        ("[" + "1" * 5000 + "]", "whole"),
    ],
)
def test_json_is_found_or_not(text: str, expected: str | None) -> None:
    assert find_json(text) == expected


@given(st.lists(st.sampled_from([b"a", b"", b" b", "é".encode(), b"\xc3", b"\xa9", b"\xf0\x9f", b"\xff"])))
def test_pieces_joined_are_the_text(data: list[bytes]) -> None:
    pieces = pieces_of(range(len(data)), data.__getitem__)
    assert len(pieces) == len(data)
    assert "".join(pieces) == "".join(text_pieces(range(len(data)), data.__getitem__))


# --- methods -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-12, 12, width=32), min_size=1, max_size=300),
    st.floats(0.01, 1.0),
    st.sampled_from([0.5, 1.0]),
)
def test_nucleus_keeps_the_top_token_and_no_more_than_p(values: list[float], p: float, temp: float) -> None:
    logits = temperature(temp)([], np.array(values, dtype=np.float32))
    before = logits.copy()
    kept = np.isfinite(nucleus(p)([], logits))
    chances = probabilities(logits).astype(np.float64)
    assert kept[logits.argmax()]
    assert kept.sum() == 1 or chances[kept].sum() <= p + 1e-6
    if not kept.all():
        assert chances[kept].min() >= chances[~kept].max()
        assert chances[kept].sum() + chances[~kept].max() > p - 1e-6
    np.testing.assert_array_equal(logits, before)


def test_nucleus_drops_the_token_that_crosses_p() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], dtype=np.float32))
    for p, kept in ((0.9, [1, 2]), (0.7, [1]), (0.5, [1]), (0.15, [1]), (1.0, [0, 1, 2])):
        assert np.flatnonzero(np.isfinite(nucleus(p)([], logits))).tolist() == kept


def test_in_nucleus_the_temperature_comes_first() -> None:
    """Of 0.28, 0.2, ... the first two are below 0.5; squared (temperature 0.5) only the first is."""
    provider = table_of(PieceTokenizer(list("abcd")), [0.28, 0.2, 0.19, 0.17, 0.16])
    study = compare(provider, "a", ["nucleus"], max_len_tokens=60)
    assert set(study["nucleus 0.5, temp 0.5"].text) == {"a"}
    assert set(study["nucleus 0.5, temp 1"].text) == {"a", "b"}


@pytest.mark.parametrize("seed", range(5))
def test_nearly_no_temperature_is_greedy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = np.array([rng.permutation(9) for _ in range(9)])  # no two logits of a row are near each other
    provider = ToyProvider(TableEngine(table), PieceTokenizer([f"<{i}>" for i in range(8)]))
    study = compare(provider, [0], ["greedy", "temperature", "nucleus"], max_len_tokens=30, seed=seed)
    greedy = study["greedy"]
    for label in ("temperature 0.001", "nucleus 0.15, temp 0.5"):
        assert study[label].tokens == greedy.tokens
        assert study[label].logprobs == greedy.logprobs
    assert set(greedy.ranks) <= {1}


def test_each_name_is_the_family_of_the_study() -> None:
    study = compare(chain(), "a", NAMES, max_len_tokens=4)
    labels = [one.label for one in study]
    assert labels[:2] == ["greedy", "sampling"]
    assert labels[2:7] == [f"temperature {temp}" for temp in ("0.001", "0.1", "0.5", "1", "10")]
    assert labels[7:13] == [f"nucleus {p}, temp {t}" for t in ("0.5", "1") for p in ("0.15", "0.5", "0.9")]
    assert labels[13:22] == [f"beam {n}, penalty {p}" for n in (2, 4, 8) for p in ("0.5", "1", "1.5")]
    assert labels[22:] == ["contrastive"]
    assert [one.label for one in compare(chain(), "a", max_len_tokens=1)] == labels[:22]
    assert len(compare(chain(), "a", ["greedy", "greedy"], max_len_tokens=1)) == 1


# --- exact outcomes ----------------------------------------------------------------------------------------


def test_greedy_to_the_end_token_by_hand() -> None:
    [one] = compare(chain(), "a", ["greedy"])
    assert (one.text, one.tokens, one.pieces, one.ranks) == ("b c", (1, 2), ("b", " c"), (1, 1))
    assert one.logprobs == pytest.approx([math.log(0.6), math.log(0.8)], abs=1e-6)
    assert one.logprob == pytest.approx(math.log(0.48), abs=1e-6)
    assert one.perplexity == pytest.approx(0.48**-0.5)
    assert one.end_logprob == pytest.approx(math.log(0.5), abs=1e-6)
    assert (one.finish_reason, one.n_tokens, one.seed) == ("stop", 2, None)
    assert one.seconds > 0
    assert one.tokens_per_second == pytest.approx(2 / one.seconds)


def test_seconds_are_without_the_judging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read at the beginning, at the end, and around each of three judgements."""
    monkeypatch.setattr(writing, "perf_counter", count().__next__)
    [one] = compare(chain(), "a", ["greedy"])
    assert one.seconds == 7 - 3


def test_a_loop_by_hand() -> None:
    provider = table_of(PieceTokenizer(WORDS), [0.25, 0.5, 0.125, 0.125])
    [one] = compare(provider, "a", ["greedy"], max_len_tokens=8)
    assert (one.text, one.finish_reason, one.end_logprob) == ("b" * 8, "length", None)
    assert one.perplexity == pytest.approx(2.0)
    assert one.distinct == (1 / 8, 1 / 7, 1 / 6)
    assert (one.longest_repeat, one.repeated_text) == (7, "b" * 7)
    assert one.json is None


def test_the_limits_are_the_length_and_the_context() -> None:
    loop = table_of(PieceTokenizer(WORDS), [0.0, 1.0, 0.0, 0.0])
    loop.engine.n_ctx = 10
    for limit, length in ((1, 1), (6, 6), (7, 7), (1000, 7)):
        study = compare(loop, "abc"[:2] + " c", ["greedy", "beam"], max_len_tokens=limit)
        assert {(one.n_tokens, one.finish_reason) for one in study} == {(length, "length")}
    assert (study.n_prompt, study.max_len_tokens, study.prompt) == (3, 1000, "ab c")


def test_extra_end_tokens_end_the_text() -> None:
    [one] = compare(chain(), "a", ["greedy"], end_tokens=[2])
    assert (one.text, one.finish_reason) == ("b", "stop")
    assert one.end_logprob == pytest.approx(math.log(0.8), abs=1e-6)


def test_a_text_without_tokens() -> None:
    study = compare(chain(), "a", ["greedy", "beam"], end_tokens=[1])
    one = study["greedy"]
    assert (one.text, one.tokens, one.logprob, one.perplexity) == ("", (), 0.0, None)
    assert (one.tokens_per_second, one.distinct, one.longest_repeat) == (None, (1.0, 1.0, 1.0), 0)
    assert one.to_dict()["perplexity"] is None
    assert "-" in rows(study)[1]


def test_what_is_drawn_is_evaluated_once() -> None:
    provider = toy([f"<{i}>" for i in range(6)])
    engine: Any = provider.engine
    [one] = compare(provider, [0, 1, 2], ["sampling"], max_len_tokens=20)
    assert one.n_tokens == 20
    assert engine.n_evaluated == 3 + 19  # the last token is not evaluated


@pytest.mark.parametrize("seed", [0, 1, 77])
def test_sampling_draws_as_the_decoder_does_and_judges_by_the_model(seed: int) -> None:
    provider = toy([f"<{i}>" for i in range(6)], seed=seed)
    study = compare(provider, [0], ["sampling", "temperature", "nucleus"], max_len_tokens=40, seed=seed)
    expected = list(Sampling(SimpleSampling, seed)(provider.engine, [0], provider.tokenizer.end_tokens, 40))
    assert list(study["sampling"].tokens) == expected
    assert study["temperature 1"].tokens == study["sampling"].tokens
    for one in study:
        judge(one, provider.engine, [0])
        assert one.seed == seed


def judge(one: Outcome, engine: Engine, prompt: list[int], tolerance: float = 1e-5) -> None:
    """Check log-probabilities and ranks by evaluating the text again, from its beginning."""
    for n, (token, logprob, rank) in enumerate(zip(one.tokens, one.logprobs, one.ranks, strict=True)):
        chances = probabilities(prefill(engine, [*prompt, *one.tokens[:n]]).copy())
        assert math.exp(logprob) == pytest.approx(float(chances[token]), abs=tolerance)
        assert rank - 1 == (chances > chances[token] * (1 + tolerance)).sum()


# --- searches ----------------------------------------------------------------------------------------------


def test_beams_are_those_of_the_decoder() -> None:
    for provider in (chain(), toy([f"<{i}>" for i in range(6)])):
        study = compare(provider, [0], ["beam"], max_len_tokens=12)
        for width in (2, 4, 8):
            for penalty in (0.5, 1.0, 1.5):
                search = BeamSearch(width, length_penalty=penalty, early_stopping=True)
                best = search.search(provider.engine, [0], provider.tokenizer.end_tokens, 12)[0]
                one = study[f"beam {width}, penalty {penalty:g}"]
                assert (one.tokens, one.finish_reason) == (best.tokens, best.finish_reason)
                assert one.logprob + (one.end_logprob or 0.0) == pytest.approx(best.logprob, abs=1e-5)
                assert one.seed is None
                judge(one, provider.engine, [0])


def test_a_beam_as_wide_as_all_texts_finds_the_likeliest() -> None:
    """Of two tokens three times there are 8 texts, so 8 beams leave none out."""
    for seed in range(5):
        table = np.random.default_rng(seed).normal(size=(3, 3))
        table[:, 2] = -np.inf  # never ends
        provider = ToyProvider(TableEngine(table), PieceTokenizer(["a", "b"]))
        study = compare(provider, [0], ["beam", "sampling", "temperature"], max_len_tokens=3, seed=seed)
        best = study["beam 8, penalty 1"].logprob
        assert all(one.logprob <= best + 1e-6 for one in study)


def test_contrastive_search_is_that_of_the_decoder() -> None:
    provider = toy([f"<{i}>" for i in range(6)])
    [one] = compare(provider, [0], ["contrastive"], max_len_tokens=9)
    decoder = ContrastiveDecoder(0.6, 4, ez.samplers.ContrastiveSearch)
    assert list(one.tokens) == list(decoder(provider.engine, [0], provider.tokenizer.end_tokens, 9))
    judge(one, provider.engine, [0])


class Narrow(TableEngine):
    """Room for five forks."""

    n_forks_free = 5

    def fork(self) -> TableEngine:
        return TableEngine.fork(self)


def test_beams_that_do_not_fit_are_left_out_with_a_warning() -> None:
    provider = chain()
    provider.engine = Narrow(np.zeros((4, 4)))
    with pytest.warns(EasyLlamaWarning, match=r"left out: beam 8, .*needs 8 forks.* room for 5") as caught:
        study = compare(provider, "a", ["greedy", "beam"], max_len_tokens=2)
    assert caught[0].filename == __file__
    assert [one.label for one in study] == [
        "greedy", *(f"beam {n}, penalty {p}" for n in (2, 4) for p in ("0.5", "1", "1.5"))
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="'wide' can't be used here: it needs 8 forks"):
        compare(provider, "a", {"wide": ez.SamplerSettings(num_beams=8)})
    Narrow.n_forks_free = 1
    try:
        with pytest.raises(SettingsError, match=r"'beam 2, penalty 0\.5' can't be used here"):
            compare(provider, "a", ["beam"])
    finally:
        Narrow.n_forks_free = 5


class Plain:
    """A table engine without hidden states."""

    def __init__(self, engine: TableEngine) -> None:
        self._engine = engine
        self.n_vocab, self.n_ctx = engine.n_vocab, engine.n_ctx
        self.extend, self.rollback, self.close = engine.extend, engine.rollback, engine.close

    @property
    def tokens(self) -> list[int]:
        return self._engine.tokens

    def fork(self) -> Engine:
        return Plain(self._engine.fork())


def test_contrastive_search_without_hidden_states_or_room_is_refused() -> None:
    provider = chain(n_ctx=6)
    assert compare(provider, [0] * 2, ["contrastive"])["contrastive"].n_tokens <= 1
    with pytest.raises(SettingsError, match="no room for its candidates"):
        compare(provider, [0] * 3, ["contrastive"])
    provider.engine = Plain(TableEngine(np.zeros((4, 4))))
    with pytest.raises(SettingsError, match="Plain tells no hidden states"):
        compare(provider, "a", ["contrastive"])
    with pytest.warns(EasyLlamaWarning, match="left out: contrastive"):
        assert len(compare(provider, "a", ["contrastive", "greedy"], max_len_tokens=1)) == 1


# --- settings ----------------------------------------------------------------------------------------------


def test_settings_of_ones_own_with_their_limit_and_seed() -> None:
    provider = toy([f"<{i}>" for i in range(6)])
    warm = ez.SamplerSettings(temp=2.0, max_len_tokens=5, seed=9)
    methods = {
        "warm": warm,
        "seedless": replace(warm, seed=None),
        "best": ez.samplers.GreedyDecoding,
        "beams": ez.SamplerSettings(num_beams=2, max_len_tokens=3),
        "defaults": ez.SamplerSettings(),
    }
    study = compare(provider, [0], methods, max_len_tokens=10, seed=4)
    assert [one.seed for one in study] == [9, 4, None, None, 4]
    assert [one.n_tokens for one in study] == [5, 5, 10, 3, 10]
    assert study["warm"].description == "max_len_tokens=5, temp=2.0, seed=9"
    assert study["defaults"].description == "the defaults"
    assert [one.family for one in study] == ["settings"] * 3 + ["beam", "settings"]
    assert study["best"].tokens == compare(provider, [0], ["greedy"], max_len_tokens=10)["greedy"].tokens
    ends = provider.tokenizer.end_tokens
    assert list(study["warm"].tokens) == list(Sampling(warm, 9)(provider.engine, [0], ends, 5))
    for one in study:
        judge(one, provider.engine, [0])


def test_without_a_seed_one_is_drawn_and_told() -> None:
    provider = toy([f"<{i}>" for i in range(6)])
    [one] = compare(provider, [0], ["sampling"], max_len_tokens=9, seed=None)
    assert one.seed is not None
    assert (
        compare(provider, [0], ["sampling"], max_len_tokens=9, seed=one.seed)["sampling"].tokens == one.tokens
    )


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": []}, SettingsError, "methods is empty; .* greedy, sampling"),
        ({"methods": {}}, SettingsError, "methods is empty"),
        ({"methods": ["greedy", "gredy"]}, SettingsError, "no method 'gredy'; choose among greedy, sampling"),
        ({"methods": "greedy"}, SettingsError, "must be a list of names.*got 'greedy'"),
        ({"methods": [3]}, SettingsError, "no method 3"),
        ({"methods": 3}, SettingsError, "must be a list of names"),
        ({"methods": {"a": 0.5}}, SettingsError, "method 'a' must be a SamplerSettings; got float"),
        ({"methods": {" ": SimpleSampling}}, SettingsError, "label of a method must be a text; got ' '"),
        ({"methods": {"x": ez.SamplerSettings(grammar="root ::= x", num_beams=2)}}, SettingsError, "grammar"),
        ({"max_len_tokens": 0}, SettingsError, "max_len_tokens must be an integer of at least 1; got 0"),
        ({"max_len_tokens": True}, SettingsError, "max_len_tokens must"),
        ({"seed": -1}, SettingsError, "seed must be"),
        ({"end_tokens": [4]}, PromptError, "token id 4 is not an int from 0 to 3"),
        ({"end_tokens": 3}, PromptError, "end_tokens must be a list of token ids; got 3"),
        ({"prompt": ""}, PromptError, "the prompt is empty"),
        ({"prompt": [9]}, PromptError, "token id 9"),
        ({"prompt": None}, PromptError, "must be a str or token ids"),
        ({"prompt": "a" * 64}, ExceededContextLengthException, "64 tokens"),
        ({"provider": "tiny.gguf"}, SettingsError, "provider must be a Model"),
    ],
)
def test_bad_input_is_refused_before_anything_is_evaluated(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    provider = chain()
    engine: Any = provider.engine
    with pytest.raises(error, match=message):
        compare(**{"provider": provider, "prompt": "a", **options})
    assert engine.n_evaluated == 0


def test_logits_that_are_no_numbers() -> None:
    provider = ToyProvider(TableEngine(np.full((4, 4), np.nan)), PieceTokenizer(WORDS))
    with pytest.raises(EngineError):
        compare(provider, "a", ["greedy"])


# --- the study ---------------------------------------------------------------------------------------------


def rows(study: Study) -> list[str]:
    out = io.StringIO()
    study.table(out)
    return out.getvalue().splitlines()


def test_a_study_is_a_list_with_labels() -> None:
    told: list[str] = []
    study = compare(chain(), [0], ["greedy", "sampling"], progress=told.append)
    assert told == ["greedy", "sampling"] == [one.label for one in study]
    assert len(study) == 2
    assert study["sampling"] is study.outcomes[1]
    assert repr(study) == "<Study on ToyProvider: greedy, sampling>"
    assert study.prompt == "a"
    with pytest.raises(KeyError, match="no method 'beam' in this study; it has 'greedy', 'sampling'"):
        study["beam"]


def test_to_dict_is_json() -> None:
    table = np.where(np.eye(4), 1e5, 0.0)  # what is not the diagonal has a perplexity beyond all numbers
    provider = ToyProvider(TableEngine(table), PieceTokenizer(WORDS))
    study = compare(provider, [0], {"never": ez.SamplerSettings(logit_bias={0: -math.inf}, max_len_tokens=2)})
    data = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert data["model"] == "ToyProvider"
    assert data["outcomes"][0]["perplexity"] is None
    [one] = data["outcomes"]
    assert one["logprob"] == pytest.approx(study["never"].logprob)
    assert (one["n_tokens"], one["tokens"]) == (2, list(study["never"].tokens))
    assert {"text", "ranks", "distinct_3", "longest_repeat", "json", "seconds", "seed"} <= set(one)
    assert study["never"].perplexity == math.inf


def test_plain_rows_when_piped() -> None:
    study = compare(chain(), "a", ["greedy"])
    head, row = (re.split(r" {2,}", line) for line in rows(study))
    assert head == ["method", *COLUMNS]
    assert row[:9] == ["greedy", "2", "-0.7340", "1.443", "1.00", "1.00", "1.00", "0", "stop"]
    assert row[9] == "no"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "n_columns"), [(80, 8), (120, 11)])
def test_a_table_in_a_terminal_of_any_width(
    monkeypatch: pytest.MonkeyPatch, width: int, n_columns: int
) -> None:
    study = compare(chain(), "a", max_len_tokens=3)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    study.table()
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    head, _, *lines = text.splitlines()
    assert len(head.split()) == n_columns
    assert len(lines) == len(study)  # nothing is folded
    assert max(map(len, text.splitlines())) <= width


# --- llama.cpp ---------------------------------------------------------------------------------------------


def test_llama_writes_and_judges(model: ez.Model) -> None:
    free, prompt = model.engine.n_forks_free, model.tokenize(STORY)
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    methods = {
        "chain": ez.SamplerSettings(seed=5, max_len_tokens=12),
        "schema": ez.SamplerSettings(json_schema=schema, seed=1),
        "beams": ez.SamplerSettings(num_beams=3, max_len_tokens=8),
        "contrastive": replace(ez.samplers.ContrastiveSearch, max_len_tokens=8),
    }
    study = compare(model, STORY, methods, max_len_tokens=60)
    assert study.model == "tiny.gguf"
    assert study["chain"].text == model.generate(STORY, sampler=methods["chain"])
    assert study["schema"].json == "whole"
    assert study["beams"].text == model.beams(STORY, 3, sampler=methods["beams"])[0].text
    assert study["contrastive"].text == model.generate(STORY, sampler=methods["contrastive"])
    assert model.engine.n_forks_free == free
    for one in study:
        judge(one, model.engine, prompt, tolerance=2e-3)
    assert compare(model, prompt, ["greedy"], max_len_tokens=5)["greedy"].text == model.generate(
        STORY, sampler=replace(ez.samplers.GreedyDecoding, max_len_tokens=5)
    )


def test_same_seed_same_texts_on_llama(model: ez.Model) -> None:
    names = ["sampling", "nucleus", "beam"]
    first, second = (compare(model, STORY, names, max_len_tokens=10, seed=3) for _ in range(2))
    assert [one.tokens for one in first] == [one.tokens for one in second]


def test_inside_an_unfinished_stream_the_engine_is_busy(model: ez.Model) -> None:
    stream = model.stream("Once upon a time")
    next(stream)
    with pytest.raises(EngineBusyError):
        compare(model, "Once", ["greedy"])
    stream.close()


@pytest.mark.parametrize("module", [measures, chart])
def test_the_examples_in_docstrings(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
