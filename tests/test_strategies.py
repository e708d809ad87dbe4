"""Creative writing, adaptive temperature, debugging, replacing, chains: exact on tables, and on llama.cpp."""

from __future__ import annotations

import io
import itertools
import math
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.decoding.antislop import AntiSlopStrategy
from easy_llama.decoding.backtracking import Backtracking, Circumstances, Rewind, Strategy
from easy_llama.decoding.guidance import HumanGuidanceStrategy
from easy_llama.decoding.replace import ReplaceStrategy, spell
from easy_llama.decoding.sampling import Sampling
from easy_llama.decoding.strategies import (
    AdaptiveTemperatureStrategy,
    ChainStrategy,
    CreativeWritingStrategy,
    DebugStrategy,
    is_flat,
    likeliest_left,
)
from easy_llama.engine import Logits, prefill
from easy_llama.engines.llama.log import collected_log, install_log
from easy_llama.engines.llama.vocab import LlamaTokenizer
from easy_llama.engines.table import TableEngine
from easy_llama.errors import SettingsError, StrategyError
from easy_llama.samplers import GreedyDecoding, SamplerSettings, SimpleSampling
from easy_llama.terminal.menu import Choice, Option

from .conftest import SHARED
from .toys import PieceTokenizer, Plain, ToyProvider, table_of, toy

# letters that overlap, a character in bytes, and "X", "Y", which come only when they are forced
PIECES: list[str | bytes] = ["a", "b", "ab", "ba", "A", "B", "aB", " ", "é", b"\xc3", b"\xa9", ".", "X", "Y"]
VOCABULARIES = sorted((SHARED / "vocab").glob("*.gguf"))


def letters(seed: int, spread: float = 1.5) -> ToyProvider:
    provider = toy(PIECES, seed, spread)
    engine = provider.engine
    assert isinstance(engine, TableEngine)
    engine._table[:, [PIECES.index("X"), PIECES.index("Y")]] = -1e4
    return provider


class Watch(Strategy):
    """Passes everything on to another strategy and notes what was asked and answered."""

    def __init__(self, inner: Strategy) -> None:
        self.inner = inner
        self.seen: list[tuple[tuple[int, ...], Logits]] = []
        self.final: list[int] = []
        self.rewinds: list[int] = []
        self.loosened: list[int] = []

    def begin(self) -> None:
        self.run = self.inner.fresh(self.around)
        for notes in (self.seen, self.final, self.rewinds, self.loosened):
            notes.clear()

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        self.seen.append((tuple(new), logits.copy()))
        return self.run.adjust(new, logits)

    def keep(self, new: Sequence[int]) -> int:
        return self.told(new, self.run.keep(new))

    def finish(self, new: Sequence[int]) -> int:
        return self.told(new, self.run.finish(new))

    def stuck(self, new: Sequence[int]) -> int:
        keep = self.run.stuck(new)
        if keep == len(new):
            self.loosened.append(keep)
        return self.told(new, keep)

    def told(self, new: Sequence[int], keep: int) -> int:
        self.final[:] = new[:keep]
        if keep < len(new):
            self.rewinds.append(keep)
        return keep

    def n_evaluations(self) -> int:
        """One for each choice, but none for the first after a rewind, nor for a second try."""
        return len(self.seen) - len(self.rewinds) - len(self.loosened)

    @property
    def hold(self) -> int:
        return self.run.hold


class Cutter(Strategy):
    """Takes tokens back at random."""

    def __init__(self, seed: int, hold: int = 6, often: float = 0.2) -> None:
        self._seed, self._hold, self._often = seed, hold, often

    def begin(self) -> None:
        self._random = np.random.default_rng(self._seed)
        self._shown = 0

    @property
    def hold(self) -> int:
        return self._hold

    def keep(self, new: Sequence[int]) -> int:
        n = len(new)
        shown = min(self._shown, n - 1)
        if self._random.random() < self._often:
            return int(self._random.integers(shown, n))
        self._shown = max(shown, n - self._hold)
        return n


def tokens_of(
    provider: ToyProvider,
    strategy: Strategy,
    *,
    seed: int = 1,
    limit: int = 60,
    sampler: SamplerSettings = SimpleSampling,
    **options: Any,
) -> list[int]:
    decoder = Backtracking(strategy, sampler, seed, provider.tokenizer, **options)
    provider.engine.rollback(0)
    return list(decoder(provider.engine, [0], provider.tokenizer.end_tokens, limit))


