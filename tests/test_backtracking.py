"""The decoder that takes tokens back: what was shown stays, nothing is evaluated twice, no draw is biased."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.decoding import Backtracking, Sampling
from easy_llama.decoding.backtracking import Strategy
from easy_llama.engine import Engine, Logits, prefill
from easy_llama.errors import StrategyError
from easy_llama.samplers import SamplerSettings, SimpleSampling

from .toys import PieceTokenizer, Plain, ToyProvider, table_of, toy

PIECES = ["a", "b", "c", "ab", "bc", " ", "."]


def test_a_strategy_is_an_abstract_class() -> None:
    assert inspect.isabstract(Strategy)

    class Forgetful(Strategy):
        def begin(self) -> None:
            """Remember something, and never use it."""

    with pytest.raises(TypeError, match=r"adjust.*keep"):
        Forgetful()
    for name, method in {
        "adjust": lambda self, new, logits: logits, "keep": lambda self, new: len(new),
        "finish": lambda self, new: len(new), "hold": 3,
    }.items():  # fmt: skip
        complete = type("Complete", (Forgetful,), {name: method})
        assert not inspect.isabstract(complete), name
        assert list(run(toy(["a", "b"]), complete(), limit=5)), name


class Cutter(Strategy):
    """Takes tokens back at random, and looks closely at what it is shown."""

    def __init__(self, seed: int, hold: int, often: float = 0.3) -> None:
        self._seed, self._hold, self._often = seed, hold, often

    def begin(self) -> None:
        self._random = np.random.default_rng(self._seed)
        self._shown = 0
        self.seen: list[tuple[tuple[int, ...], Logits]] = []
        self.final: list[int] = []

    @property
    def hold(self) -> int:
        return self._hold

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        self.seen.append((tuple(new), logits.copy()))
        logits[:] += self._random.normal(size=len(logits)) * 0.1  # writing into it must not be remembered
        return logits

    def keep(self, new: Sequence[int]) -> int:
        self.final = list(new)
        n = len(new)
        if self._random.random() < self._often:
            return int(self._random.integers(self._shown, n))
        self._shown = max(self._shown, n - self._hold)
        return n


def run(
    provider: ToyProvider, strategy: Strategy, *, seed: int = 1, limit: int = 60, **options: Any
) -> Iterator[int]:
    decoder = Backtracking(strategy, SimpleSampling, seed, provider.tokenizer, **options)
    return decoder(provider.engine, [0], provider.tokenizer.end_tokens, limit)


def count(engine: Engine) -> int:
    n: int = engine.n_evaluated  # type: ignore[attr-defined]  # both engines count
    return n


@given(st.integers(0, 99), st.integers(0, 5), st.integers(1, 40))
def test_what_was_shown_is_the_text(seed: int, hold: int, limit: int) -> None:
    provider = toy(PIECES, seed)
    parts = []

    class Probe(Cutter):
        def begin(self) -> None:
            super().begin()
            parts.append(self)

    shown = list(run(provider, Probe(seed, hold), seed=seed, limit=limit))
    final = parts[0].final
    assert shown == [token for token in final if token not in provider.tokenizer.end_tokens]
    assert len(final) <= limit


@given(st.integers(0, 99), st.integers(0, 5))
def test_the_logits_after_a_rewind_are_those_of_a_fresh_evaluation(seed: int, hold: int) -> None:
    provider = toy(PIECES, seed)
    parts: list[Cutter] = []

    class Probe(Cutter):
        def begin(self) -> None:
            super().begin()
            parts.append(self)

    list(run(provider, Probe(seed, hold), seed=seed))
    for new, logits in parts[0].seen:
        assert np.array_equal(logits, prefill(provider.engine, [0, *new]))


def test_the_same_on_llama_cpp_to_the_last_bit_and_nothing_is_evaluated_twice(model: ez.Model) -> None:
    parts: list[Cutter] = []

    class Probe(Cutter):
        def begin(self) -> None:
            super().begin()
            parts.append(self)

    prompt, engine = model.tokenize("Once upon a time"), model.engine
    settings = SamplerSettings(repeat_penalty=1.2)
    decoder = Backtracking(Probe(5, 4), settings, 7, model.tokenizer)
    before = count(engine)
    tokens = list(decoder(engine, prompt, model.tokenizer.end_tokens, 40))
    assert tokens
    seen = parts[0].seen
    beginnings = {new for new, _ in seen}
    assert len(seen) > len(beginnings), "there were rewinds"
    # one evaluation for each beginning that was looked at, the prompt's included
    evaluations = 1 + sum(new != old for (old, _), (new, _) in pairwise(seen) if new)
    assert count(engine) - before <= len(prompt) - 1 + evaluations
    for new, logits in seen[:: max(1, len(seen) // 20)]:
        engine.rollback(0)
        fresh = engine.extend(prompt)
        for token in new:
            fresh = engine.extend([token])
        assert np.array_equal(logits, fresh)


def test_without_a_rewind_it_is_plain_sampling(model: ez.Model) -> None:
    prompt, end = model.tokenize("The little dog"), model.tokenizer.end_tokens
    for settings in (SamplerSettings(seed=3), SamplerSettings(repeat_penalty=1.3, temp=1.2), SimpleSampling):
        plain = list(Sampling(settings, 3)(model.engine, prompt, end, 60))
        model.engine.rollback(0)
        assert list(Backtracking(Plain(), settings, 3)(model.engine, prompt, end, 60)) == plain
        model.engine.rollback(0)


class Once(Strategy):
    """Takes the first token back once if it is ``token``."""

    def __init__(self, token: int) -> None:
        self._token = token

    def begin(self) -> None:
        self._banned = False

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        if not new and self._banned:
            logits[self._token] = -np.inf
        return logits

    def keep(self, new: Sequence[int]) -> int:
        if len(new) == 1 and new[0] == self._token and not self._banned:
            self._banned = True
            return 0
        return len(new)


def test_a_redraw_is_not_biased() -> None:
    """Redrawing with the number that led to the rejected token would always take its neighbour."""
    provider = table_of(PieceTokenizer(["a", "b", "c"]), [0.5, 0.25, 0.25, 0.0])
    firsts = [next(iter(run(provider, Once(0), seed=seed, limit=1))) for seed in range(3000)]
    counts = np.bincount(firsts, minlength=3)
    assert counts[0] == 0
    assert abs(counts[1] - 1500) < 110, "4 standard deviations"


def test_a_stop_ends_the_text_inside_what_is_held_back() -> None:
    provider = toy(["a", "b", "ab", "c"], seed=4)

    class HoldAll(Strategy):
        @property
        def hold(self) -> int:
            return 1_000

    text = provider.tokenizer.text(list(run(provider, HoldAll(), limit=500, stops=("abc", "cc"))))
    assert text.endswith(("abc", "cc"))
    assert text.count("abc") + text.count("cc") == 1


def test_more_rows_than_are_kept_are_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from easy_llama.decoding import backtracking

    monkeypatch.setattr(backtracking, "_ROW_BYTES", 1)  # leaves 16

    class Far(Strategy):
        def begin(self) -> None:
            self.back = False
            self.seen: list[tuple[tuple[int, ...], Logits]] = []
            runs.append(self)

        @property
        def hold(self) -> int:
            return 1_000

        def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
            self.seen.append((tuple(new), logits.copy()))
            return logits

        def keep(self, new: Sequence[int]) -> int:
            if len(new) in (40, 30) and not self.back:
                self.back = len(new) == 30
                return 30 if len(new) == 40 else 0
            return len(new)

    runs: list[Far] = []
    provider = toy(["a", "b", "c"], seed=2)
    provider.tokenizer.end_tokens = frozenset()
    assert len(list(run(provider, Far(), limit=50))) == 50
    for new, logits in runs[0].seen:
        assert np.array_equal(logits, prefill(provider.engine, [0, *new]))


@pytest.mark.parametrize("keep", [-1, 3, 99, "all", None])
def test_a_strategy_that_keeps_what_it_must_not_is_an_error(keep: Any) -> None:
    class Wrong(Strategy):
        def keep(self, new: Sequence[int]) -> int:
            return keep if len(new) == 5 else len(new)

    provider = toy(["a", "b"])
    provider.tokenizer.end_tokens = frozenset()
    with pytest.raises(StrategyError, match="4 were shown"):
        list(run(provider, Wrong()))
    assert len(list(run(provider, Plain(), limit=10))) == 10


def test_a_strategy_that_never_comes_to_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from easy_llama.decoding import backtracking

    monkeypatch.setattr(backtracking, "_MAX_REWINDS", 50)

    class Never(Strategy):
        def keep(self, new: Sequence[int]) -> int:
            return len(new) - 1

    with pytest.raises(StrategyError, match="went back 50 times"):
        list(run(toy(["a", "b"]), Never()))


def test_a_strategy_serves_several_generations_at_a_time() -> None:
    strategy = Cutter(3, 2)
    alone = list(run(toy(PIECES, 1), strategy, seed=1))
    one, other = run(toy(PIECES, 1), strategy, seed=1), run(toy(PIECES, 1), strategy, seed=1)
    mixed: tuple[list[int], list[int]] = ([], [])
    for left in one:
        mixed[0].append(left)
        mixed[1].extend([right] if (right := next(other, None)) is not None else [])
    assert mixed[0] == mixed[1] == alone
