"""TableEngine: a Markov chain in numpy that keeps the engine protocol to the letter.

For tests and for learning the protocol: exact, fast, and strict. An array that ``extend`` returned is
filled with NaN at the next call, so code that keeps a view without copying it fails at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_rollback, check_tokens
from ..engine import Logits
from ..errors import EngineError

__all__ = ["TableEngine"]


class TableEngine:
    """Next-token logits are the row of the newest token in ``table``, float32 (n_vocab, n_vocab).

    That row is its hidden state, too.
    """

    def __init__(self, table: ArrayLike, *, n_ctx: int = 1024) -> None:
        self._table = np.asarray(table, dtype=np.float32)
        if self._table.ndim != 2 or self._table.shape[0] != self._table.shape[1]:
            raise EngineError(f"the table must be square (n_vocab, n_vocab); got {self._table.shape}")
        self.n_vocab = len(self._table)
        self.n_ctx = n_ctx
        self._count = [0]  # of tokens evaluated, shared with all forks
        self._tokens: list[int] = []
        self._candidates: list[int] = []
        self._view: Logits = np.empty(0, dtype=np.float32)
        self._closed = False

    @property
    def tokens(self) -> list[int]:
        """The tokens evaluated so far, a copy."""
        return list(self._tokens)

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far, by this engine and its forks."""
        return self._count[0]

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens``; see the protocol."""
        self._start_call()
        check_tokens(tokens, len(self._tokens), self.n_vocab, self.n_ctx)
        self._tokens += tokens
        self._count[0] += len(tokens)
        self._view = self._table[tokens[-1]].copy()
        return self._view

    def extend_rows(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate ``tokens`` and return the logits after each, float32 (len(tokens), n_vocab)."""
        self.extend(tokens)
        return self._table[list(tokens)]

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens."""
        self._start_call()
        check_rollback(n, len(self._tokens))
        del self._tokens[n:]

    def fork(self) -> TableEngine:
        """Return an independent engine with the same tokens."""
        self._start_call()
        child = TableEngine(self._table, n_ctx=self.n_ctx)
        child._tokens, child._count = list(self._tokens), self._count
        return child

    @property
    def hidden(self) -> NDArray[np.float32]:
        """The hidden states of all tokens held, float32 (n, n_vocab)."""
        return self._table[self._tokens]

    def extend_hidden(self, tokens: Sequence[int]) -> Logits:
        """Do what ``extend`` does; the hidden states need no noting."""
        return self.extend(tokens)

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what would follow each candidate; see the protocol."""
        self._start_call()
        self._candidates = list(candidates)
        self._count[0] += len(candidates)
        return self._table[self._candidates], self._table[self._candidates]

    def take(self, index: int) -> None:
        """Append that candidate of the last ``look_ahead``."""
        self._start_call()
        self._tokens.append(self._candidates[index])

    def close(self) -> None:
        """Forget everything."""
        self._view.fill(np.nan)
        self._closed = True

    def _start_call(self) -> None:
        if self._closed:
            raise EngineError("this engine is closed")
        self._view.fill(np.nan)