def text_of(provider: ToyProvider, strategy: Strategy, **options: Any) -> str:
    return provider.tokenizer.text(tokens_of(provider, strategy, **options))


def random_person(seed: int) -> Callable[[str, list[Option], bool], Choice]:
    """Somebody who chooses at random, goes back often, and never ends the text."""
    random = np.random.default_rng(seed)

    def choose(text: str, options: list[Option], can_go_back: bool) -> Choice:
        if can_go_back and random.random() < 0.3:
            return "back"
        return int(random.integers(len(options)))

    return choose


MAKERS: dict[str, Callable[[ToyProvider, int], Strategy]] = {
    "creative": lambda provider, seed: CreativeWritingStrategy(provider, 0.7, 3),
    "adaptive": lambda provider, seed: AdaptiveTemperatureStrategy(provider),
    "debug": lambda provider, seed: DebugStrategy(provider, file=io.StringIO()),
    "replace": lambda provider, seed: ReplaceStrategy(provider, ["ab", "é", "b"], "XY", ignore_case=True),
    "delete": lambda provider, seed: ReplaceStrategy(provider, ["ab ", "é"], "", max_prob=0.9),
    "guidance": lambda provider, seed: HumanGuidanceStrategy(provider, 3, 0.5, choose=random_person(seed)),
    "chain": lambda provider, seed: ChainStrategy(
        [AntiSlopStrategy(provider, ["a.", "bab"]), ReplaceStrategy(provider, ["ab"], "X"), Cutter(seed)]
    ),
}


# --- what holds for all of them ------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 10_000), limit=st.integers(1, 40))
@settings(max_examples=60)
def test_what_is_shown_stays_and_a_rewind_evaluates_nothing(name: str, seed: int, limit: int) -> None:
    provider = letters(seed)
    watch = Watch(MAKERS[name](provider, seed))
    shown = tokens_of(provider, watch, seed=seed, limit=limit)
    assert shown == [token for token in watch.final if token not in provider.tokenizer.end_tokens]
    engine = provider.engine
    assert isinstance(engine, TableEngine)
    assert engine.n_evaluated == watch.n_evaluations()
    for new, logits in watch.seen:
        assert np.array_equal(logits, prefill(engine, [0, *new]))


def by_text(text: str, options: list[Option], can_go_back: bool) -> Choice:
    """Somebody without a memory, who can guide two texts at once."""
    return zlib.crc32(text.encode()) % len(options)


SHARED_MAKERS: dict[str, Callable[[ToyProvider, int], Strategy]] = {
    **MAKERS,
    "guidance": lambda provider, seed: HumanGuidanceStrategy(provider, 3, 0.5, choose=by_text),
}


@pytest.mark.parametrize("name", SHARED_MAKERS)
def test_a_strategy_serves_generations_one_after_another_and_at_once(name: str) -> None:
    make = SHARED_MAKERS[name]
    for seed in range(20):
        alone = [tokens_of(letters(seed), make(letters(seed), seed), seed=n) for n in (1, 2)]
        shared = make(letters(seed), seed)
        assert [tokens_of(letters(seed), shared, seed=n) for n in (1, 2)] == alone
        runs = []
        for n in (1, 2):
            provider = letters(seed)
            decoder = Backtracking(shared, SimpleSampling, n, provider.tokenizer)
            runs.append(decoder(provider.engine, [0], provider.tokenizer.end_tokens, 60))
        mixed = zip(*itertools.zip_longest(*runs), strict=True)
        assert [[token for token in run if token is not None] for run in mixed] == alone


