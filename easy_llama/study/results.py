"""Study: the outcomes of one comparison, as a table, as HTML, as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..version import __version__
from .outcome import Outcome
from .page import write_html
from .rows import print_rows

__all__ = ["Study"]


@dataclass(frozen=True, repr=False)
class Study:
    """What several methods wrote after one prompt.

    - ``prompt``: its text; ``n_prompt``: its length in tokens
    - ``model``: the name of the model
    - ``max_len_tokens``: the longest text that was allowed
    - ``seed``: of all draws that have none of their own
    - ``date``: the day it was made, such as 2026-07-31; ``version``: that of easy_llama
    - ``outcomes``: one for each method, in the order they were asked for

    ``study["greedy"]`` is the outcome with that label, ``len(study)`` how many there are.
    """

    prompt: str
    model: str
    n_prompt: int
    max_len_tokens: int
    outcomes: tuple[Outcome, ...]
    seed: int
    date: str
    version: str = __version__

    def __getitem__(self, label: str) -> Outcome:
        for outcome in self.outcomes:
            if outcome.label == label:
                return outcome
        labels = ", ".join(repr(outcome.label) for outcome in self.outcomes)
        raise KeyError(f"there is no method {label!r} in this study; it has {labels}")

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __repr__(self) -> str:
        return f"<Study on {self.model}: {', '.join(outcome.label for outcome in self.outcomes)}>"

    def table(self, file: TextIO | None = None) -> None:
        """Print the figures, a row for each method: a table in a terminal, plain rows anywhere else."""
        print_rows(self.outcomes, file)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a report and return its path: one file that needs no network and no script."""
        return write_html(path, {self.model: self})

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "n_prompt": self.n_prompt,
            "max_len_tokens": self.max_len_tokens,
            "seed": self.seed,
            "date": self.date,
            "version": self.version,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }
