"""A reusable ``llama_batch`` over numpy memory: filling it costs slices, not a C call per token."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp
import numpy as np

__all__ = ["Batch", "OneToken"]


class Batch:
    """Room for ``size`` tokens of the sequence ``seq``; ``struct`` is what ``llama_decode`` takes."""

    def __init__(self, size: int, seq: int = 0) -> None:
        self.size = size
        self.tokens = np.zeros(size, dtype=np.int32)
        self.positions = np.zeros(size, dtype=np.int32)
        self._outputs = np.zeros(size, dtype=np.int8)
        self._n_seq = np.ones(size, dtype=np.int32)
        self._seqs = np.full(size, seq, dtype=np.int32)
        self._seq_pointers = (self._seqs.ctypes.data + 4 * np.arange(size + 1)).astype(np.uintp)
        self.struct = llama_cpp.llama_batch(
            n_tokens=size,
            token=_pointer(self.tokens, llama_cpp.llama_token),
            pos=_pointer(self.positions, llama_cpp.llama_pos),
            n_seq_id=_pointer(self._n_seq, ctypes.c_int32),
            seq_id=_pointer(self._seq_pointers, ctypes.POINTER(llama_cpp.llama_seq_id)),
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def fill(self, tokens: Sequence[int], position: int, *, logits: bool) -> None:
        """Put ``tokens`` at consecutive positions; ``logits`` asks for those of the last one."""
        n = len(tokens)
        self.tokens[:n] = tokens
        self.positions[:n] = range(position, position + n)
        self._outputs[:n] = 0
        self._outputs[n - 1] = logits
        self.struct.n_tokens = n

    def fill_each(self, tokens: Sequence[int], positions: Sequence[int], seqs: Sequence[int]) -> None:
        """Put one token into each of several sequences, with logits for all."""
        n = len(tokens)
        self.tokens[:n], self.positions[:n], self._seqs[:n] = tokens, positions, seqs
        self._outputs[:n] = True
        self.struct.n_tokens = n

    def want_all(self) -> None:
        """Ask for the logits of every token of the last ``fill``."""
        self._outputs[: self.struct.n_tokens] = True


class OneToken:
    """A batch of one token with its logits, where ``put`` writes two numbers and nothing else."""

    def __init__(self, seq: int = 0) -> None:
        batch = Batch(1, seq)
        batch.fill([0], 0, logits=True)
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