@pytest.mark.parametrize("name", MAKERS)
def test_on_llama_cpp(name: str, model: ez.Model) -> None:
    prompt, end = model.tokenize("Once upon a time"), model.tokenizer.end_tokens
    chain = ChainStrategy(
        [
            AntiSlopStrategy(model, ["quiet", "rain"]),
            ReplaceStrategy(model, ["the "], "a "),
            CreativeWritingStrategy(model, top_k_threshold_flat=3),
            Cutter(1),
        ]
    )
    made: dict[str, Strategy] = {
        "creative": CreativeWritingStrategy(model, 0.6, 3),
        "adaptive": AdaptiveTemperatureStrategy(model),
        "debug": DebugStrategy(model, file=io.StringIO()),
        "replace": ReplaceStrategy(model, ["the ", "was"], "some other "),
        "delete": ReplaceStrategy(model, [" the", "."], ""),
        "guidance": HumanGuidanceStrategy(model, 3, 0.9, choose=random_person(1)),
        "chain": chain,
    }
    texts = []
    for _ in range(2):
        if name == "guidance":
            made[name] = HumanGuidanceStrategy(model, 3, 0.9, choose=random_person(1))
        watch = Watch(made[name])
        model.engine.rollback(0)
        before = model.engine.n_evaluated
        decoder = Backtracking(watch, SamplerSettings(temp=1.1, repeat_penalty=1.1), 7, model.tokenizer)
        shown = list(decoder(model.engine, prompt, end, 60))
        assert shown == [token for token in watch.final if token not in end]
        assert model.engine.n_evaluated - before == len(prompt) - 1 + watch.n_evaluations()
        texts.append(model.detokenize(shown))
        for new, logits in watch.seen[:: max(1, len(watch.seen) // 10)]:
            model.engine.rollback(0)
            fresh = model.engine.extend(prompt)
            for token in new:
                fresh = model.engine.extend([token])
            assert np.array_equal(logits, fresh)
    assert texts[0] == texts[1]
    assert len(texts[0]) > 20


# --- creative writing ----------------------------------------------------------------------------------


def slow_creative(provider: ToyProvider, top_p: float, top_k: int, limit: int) -> tuple[list[int], int]:
    """The rule, greedily and with a full sort; returns the tokens and how often one was taken back."""
    new: list[int] = []
    creative: list[bool] = []
    settled: set[int] = set()
    n_back, eos = 0, provider.tokenizer.eos
    while len(new) < limit and (not new or new[-1] != eos):
        row = prefill(provider.engine, [0, *new]).astype(np.float64)
        order = np.argsort(-row, kind="stable")
        mass = np.cumsum(np.exp(row[order]) / np.exp(row).sum())
        if new and creative[-1] and np.searchsorted(mass, top_p) + 1 >= top_k:
            settled.add(len(new) - 1)
            new.pop()
            creative.pop()
            n_back += 1
            continue
        is_settled = len(new) in settled
        row[eos] += math.log(0.75)
        choices: list[int] = np.argsort(-row, kind="stable").tolist()
        first = choices[0]
        if not is_settled and order[0] != eos:
            choices.remove(order[0])
        new.append(choices[0])
        creative.append(choices[0] != first and not is_settled)
    return new, n_back


@given(st.integers(0, 100_000), st.floats(0.3, 0.9), st.integers(2, 6), st.floats(0.5, 2.5))
@settings(max_examples=200)
def test_creative_writing_follows_the_rule(seed: int, top_p: float, top_k: int, spread: float) -> None:
    provider = toy(PIECES, seed, spread)
    engine = provider.engine
    assert isinstance(engine, TableEngine)
    engine._table[:, -1] = np.random.default_rng(seed).normal(size=len(engine._table)) * spread  # texts end
    strategy = CreativeWritingStrategy(provider, top_p, top_k)
    found = tokens_of(provider, strategy, sampler=GreedyDecoding, limit=40)
    expected, n_back = slow_creative(provider, top_p, top_k, 40)
    assert found == [token for token in expected if token != provider.tokenizer.eos]
    assert len(strategy.report) == n_back


def test_creative_writing_goes_back_from_a_flat_place() -> None:
    """ "a" is likeliest, "b" second; after "b" everything is equally likely, so "a" comes after all."""
    tokenizer = PieceTokenizer(["a", "b", "c", "d"])
    table = np.full((5, 5), 0.0)
    table[0] = [5, 4, 0, 0, -5]
    provider = ToyProvider(TableEngine(table), tokenizer)
    strategy = CreativeWritingStrategy(provider, 0.65, 3)
    assert text_of(provider, strategy, sampler=GreedyDecoding, limit=5).startswith("aa")
    assert strategy.report[0] == Rewind(0, "b", "what followed was flat")
    bold = CreativeWritingStrategy(provider, 0.65, 6)  # there are five tokens: nothing is ever flat
    assert text_of(provider, bold, sampler=GreedyDecoding, limit=5)[0] == "b"


def test_the_probability_of_the_end_is_multiplied() -> None:
    """ "a" is banned; what is left is "b" with 0.3 and the end with 0.2 times the factor."""
    provider = table_of(PieceTokenizer(["a", "b"]), [0.5, 0.3, 0.2])
    n = 2000
    for factor in (1.0, 0.5, 0.0):
        strategy = CreativeWritingStrategy(provider, eos_penalty=factor)
        ended = sum(not tokens_of(provider, strategy, seed=seed, limit=1) for seed in range(n))
        chance = 0.2 * factor / (0.3 + 0.2 * factor)
        assert abs(ended - n * chance) <= 4 * (n * chance * (1 - chance)) ** 0.5


def test_an_end_that_is_likeliest_is_not_banned_and_an_only_token_neither() -> None:
    provider = table_of(PieceTokenizer(["a", "b"]), [0.1, 0.1, 0.8])
    strategy = CreativeWritingStrategy(provider, eos_penalty=1.0)
    assert tokens_of(provider, strategy, sampler=GreedyDecoding) == []
    never = CreativeWritingStrategy(provider, eos_penalty=0.0)
    assert len(tokens_of(provider, never, limit=50)) == 50
    provider = table_of(PieceTokenizer(["a", "b"]), [1.0, 0.0, 0.0])
    assert text_of(provider, CreativeWritingStrategy(provider), limit=5) == "aaaaa"


@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(1, 30), st.floats(0.0, 1.0))
def test_flatness_is_what_a_full_sort_says(seed: int, n: int, top_k: int, top_p: float) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=n * 40) * random.uniform(0, 5)).astype(np.float32)
    logits[random.random(len(logits)) < random.choice([0.0, 0.5, 0.99])] = -np.inf
    logits[0] = 1.0
    shares = np.sort(np.exp(logits.astype(np.float64)))[::-1]
    before = float(shares[: top_k - 1].sum() / shares.sum())
    if abs(before - top_p) > 1e-5:
        assert is_flat(logits, top_p, top_k) == (before < top_p)
    best = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:top_k]
    assert [token for token, _ in likeliest_left(logits, top_k)] == [t for t in best if logits[t] > -np.inf]


