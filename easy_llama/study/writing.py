"""One method at work: its tokens, what the model thinks of each, and the seconds that it took.

What is drawn is judged by the logits it was drawn from. What a search found is evaluated once more, because
a search keeps no logits; that is not counted in its seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..decoding.beam import BeamSearch
from ..decoding.sampling import picker_for, sample
from ..decoding.selection import decoder_for, room_for
from ..engine import Engine, HiddenEngine, Logits, Provider, RewindingPicker, RowsEngine, prefill
from ..samplers.picker import NumpyPicker
from .measures import logprob_and_rank, pieces_of
from .methods import Method
from .outcome import Outcome

__all__ = ["Task", "write"]

_PART = 32  # tokens of a finished text evaluated together: n_vocab floats are kept for each


@dataclass(frozen=True)
class Task:
    """What all methods are given: the prompt, the end tokens, the longest text, the seed."""

    prompt: list[int]
    end_tokens: frozenset[int]
    limit: int
    seed: int


@dataclass
class _Judged:
    """Tokens with their log-probabilities and ranks under the model's own distribution."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    end_logprob: float | None = None
    seconds: float = 0.0  # what the judging took

    def add(self, logits: Logits, token: int, *, ends: bool) -> None:
        start = perf_counter()
        logprob, rank = logprob_and_rank(logits, token)
        if ends:
            self.end_logprob = logprob
        else:
            self.tokens.append(token)
            self.logprobs.append(logprob)
            self.ranks.append(rank)
        self.seconds += perf_counter() - start


def write(provider: Provider, method: Method, task: Task) -> Outcome:
    """Let ``method`` write and return its text. The engine must be reserved; it is left as it comes."""
    engine, settings = provider.engine, method.settings
    seed = task.seed if settings.seed is None else settings.seed
    limit = min(task.limit, settings.limit(room_for(settings, engine.n_ctx, len(task.prompt))))
    task = replace(task, seed=seed, limit=limit)
    judged, seconds = (_search if method.searches else _draw)(provider, method, task)
    pieces = pieces_of(judged.tokens, provider.tokenizer.piece)
    reason: Literal["stop", "length"] = "length" if judged.end_logprob is None else "stop"
    return Outcome(
        label=method.label,
        family=method.family,
        description=method.description,
        text="".join(pieces),
        tokens=tuple(judged.tokens),
        pieces=pieces,
        logprobs=tuple(judged.logprobs),
        ranks=tuple(judged.ranks),
        finish_reason=reason,
        end_logprob=judged.end_logprob,
        seconds=seconds,
        seed=seed if method.draws else None,
    )


# --- drawing -------------------------------------------------------------------------------------------


def _draw(provider: Provider, method: Method, task: Task) -> tuple[_Judged, float]:
    """Return the tokens drawn and the seconds."""
    engine, judged = provider.engine, _Judged()
    logits = prefill(engine, task.prompt)
    if method.steps:
        pick: RewindingPicker = NumpyPicker.of_steps(method.steps, task.seed)
    else:
        pick = picker_for(engine, method.settings, task.seed, task.prompt, provider.tokenizer)

    def pick_and_judge(tokens: Sequence[int], logits: Logits) -> int:
        token = pick(tokens, logits)
        judged.add(logits, token, ends=token in task.end_tokens)
        return token

    try:
        start = perf_counter()
        for _ in sample(engine, pick_and_judge, task.prompt, logits, task.end_tokens, task.limit):
            pass
        return judged, perf_counter() - start - judged.seconds
    finally:
        pick.close()


# --- searching -----------------------------------------------------------------------------------------


def _search(provider: Provider, method: Method, task: Task) -> tuple[_Judged, float]:
    """Return the tokens found and the seconds."""
    engine, ends = provider.engine, task.end_tokens
    decoder = decoder_for(method.settings, task.seed, provider.tokenizer)
    if isinstance(decoder, BeamSearch):
        decoder = replace(decoder, batch=True)  # timing both ways would make last bits depend on the clock
        prefill(engine, task.prompt)
        start = perf_counter()
        best = decoder.search(engine, task.prompt, ends, task.limit)[0]
        seconds = perf_counter() - start
        return _evaluated(engine, best.tokens, task, stopped=best.finish_reason == "stop"), seconds
    if isinstance(engine, HiddenEngine):
        engine.rollback(0)
        engine.extend_hidden(task.prompt)
    start = perf_counter()
    tokens = list(decoder(engine, task.prompt, ends, task.limit))
    seconds = perf_counter() - start
    return _evaluated(engine, tokens, task, stopped=len(tokens) < task.limit), seconds


def _evaluated(engine: Engine, tokens: Sequence[int], task: Task, *, stopped: bool) -> _Judged:
    """Evaluate a finished text and judge it; the end token of a text that ``stopped`` is the likeliest."""
    judged, logits = _Judged(), prefill(engine, task.prompt)
    evaluated = list(tokens) if stopped else list(tokens[:-1])  # what follows the last one is not asked
    if tokens:
        judged.add(logits, tokens[0], ends=False)
    for start in range(0, len(evaluated), _PART):
        part = evaluated[start : start + _PART]
        rows = _rows_after(engine, part)
        for row, token in zip(rows, tokens[start + 1 : start + 1 + len(part)], strict=False):
            judged.add(row, token, ends=False)
        logits = rows[-1]
    if stopped:
        likeliest = max(task.end_tokens, key=lambda token: float(logits[token]))
        judged.add(logits, likeliest, ends=True)
    return judged


def _rows_after(engine: Engine, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Evaluate ``tokens`` and return the logits after each: float32 (len(tokens), n_vocab)."""
    if isinstance(engine, RowsEngine):
        return engine.extend_rows(tokens)
    return np.stack([engine.extend((token,)).copy() for token in tokens])
