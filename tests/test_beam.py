"""Beam search: equal to Hugging Face's, to the plain definition, and to trying every text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import easy_llama as ez
from easy_llama.decoding import BeamSearch, Hypothesis, Sampling, beam
from easy_llama.engine import Engine, Logits, Step
from easy_llama.engines.table import TableEngine
from easy_llama.errors import EngineError, NoTokenLeft, PromptError, SettingsError

NONE: frozenset[int] = frozenset()


class PathEngine(TableEngine):
    """Logits that depend on every token held and its place, so that no two texts have equal scores."""

    def __init__(self, n_vocab: int) -> None:
        super().__init__(np.zeros((n_vocab, n_vocab)))

    def extend(self, tokens: Sequence[int]) -> Logits:
        super().extend(tokens)
        mix = sum((i + 1) * (token + 3) for i, token in enumerate(self._tokens))
        self._view = (2.5 * np.sin(0.7311 * (1 + mix) * np.arange(1, self.n_vocab + 1))).astype(np.float32)
        return self._view

    def fork(self) -> PathEngine:
        child = PathEngine(self.n_vocab)
        child._tokens = self.tokens
        return child


def less_of_the_same(tokens: Sequence[int], logprobs: Logits) -> Logits:
    """Half a nat less for every occurrence."""
    return logprobs - np.float32(0.5) * np.bincount(tokens, minlength=len(logprobs)).astype(np.float32)


# --- the definition, slow: full arrays, every text evaluated from its beginning ----------------------------


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    peak = logits.max()
    total = np.exp(logits - peak).sum()
    result: NDArray[np.float64] = logits - (peak + np.log(total, dtype=np.float64))
    return result


def slow_search(
    one: BeamSearch,
    logits_after: Callable[[list[int]], Logits],
    prompt: list[int],
    ends: frozenset[int],
    n: int,
) -> list[Hypothesis]:
    """Beam search as the definition reads, for one prompt; scores of all continuations in one array."""
    running: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[tuple[float, float, tuple[int, ...], bool]] = []
    for length in range(1, n + 1):
        table = np.array(
            [score + processed(one.steps, logits_after, [*prompt, *text]) for score, text in running]
        )
        flat = table.ravel()
        order = [int(i) for i in np.argsort(-flat, kind="stable") if flat[i] > -np.inf]
        top = [(*divmod(i, table.shape[1]), float(flat[i])) for i in order]
        top = top[: max(2, 1 + len(ends)) * one.num_beams]
        texts = [(score, (*running[row][1], token), token in ends) for row, token, score in top]
        for score, text, has_end in texts[: one.num_beams]:
            if has_end or length == n:
                finished.append((score / length**one.length_penalty, score, text, has_end))
        finished = sorted(finished, key=lambda each: -each[0])[: one.num_beams]
        running = [(score, text) for score, text, has_end in texts if not has_end][: one.num_beams]
        if length == n or not running:
            break
        if len(finished) == one.num_beams:
            worst, best = finished[-1][0], running[0][0]
            if one.early_stopping is True:
                break
            reach = n if one.early_stopping == "never" and one.length_penalty > 0 else length
            if not best / reach**one.length_penalty > worst:
                break
    return [
        Hypothesis(text[:-1] if has_end else text, score, total, "stop" if has_end else "length")
        for score, total, text, has_end in finished[: one.num_return_sequences]
    ]


def processed(
    steps: Sequence[Step], logits_after: Callable[[list[int]], Logits], tokens: list[int]
) -> NDArray[np.float64]:
    logprobs = log_softmax(logits_after(tokens))
    if not steps:
        return logprobs
    after = logprobs.astype(np.float32)
    for step in steps:
        after = step(tokens, after)
    return after.astype(np.float64)


def fresh(engine: Engine) -> Callable[[list[int]], Logits]:
    """Evaluates each text on a fork of an empty engine, from its beginning."""

    def logits_after(tokens: list[int]) -> Logits:
        copy = engine.fork()
        try:
            return copy.extend(tokens).copy()
        finally:
            copy.close()

    return logits_after


def same(left: list[Hypothesis], right: list[Hypothesis], tolerance: float = 1e-9) -> bool:
    return len(left) == len(right) and all(
        a.tokens == b.tokens
        and a.finish_reason == b.finish_reason
        and math.isclose(a.score, b.score, rel_tol=tolerance)
        and math.isclose(a.logprob, b.logprob, rel_tol=tolerance)
        for a, b in zip(left, right, strict=True)
    )


@st.composite
def searches(draw: st.DrawFn) -> tuple[BeamSearch, TableEngine, frozenset[int], int]:
    """A search, an engine, end tokens and a limit."""
    n_vocab = draw(st.integers(1, 7))
    num_beams = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kinds: dict[str, TableEngine] = {
        "random": TableEngine(rng.normal(scale=1.5, size=(n_vocab, n_vocab))),
        "many ties": TableEngine(rng.integers(-1, 2, size=(n_vocab, n_vocab))),
        "some banned": TableEngine(banned(rng.normal(size=(n_vocab, n_vocab)))),
        "path": PathEngine(n_vocab),
    }
    one = BeamSearch(
        num_beams,
        length_penalty=draw(st.sampled_from([-1.0, 0.0, 0.6, 1.0, 1.5, 3.0])),
        early_stopping=draw(st.sampled_from([False, True, "never"])),
        num_return_sequences=draw(st.integers(1, num_beams)),
        steps=draw(st.sampled_from([(), (less_of_the_same,)])),
        batch=draw(st.sampled_from([None, True, False])),
    )
    ends = draw(st.frozensets(st.integers(0, n_vocab - 1), max_size=2))
    return one, kinds[draw(st.sampled_from(sorted(kinds)))], ends, draw(st.integers(1, 12))


def banned(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table without what is below the average; the largest of each row stays."""
    return np.where((table > 0) | (table == table.max(axis=1, keepdims=True)), table, -np.inf)