# --- adaptive temperature ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chances", "beta"),
    [
        ([0.5, 0.5, 0.0], 1.0),  # H = 0.693: the polynomial gives 0.662, and 1 is the least
        ([0.25] * 4, 1.75006),  # H = 1.386
        ([0.9, 0.1, 0.0], 1.0),  # H = 0.325
        ([1.0, 0.0, 0.0], 1.0),
    ],
)
def test_adaptive_temperature_multiplies_by_the_polynomial(chances: list[float], beta: float) -> None:
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(chances, dtype=np.float32))
    adjusted = AdaptiveTemperatureStrategy().adjust([], logits.copy())
    np.testing.assert_allclose(adjusted, logits * np.float32(beta), rtol=1e-4)


def entropy(logits: Logits) -> float:
    shares = np.exp(logits - logits.max(), dtype=np.float64)
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


@given(st.integers(0, 10_000), st.integers(2, 500), st.floats(0.01, 10))
def test_adaptive_temperature_only_sharpens(seed: int, n: int, spread: float) -> None:
    logits = (np.random.default_rng(seed).normal(size=n) * spread).astype(np.float32)
    logits[0] = -np.inf
    before = entropy(logits)
    after = entropy(AdaptiveTemperatureStrategy(poly_coeffs=[1.0, 0.5]).adjust([], logits.copy()))
    assert after <= before + 1e-4
    if before <= 0.499:
        assert after == before
    if before > 0.6:
        assert after < before, "a factor of at least 1.1"


# --- debugging -----------------------------------------------------------------------------------------


