"""Replay: a kept reply drawn again from its seed, its settings and the tokens before it, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..decoding.backtracking import Strategy
from ..engine import common_prefix, prefill
from ..errors import PromptError
from ..generation.speaker import Speaker
from ..steps import probabilities
from ..terminal.escape import shortened
from .message import Made

__all__ = ["Difference", "Replay", "Scored", "replay"]


class Scored(NamedTuple):
    """A token, its text, and what the model gave it: the logit and the probability before any step."""

    token: int
    text: str
    logit: float
    probability: float

    def __str__(self) -> str:
        return f"{shortened(self.text)!r} (logit {self.logit:.4f}, probability {self.probability:.4f})"


@dataclass(frozen=True)
class Difference:
    """The first token that is another one: its place among the drawn ones, and both; None is an end."""

    at: int
    then: Scored | None
    now: Scored | None

    @property
    def gap(self) -> float | None:
        """By how much the logits of the two tokens differ; None where the reply ended then or now."""
        return None if self.then is None or self.now is None else abs(self.then.logit - self.now.logit)


@dataclass(frozen=True)
class Replay:
    """What became of a reply that was drawn again; ``str`` tells it in a sentence.

    - ``tokens``: drawn now; ``kept``: drawn then; ``n_given``: how many stood before them, as a prefix
    - ``difference``: the first one, None where the reply came out the same
    - ``seed``: of the draws; ``text``: all that was written now, thinking included
    - ``remarks``: what may be another cause of a difference, such as a strategy that is not the same
    """

    tokens: tuple[int, ...]
    kept: tuple[int, ...]
    n_given: int
    difference: Difference | None
    seed: int | None
    text: str
    remarks: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether the reply came out the same, token by token."""
        return self.difference is None

    def __str__(self) -> str:
        given = f" behind the {self.n_given} that were given" if self.n_given else ""
        counted = f"{len(self.kept)} token{'s' * (len(self.kept) != 1)}{given}, seed {self.seed}"
        if self.difference is None:
            return "; ".join([f"the same: {counted}", *self.remarks])
        one = self.difference
        then, now = (str(side) if side is not None else "the end" for side in (one.then, one.now))
        gap = f", {one.gap:.4g} apart" if one.gap is not None else ""
        differs = f"it differs from token {one.at + 1} on ({counted}): then {then}, now {now}{gap}"
        return "; ".join([differs, *self.remarks])


def replay(
    speaker: Speaker, tokens: list[int], stops: Sequence[str | int], made: Made, strategy: Strategy | None
) -> Replay:
    """Draw what ``made`` tells of again behind ``tokens``, and compare.

    Raises PromptError where ``made`` lacks the sampler, the seed or the prompt.
    """
    if made.sampler is None or made.seed is None or made.prompt is None:
        raise PromptError(
            "it is not kept how this reply was made: its sampler, its seed or its prompt is missing"
        )
    kept, n_reused = made.drawn, min(made.prompt.n_reused, len(tokens) - 1)
    if common_prefix(speaker.engine.tokens, tokens) >= n_reused:
        speaker.engine.rollback(n_reused)
    elif n_reused:
        prefill(speaker.engine, tokens[:n_reused])
    # one that was stopped by hand says nothing about what would have come, one that ended must end again
    n_more = 1 if made.finish_reason == "stop" and not made.n_rest else 0
    settings = replace(made.sampler, seed=made.seed, max_len_tokens=max(1, len(kept) + n_more))
    if made.finish_reason == "stop" and made.n_rest:  # a stop string: let it be found again
        settings = replace(settings, max_len_tokens=made.sampler.max_len_tokens)
    generation = speaker.generation(tokens, stops, settings, strategy=strategy)
    text = "".join(generation.pieces())
    drawn = tuple(generation.tokens)
    if made.finish_reason is None or made.n_rest:
        drawn = drawn[: len(kept)]
    remarks = []
    given = type(strategy).__name__ if strategy is not None else ""
    if given != made.strategy:
        names = [name or "no strategy" for name in (made.strategy, given)]
        remarks.append(f"it was written with {names[0]}, and now with {names[1]}")
    found = _difference(speaker, tokens, kept, drawn)
    return Replay(drawn, kept, made.n_given, found, made.seed, text, tuple(remarks))


def _difference(
    speaker: Speaker, tokens: Sequence[int], kept: Sequence[int], drawn: Sequence[int]
) -> Difference | None:
    n_same = next((i for i, (a, b) in enumerate(zip(kept, drawn, strict=False)) if a != b), None)
    at = min(len(kept), len(drawn)) if n_same is None else n_same
    if at == len(kept) == len(drawn):
        return None
    logits = prefill(speaker.engine, [*tokens, *kept[:at]])
    chances = probabilities(logits)

    def scored(side: Sequence[int]) -> Scored | None:
        if at >= len(side):
            return None
        token = side[at]
        text = speaker.tokenizer.piece(token).decode("utf-8", "replace")
        return Scored(token, text, float(logits[token]), float(chances[token]))

    return Difference(at, scored(kept), scored(drawn))