@given(searches())
def test_it_is_the_definition(case: tuple[BeamSearch, TableEngine, frozenset[int], int]) -> None:
    one, engine, ends, limit = case
    expected = slow_search(one, fresh(engine.fork()), [0], ends, limit)
    assert one.search(engine, [0], ends, limit) == expected


@pytest.mark.parametrize("n_vocab", [255, 256, 257, 700])
@given(st.integers(0, 1 << 32), st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_large_vocabularies(n_vocab: int, seed: int, num_beams: int, limit: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    after = rng.integers(-3, 3, n_vocab) if ties else rng.normal(scale=3.0, size=n_vocab)
    engine = TableEngine(np.tile(after, (n_vocab, 1)))
    one = BeamSearch(num_beams, num_return_sequences=num_beams)
    ends = frozenset({int(after.argmax())})
    assert one.search(engine, [0], ends, limit) == slow_search(one, fresh(engine.fork()), [0], ends, limit)


# computed by transformers 5.23.0 (torch 2.13.0) on a model that returns PathEngine's logits for 12 tokens:
# generate([2, 1], max_new_tokens=limit, num_beams=..., length_penalty=..., early_stopping=...,
# num_return_sequences=..., eos_token_id=..., logits_processor=less_of_the_same or none), sequences_scores
Case = tuple[
    tuple[int, float, Any, int], set[int], int, bool, list[tuple[float, str, tuple[int, ...]]]
]  # (BeamSearch's arguments), end tokens, limit, less of the same?, [(score, finish_reason, tokens)]
HUGGING_FACE: list[Case] = [
    ((3, 1.0, False, 3), {9}, 8, False, [
        (-1.23119, "stop", ()),
        (-1.25927, "stop", (4, 3, 4, 11, 5)),
        (-1.29306, "stop", (4, 3, 5, 11, 10, 5)),
    ]),
    ((3, 1.0, "never", 3), {9}, 8, False, [
        (-1.23119, "stop", ()),
        (-1.25927, "stop", (4, 3, 4, 11, 5)),
        (-1.29173, "length", (4, 3, 5, 11, 10, 6, 0, 7)),
    ]),
    ((3, 1.0, True, 3), {9}, 8, False, [
        (-1.23119, "stop", ()),
        (-1.25927, "stop", (4, 3, 4, 11, 5)),
        (-1.58642, "stop", (1,)),
    ]),
    ((4, 0.6, False, 2), {2, 7}, 10, False, [
        (-1.91677, "stop", (9, 9)),  # with each of the two end tokens
        (-1.94265, "stop", (9, 9)),
    ]),
    ((4, 1.5, "never", 4), {2, 7}, 10, False, [
        (-0.38853, "length", (9, 3, 6, 10, 8, 5, 9, 6, 8, 4)),
        (-0.38963, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 6)),
        (-0.39152, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 1)),
        (-0.39211, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 11)),
    ]),
    ((2, -0.5, False, 2), {5}, 9, False, [
        (-12.70073, "stop", (9, 3, 1, 11)),
        (-33.32928, "length", (9, 3, 1, 11, 2, 7, 2, 6, 8)),
    ]),
    ((5, 1.0, False, 2), set(), 6, False, [
        (-1.15966, "length", (9, 3, 1, 11, 5, 0)),
        (-1.16212, "length", (9, 3, 1, 11, 5, 9)),
    ]),
    ((3, 1.2, False, 3), {0, 4}, 8, True, [
        (-0.86785, "stop", (9, 3, 6, 10, 8, 5)),
        (-0.86981, "length", (9, 3, 6, 10, 8, 5, 9, 7)),
        (-0.88464, "length", (9, 3, 6, 10, 8, 5, 9, 6)),
    ]),
    ((5, 2.0, True, 5), {1}, 12, True, [
        (-0.11448, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 11, 7, 0)),
        (-0.11762, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 11, 7, 7)),
        (-0.11764, "length", (9, 3, 6, 10, 8, 5, 9, 7, 7, 0, 11, 8)),
        (-0.119, "length", (9, 3, 6, 10, 8, 5, 9, 7, 7, 0, 11, 5)),
        (-0.11994, "length", (9, 3, 6, 10, 8, 5, 9, 6, 5, 11, 0, 8)),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("options", "ends", "limit", "less", "expected"), HUGGING_FACE)
