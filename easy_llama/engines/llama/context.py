"""LlamaContext: one ``Llama``, its lock, its counters, its sequences, and the one way to evaluate tokens.

``decode`` takes prompts, next tokens of several sequences and several rows of one sequence; ``step`` is the
same for a single token, without what costs microseconds. Ctrl-C ends either, and the records stay true.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from time import perf_counter
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ...engine import Logits
from ...errors import ContextFullError, EngineError, ModelUnloadedException, PromptError
from .batch import Batch, OneToken, Stretch
from .handles import context_handle, mark_stale, model_handle, n_cells
from .interrupt import GUARD_ABOVE, interruptible
from .memory import Memory
from .rows import embeddings_address, logits_address, rows_at
from .sequence import LlamaRecord, LlamaSequence, OwnRecord
from .session import Session

__all__ = ["Ask", "LlamaContext", "Rows"]

_ABORTED = 2

_decode = llama_cpp.llama_decode


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


class LlamaContext:
    """The context of ``llama`` with everything that must not be done twice at once.

    ``lock`` guards single calls into libllama, ``session`` keeps a whole generation together. ``root`` is the
    sequence whose record is Llama's own; it holds ``n_ctx`` tokens at most. ``n_evaluated`` counts tokens.
    ``row`` is the number of the sequence whose logits are the newest in the context, None while there are
    none, or several.
    """

    def __init__(self, llama: Llama, n_ctx: int | None = None) -> None:
        self.llama = llama
        self.lock = threading.RLock()
        self.session = Session()
        self.n_evaluated = 0
        self.row: int | None = None
        self.slow = False  # whether a single token takes so long that Ctrl-C must be able to interrupt it
        pointer = self.pointer()
        self.n_vocab = int(llama.n_vocab())
        self.memory = Memory(llama)
        self.n_sequences = int(llama_cpp.llama_n_seq_max(pointer))
        self._free = set(range(1, self.n_sequences))  # a set: what is given back twice is there once
        self._one_tokens: dict[int, OneToken] = {}
        self._batch = Batch(int(llama_cpp.llama_n_batch(pointer)))
        self._slow_batch = False
        self._n_embd = int(llama_cpp.llama_model_n_embd(model_handle(llama)))
        self._view_address: int | None = None
        self._view: Logits = np.empty(0, dtype=np.float32)
        cells = min(n_cells(llama), len(llama.input_ids))
        self.root = LlamaSequence(
            0, LlamaRecord(llama), self.memory, self._one_token(0), min(n_ctx or cells, cells), self.n_vocab
        )

    def pointer(self) -> Any:
        """The live ``llama_context``; raises when the model was unloaded or closed by hand."""
        pointer = context_handle(self.llama)
        if pointer is None:
            raise ModelUnloadedException("the model was unloaded; call load() before using it again")
        return pointer

    @property
    def batch_size(self) -> int:
        """How many tokens go through llama.cpp at once at most."""
        return self._batch.size

    # --- sequences -------------------------------------------------------------------------------------

    @property
    def n_free(self) -> int:
        """How many sequences nobody uses."""
        return len(self._free)

    @property
    def has_forks(self) -> bool:
        """Whether a sequence beside the first is in use."""
        return len(self._free) < self.n_sequences - 1

    def branch(self, parent: LlamaSequence) -> LlamaSequence:
        """Return a further sequence with the tokens of ``parent``, whose cells it shares.

        It is free again when it is closed or gone. Raises EngineError where none is left.
        """
        with self.lock:
            self.pointer()
            if not self._free:
                raise EngineError(f"all {self.n_sequences} sequences of the context are in use; close a fork")
            number, record = min(self._free), OwnRecord(parent.record.tokens)
            child = LlamaSequence(
                number, record, self.memory, self._one_token(number), parent.n_ctx, self.n_vocab
            )
            child.give_back = weakref.finalize(child, self._give_back, number)
            self._free.discard(number)
            self.memory.clear(number)
            self.memory.copy(parent.number, number)
            return child

    def _give_back(self, number: int) -> None:
        """Empty a sequence and make it free again."""
        with self.lock:
            if context_handle(self.llama) is not None:
                self.memory.clear(number)
            self._free.add(number)

    def _one_token(self, number: int) -> OneToken:
        """The batch of one token for a sequence; making one costs more than all else about a fork."""
        if number not in self._one_tokens:
            self._one_tokens[number] = OneToken(number)
        return self._one_tokens[number]

    # --- evaluating ------------------------------------------------------------------------------------

    def step(self, sequence: LlamaSequence, token: int) -> Any:
        """Evaluate one token and return the context; every microsecond here is paid for each token of a
        text. Hold the lock. Meanwhile Ctrl-C waits, so it is for contexts that are not ``slow``."""
        record, llama = sequence.record, self.llama
        held, pointer = record.n, context_handle(llama)
        if pointer is None or sequence.closed or not 0 <= token < self.n_vocab or held >= sequence.n_ctx:
            self.pointer()
            sequence.check((token,))
        self.row = None
        sequence.one.put(token, held)
        start = 0.0 if held & 15 else perf_counter()  # now and then is enough to notice a slow model
        try:
            status = _decode(pointer, sequence.one.struct)
            if status:
                sequence.mend()
                raise self._failure(status)
            record.add(token)
        except KeyboardInterrupt:
            sequence.drop_unrecorded()
            raise
        self.n_evaluated += 1
        if start:
            self.slow = perf_counter() - start > GUARD_ABOVE
        self.row = sequence.number
        return pointer

    def decode(self, asks: Sequence[Ask], *, hidden: bool = False) -> Rows:
        """Evaluate the tokens of each ask after those that its sequence holds, in as few batches as it takes.

        All asks are checked before anything is evaluated. Raises KeyboardInterrupt in the middle of a long
        evaluation, which keeps what was evaluated, and ContextFullError or EngineError, after which every
        record is true.
        """
        with self.lock:
            pointer = self.pointer()
            for ask in asks:
                ask.sequence.check(ask.tokens)
            if len({ask.sequence.number for ask in asks}) < len(asks):
                raise PromptError("a sequence was given twice; give each once")
            jobs = [_Job(ask) for ask in asks]
            try:
                with self._embeddings(pointer) if hidden else nullcontext():
                    return self._run(pointer, jobs, hidden)
            except KeyboardInterrupt:
                for ask in asks:
                    ask.sequence.drop_unrecorded()
                raise

    def _run(self, pointer: Any, jobs: Sequence[_Job], hidden: bool) -> Rows:
        """Evaluate batch after batch. Where the handler of a signal returns, what was aborted goes on."""
        gathered: _Gathered | None = None
        while True:
            parts = self._next_parts(jobs)
            first_output = self._batch.fill(part.stretch for part in parts)
            if not self._evaluate(pointer, parts):
                continue
            n, is_done = sum(part.stretch.n_rows for part in parts), not any(job.n_left for job in jobs)
            if n or is_done:
                rows = self._read(pointer, first_output, n, hidden)
                if is_done and gathered is None:
                    return rows
                if gathered is None:
                    gathered = _Gathered(jobs, rows)
                gathered.put(parts, rows)
                if is_done:
                    return gathered.rows

    def _next_parts(self, jobs: Sequence[_Job]) -> list[_Part]:
        """What of the jobs goes into the next batch."""
        parts, room = list[_Part](), self._batch.size
        for job in jobs:
            if room and job.n_left:
                parts.append(job.next(room))
                room -= len(parts[-1].stretch.tokens)
        return parts

    def _evaluate(self, pointer: Any, parts: Sequence[_Part]) -> bool:
        """Put the filled batch through llama.cpp and record it; False where a signal has cut it short."""
        n = sum(len(part.stretch.tokens) for part in parts)
        is_prompt, is_step = n > len(parts), n == 1
        self.row = None
        is_guarded = is_prompt or (self.slow if is_step else self._slow_batch)
        with interruptible(pointer) if is_guarded else nullcontext():
            start = perf_counter()
            status = _decode(pointer, self._batch.struct)
            seconds = perf_counter() - start
            if is_prompt or is_step:
                self.slow = seconds > GUARD_ABOVE * n
            else:
                self._slow_batch = seconds > GUARD_ABOVE
            for part in parts:
                self.n_evaluated += part.record(status)
            if status not in (0, _ABORTED):
                raise self._failure(status)
        return bool(status == 0)

    def _failure(self, status: int) -> EngineError:
        """What happened, in words."""
        if status == 1:
            return ContextFullError(
                f"no room is left in the {n_cells(self.llama)} cells of the context, which forks "
                "share; close some or load with a larger context_length"
            )
        return EngineError(
            f"llama_decode returned {status}: the context was changed by hand in the middle of a generation, "
            "or llama.cpp failed; the next prompt is evaluated anew"
        )

    # --- reading ---------------------------------------------------------------------------------------

    def newest(self, sequence: LlamaSequence) -> Logits:
        """The logits after the last token of ``sequence``, which was evaluated last: a writable view, or a
        copy while forks take turns on the row."""
        view = self.last_row()
        self.row = sequence.number
        if sequence is self.root:
            mark_stale(self.llama, False)
        return view.copy() if self.has_forks else view

    def last_row(self) -> Logits:
        """The last row of logits in the context, always the same array while it stays in its place."""
        address = logits_address(self.pointer(), -1)
        if address != self._view_address:
            if not address:
                raise EngineError("llama.cpp has no logits for the last token")
            self._view = rows_at(address, 1, self.n_vocab)[0]
            self._view_address = address
        return self._view

    def is_live(self, sequence: LlamaSequence, logits: Logits) -> bool:
        """Whether ``logits`` is the row in the context, and it is that of ``sequence``."""
        return logits is self._view and self.row == sequence.number

    def _read(self, pointer: Any, first_output: int, n: int, hidden: bool) -> Rows:
        """The ``n`` rows of the newest batch, of which the first is that of the token ``first_output``."""
        if not n:
            return Rows(*(np.empty((0, width), dtype=np.float32) for width in (self.n_vocab, self._n_embd)))
        address = logits_address(pointer, first_output)
        if not address:
            raise EngineError("llama.cpp has no logits for this batch")
        logits = rows_at(address, n, self.n_vocab)
        if not hidden:
            return Rows(logits, np.empty((0, self._n_embd), dtype=np.float32))
        address = embeddings_address(pointer, first_output)
        if not address:
            raise EngineError("llama.cpp gave no hidden states; this model can't be searched contrastively")
        return Rows(logits, rows_at(address, n, self._n_embd))

    @contextmanager
    def _embeddings(self, pointer: Any) -> Iterator[None]:
        """Switch hidden states on for the calls inside."""
        llama_cpp.llama_set_embeddings(pointer, True)
        try:
            yield
        finally:
            llama_cpp.llama_set_embeddings(pointer, bool(self.llama.context_params.embeddings))


class _Part(NamedTuple):
    """What of a job is in a batch; ``slot`` is the place of its first row among those of the job."""

    job: _Job
    stretch: Stretch
    slot: int

    def record(self, status: int) -> int:
        """Make the record true after the batch, and return how many tokens are new in it."""
        sequence, tokens, n_rows = self.job.sequence, self.stretch.tokens, self.stretch.n_rows
        if status == 0:
            sequence.record.extend(tokens)
            return len(tokens)
        if status == _ABORTED:  # where rows are wanted they are lost: those tokens are evaluated again
            return sequence.record_evaluated(tokens[: len(tokens) - n_rows])
        sequence.mend()
        return 0


class _Job:
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

    def next(self, room: int) -> _Part:
        """The next tokens, ``room`` at most."""
        at, number = self.sequence.record.n, self.sequence.number
        if at < self._start:
            return _Part(self, Stretch(number, at, self._before[at : at + room], 0), 0)
        done = at - self._start
        tokens = self._tokens[done : done + room]
        first_row = len(self._tokens) - self.n_rows
        slot = max(0, done - first_row)
        n_rows = max(0, done + len(tokens) - max(done, first_row))
        return _Part(self, Stretch(number, at, tokens, n_rows), slot)


class _Gathered:
    """Rows of several batches, copied together; ``like`` are those of the first."""

    def __init__(self, jobs: Sequence[_Job], like: Rows) -> None:
        *starts, n = accumulate((job.n_rows for job in jobs), initial=0)
        self._starts = {job.sequence.number: start for job, start in zip(jobs, starts, strict=True)}
        self.rows = Rows(*(np.empty((n if len(a) else 0, a.shape[1]), dtype=np.float32) for a in like))

    def put(self, parts: Sequence[_Part], rows: Rows) -> None:
        """Take over the rows of a batch."""
        at = 0
        for part in parts:
            n, to = part.stretch.n_rows, self._starts[part.stretch.number] + part.slot
            for gathered, new in zip(self.rows, rows, strict=True):
                if len(gathered):
                    gathered[to : to + n] = new[at : at + n]
            at += n
