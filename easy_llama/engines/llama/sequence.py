"""LlamaSequence: one sequence of a context, the record of its tokens and what the memory has of them.

The record is the truth about what the sequence holds; it may be shorter than the memory for a moment, and is
never left longer. Not locked: hold the context's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ...checks import check_tokens
from ...errors import EngineError
from .batch import OneToken
from .handles import mark_stale
from .memory import Memory

__all__ = ["LlamaRecord", "LlamaSequence", "OwnRecord", "Record"]

_SPARE = 64  # tokens that a new record has room for beyond those it begins with


class Record(Protocol):
    """The tokens that a sequence holds."""

    @property
    def n(self) -> int:
        """How many they are."""
        ...

    @property
    def tokens(self) -> NDArray[np.intc]:
        """The tokens, a view."""
        ...

    def add(self, token: int) -> None:
        """Append a token."""
        ...

    def extend(self, tokens: Sequence[int]) -> None:
        """Append several tokens."""
        ...

    def cut(self, n: int) -> None:
        """Keep the first ``n`` tokens."""
        ...


class LlamaRecord:
    """The record that ``Llama`` keeps itself, of sequence 0: calls made on it by hand write there, too."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama

    @property
    def n(self) -> int:
        """How many they are."""
        return int(self._llama.n_tokens)

    @property
    def tokens(self) -> NDArray[np.intc]:
        """The tokens, a view."""
        held: NDArray[np.intc] = self._llama.input_ids[: self._llama.n_tokens]
        return held

    def add(self, token: int) -> None:
        """Append a token."""
        llama = self._llama
        n = llama.n_tokens
        llama.input_ids[n] = token
        llama.n_tokens = n + 1

    def extend(self, tokens: Sequence[int]) -> None:
        """Append several tokens."""
        n = self.n
        self._llama.input_ids[n : n + len(tokens)] = tokens
        self._llama.n_tokens = n + len(tokens)

    def cut(self, n: int) -> None:
        """Keep the first ``n`` tokens; their logits are not the newest in the context."""
        self._llama.n_tokens = n
        mark_stale(self._llama, True)


class OwnRecord:
    """A record in an array of its own, which grows by doubling."""

    def __init__(self, tokens: NDArray[np.intc]) -> None:
        self.n = len(tokens)
        self._room = np.empty(self.n + _SPARE, dtype=np.intc)
        self._room[: self.n] = tokens

    @property
    def tokens(self) -> NDArray[np.intc]:
        """The tokens, a view."""
        return self._room[: self.n]

    def add(self, token: int) -> None:
        """Append a token."""
        if self.n == len(self._room):
            self._grow(1)
        self._room[self.n] = token
        self.n += 1

    def extend(self, tokens: Sequence[int]) -> None:
        """Append several tokens."""
        end = self.n + len(tokens)
        if end > len(self._room):
            self._grow(len(tokens))
        self._room[self.n : end] = tokens
        self.n = end

    def cut(self, n: int) -> None:
        """Keep the first ``n`` tokens."""
        self.n = n

    def _grow(self, n_more: int) -> None:
        grown = np.empty(max(2 * len(self._room), self.n + n_more), dtype=np.intc)
        grown[: self.n] = self._room[: self.n]
        self._room = grown


class LlamaSequence:
    """Sequence ``number`` of a context that holds ``n_ctx`` tokens at most, of ``n_vocab`` different ones.

    ``one`` is its batch of a single token. ``close`` calls ``give_back``, which may be called again.
    """

    def __init__(
        self, number: int, record: Record, memory: Memory, one: OneToken, n_ctx: int, n_vocab: int
    ) -> None:
        self.number, self.record, self.one = number, record, one
        self.n_ctx, self.n_vocab = n_ctx, n_vocab
        self.closed = False
        self.give_back: Callable[[], object] = lambda: None
        self._memory = memory

    @property
    def has_state(self) -> bool:
        """Whether the memory keeps a state for it, which can't be cut."""
        return self._memory.has_state

    @property
    def tokens(self) -> list[int]:
        """The tokens held, a copy."""
        held: list[int] = self.record.tokens.tolist()
        return held

    def close(self) -> None:
        """Leave the memory to others; a second call finishes what an interrupt has left of the first."""
        self.closed = True
        self.give_back()

    def check(self, tokens: Sequence[int]) -> None:
        """Raise what stands against evaluating ``tokens`` next; llama.cpp would end the process."""
        if self.closed:
            raise EngineError("this fork is closed")
        check_tokens(tokens, self.record.n, self.n_vocab, self.n_ctx)

    # --- forgetting ------------------------------------------------------------------------------------

    def cut(self, n: int) -> bool:
        """Keep the first ``n`` tokens. Where the memory can't be cut, nothing is left: returns False."""
        intact = self._can_cut(n)
        self.record.cut(n)  # first: a record that is shorter than the memory is mended by the next cut
        if intact and self._memory.cut(self.number, n):
            return True
        self.clear()
        return n == 0

    def _can_cut(self, n: int) -> bool:
        """Whether the memory has the first ``n`` tokens and computes rightly after a cut behind them."""
        if self._memory.last(self.number) + 1 < n:
            return False  # emptied by hand
        window = self._memory.window
        if window and n < self.record.n:
            # llama.cpp says yes to cuts below a window that has moved on, and computes nonsense afterwards
            return self._memory.first(self.number) <= max(0, n - window)
        return True

    def clear(self) -> None:
        """Hold nothing."""
        self.record.cut(0)
        self._memory.clear(self.number)

    def drop_unrecorded(self) -> None:
        """Let the memory forget what was evaluated and not recorded, as after an interrupt."""
        if self._memory.has_state:
            self.clear()
        else:
            self._memory.cut(self.number, self.record.n)

    def record_evaluated(self, tokens: Sequence[int]) -> int:
        """Record as many of ``tokens`` as the memory has after an aborted batch; return their number."""
        if self._memory.has_state:
            self.clear()
            return 0
        n = max(0, min(self._memory.last(self.number) + 1 - self.record.n, len(tokens)))
        self.record.extend(tokens[:n])
        self.drop_unrecorded()
        return n

    def mend(self) -> None:
        """Make the record true again after a batch that failed."""
        if self._memory.has_state:
            self.clear()
        elif (n := self._memory.last(self.number) + 1) < self.record.n:
            self.record.cut(n)
