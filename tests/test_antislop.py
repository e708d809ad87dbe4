"""Banned phrases do not appear, in any case variant and any tokenisation, and nothing else changes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.decoding import AntiSlopStrategy, Backtracking, Sampling
from easy_llama.errors import SettingsError
from easy_llama.samplers import GreedyDecoding, SamplerSettings, SimpleSampling
from easy_llama.text.phrases import PhraseFinder
from easy_llama.text.track import TextTrack

from .toys import PieceTokenizer, ToyProvider, table_of, toy

# "é" and "ß" also as bytes; upper and lower case; pieces that overlap; "." is in no phrase
PIECES: list[str | bytes] = ["a", "b", "ab", "ba", "A", "B", "aB", " ", "é", b"\xc3", b"\xa9", b"\x9f", "."]
phrases = st.lists(st.text("abAB éß", min_size=1, max_size=5), min_size=1, max_size=6)


def text_of(
    provider: ToyProvider, strategy: AntiSlopStrategy, *, seed: int = 1, limit: int = 60, **options: Any
) -> str:
    decoder = Backtracking(strategy, SimpleSampling, seed, provider.tokenizer, **options)
    tokens = decoder(provider.engine, [0], provider.tokenizer.end_tokens, limit)
    return provider.tokenizer.text(list(tokens))


@given(phrases, st.integers(0, 10_000), st.booleans())
@settings(max_examples=300)
def test_the_output_contains_no_banned_phrase(slops: list[str], seed: int, ignore_case: bool) -> None:
    provider = toy(PIECES, seed)
    strategy = AntiSlopStrategy(provider, slops, ignore_case=ignore_case)
    text = text_of(provider, strategy, seed=seed)
    passed = {entry.reason for entry in strategy.report if entry.passed}
    for slop in slops:
        found = slop.casefold() in text.casefold() if ignore_case else slop in text
        assert not found or passed, (slop, text)
    assert not passed, "there is always a dot"


@given(phrases, st.integers(0, 10_000))
def test_whole_words_only(slops: list[str], seed: int) -> None:
    slops = [slop.strip() for slop in slops if slop.strip()] or ["a"]
    provider = toy(PIECES, seed)
    text = text_of(provider, AntiSlopStrategy(provider, slops, whole_words=True), seed=seed)
    for slop in slops:
        assert not re.search(rf"(?<!\w){re.escape(slop)}(?!\w)", text), (slop, text)


def test_a_whole_word_inside_a_longer_one_stays() -> None:
    provider = table_of(PieceTokenizer(["ab", "b", " ", "a"]), [0.4, 0.3, 0.2, 0.1, 0.0])
    text = text_of(provider, AntiSlopStrategy(provider, ["ab"], whole_words=True), limit=400)
    assert "ab" in text
    assert not re.search(r"\bab\b", text)


PATTERNS = [re.compile(r"a+b"), re.compile(r"\bb\b"), re.compile(r"(?i)b a"), re.compile("éa", re.IGNORECASE)]


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), st.integers(0, 10_000))
def test_the_output_matches_no_banned_pattern(patterns: list[re.Pattern[str]], seed: int) -> None:
    provider = toy(PIECES, seed)
    strategy = AntiSlopStrategy(provider, patterns, window=30)
    text = text_of(provider, strategy, seed=seed)
    for pattern in patterns:
        match = pattern.search(text)
        assert match is None or len(match[0]) > 30 or strategy.report[-1].passed, (pattern, text)


@given(phrases, st.integers(0, 10_000))
def test_without_a_match_it_is_plain_sampling(slops: list[str], seed: int) -> None:
    provider = toy(PIECES, seed)
    strategy = AntiSlopStrategy(provider, slops)
    plain = Sampling(SimpleSampling, seed)(provider.engine, [0], provider.tokenizer.end_tokens, 60)
    expected = provider.tokenizer.text(list(plain))
    text = text_of(provider, strategy, seed=seed)
    assert (text == expected) == (not any(slop in expected for slop in slops))
    assert bool(strategy.report) == any(slop in expected for slop in slops)


def test_on_llama_cpp(model: ez.Model) -> None:
    prompt, end = model.tokenize("Once upon a time"), model.tokenizer.end_tokens
    for seed in range(12):
        chosen = SamplerSettings(seed=seed, temp=1.0)
        plain = model.detokenize(list(Sampling(chosen, seed)(model.engine, prompt, end, 80)))
        words = [word for word in re.findall(r"\w+ \w+|\w{4,}", plain) if word][:6]
        strategy = AntiSlopStrategy(model, words, ignore_case=True)
        model.engine.rollback(0)
        decoder = Backtracking(strategy, chosen, seed, model.tokenizer)
        text = model.detokenize(list(decoder(model.engine, prompt, end, 80)))
        assert text
        assert strategy.report
        for word in words:
            assert word.lower() not in text.lower()
        model.engine.rollback(0)


def test_greedy_takes_the_next_best_and_the_report_says_what_was_taken_back(model: ez.Model) -> None:
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    strategy = AntiSlopStrategy(model, ["Paris"])
    decoder = Backtracking(strategy, GreedyDecoding, 1, model.tokenizer)
    tokens = decoder(model.engine, model.tokenize(question), model.tokenizer.end_tokens, 20)
    text = model.detokenize(list(tokens))
    assert text.startswith("The capital of France is")
    assert "Paris" not in text
    assert strategy.report[0].text == " Paris"
    assert strategy.report[0].reason == "'Paris'"
    assert not strategy.report[0].passed


def test_a_ban_belongs_to_its_place() -> None:
    """Only "ab" is banned: "b" may follow "a" nowhere, and stays as likely as it is elsewhere."""
    provider = table_of(PieceTokenizer(["a", "b"]), [0.5, 0.5, 0.0])
    text = text_of(provider, AntiSlopStrategy(provider, ["ab"]), limit=2000)
    assert re.fullmatch("b*a*", text)
    texts = [text_of(provider, AntiSlopStrategy(provider, ["ab"]), seed=s, limit=1) for s in range(400)]
    assert abs(texts.count("a") - 200) < 45


def test_a_soft_ban_is_a_factor() -> None:
    """p(a) = 0.5 and the factor 0.2: 0.1 of 0.6 are left."""
    provider = table_of(PieceTokenizer(["a", "b"]), [0.5, 0.5, 0.0])
    strategy = AntiSlopStrategy(provider, {"a": 0.2})
    n = 4000
    kept = sum(text_of(provider, strategy, seed=seed, limit=1) == "a" for seed in range(n))
    expected = 0.1 / 0.6
    assert abs(kept - n * expected) < 4 * (n * expected * (1 - expected)) ** 0.5


def test_a_factor_of_1_changes_nothing() -> None:
    provider = toy(PIECES, 3)
    strategy = AntiSlopStrategy(provider, {"a": 1.0, "b": 1.0})
    plain = Sampling(SimpleSampling, 3)(provider.engine, [0], provider.tokenizer.end_tokens, 60)
    assert text_of(provider, strategy, seed=3) == provider.tokenizer.text(list(plain))


def test_a_token_that_ends_the_text_has_none() -> None:
    """A stop given as a token id is not part of the text, so it completes no phrase."""
    provider = table_of(PieceTokenizer(["a", "b"]), [0.5, 0.5, 0.0])
    for seed in range(20):
        decoder = Backtracking(AntiSlopStrategy(provider, ["ab"]), SimpleSampling, seed, provider.tokenizer)
        plain = list(Sampling(SimpleSampling, seed)(provider.engine, [0], frozenset({1}), 60))
        assert list(decoder(provider.engine, [0], frozenset({1}), 60)) == plain


def test_overlapping_stops_cut_as_they_do_without_a_strategy(model: ez.Model) -> None:
    settings = SamplerSettings(temp=0.0, max_len_tokens=40)
    plain = model.generate("Once upon a time", sampler=settings)
    slop = AntiSlopStrategy(model, ["zebra crossing"])
    for i in range(5, 40):
        stops = [plain[i : i + 5] + "X", plain[i + 1 : i + 4], plain[i + 2 : i + 5] + "Y"]
        expected = model.generate("Once upon a time", stops=stops, sampler=settings)
        assert model.generate("Once upon a time", stops=stops, sampler=settings, strategy=slop) == expected


def test_patterns_are_those_of_re() -> None:
    provider = table_of(PieceTokenizer(["P", "aris", "x", "{e}"]), [0.3, 0.3, 0.3, 0.1, 0.0])
    text = text_of(provider, AntiSlopStrategy(provider, [re.compile("x{e}|P{2}|[{]e")]), limit=300)
    assert not re.search("x{e}|P{2}", text)
    assert "Paris" in text
    text = text_of(provider, AntiSlopStrategy(provider, [re.compile("P(?!aris)")], window=20), limit=300)
    assert "Paris" in text
    assert not re.search("P(?!aris).", text)


def test_where_nothing_else_can_be_said_it_is_let_through_and_said() -> None:
    provider = table_of(PieceTokenizer(["a", "b"]), [0.5, 0.5, 0.0])
    strategy = AntiSlopStrategy(provider, ["a", "b"])
    assert len(text_of(provider, strategy, limit=5)) == 5
    assert any(entry.passed for entry in strategy.report)


def test_a_dead_end_widens_the_rewind() -> None:
    """After "ab" only "c" or the end of the road: "abc" is banned, so "ab" has to go as a whole."""
    tokenizer = PieceTokenizer(["a", "b", "c", "d"])
    table = np.full((5, 5), -np.inf)
    for after, then in {0: [1], 1: [2], 2: [0, 3], 3: [0, 3], 4: [3]}.items():
        table[after, then] = 0.0
    from easy_llama.engines.table import TableEngine

    provider = ToyProvider(TableEngine(table, n_ctx=4096), tokenizer)
    strategy = AntiSlopStrategy(provider, ["bc"])
    decoder = Backtracking(strategy, SimpleSampling, 3, tokenizer)
    text = tokenizer.text(list(decoder(provider.engine, [3], tokenizer.end_tokens, 50)))
    assert re.fullmatch("d+(a|ab)?", text), "the limit may come in the middle of it"
    assert not any(entry.passed for entry in strategy.report)


def test_a_stop_that_begins_a_banned_phrase_still_stops() -> None:
    provider = table_of(PieceTokenizer(["tap", "estry", " ", "x"]), [0.3, 0.4, 0.2, 0.1, 0.0])
    slop = AntiSlopStrategy(provider, ["tapestry"])
    for seed in range(20):
        plain = text_of(provider, slop, seed=seed, stops=("tap",), limit=400)
        assert plain.endswith("tap")
        assert plain.count("tap") == 1


def test_a_stop_and_a_phrase_in_one_token() -> None:
    provider = table_of(PieceTokenizer(["tapestry", "x", "xtap", "slop stop"]), [0.3, 0.3, 0.2, 0.2, 0.0])
    slop = AntiSlopStrategy(provider, ["tapestry", "slop"])
    for seed in range(30):
        text = text_of(provider, slop, seed=seed, stops=("tap", "stop"), limit=400)
        shown = text[: text.find("tap")]
        assert text.find("tap") >= 0
        assert "slop" not in shown
        assert set(shown) <= {"x"}


@pytest.mark.parametrize(
    ("slops", "options", "said"),
    [
        ([], {}, "empty"),
        ([""], {}, "empty"),
        ("tapestry", {}, "list of phrases"),
        ([b"x"], {}, "must be a str"),
        ({"x": 1.5}, {}, "from 0"),
        ({"x": float("nan")}, {}, "from 0"),
        (["abc" * 2000], {}, "context holds"),
        (["x"], {"window": 0}, "window"),
        ([re.compile(b"x")], {}, "must be a str"),
        (3, {}, "list of phrases"),
        (None, {}, "list of phrases"),
        (["x", ["y"]], {}, "must be a str"),
    ],
)
def test_wrong_arguments(slops: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        AntiSlopStrategy(toy(["a", "b", "c"]), slops, **options)


def test_a_runaway_pattern_is_an_error_and_the_model_goes_on(model: ez.Model) -> None:
    strategy = AntiSlopStrategy(model, [re.compile(r"(.|\w|\s)+(?<=9)")], window=200)
    decoder = Backtracking(strategy, SamplerSettings(), 1, model.tokenizer)
    prompt = model.tokenize("Once upon a time")
    with pytest.raises(SettingsError, match="backtracks without end"):
        list(decoder(model.engine, prompt, frozenset(), 300))
    assert model.generate("Once upon a time", sampler=SamplerSettings(max_len_tokens=4))


@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=8), st.text("abcd", max_size=60))
def test_the_automaton_finds_what_a_search_finds(slops: list[str], text: str) -> None:
    finder, state = PhraseFinder(slops), 0
    for end, char in enumerate(text, 1):
        state = finder.step(state, char)
        found = {slops[index] for index in finder.endings(state)}
        assert found == {slop for slop in slops if text[:end].endswith(slop)}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40))
def test_the_track_is_the_text_of_the_tokens(moves: list[tuple[int, int]]) -> None:
    tokenizer = PieceTokenizer(PIECES)
    track, new = TextTrack(tokenizer.piece), list[int]()
    for n_back, token in moves:
        del new[max(0, len(new) - n_back) :]
        new.append(token)
        track.push(new)
    text = "".join(track.chars)
    whole = tokenizer.text(new)
    assert whole.startswith(text)
    assert len(whole) - len(text) <= 1
    assert track.owners == sorted(track.owners)
    for char, owner in zip(track.chars, track.owners, strict=True):
        assert char == "\ufffd" or char.encode()[:1] in tokenizer.piece(new[owner])