def test_debugging_prints_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    provider = table_of(PieceTokenizer(["a", "\x1b[2J", "c"]), [0.5, 0.3, 0.2, 0.0])
    strategy = ChainStrategy([DebugStrategy(provider), ReplaceStrategy(provider, ["aa"], "c")])
    text_of(provider, strategy, sampler=GreedyDecoding, limit=2)
    first = r"'a' 0.5000  '\x1b[2J' 0.3000"
    assert capsys.readouterr().out.splitlines() == [
        rf"   0  {first}  -> 'a'",
        rf"   1  {first}  -> 'a'",
        "      back to 0",
        rf"   0  {first}  -> 'c'",
        rf"   1  {first}  -> 'a'",
    ]


# --- replacing -----------------------------------------------------------------------------------------

finds = st.lists(st.text("abAB é.", min_size=1, max_size=5), min_size=1, max_size=4)


@given(finds, st.sampled_from(["X", "XY", "YXX"]), st.integers(0, 10_000), st.booleans())
@settings(max_examples=300)
def test_every_phrase_is_replaced(find: list[str], replace: str, seed: int, ignore_case: bool) -> None:
    provider = letters(seed)
    strategy = ReplaceStrategy(provider, find, replace, ignore_case=ignore_case)
    text = text_of(provider, strategy, seed=seed)
    for phrase in find:
        assert phrase not in text
        assert not ignore_case or phrase.casefold() not in text.casefold()
    assert len(strategy.report) - text.count(replace) in (0, 1), "the last may be cut by the limit"
    assert not any(entry.passed for entry in strategy.report)
    assert set(re.sub("X|Y", "", text)) <= set("abABé .\ufffd")


@given(finds, st.integers(0, 10_000))
@settings(max_examples=200)
def test_an_empty_replacement_leaves_the_phrase_out(find: list[str], seed: int) -> None:
    provider = letters(seed)
    strategy = ReplaceStrategy(provider, find, "")
    text = text_of(provider, strategy, seed=seed)
    if not any(entry.passed for entry in strategy.report):
        assert not any(phrase in text for phrase in find)
    plain = list(Sampling(SimpleSampling, seed)(provider.engine, [0], provider.tokenizer.end_tokens, 60))
    if not any(phrase in provider.tokenizer.text(plain) for phrase in find):
        assert text == provider.tokenizer.text(plain)


def test_what_stands_in_the_same_tokens_stays() -> None:
    letters_of_all = sorted(set("x tapestry.cup"))
    tokenizer = PieceTokenizer(
        [".", "x tap", "estry.", *(letter for letter in letters_of_all if letter != ".")]
    )
    table = np.full((tokenizer.n_vocab, tokenizer.n_vocab), -9.0)
    table[:, 1] = 1.0  # "x tap" after everything,
    table[1, 2] = 9.0  # but after "x tap" comes "estry."
    for find, text in [
        (["tapestry"], "x cup.x cup."),
        (["tap"], "x cupx cup"),
        (["x tapestry.x"], "cup tapcup tapcup tap"),
        (["y.", "ry"], "x tapestcup.x tapestcup."),
    ]:
        provider = ToyProvider(TableEngine(table), tokenizer)
        found = text_of(provider, ReplaceStrategy(provider, find, "cup"), sampler=GreedyDecoding)
        assert found.startswith(text), find


def test_the_replacement_may_contain_what_is_found() -> None:
    provider = table_of(PieceTokenizer(["a", "b", "c"]), [0.6, 0.3, 0.1, 0.0])
    strategy = ReplaceStrategy(provider, ["a"], "cac")
    assert text_of(provider, strategy, sampler=GreedyDecoding, limit=12) == "cac" * 4
    assert len(strategy.report) == 4


def test_the_limits_of_a_replacement() -> None:
    provider = table_of(PieceTokenizer(["a", "b", "X"]), [0.7, 0.3, 1e-9, 0.0])

    def text(**options: Any) -> str:
        return text_of(
            provider, ReplaceStrategy(provider, ["a"], "X", **options), sampler=GreedyDecoding, limit=6
        )

    assert text() == "XXXXXX"
    assert text(max_replacements=2) == "XXaaaa"
    assert text(max_replacements=0) == "aaaaaa"
    assert text(max_new_tokens_for_replace=3) == "XXXaaa"
    assert text(skip_tokens=4) == "aaaaXX"
    assert text(skip_tokens=1, max_new_tokens_for_replace=5, max_replacements=3) == "aXXXaa"
    assert text(max_prob=0.71) == "XXXXXX"
    assert text(max_prob=0.69) == "aaaaaa"


