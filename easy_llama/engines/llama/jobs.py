"""What is asked of ``LlamaContext.decode``, how much is left of it after a batch, and the rows it gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .batch import Stretch
from .sequence import LlamaSequence

__all__ = ["ABORTED", "Ask", "Gathered", "Job", "Part", "Rows"]

ABORTED = 2  # what llama_decode returns when a signal has cut it short


class Ask(NamedTuple):
    """Tokens to evaluate next in a sequence; the output of the last ``n_rows`` of them is wanted."""

    sequence: LlamaSequence
    tokens: Sequence[int]
    n_rows: int = 1


class Rows(NamedTuple):
    """The output that was wanted, in the order of the asks: ``logits``, float32 (n, n_vocab), and ``hidden``
    states, float32 (n, n_embd), none where they were not asked for. Views that the next call overwrites."""

    logits: NDArray[np.float32]
    hidden: NDArray[np.float32]


class Part(NamedTuple):
    """What of a job is in a batch; ``slot`` is the place of its first row among those of the job."""

    job: Job
    stretch: Stretch
    slot: int

    def record(self, status: int) -> int:
        """Make the record true after the batch, and return how many tokens are new in it."""
        sequence, tokens, n_rows = self.job.sequence, self.stretch.tokens, self.stretch.n_rows
        if status == 0:
            sequence.record.extend(tokens)
            return len(tokens)
        if status == ABORTED:  # where rows are wanted they are lost: those tokens are evaluated again
            return sequence.record_evaluated(tokens[: len(tokens) - n_rows])
        sequence.mend()
        return 0


class Job:
    """An ask, and how much of it is left."""

    def __init__(self, ask: Ask) -> None:
        self.sequence, self.n_rows = ask.sequence, ask.n_rows
        self._tokens, self._start = ask.tokens, ask.sequence.record.n
        # a state that an aborted batch has spoilt is built again from the beginning
        self._before = ask.sequence.tokens if ask.sequence.has_state else []

    @property
    def n_left(self) -> int:
        """How many tokens are not evaluated yet."""
        return self._start + len(self._tokens) - self.sequence.record.n

    def next(self, room: int) -> Part:
        """The next tokens, ``room`` at most."""
        at, number = self.sequence.record.n, self.sequence.number
        if at < self._start:
            return Part(self, Stretch(number, at, self._before[at : at + room], 0), 0)
        done = at - self._start
        tokens = self._tokens[done : done + room]
        first_row = len(self._tokens) - self.n_rows
        slot = max(0, done - first_row)
        n_rows = max(0, done + len(tokens) - max(done, first_row))
        return Part(self, Stretch(number, at, tokens, n_rows), slot)


class Gathered:
    """Rows of several batches, copied together; ``like`` are those of the first."""

    def __init__(self, jobs: Sequence[Job], like: Rows) -> None:
        *starts, n = accumulate((job.n_rows for job in jobs), initial=0)
        self._starts = {job.sequence.number: start for job, start in zip(jobs, starts, strict=True)}
        self.rows = Rows(*(np.empty((n if len(a) else 0, a.shape[1]), dtype=np.float32) for a in like))

    def put(self, parts: Sequence[Part], rows: Rows) -> None:
        """Take over the rows of a batch."""
        at = 0
        for part in parts:
            n, to = part.stretch.n_rows, self._starts[part.stretch.number] + part.slot
            for gathered, new in zip(self.rows, rows, strict=True):
                if len(gathered):
                    gathered[to : to + n] = new[at : at + n]
            at += n