def test_it_is_hugging_faces(
    options: tuple[int, float, Any, int],
    ends: set[int],
    limit: int,
    less: bool,
    expected: list[tuple[float, str, tuple[int, ...]]],
) -> None:
    one = BeamSearch(*options, steps=(less_of_the_same,) if less else ())
    found = one.search(PathEngine(12), [2, 1], frozenset(ends), limit)
    assert [(h.finish_reason, h.tokens) for h in found] == [
        (reason, tokens) for _, reason, tokens in expected
    ]
    assert [h.score for h in found] == pytest.approx([score for score, _, _ in expected], abs=2e-5)


# --- known results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("ends", [NONE, frozenset({2}), frozenset({0, 2})])
def test_a_wide_search_finds_the_best_of_all_texts(
    ends: frozenset[int], length_penalty: float, early_stopping: Any
) -> None:
    table, limit = np.random.default_rng(5).normal(size=(3, 3)).astype(np.float32), 4
    every = {}
    for n in range(1, limit + 1):
        for text in product(range(3), repeat=n):
            has_end = text[-1] in ends
            if (has_end or n == limit) and not ends & set(text[:-1]):
                logprob = sum(float(log_softmax(table[a])[b]) for a, b in zip((1, *text), text, strict=False))
                every[text] = logprob / n**length_penalty
    one = BeamSearch(3**limit, length_penalty, early_stopping, num_return_sequences=len(every))
    found = one.search(TableEngine(table), [1], ends, limit)
    assert [h.score for h in found] == pytest.approx(sorted(every.values(), reverse=True))
    assert {(h.tokens, h.finish_reason == "length") for h in found} == {
        (text[:-1], False) if text[-1] in ends else (text, True) for text in every
    }


def test_it_finds_what_greedy_misses() -> None:
    likely = np.array([[0.001, 0.549, 0.45], [0.4, 0.3, 0.3], [0.005, 0.005, 0.99]])
    engine = TableEngine(np.log(likely))
    assert BeamSearch(1).search(engine, [0], NONE, 2)[0].tokens == (1, 0)
    best = BeamSearch(2).search(engine, [0], NONE, 2)[0]
    assert best.tokens == (2, 2)
    assert best.logprob == pytest.approx(math.log(0.45 * 0.99))
    assert best.score == pytest.approx(best.logprob / 2)


