"""LlamaContext: one ``Llama``, its lock, its counters, its sequences, and the one way to evaluate tokens.

``decode`` takes prompts, next tokens of several sequences and several rows of one sequence; ``step`` and
``step_each`` are the same for single tokens, without what costs microseconds. Ctrl-C ends each of them, and
the records stay true.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ...engine import Logits
from ...errors import ContextFullError, EngineError, ModelUnloadedException, PromptError
from .batch import Batch, OneToken
from .handles import context_handle, mark_stale, model_handle, n_cells
from .interrupt import GUARD_ABOVE, interruptible
from .jobs import ABORTED, Ask, Gathered, Job, Part, Rows
from .memory import Memory
from .rows import embeddings_address, logits_address, rows_at
from .sequence import LlamaRecord, LlamaSequence, OwnRecord, Record
from .session import Session

__all__ = ["LlamaContext"]

_decode = llama_cpp.llama_decode
_NOTHING = nullcontext()


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
        self._keys: dict[int, object] = {}  # sequences in use: what is given back twice is someone else's now
        self._one_tokens: dict[int, OneToken] = {}
        self._batch = Batch(int(llama_cpp.llama_n_batch(pointer)))
        self._slow_batch = False
        self._n_embd = int(llama_cpp.llama_model_n_embd(model_handle(llama)))
        self._no_states = np.empty((0, self._n_embd), dtype=np.float32)
        self._view_address: int | None = None
        self._view: Logits = np.empty(0, dtype=np.float32)
        self._rows_key = (0, 0)  # address and number of the rows looked at last
        self._rows: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
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
        return self.n_sequences - 1 - len(self._keys)

    @property
    def has_forks(self) -> bool:
        """Whether a sequence beside the first is in use."""
        return bool(self._keys)

    def branch(self, parent: LlamaSequence) -> LlamaSequence:
        """Return a further sequence with the tokens of ``parent``, whose cells it shares.

        It is free again when it is closed or gone. Raises EngineError where none is left.
        """
        with self.lock:
            self.pointer()
            if not self.n_free:
                raise EngineError(f"all {self.n_sequences} sequences of the context are in use; close a fork")
            number = next(n for n in range(1, self.n_sequences) if n not in self._keys)
            record, key = OwnRecord(parent.record.tokens), object()
            child = LlamaSequence(
                number, record, self.memory, self._one_token(number), parent.n_ctx, self.n_vocab
            )
            child.give_back = partial(self._give_back, number, key)
            weakref.finalize(child, self._give_back, number, key)
            self._keys[number] = key
            if self.memory.last(number) >= 0:  # filled by hand; what is given back is empty
                self.memory.clear(number)
            self.memory.copy(parent.number, number)
            return child

    def _give_back(self, number: int, key: object) -> None:
        """Empty a sequence and make it free again, unless that was done. It may be called again at any time:
        an interrupt inside it must not cost a sequence, nor a late call the sequence's next user."""
        with self.lock:
            if self._keys.get(number) is not key:
                return
            if context_handle(self.llama) is not None:
                self.memory.clear(number)
            del self._keys[number]

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

    def step_each(
        self, sequences: Sequence[LlamaSequence], tokens: Sequence[int], *, hidden: bool = False
    ) -> Rows:
        """``step`` for several sequences, each given once: evaluate a token on each, in one batch."""
        with self.lock:
            pointer = self.pointer()
            if self._slow_batch:
                asks = [Ask(one, (token,)) for one, token in zip(sequences, tokens, strict=True)]
                return self.decode(asks, hidden=hidden)
            records, numbers, positions = list[Record](), list[int](), list[int]()
            for sequence, token in zip(sequences, tokens, strict=True):
                record = sequence.record
                held = record.n
                if sequence.closed or not 0 <= token < self.n_vocab or held >= sequence.n_ctx:
                    sequence.check((token,))
                records.append(record)
                numbers.append(sequence.number)
                positions.append(held)
            self.row = None
            self._batch.fill_each(tokens, positions, numbers)
            start = perf_counter()
            try:
                with self._embeddings(pointer) if hidden else _NOTHING:
                    status = _decode(pointer, self._batch.struct)
                self._slow_batch = perf_counter() - start > GUARD_ABOVE
                if status:
                    for sequence in sequences:
                        sequence.mend()
                    raise self._failure(status)
                for record, token in zip(records, tokens, strict=True):
                    record.add(token)
            except KeyboardInterrupt:
                for sequence in sequences:
                    sequence.drop_unrecorded()
                raise
            self.n_evaluated += len(tokens)
            return self._read(pointer, range(len(tokens)), hidden)

    def decode(self, asks: Sequence[Ask], *, hidden: bool = False) -> Rows:
        """Evaluate the tokens of each ask after those that its sequence holds, in as few batches as it takes.

        All asks are checked before anything is evaluated. Raises KeyboardInterrupt in the middle of a long
        evaluation, which keeps what was evaluated, and ContextFullError or EngineError, after which every
        record is true.
        """
        with self.lock:
            pointer = self.pointer()
            if not asks:
                raise PromptError("there is nothing to evaluate; give at least one ask")
            for ask in asks:
                ask.sequence.check(ask.tokens)
            if len({ask.sequence.number for ask in asks}) < len(asks):
                raise PromptError("a sequence was given twice; give each once")
            try:
                with self._embeddings(pointer) if hidden else _NOTHING:
                    return self._run(pointer, [Job(ask) for ask in asks], hidden)
            except KeyboardInterrupt:
                for ask in asks:
                    ask.sequence.drop_unrecorded()
                raise

    def _run(self, pointer: Any, jobs: Sequence[Job], hidden: bool) -> Rows:
        """Evaluate batch after batch. Where the handler of a signal returns, what was aborted goes on."""
        gathered: Gathered | None = None
        while True:
            parts = self._next_parts(jobs)
            places = self._batch.fill((part.stretch for part in parts), all_outputs=hidden)
            if not self._evaluate(pointer, parts):
                continue
            is_done = not any(job.n_left for job in jobs)
            if places or is_done:
                rows = self._read(pointer, places, hidden)
                if is_done and gathered is None:
                    return rows
                if gathered is None:
                    gathered = Gathered(jobs, rows)
                gathered.put(parts, rows)
                if is_done:
                    return gathered.rows

    def _next_parts(self, jobs: Sequence[Job]) -> list[Part]:
        """What of the jobs goes into the next batch."""
        parts, room = list[Part](), self._batch.size
        for job in jobs:
            if room and job.n_left:
                parts.append(job.next(room))
                room -= len(parts[-1].stretch.tokens)
        return parts

    def _evaluate(self, pointer: Any, parts: Sequence[Part]) -> bool:
        """Put the filled batch through llama.cpp and record it; False where a signal has cut it short."""
        n = sum(len(part.stretch.tokens) for part in parts)
        self.row = None
        with interruptible(pointer):
            start = perf_counter()
            status = _decode(pointer, self._batch.struct)
            seconds = perf_counter() - start
            if n > len(parts) or n == 1:
                self.slow = seconds > GUARD_ABOVE * n
            else:
                self._slow_batch = seconds > GUARD_ABOVE
            for part in parts:
                self.n_evaluated += part.record(status)
            if status not in (0, ABORTED):
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

    def _read(self, pointer: Any, places: Sequence[int], hidden: bool) -> Rows:
        """The rows of the tokens at ``places`` of the newest batch."""
        n = len(places)
        if not n:
            return Rows(np.empty((0, self.n_vocab), dtype=np.float32), self._no_states)
        if not hidden:  # llama.cpp has computed these and no others
            return Rows(self._rows_of(logits_address(pointer, places[0]), n), self._no_states)
        address, n_all = embeddings_address(pointer, 0), int(self._batch.struct.n_tokens)
        if not address:
            raise EngineError("llama.cpp gave no hidden states; this model can't be searched contrastively")
        rows = Rows(self._rows_of(logits_address(pointer, 0), n_all), rows_at(address, n_all, self._n_embd))
        return rows if n == n_all else Rows(rows.logits[list(places)], rows.hidden[list(places)])

    def _rows_of(self, address: int | None, n: int) -> NDArray[np.float32]:
        """Rows of logits as an array, the last one once more where it is the same."""
        if not address:
            raise EngineError("llama.cpp has no logits for this batch")
        if self._rows_key != (address, n):
            self._rows, self._rows_key = rows_at(address, n, self.n_vocab), (address, n)
        return self._rows

    @contextmanager
    def _embeddings(self, pointer: Any) -> Iterator[None]:
        """Switch hidden states on for the calls inside."""
        llama_cpp.llama_set_embeddings(pointer, True)
        try:
            yield
        finally:
            llama_cpp.llama_set_embeddings(pointer, bool(self.llama.context_params.embeddings))