def test_the_probability_is_that_of_the_token_the_phrase_begins_in() -> None:
    tokenizer = PieceTokenizer(["a", "b", "c", "X"])
    table = np.log(np.array([[0.1, 0.8, 0.05, 1e-9, 1e-9]] * 5, dtype=np.float32))
    table[0] = np.log([1e-9, 0.1, 0.9, 1e-9, 1e-9])  # after "a" comes "c" for sure, after all else "b"
    provider = ToyProvider(TableEngine(table), tokenizer)
    often = ReplaceStrategy(provider, ["bb"], "X", max_prob=0.5)
    assert "X" not in text_of(provider, often, limit=100)
    rare = ReplaceStrategy(provider, ["ac"], "X", max_prob=0.5)
    text = text_of(provider, rare, limit=300)
    assert "X" in text
    assert "ac" not in text


def test_a_deletion_counts_once_however_many_bans_it_takes() -> None:
    """Both "a" and "aa" begin with what is deleted; at the first place both are banned, later none."""
    provider = table_of(PieceTokenizer(["a", "aa", "b"]), [0.5, 0.4, 0.1, 0.0])
    strategy = ReplaceStrategy(provider, ["a"], "", max_replacements=1)
    assert text_of(provider, strategy, sampler=GreedyDecoding, limit=4) == "baaa"
    assert {entry.position for entry in strategy.report} == {0}
    assert len(strategy.report) >= 2


def test_a_deletion_that_leaves_the_same_tokens_does_not_go_round_in_circles() -> None:
    """Without "ba", "abab" is "ab" again, after which "ab" is likeliest again."""
    provider = table_of(PieceTokenizer(["ab", "a", "b", "."]), [0.6, 0.2, 0.1, 0.1, 0.0])
    for find in (["ba"], ["ba", "aa"], ["bab", "aab", "a."], ["ba", "bb", "b."]):
        tokens = tokens_of(provider, ReplaceStrategy(provider, find, ""), sampler=GreedyDecoding, limit=20)
        text = provider.tokenizer.text(tokens)
        assert len(tokens) == 20
        assert not any(phrase in text for phrase in find)


def test_where_the_replacement_is_banned_the_phrase_is_let_through() -> None:
    provider = letters(3)
    banned = AntiSlopStrategy(provider, ["XY"])
    for order in (1, -1):
        replace = ReplaceStrategy(provider, ["a", "b"], "XY")
        text = text_of(provider, ChainStrategy([banned, replace][::order]), limit=40)
        assert "XY" not in text
        assert "a" in text or "b" in text
        assert any(entry.passed for entry in replace.report)
    token = PIECES.index("Y")
    replace = ReplaceStrategy(provider, ["a", "b"], "XY")
    text = text_of(provider, replace, sampler=SamplerSettings(logit_bias={token: -math.inf}), limit=40)
    assert "X" not in text[:-1], "the limit may come before it turns out that there is no Y"
    assert len(text) >= 20
    assert any(entry.passed for entry in replace.report)


def test_a_stop_before_the_phrase_ends_the_text() -> None:
    provider = table_of(PieceTokenizer(["x", "stop it", "X", " it"]), [0.5, 0.5, 1e-9, 1e-9, 0.0])
    for seed in range(20):
        strategy = ReplaceStrategy(provider, ["stop it"], "X")
        text = text_of(provider, strategy, seed=seed, stops=("stop",), limit=100)
        assert re.fullmatch("x*stop it", text)
        text = text_of(provider, strategy, seed=seed, stops=("it",), limit=100)
        assert re.fullmatch("x*stop it", text)
        later = ReplaceStrategy(provider, ["stop"], "X")
        assert re.fullmatch("x*X it", text_of(provider, later, seed=seed, stops=(" it",), limit=100))
        first = text_of(provider, ReplaceStrategy(provider, ["stop it"], "X"), seed=seed, limit=100)
        assert re.fullmatch("[xX]*", first), "without a stop it is replaced"


