"""What a generation cost: tokens evaluated, reused, generated, and the seconds for each."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

__all__ = ["Meter", "Stats"]


@dataclass(frozen=True)
class Stats:
    """What the newest generation cost.

    - ``evaluated``: prompt tokens evaluated; ``reused``: prompt tokens that were there already
    - ``generated``: tokens generated
    - ``prompt_seconds``: until the first token; ``generate_seconds``: for the rest, without the time the
      caller took between tokens
    - ``seed``: of the draws, also where it was drawn; ``finish_reason``: ``"stop"``, ``"length"``, or None
      when the stream was not read to its end
    """

    evaluated: int = 0
    reused: int = 0
    generated: int = 0
    prompt_seconds: float = 0.0
    generate_seconds: float = 0.0
    seed: int | None = None
    finish_reason: str | None = None


class _Counting(Protocol):
    @property
    def n_evaluated(self) -> int: ...


class Meter:
    """Counts tokens and time while a generation runs on ``engine``; make it when the work begins."""

    def __init__(self, engine: _Counting) -> None:
        self._engine = engine
        self._before = engine.n_evaluated
        self._start = perf_counter()
        self.evaluated = self.generated = 0
        self.prompt_seconds = self.generate_seconds = 0.0

    def prompt_done(self) -> None:
        """Note that the prompt is evaluated (and the first token chosen)."""
        self.evaluated = self._engine.n_evaluated - self._before
        self.prompt_seconds = perf_counter() - self._start

    def count(self, tokens: Iterator[int]) -> Generator[int, None, None]:
        """Pass ``tokens`` on; the time that the consumer takes between them is not counted."""
        first = next(tokens, None)
        self.prompt_done()
        if first is None:
            return
        clock, n, seconds = perf_counter, 1, 0.0
        try:
            yield first
            start = clock()
            for token in tokens:
                n += 1
                seconds += clock() - start
                yield token
                start = clock()
            seconds += clock() - start
        finally:
            self.generated, self.generate_seconds = n, seconds

    def result(self, stats: Stats, n_prompt: int) -> Stats:
        """Return ``stats`` with the counts of a prompt of ``n_prompt`` tokens."""
        return replace(
            stats,
            evaluated=self.evaluated,
            reused=max(0, n_prompt - self.evaluated),
            generated=self.generated,
            prompt_seconds=self.prompt_seconds,
            generate_seconds=self.generate_seconds,
        )