@pytest.mark.parametrize("early_stopping", [False, True])
@given(seed=st.integers(0, 1 << 32), limit=st.integers(1, 12))
def test_one_beam_is_greedy(early_stopping: bool, seed: int, limit: int) -> None:
    engine = TableEngine(np.random.default_rng(seed).normal(size=(6, 6)))
    greedy = list(Sampling(ez.samplers.GreedyDecoding, 1)(engine, [3], frozenset({2}), limit))
    one = BeamSearch(1, early_stopping=early_stopping)
    assert list(one(engine, [3], frozenset({2}), limit)) == greedy


def test_the_score_counts_the_end_token() -> None:
    engine = TableEngine(np.log([[0.2, 0.8], [0.5, 0.5]]))
    [best] = BeamSearch(1, length_penalty=2.0).search(engine, [0], frozenset({1}), 9)
    assert (best.tokens, best.finish_reason) == ((), "stop")
    assert best.score == pytest.approx(math.log(0.8))
    ended = BeamSearch(4, num_return_sequences=4).search(engine, [0], frozenset({1}), 2)[1]
    assert ended.tokens == (0,)
    assert ended.score == pytest.approx(math.log(0.2 * 0.8) / 2)


def test_end_tokens_do_not_use_up_the_beams() -> None:
    engine = TableEngine(np.log(np.tile([0.05, 0.45, 0.45, 0.05], (4, 1))))
    one = BeamSearch(2, length_penalty=3.0, early_stopping="never")
    found = one.search(engine, [0], frozenset({1, 2}), 5)
    assert found == slow_search(one, fresh(engine.fork()), [0], frozenset({1, 2}), 5)
    assert len(found[0].tokens) == 4


def test_never_expects_no_better_length_where_short_texts_are_favoured() -> None:
    likely = [[0.01, 0.9, 0.03, 0.06], [0.01, 0.03, 0.9, 0.06], [0.01, 0.01, 0.01, 0.97], [0.25] * 4]
    one = BeamSearch(2, length_penalty=-1.0, early_stopping="never", num_return_sequences=2)
    found = one.search(TableEngine(np.log(likely)), [0], frozenset({3}), 40)
    assert [h.tokens for h in found] == [(1, 2), ()]


def test_where_few_texts_exist_fewer_come_back() -> None:
    engine = TableEngine(np.zeros((2, 2)))
    found = BeamSearch(9, num_return_sequences=9).search(engine, [0], frozenset({1}), 2)
    assert [h.tokens for h in found] == [(), (0, 0), (0,)]  # equal scores: the earlier, then the lower token
    assert BeamSearch(2).search(TableEngine([[0.0]]), [0], frozenset({0}), 3)[0].tokens == ()
    assert BeamSearch(2).search(engine, [0], NONE, 0) == []
    assert list(BeamSearch(2)(engine, [0], NONE, 0)) == []


def test_steps_see_prompt_and_tokens_and_may_ban() -> None:
    seen = []

    def never_twice(tokens: Sequence[int], logprobs: Logits) -> Logits:
        seen.append(list(tokens))
        assert np.exp(logprobs).sum() == pytest.approx(1.0)
        out = logprobs.copy()
        out[list(tokens)] = -np.inf
        return out

    found = BeamSearch(3, num_return_sequences=3, steps=[never_twice]).search(PathEngine(6), [1, 4], NONE, 4)
    assert all(sorted((1, 4, *h.tokens)) == [0, 1, 2, 3, 4, 5] for h in found)
    assert [1, 4] in seen
    assert all(tokens[:2] == [1, 4] for tokens in seen)
    with pytest.raises(NoTokenLeft, match="ban fewer"):
        BeamSearch(2, steps=[lambda tokens, logprobs: np.full_like(logprobs, -np.inf)]).search(
            PathEngine(4), [0], NONE, 3
        )
    with pytest.raises(SettingsError, match="NaN or inf"):
        BeamSearch(2, steps=[lambda tokens, logprobs: logprobs * np.nan]).search(PathEngine(4), [0], NONE, 3)


# --- forks -------------------------------------------------------------------------------------------------