def test_a_character_cut_by_the_token_border_stays_whole() -> None:
    """The phrase begins in the token that ends the character before it."""
    tokenizer = PieceTokenizer([b"\xc3", b"\xa9ab", "X", "é", ".", b"\xa9a"])
    table = np.full((7, 7), -9.0)
    table[4, 0] = table[0, 1] = table[1, 4] = table[2, 4] = 9.0
    provider = ToyProvider(TableEngine(table), tokenizer)
    decoder = Backtracking(ReplaceStrategy(provider, ["ab"], "X"), GreedyDecoding, 1, tokenizer)
    tokens = list(decoder(provider.engine, [4], tokenizer.end_tokens, 9))
    assert tokenizer.text(tokens) == "éX.éX.éX."


def test_replacing_on_llama_cpp(model: ez.Model) -> None:
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    for find, replace, beginning in [
        (["Paris"], "Rome", "The capital of France is Rome"),
        ([" is"], " was", "The capital of France was"),
        (["capital of F"], "grand f", "The grand f"),
        (["The "], "«Thé» ", "«Thé» "),
        (["the capital"], "x", "The capital of France is Paris."),
    ]:
        strategy = ReplaceStrategy(model, find, replace)
        text = model.generate(question, sampler=GreedyDecoding, strategy=strategy)
        assert text.startswith(beginning)
        assert not any(phrase in text for phrase in find)
        assert bool(strategy.report) == (replace in text)


@pytest.fixture(params=VOCABULARIES, ids=lambda path: path.stem)
def vocabulary(request: pytest.FixtureRequest) -> Any:
    install_log()
    with collected_log():
        llama = llama_cpp.Llama(str(request.param), vocab_only=True, n_ctx=8, n_batch=8, verbose=False)
    yield LlamaTokenizer(llama)
    llama.close()


SPELLED = st.text(" \n\t.,'aAbBeé1?漢👩\u200d<|>/s", min_size=1, max_size=8)


def test_real_vocabularies_spell_every_text_exactly(vocabulary: LlamaTokenizer) -> None:
    @given(SPELLED | st.text(min_size=1, max_size=5))
    def check(text: str) -> None:
        tokens = spell(vocabulary, text)
        assert tokens is not None
        assert b"".join(map(vocabulary.piece, tokens)) == text.encode("utf-8", "replace")

    check()
    for text in ("the", " the", "</s>", "<|im_end|>", "  x", "\n\nx"):
        assert b"".join(map(vocabulary.piece, spell(vocabulary, text) or ())) == text.encode()


# --- chains --------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(0, 12), st.permutations(range(4)))
@settings(max_examples=150)
def test_a_chain_keeps_what_each_part_promises(seed: int, hold: int, order: list[int]) -> None:
    """Foreign cuts leave every strategy right: nothing banned and nothing to be replaced is in the text."""
    provider = letters(seed)
    parts: list[Strategy] = [
        AntiSlopStrategy(provider, ["ba", ". ", "éa"]),
        ReplaceStrategy(provider, ["ab", "A"], "XY"),
        CreativeWritingStrategy(provider, 0.7, 4),
        Cutter(seed, hold, 0.1),
    ]
    watch = Watch(ChainStrategy([parts[i] for i in order]))
    shown = tokens_of(provider, watch, seed=seed, limit=50)
    text = provider.tokenizer.text(shown)
    passed = any(entry.passed for part in parts[:2] for entry in part.report)
    if not passed:
        assert not any(slop in text for slop in ("ba", ". ", "éa", "ab", "A"))
    for new, logits in watch.seen:
        assert np.array_equal(logits, prefill(provider.engine, [0, *new]))


@given(st.integers(0, 10_000), st.integers(0, 12), st.booleans())
def test_anti_slop_survives_random_cuts(seed: int, hold: int, is_first: bool) -> None:
    provider = letters(seed)
    slops = ["ba", "a b", "é", "Ab"]
    parts = [AntiSlopStrategy(provider, slops, ignore_case=True), Cutter(seed, hold)]
    text = text_of(provider, ChainStrategy(parts if is_first else parts[::-1]), seed=seed)
    assert not any(slop.casefold() in text.casefold() for slop in slops)


