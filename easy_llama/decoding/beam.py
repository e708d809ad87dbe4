"""Beam search as Hugging Face defines it: keep the likeliest unfinished texts, collect the finished ones.

Beams are forks of the engine, which itself stays at the prompt. Nothing is drawn. ``search`` returns the
hypotheses with their scores; as a decoder a BeamSearch yields the best one's tokens.
Source: ``_beam_search`` of transformers 5; the length penalty is from https://arxiv.org/abs/1609.08144.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..checks import check_integer, check_number, is_integer
from ..engine import Engine, Step, extend_all, prefill, room_for_forks
from ..errors import ContextFullError, EngineError, NoTokenLeft, SettingsError

__all__ = ["BeamSearch", "Hypothesis"]

_N_CLASSES = 256  # of token ids; measured: 128 to 512 are about equally fast at 1,000 to 150,000 tokens
_TIMED_STEPS = 8  # two in a batch, two one by one, and again

_Rows: TypeAlias = NDArray[np.float32]
_Values: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Hypothesis:
    """A text that beam search has finished.

    ``tokens`` lacks the prompt and the end token; ``logprob`` is the sum of the log-probabilities (the end
    token's too), ``score`` is that divided by ``length**length_penalty``, where the length counts the end
    token. ``finish_reason`` is "stop" after an end token and "length" at the limit.
    """

    tokens: tuple[int, ...]
    score: float
    logprob: float
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class BeamSearch:
    """A decoder that searches the likeliest text with ``num_beams`` unfinished texts at a time.

    - ``num_beams``: 1 is greedy (but for "never"), 2 to 8 is usual; the engine needs room for as many forks
    - ``length_penalty``: the sum of the log-probabilities is divided by ``length**length_penalty``; above 0
      favours long texts, below 0 short ones, 0 switches it off; -10 to 10, 0.6 to 2 is usual
    - ``early_stopping``: True stops as soon as ``num_beams`` texts are finished; False also goes on while the
      best unfinished text would beat the worst finished one if it ended now; "never" goes on while it could
      at the longest length, supposing that it loses no more (with ``length_penalty`` above 0; else as False)
    - ``num_return_sequences``: how many hypotheses ``search`` returns, 1 to ``num_beams``
    - ``steps``: applied to the log-probabilities of each beam, (prompt and tokens, logprobs) -> logprobs:
      penalties, bias, bans. As in Hugging Face's the result is not normalised again
    - ``batch``: whether all beams are evaluated in one batch. None times both ways on the first steps and
      keeps the faster; then the last bits of the logits depend on the clock, so fix it for exact repetition

    Among equal scores the earlier beam wins, then the lower token id. Where there are fewer texts than beams
    (a tiny vocabulary, bans), Hugging Face fills up with placeholders of score -1e9; here are just fewer.
    """

    num_beams: int
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_return_sequences: int = 1
    steps: Sequence[Step] = ()
    batch: bool | None = None

    def __post_init__(self) -> None:
        check_integer("num_beams", self.num_beams, 1)
        if not is_integer(self.num_return_sequences, 1, self.num_beams):
            raise SettingsError(
                f"num_return_sequences must be an integer from 1 to num_beams ({self.num_beams}); "
                f"got {self.num_return_sequences!r}"
            )
        check_number("length_penalty", self.length_penalty, -10, 10, also=" (0 is off)")
        if not (isinstance(self.early_stopping, bool) or self.early_stopping == "never"):
            raise SettingsError(f'early_stopping must be True, False or "never"; got {self.early_stopping!r}')
        if not isinstance(self.steps, Sequence) or not all(callable(step) for step in self.steps):
            raise SettingsError(f"steps must be a list of functions (tokens, logprobs); got {self.steps!r}")
        if self.batch is not None and not isinstance(self.batch, bool):
            raise SettingsError(f"batch must be True, False or None to measure it; got {self.batch!r}")

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield the tokens of the best hypothesis; the whole search comes before the first."""
        for best in self.search(engine, prompt, end_tokens, limit)[:1]:
            yield from best.tokens

    def search(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> list[Hypothesis]:
        """Return ``num_return_sequences`` hypotheses of up to ``limit`` tokens, the best first.

        The engine holds the prompt afterwards, and all forks are closed, after errors too. Where the forks
        share a context and fill it, the search ends as if that were the limit. Raises
        SettingsError when the engine has no room for ``num_beams`` forks, NoTokenLeft when ``steps`` ban
        every token, EngineError when logits are no numbers.
        """
        if limit < 1:
            return []
        self._check_room(engine)
        n_candidates = max(2, 1 + len(end_tokens)) * self.num_beams  # so end tokens can't use up all beams
        scoring = _Scoring(engine.n_vocab, self.steps, prompt)
        finished: list[Hypothesis] = []
        rows = prefill(engine, prompt)[np.newaxis]
        with closing(_Beams(engine, self.batch)) as beams:
            for length in range(1, limit + 1):
                running: list[_Candidate] = []
                for rank, one in enumerate(scoring.best(rows, beams.tokens, beams.logprobs, n_candidates)):
                    ends = one.token in end_tokens
                    if not ends and length < limit:
                        running.append(one)
                    elif rank < self.num_beams:
                        finished.append(self._finish(one, beams.tokens[one.beam], ends))
                del running[self.num_beams :]
                finished.sort(key=lambda hypothesis: -hypothesis.score)
                del finished[self.num_beams :]
                if not running or self._is_done(finished, running[0].logprob, length, limit):
                    break
                texts = [beams.tokens[one.beam] for one in running]
                try:
                    rows = beams.advance(running)
                except ContextFullError:  # the forks have filled the context: this is as far as it goes
                    ended = map(self._finish, running, texts, repeat(False))
                    finished = sorted([*finished, *ended], key=lambda hypothesis: -hypothesis.score)
                    break
        if not finished:
            raise NoTokenLeft("the steps leave no token that a beam could take; ban fewer")
        return finished[: self.num_return_sequences]

    def _finish(self, last: _Candidate, before: tuple[int, ...], ends: bool) -> Hypothesis:
        score = self._score(last.logprob, len(before) + 1)
        if ends:
            return Hypothesis(before, score, last.logprob, "stop")
        return Hypothesis((*before, last.token), score, last.logprob, "length")

    def _is_done(self, finished: list[Hypothesis], best_running: float, length: int, limit: int) -> bool:
        """Whether going on can't be expected to improve the ``num_beams`` finished hypotheses."""
        if len(finished) < self.num_beams:
            return False
        longest = limit if self.early_stopping == "never" and self.length_penalty > 0 else length
        return self.early_stopping is True or self._score(best_running, longest) <= finished[-1].score

    def _score(self, logprob: float, length: int) -> float:
        return logprob / math.pow(length, self.length_penalty)

    def _check_room(self, engine: Engine) -> None:
        free = room_for_forks(engine)
        if free < self.num_beams:
            raise SettingsError(
                f"num_beams={self.num_beams} needs as many forks, and the engine has room for {free}; "
                + (f"use num_beams={free} or less" if free else "close other forks first")
            )


class _Candidate(NamedTuple):
    """The beam number ``beam`` with one more token; ``logprob`` is the new sum."""

    logprob: float
    beam: int
    token: int


class _Beams:
    """The unfinished texts: ``tokens`` and ``logprobs`` (float64) of each, and a fork that holds it.

    At first there is one without tokens, which is the engine itself.
    """

    def __init__(self, engine: Engine, batch: bool | None) -> None:
        self.tokens: list[tuple[int, ...]] = [()]
        self.logprobs: _Values = np.zeros(1)
        self._root = engine
        self._forks: list[Engine] = []
        self._pace = _Pace(batch)

    def advance(self, chosen: list[_Candidate]) -> _Rows:
        """Make the chosen candidates the beams; return their logits, a view valid until the next call."""
        self._inherit([one.beam for one in chosen])
        self.tokens = [(*self.tokens[one.beam], one.token) for one in chosen]
        self.logprobs = np.array([one.logprob for one in chosen])
        return self._pace.extend(self._forks, [one.token for one in chosen])

    def _inherit(self, parents: list[int]) -> None:
        """Give each child a fork: the parent's own to the first, a new one to each further child."""
        is_first = not self._forks
        before = [self._root] if is_first else list(self._forks)
        for index in set(range(len(before))) - set(parents):
            before[index].close()  # before any fork is made, so that there are never more than num_beams
        heirs: list[Engine] = []
        for child, parent in enumerate(parents):
            fork = before[parent]
            if is_first or parent in parents[:child]:
                fork = fork.fork()
                self._forks.append(fork)  # at once, so that close() finds it after an error
            heirs.append(fork)
        self._forks = heirs

    def close(self) -> None:
        """Close all forks; closing one twice is harmless."""
        for fork in self._forks:
            fork.close()


class _Pace:
    """Evaluates all beams in one batch or one by one: as told, or as was faster in the first steps."""

    def __init__(self, batch: bool | None) -> None:
        self._batch = batch
        self._step = 0
        self._fastest = {True: math.inf, False: math.inf}  # seconds for one beam

    def extend(self, forks: list[Engine], tokens: list[int]) -> _Rows:
        """Evaluate one token on each fork; see ``extend_all``."""
        if self._batch is not None:
            return extend_all(forks, tokens, batch=self._batch)
        batch = self._step // 2 % 2 == 0  # in twos, because llama.cpp is slower after a change of shape
        start = perf_counter()
        rows = extend_all(forks, tokens, batch=batch)
        seconds = (perf_counter() - start) / len(forks)
        self._fastest[batch] = min(self._fastest[batch], seconds)
        self._step += 1
        if self._step == _TIMED_STEPS:
            self._batch = self._fastest[True] <= self._fastest[False]
        return rows


class _Scoring:
    """Finds the best continuations of all beams without a log-softmax of every row.

    A token's log-probability is its logit minus the row's log-sum-exp, so the order inside a row is that
    of the logits. The maxima of residue classes (token ids that are equal modulo 256) give a bound that k
    candidates reach; only the few classes that reach it are looked at.
    """

    def __init__(self, n_vocab: int, steps: Sequence[Step], prompt: Sequence[int]) -> None:
        self._steps, self._prompt = steps, prompt
        self._buffer: _Rows = np.empty((0, n_vocab), dtype=np.float32)
        self._n_classes = min(n_vocab, _N_CLASSES)
        self._starts = np.arange(0, n_vocab, self._n_classes)

    def best(self, rows: _Rows, tokens: list[tuple[int, ...]], logprobs: _Values, k: int) -> list[_Candidate]:
        """Return the ``k`` best continuations of the beams, the best first; fewer where fewer exist.

        ``rows`` are the logits, float32 (n, n_vocab), ``tokens`` and ``logprobs`` (n,) what the beams have.
        """
        maxima = self._class_maxima(rows)
        norms = self._log_sum_exp(rows, maxima.max(axis=1))
        if self._steps:
            rows = self._processed(rows, norms, tokens)
            maxima = self._class_maxima(rows)
            norms = np.zeros(len(rows))
            if not (maxima < np.inf).all():  # NaN isn't either
                raise SettingsError("a step returned NaN or inf; steps must return numbers or -inf")
        sums = (maxima - norms[:, np.newaxis]) + logprobs[:, np.newaxis]
        bound = np.partition(sums, sums.size - k, axis=None)[sums.size - k] if k < sums.size else -np.inf
        beams, classes = np.nonzero((sums >= bound) & (sums > -np.inf))
        ids = classes[:, np.newaxis] + self._starts
        there = ids < rows.shape[1]
        beams, ids = np.broadcast_to(beams[:, np.newaxis], ids.shape)[there], ids[there]
        sums = (rows[beams, ids] - norms[beams]) + logprobs[beams]
        good = np.flatnonzero((sums >= bound) & (sums > -np.inf))
        good = good[np.lexsort((ids[good], beams[good], -sums[good]))][:k]
        return list(map(_Candidate, sums[good].tolist(), beams[good].tolist(), ids[good].tolist()))

    def _class_maxima(self, rows: _Rows) -> _Rows:
        """Return the largest value of each residue class, float32 (n, number of classes)."""
        n, n_vocab = rows.shape
        whole = n_vocab - n_vocab % self._n_classes
        maxima: _Rows = rows[:, :whole].reshape(n, -1, self._n_classes).max(axis=1)
        rest = maxima[:, : n_vocab - whole]
        np.maximum(rest, rows[:, whole:], out=rest)
        return maxima

    def _log_sum_exp(self, rows: _Rows, peaks: _Rows) -> _Values:
        """Return log(sum(exp(row))) of each row, float64 (n,); the buffer is overwritten."""
        if not np.isfinite(peaks).all():
            raise EngineError("the model's logits are no numbers; its file may be broken")
        if len(self._buffer) < len(rows):
            self._buffer = np.empty_like(rows)
        powers = self._buffer[: len(rows)]
        np.subtract(rows, peaks[:, np.newaxis], out=powers)
        np.exp(powers, out=powers)
        norms: _Values = peaks + np.log(powers.sum(axis=1), dtype=np.float64)
        return norms

    def _processed(self, rows: _Rows, norms: _Values, tokens: list[tuple[int, ...]]) -> _Rows:
        """Return the log-probabilities of each row after the steps, float32 (n, n_vocab)."""
        out = self._buffer[: len(rows)]
        np.subtract(rows, norms[:, np.newaxis], out=out, casting="same_kind")
        for row, new in zip(out, tokens, strict=True):
            history, logprobs = [*self._prompt, *new], row
            for step in self._steps:
                logprobs = step(history, logprobs)
            row[:] = logprobs
        return out
