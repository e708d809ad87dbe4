"""Hidden states for contrastive search: the last layer's output after the final norm, for every token.

llama.cpp gives them when embeddings are switched on for a call. It then computes the logits of every token
too, so a prompt is evaluated in small batches.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from ..engine import Logits, common_prefix
from ..errors import EngineError, PromptError
from .llama_rows import embeddings_address, logits_address, rows_at
from .llama_together import decode_each

if TYPE_CHECKING:
    from .llama import LlamaEngine

__all__ = ["HiddenStates"]

_PART = 32  # tokens of a prompt evaluated together: n_vocab floats are kept for each


class HiddenStates:
    """What an engine knows about the hidden states of its tokens, and the candidates it looked ahead to.

    They are remembered with the tokens they belong to, so calls by hand and rollbacks do no harm.
    """

    def __init__(self, engine: LlamaEngine) -> None:
        self._engine: LlamaEngine = weakref.proxy(engine)  # a cycle would keep the model in memory
        self._tokens: list[int] = []
        self._rows: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self._candidates: list[tuple[int, int, NDArray[np.float32]]] = []  # (sequence, token, hidden state)

    @property
    def n_candidates(self) -> int:
        """How many sequences the candidates of the last ``look_ahead`` occupy."""
        return len(self._candidates)

    def known(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The hidden states of the first tokens, as far as they are known: float32 (n, n_embd)."""
        return self._rows[: common_prefix(self._tokens, tokens)]

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens`` on the engine, noting hidden states."""
        engine = self._engine
        with engine._shared.lock:
            self.drop()
            context = engine._context()
            engine._check(tokens, engine._held())
            with _embeddings(context, self._usual):
                try:
                    size = min(_PART, engine._batch.size)
                    for i in range(0, len(tokens), size):
                        self._extend_part(context, tokens[i : i + size])
                except KeyboardInterrupt:
                    engine._drop_unrecorded()
                    raise
            return engine._logits(context)

    def _extend_part(self, context: Any, part: Sequence[int]) -> None:
        engine, held = self._engine, self._engine._held()
        engine._extend_guarded(context, [*engine.tokens, *part], all_rows=True)
        if engine._batch.struct.n_tokens != len(part):  # a signal's handler cut it in two: rows are missing
            engine.rollback(held)
            self._extend_part(context, part)
            return
        self._note(part, _read(context, embeddings_address, len(part), self._width))

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate in a sequence of its own, in one batch."""
        engine, shared, n = self._engine, self._engine._shared, len(candidates)
        with shared.lock:
            self.drop()
            context, held = engine._context(), engine._held()
            engine._check(candidates, held - n + 1)
            if n > engine.n_forks_free:
                raise EngineError(
                    f"no room to look at {n} candidates at once: the context has {engine.n_forks_free} "
                    "sequences left; take fewer (top_k) or close forks"
                )
            seqs = sorted(shared.free)[:n]
            self._candidates = [
                (seq, token, self._rows[:0]) for seq, token in zip(seqs, candidates, strict=True)
            ]
            for seq in seqs:
                shared.free.discard(seq)
                llama_cpp.llama_memory_seq_cp(engine._memory, engine._seq, seq, -1, -1)
            try:
                with _embeddings(context, self._usual):
                    status = decode_each(shared, context, candidates, [held] * n, seqs)
            except KeyboardInterrupt:
                self.drop()
                raise
            if status:
                self.drop()
                raise engine._failure(status)
            shared.n_evaluated += n
            logits = _read(context, logits_address, n, engine.n_vocab)
            hidden = _read(context, embeddings_address, n, self._width)
            self._candidates = list(zip(seqs, candidates, hidden, strict=True))
            return logits, hidden

    def take(self, index: int) -> None:
        """Give the engine's sequence what the candidate's holds."""
        engine = self._engine
        with engine._shared.lock:
            engine._context()
            held = engine._held()
            if not 0 <= index < len(self._candidates):
                raise PromptError(f"there is no candidate {index}; {len(self._candidates)} were looked at")
            seq, token, hidden = self._candidates[index]
            if engine._has_state:
                llama_cpp.llama_memory_seq_rm(engine._memory, engine._seq, -1, -1)
                llama_cpp.llama_memory_seq_cp(engine._memory, seq, engine._seq, -1, -1)
            else:
                llama_cpp.llama_memory_seq_cp(engine._memory, seq, engine._seq, held, held + 1)
            engine._record_one(token, held)
            engine._shared.llama._requires_eval = True  # the row in the context is that of another sequence
            engine._shared.n_evaluated -= 1  # it was counted when it was looked at
            self._note([token], hidden[None])
            self.drop()

    def drop(self) -> None:
        """Free the sequences of the candidates that were not taken."""
        while self._candidates:
            self._engine._shared.give_back(self._candidates[-1][0])
            self._candidates.pop()

    @property
    def _usual(self) -> bool:
        """Whether the Llama was made for embeddings."""
        return bool(self._engine.llama.context_params.embeddings)

    @property
    def _width(self) -> int:
        return int(llama_cpp.llama_model_n_embd(self._engine.llama._model.model))

    def _note(self, tokens: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Remember the hidden states of the newest ``tokens`` of the engine."""
        held = self._engine._held()
        before = held - len(tokens)
        if common_prefix(self._tokens, self._engine.tokens[:before]) < before:
            self._tokens = []  # unknown ones lie between
            return
        if held > len(self._rows):
            grown = np.empty((max(held, 2 * len(self._rows), 64), rows.shape[1]), dtype=np.float32)
            if before:
                grown[:before] = self._rows[:before]
            self._rows = grown
        self._tokens[before:] = tokens
        self._rows[before:held] = rows


@contextmanager
def _embeddings(context: Any, usual: bool) -> Iterator[None]:
    """Switch hidden states on for the calls inside; ``usual`` is how it is otherwise."""
    llama_cpp.llama_set_embeddings(context, True)
    try:
        yield
    finally:
        llama_cpp.llama_set_embeddings(context, usual)


def _read(context: Any, address_of: Any, n: int, width: int) -> NDArray[np.float32]:
    """Copy ``n`` rows of the newest batch, float32 (n, width)."""
    address = address_of(context, 0)
    if not address:
        raise EngineError("llama.cpp gave no hidden states; this model can't be searched contrastively")
    return rows_at(address, n, width).copy()
