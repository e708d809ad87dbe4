"""Outcome: the text that one method wrote, and what can be measured on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .measures import distinct, find_json, longest_repeat, perplexity

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What one method wrote after the prompt.

    - ``label``, ``family``, ``description``: which method
    - ``text``, ``tokens``: without the prompt and without the end token
    - ``pieces``: the text that each token adds; joined they are ``text``
    - ``logprobs``: the log-probability of each token, in nats, under the model's own distribution
      (temperature 1, nothing removed); ``ranks``: its rank there, 1 is the likeliest
    - ``finish_reason``: ``"stop"`` for an end token, ``"length"`` for the limit or the end of the context
    - ``end_logprob``: the log-probability of the end token, None where none was written. It counts in none
      of the figures. Of a search it is the likeliest end token's
    - ``seconds``: of generating, the prompt being evaluated already; without what measuring took
    - ``seed``: of the draws, None where nothing is drawn
    """

    label: str
    family: str
    description: str
    text: str
    tokens: tuple[int, ...] = field(repr=False)
    pieces: tuple[str, ...] = field(repr=False)
    logprobs: tuple[float, ...] = field(repr=False)
    ranks: tuple[int, ...] = field(repr=False)
    finish_reason: Literal["stop", "length"]
    end_logprob: float | None
    seconds: float
    seed: int | None

    @property
    def n_tokens(self) -> int:
        """Length in tokens."""
        return len(self.tokens)

    @cached_property
    def logprob(self) -> float:
        """The sum of the log-probabilities, in nats."""
        return math.fsum(self.logprobs)

    @cached_property
    def perplexity(self) -> float | None:
        """exp of minus the mean log-probability: 1 is certain, n as unsure as among n equal tokens.

        None where no token was written.
        """
        return perplexity(self.logprobs)

    @cached_property
    def distinct(self) -> tuple[float, float, float]:
        """distinct-1, -2 and -3: the shares of single tokens, pairs and triples that are different."""
        return distinct(self.tokens, 1), distinct(self.tokens, 2), distinct(self.tokens, 3)

    @property
    def longest_repeat(self) -> int:
        """How many tokens the longest stretch has that occurs twice; the two may overlap."""
        return self._repeat[1]

    @property
    def repeated_text(self) -> str:
        """The text of that stretch."""
        start, length = self._repeat
        return "".join(self.pieces[start : start + length])

    @cached_property
    def _repeat(self) -> tuple[int, int]:
        return longest_repeat(self.tokens)

    @cached_property
    def json(self) -> Literal["whole", "inside"] | None:
        """``"whole"`` where the text is a JSON document, ``"inside"`` where an object begins at its first
        ``{``, else None."""
        return find_json(self.text)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed, of a search that of the text it returns; None where no token was written."""
        return self.n_tokens / self.seconds if self.tokens and self.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """Return fields and figures as JSON has them; a perplexity beyond all numbers is None."""
        names = "label family description text tokens logprobs ranks logprob n_tokens longest_repeat json"
        names += " repeated_text finish_reason end_logprob seconds tokens_per_second seed"
        data = {name: getattr(self, name) for name in names.split()}
        data["perplexity"] = None if self.perplexity == math.inf else self.perplexity
        for n, share in enumerate(self.distinct, 1):
            data[f"distinct_{n}"] = share
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}
