"""Hidden states for contrastive search: the last layer's output after the final norm, for every token.

llama.cpp gives them when embeddings are switched on for a call. It then computes the logits of every token
too, so a prompt is evaluated in small batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...engine import Logits, common_prefix
from ...errors import EngineError, PromptError
from .context import LlamaContext
from .jobs import Ask
from .sequence import LlamaSequence

__all__ = ["HiddenStates"]

_PART = 32  # tokens of a prompt evaluated together: n_vocab floats are kept for each


class HiddenStates:
    """What is known about the hidden states of a sequence's tokens, and the candidates looked ahead to.

    They are remembered with the tokens they belong to, so calls by hand and rollbacks do no harm.
    """

    def __init__(self, context: LlamaContext, sequence: LlamaSequence) -> None:
        self._context, self._sequence = context, sequence
        self._tokens: list[int] = []
        self._rows: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self._candidates: list[tuple[LlamaSequence, NDArray[np.float32]]] = []

    @property
    def n_candidates(self) -> int:
        """How many sequences the candidates of the last ``look_ahead`` occupy."""
        return len(self._candidates)

    def known(self) -> NDArray[np.float32]:
        """The hidden states of the first tokens held, as far as they are known: float32 (n, n_embd)."""
        return self._rows[: common_prefix(self._tokens, self._sequence.tokens)]

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens`` in the sequence, noting hidden states."""
        context, sequence = self._context, self._sequence
        with context.lock:
            self.drop()
            context.pointer()
            sequence.check(tokens)
            size = min(_PART, context.batch_size)
            for i in range(0, len(tokens), size):
                part = tokens[i : i + size]
                self._note(part, context.decode([Ask(sequence, part, len(part))], hidden=True).hidden)
            return context.newest(sequence)

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate in a sequence of its own, in one batch."""
        context, n = self._context, len(candidates)
        with context.lock:
            self.drop()
            context.pointer()
            if not n:
                raise PromptError("there is nothing to look at; give at least one candidate")
            for token in candidates:
                self._sequence.check((token,))
            if n > context.n_free:
                raise EngineError(
                    f"no room to look at {n} candidates at once: the context has {context.n_free} "
                    "sequences left; take fewer (top_k) or close forks"
                )
            try:
                for _ in candidates:
                    self._candidates.append((context.branch(self._sequence), self._rows[:0]))
                branches = [branch for branch, _ in self._candidates]
                rows = context.step_each(branches, candidates, hidden=True)
            except BaseException:
                self.drop()
                raise
            hidden = rows.hidden.copy()
            self._candidates = list(zip(branches, hidden, strict=True))
            return rows.logits.copy(), hidden

    def take(self, index: int) -> None:
        """Give the sequence what the candidate's holds."""
        context, sequence = self._context, self._sequence
        with context.lock:
            context.pointer()
            if not 0 <= index < len(self._candidates):
                raise PromptError(f"there is no candidate {index}; {len(self._candidates)} were looked at")
            branch, hidden = self._candidates[index]
            n, token = sequence.record.n, int(branch.record.tokens[-1])
            if sequence.has_state:
                context.memory.clear(sequence.number)
                context.memory.copy(branch.number, sequence.number)
            else:
                context.memory.copy(branch.number, sequence.number, n, n + 1)
            sequence.record.add(token)
            sequence.record.cut(n + 1)  # its logits are not the newest in the context
            self._note([token], hidden[None])
            self.drop()

    def drop(self) -> None:
        """Free the sequences of the candidates that were not taken."""
        while self._candidates:
            self._candidates[-1][0].close()
            self._candidates.pop()

    def _note(self, tokens: Sequence[int], rows: NDArray[np.float32]) -> None:
        """Remember the hidden states of the newest ``tokens`` of the sequence."""
        held = self._sequence.record.n
        before = held - len(tokens)
        if common_prefix(self._tokens, self._sequence.tokens[:before]) < before:
            self._tokens = []  # unknown ones lie between
            return
        if held > len(self._rows):
            grown = np.empty((max(held, 2 * len(self._rows), 64), rows.shape[1]), dtype=np.float32)
            if before:
                grown[:before] = self._rows[:before]
            self._rows = grown
        self._tokens[before:] = tokens
        self._rows[before:held] = rows