def test_parts_adjust_in_order_and_the_furthest_cut_wins() -> None:
    calls: list[str] = []

    class Part(Strategy):
        def __init__(self, name: str, keep: int, hold: int) -> None:
            self.name, self._keep, self._hold, self.was_cut = name, keep, hold, False

        def begin(self) -> None:
            self.was_cut = False

        def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
            calls.append(self.name)
            return logits + 1

        def keep(self, new: Sequence[int]) -> int:
            if len(new) == 5 and not self.was_cut:
                self.was_cut = True
                return self._keep
            return len(new)

        @property
        def hold(self) -> int:
            return self._hold

    provider = letters(1)
    chain = ChainStrategy([Part("one", 5, 1), ChainStrategy([Part("two", 2, 3), Part("three", 4, 2)])])
    watch = Watch(chain)
    tokens_of(provider, watch, limit=8)
    assert calls[:6] == ["one", "two", "three"] * 2
    assert watch.rewinds == [2]
    assert chain.fresh(Circumstances()).hold == 3


def test_stops_reach_the_parts_and_their_reports_the_caller() -> None:
    provider = table_of(PieceTokenizer(["tapestry", "x", "X"]), [0.5, 0.5, 1e-9, 0.0])
    one, two = ReplaceStrategy(provider, ["tapestry"], "X"), DebugStrategy(provider, file=io.StringIO())
    chain = ChainStrategy([one, two])
    for seed in range(10):
        text = text_of(provider, chain, seed=seed, stops=("tap",), limit=100)
        assert re.fullmatch("x*tapestry", text), "the stop comes first"
        assert not one.report
    text = text_of(provider, chain, seed=1, limit=10)
    assert len(one.report) == text.count("X") > 0
    assert list(chain.report) == [*one.report, *two.report]


# --- wrong arguments -----------------------------------------------------------------------------------


TOY: Any = letters(1)


@pytest.mark.parametrize(
    ("strategy", "arguments", "said"),
    [
        (CreativeWritingStrategy, (TOY, 1.5), "top_p_flat must be a number from 0 to 1; got 1.5"),
        (CreativeWritingStrategy, (TOY, math.nan), "top_p_flat must be a number"),
        (CreativeWritingStrategy, (TOY, 0.5, 0), "top_k_threshold_flat must be an integer of at least 1"),
        (CreativeWritingStrategy, (TOY, 0.5, 2.5), "top_k_threshold_flat must be an integer"),
        (CreativeWritingStrategy, (TOY, 0.5, 9, True), "eos_penalty must be a number from 0 to 1"),
        (AdaptiveTemperatureStrategy, (TOY, []), "poly_coeffs must be a list of finite numbers"),
        (AdaptiveTemperatureStrategy, (TOY, [1, math.inf]), "poly_coeffs must be"),
        (AdaptiveTemperatureStrategy, (TOY, "x"), "poly_coeffs must be"),
        (DebugStrategy, (TOY, 0), "top_k must be an integer of at least 1; got 0"),
        (ChainStrategy, ([],), "strategies is empty"),
        (ChainStrategy, (DebugStrategy(TOY),), "strategies must be a list"),
        (ChainStrategy, ([TOY],), "strategies must be a list"),
        (ReplaceStrategy, (TOY, "ab", "X"), "find must be a list of texts; got 'ab'"),
        (ReplaceStrategy, (TOY, [], "X"), "find must hold at least one text"),
        (ReplaceStrategy, (TOY, ["a", ""], "X"), "none that is empty"),
        (ReplaceStrategy, (TOY, ["a"], None), "replace must be a text"),
        (ReplaceStrategy, (TOY, ["a"], "X", -1), "max_replacements must be an integer of at least 0"),
        (ReplaceStrategy, (TOY, ["a"], "X", 1, 0.5), "max_new_tokens_for_replace must be"),
        (ReplaceStrategy, (TOY, ["a"], "X", 1, 1, None), "skip_tokens must be an integer"),
        (ReplaceStrategy, (TOY, ["a"], "X", 1, 1, 0, 2), "max_prob must be a number from 0 to 1"),
    ],
)
def test_wrong_arguments(strategy: Callable[..., object], arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        strategy(*arguments)


def test_a_part_that_answers_nonsense_is_named() -> None:
    class Wrong(Strategy):
        def keep(self, new: Sequence[int]) -> int:
            return None  # type: ignore[return-value]

    with pytest.raises(StrategyError, match="Wrong wants to keep None of 1 tokens"):
        tokens_of(letters(1), ChainStrategy([Plain(), Wrong()]))
