"""A reusable ``llama_batch`` over numpy memory: filling it costs slices, not a C call per token."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import llama_cpp
import numpy as np

__all__ = ["Batch", "OneToken", "Stretch"]


class Stretch(NamedTuple):
    """Tokens at consecutive positions of one sequence, the first at ``start``; the output of the last
    ``n_rows`` of them is wanted."""

    number: int
    start: int
    tokens: Sequence[int]
    n_rows: int


class Batch:
    """Room for ``size`` tokens; ``struct`` is what ``llama_decode`` takes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tokens = np.zeros(size, dtype=np.int32)
        self.positions = np.zeros(size, dtype=np.int32)
        self._numbers = np.zeros(size, dtype=np.int32)
        self._outputs = np.zeros(size, dtype=np.int8)
        self._n_seq = np.ones(size, dtype=np.int32)
        self._number_pointers = (self._numbers.ctypes.data + 4 * np.arange(size + 1)).astype(np.uintp)
        self.struct = llama_cpp.llama_batch(
            n_tokens=size,
            token=_pointer(self.tokens, llama_cpp.llama_token),
            pos=_pointer(self.positions, llama_cpp.llama_pos),
            n_seq_id=_pointer(self._n_seq, ctypes.c_int32),
            seq_id=_pointer(self._number_pointers, ctypes.POINTER(llama_cpp.llama_seq_id)),
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, stretches: Iterable[Stretch], *, all_outputs: bool = False) -> list[int]:
        """Hold these stretches, ``size`` tokens at most; return the places of the outputs that are wanted.

        ``all_outputs`` asks llama.cpp for those of all tokens: with hidden states it computes them anyway.
        """
        tokens, positions, numbers, outputs = list[int](), list[int](), list[int](), list[bool]()
        for number, start, some, n_rows in stretches:
            n = len(some)
            tokens += some
            positions += range(start, start + n)
            numbers += [number] * n
            outputs += [False] * (n - n_rows) + [True] * n_rows
        n = len(tokens)
        self.tokens[:n], self.positions[:n], self._numbers[:n] = tokens, positions, numbers
        self._outputs[:n] = all_outputs or outputs
        self.struct.n_tokens = n
        return [place for place, is_wanted in enumerate(outputs) if is_wanted]

    def fill_each(self, tokens: Sequence[int], positions: Sequence[int], numbers: Sequence[int]) -> None:
        """Hold one token of each of several sequences, with the output of all."""
        n = len(tokens)
        self.tokens[:n], self.positions[:n], self._numbers[:n] = tokens, positions, numbers
        self._outputs[:n] = True
        self.struct.n_tokens = n


class OneToken:
    """A batch of one token of sequence ``number`` with its logits; ``put`` writes two numbers and no more."""

    def __init__(self, number: int) -> None:
        batch = Batch(1)
        batch.fill([Stretch(number, 0, [0], 1)])
        self.struct = batch.struct
        self._keep = batch  # the struct points into its arrays
        self._token = (ctypes.c_int32 * 1).from_address(batch.tokens.ctypes.data)
        self._position = (ctypes.c_int32 * 1).from_address(batch.positions.ctypes.data)

    def put(self, token: int, position: int) -> None:
        """Set the token and its position."""
        self._token[0] = token
        self._position[0] = position


def _pointer(array: np.ndarray[tuple[int], np.dtype[np.generic]], kind: type) -> object:
    return array.ctypes.data_as(ctypes.POINTER(kind))