class Counted(TableEngine):
    """Counts the living forks of all its family, and fails at a given number of evaluations."""

    def __init__(
        self, table: Any, room: int = 99, fail_at: int = 1 << 30, parent: Counted | None = None
    ) -> None:
        super().__init__(table)
        self.alive: set[int] = parent.alive if parent else set()
        self.made: list[int] = parent.made if parent else []
        self.most: list[int] = parent.most if parent else [0]
        self.calls: list[int] = parent.calls if parent else [0]
        self.room, self.fail_at = room, fail_at

    @property
    def n_forks_free(self) -> int:
        return self.room - len(self.alive)

    def extend(self, tokens: Sequence[int]) -> Logits:
        self.calls[0] += 1
        if self.calls[0] >= self.fail_at:
            raise KeyboardInterrupt
        return super().extend(tokens)

    def fork(self) -> Counted:
        if not self.n_forks_free:
            raise EngineError("no room")
        child = Counted(self._table, self.room, self.fail_at, self)
        child._tokens = self.tokens
        self.made.append(id(child))
        self.alive.add(id(child))
        self.most[0] = max(self.most[0], len(self.alive))
        return child

    def close(self) -> None:
        super().close()
        self.alive.discard(id(self))


RANDOM = np.random.default_rng(2).normal(size=(7, 7))


def test_never_more_forks_than_beams_and_none_is_left() -> None:
    engine = Counted(RANDOM, room=4)
    assert len(BeamSearch(4, num_return_sequences=4).search(engine, [1, 2], NONE, 20)) == 4
    assert engine.most == [4]
    assert not engine.alive
    assert engine.tokens == [1, 2]


@pytest.mark.parametrize("fail_at", [2, 4, 7, 30])
def test_no_fork_is_left_after_an_interrupt(fail_at: int) -> None:
    engine = Counted(RANDOM, fail_at=fail_at)
    with pytest.raises(KeyboardInterrupt):
        BeamSearch(4).search(engine, [1, 2], NONE, 20)
    assert engine.made
    assert not engine.alive
    assert engine.tokens == [1, 2]


def test_no_fork_is_left_when_forking_fails_or_the_reader_leaves() -> None:
    class Short(Counted):
        n_forks_free = 99  # it promises more than it can

        def fork(self) -> Counted:
            if len(self.alive) == 2:
                raise EngineError("no room")
            return super().fork()

    engine = Short(RANDOM)
    with pytest.raises(EngineError, match="no room"):
        BeamSearch(4).search(engine, [1, 2], NONE, 20)
    assert not engine.alive
    patient = Counted(RANDOM)
    reading: Any = BeamSearch(4)(patient, [1, 2], NONE, 20)
    assert next(reading) in range(7)
    reading.close()
    assert patient.made
    assert not patient.alive


def test_a_beam_that_goes_on_keeps_its_fork() -> None:
    engine = Counted(np.log([[0.02, 0.5, 0.48], [0.005, 0.99, 0.005], [0.005, 0.005, 0.99]]))
    found = BeamSearch(2, num_return_sequences=2).search(engine, [0], NONE, 10)
    assert [h.tokens for h in found] == [(1,) * 10, (2,) * 10]
    assert len(engine.made) == 2


def test_each_token_of_a_beam_is_evaluated_once() -> None:
    engine = Counted(RANDOM)
    BeamSearch(4).search(engine, [1, 2], NONE, 10)
    assert engine.calls == [1 + 4 * 9]  # the prompt, then every beam; the tenth tokens are not evaluated


def test_too_many_beams_for_the_engine() -> None:
    with pytest.raises(SettingsError, match=r"num_beams=5 .* room for 4; use num_beams=4 or less"):
        BeamSearch(5).search(Counted(RANDOM, room=4), [0], NONE, 3)
    with pytest.raises(SettingsError, match="room for 0; close other forks first"):
        BeamSearch(1).search(Counted(RANDOM, room=0), [0], NONE, 3)


# --- batches -----------------------------------------------------------------------------------------------


