"""What a generation cost: tokens evaluated, reused, generated, and the seconds for each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


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