class Batching(TableEngine):
    """Evaluates in batches, and by the clock that it is given."""

    def __init__(self, clock: list[float], batch_seconds: float, parent: Batching | None = None) -> None:
        super().__init__(RANDOM)
        self.clock, self.batch_seconds = clock, batch_seconds
        self.batches: list[bool] = parent.batches if parent else []

    def fork(self) -> Batching:
        child = Batching(self.clock, self.batch_seconds, self)
        child._tokens = self.tokens
        return child

    def extend(self, tokens: Sequence[int]) -> Logits:
        self.clock[0] += 1.0
        self.batches.append(False)
        return super().extend(tokens)

    def extend_batch(self, engines: Sequence[Batching], tokens: Sequence[int]) -> NDArray[np.float32]:
        rows = np.array([TableEngine.extend(one, (t,)) for one, t in zip(engines, tokens, strict=True)])
        changed = not self.batches[-1]
        self.clock[0] += self.batch_seconds + 5.0 * changed  # llama.cpp builds its graph anew
        self.batches.append(True)
        return rows


@pytest.mark.parametrize(("batch_seconds", "expected"), [(2.0, True), (4.0, False)])
def test_the_faster_way_is_measured_and_kept(
    monkeypatch: pytest.MonkeyPatch, batch_seconds: float, expected: bool
) -> None:
    clock = [0.0]
    monkeypatch.setattr(beam, "perf_counter", lambda: clock[0])
    engine = Batching(clock, batch_seconds)
    best = BeamSearch(3).search(engine, [0], NONE, 30)
    after = engine.batches[1 + 2 * (1 + 1 + 3 + 3) :]  # the prompt; twice: two batches, two one by one
    assert set(after) == {expected}
    assert {True, False} == set(engine.batches)
    for batch in (True, False):
        engine = Batching(clock, batch_seconds)
        assert same(BeamSearch(3, batch=batch).search(engine, [0], NONE, 30), best)
        assert set(engine.batches[1:]) == {batch}


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be an integer of at least 1; got 0"),
        ({"num_beams": 2.0}, "num_beams must be an integer"),
        ({"num_beams": True}, "num_beams must be an integer"),
        ({"num_beams": 2, "num_return_sequences": 3}, r"from 1 to num_beams \(2\); got 3"),
        ({"num_beams": 2, "length_penalty": math.nan}, "length_penalty must be a number from -10 to 10"),
        ({"num_beams": 2, "length_penalty": "1"}, "length_penalty"),
        ({"num_beams": 2, "early_stopping": "always"}, "True, False or \"never\"; got 'always'"),
        ({"num_beams": 2, "early_stopping": 1}, "early_stopping"),
        ({"num_beams": 2, "steps": [3]}, "steps must be a list of functions"),
        ({"num_beams": 2, "batch": 1}, "batch must be True, False or None"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        BeamSearch(**options)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers(broken: float) -> None:
    table = np.zeros((3, 3))
    table[1] = broken
    with pytest.raises(EngineError, match="no numbers"):
        BeamSearch(2).search(TableEngine(table), [0], NONE, 3)
    with pytest.raises(PromptError, match="empty"):
        BeamSearch(2).search(TableEngine(table), [], NONE, 3)


# --- llama.cpp ---------------------------------------------------------------------------------------------


def test_llama_finds_the_same(model: ez.Model) -> None:
    prompt = model.tokenize("Once upon a time")
    one = BeamSearch(3, num_return_sequences=3, batch=False)
    ends = model.tokenizer.end_tokens
    expected = slow_search(one, fresh(model.engine), prompt, ends, 6)
    for batch in (False, True, None):
        found = BeamSearch(3, num_return_sequences=3, batch=batch).search(model.engine, prompt, ends, 6)
        assert same(found, expected, tolerance=1e-3)


def test_llama_keeps_the_prompt_and_frees_the_forks(model: ez.Model) -> None:
    engine = model.engine
    prompt = model.tokenize("The sky is blue, and")
    before, free = engine.n_evaluated, engine.n_forks_free
    [best] = BeamSearch(4).search(engine, prompt, model.tokenizer.end_tokens, 12)
    assert model.detokenize(list(best.tokens)).startswith(" ")
    assert engine.n_evaluated - before <= len(prompt) + 4 * 11
    assert engine.n_forks_free == free
    assert engine.tokens == prompt
    before = engine.n_evaluated
    next(Sampling(ez.samplers.GreedyDecoding, 1)(engine, prompt, NONE, 1))
    assert engine.n_evaluated == before + 1
    with pytest.raises(SettingsError, match=f"use num_beams={free} or less"):
        BeamSearch(free + 1).search(engine, prompt, NONE, 3)
