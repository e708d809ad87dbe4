"""Toys for exact tests: a tokenizer whose tokens are given pieces, and a provider around a table engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from easy_llama.decoding.backtracking import Strategy
from easy_llama.engine import Engine, Logits, Tokenizer
from easy_llama.engines.table import TableEngine


class PieceTokenizer(Tokenizer):
    """Token ``i`` is ``pieces[i]``, the one after the last ends a text; ``encode`` takes the longest."""

    def __init__(self, pieces: Sequence[str | bytes]) -> None:
        self._pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self.eos = len(pieces)
        self.n_vocab = len(pieces) + 1
        self.end_tokens = frozenset({self.eos})

    @property
    def end_tokens(self) -> frozenset[int]:
        return self._ends

    @end_tokens.setter
    def end_tokens(self, tokens: frozenset[int]) -> None:
        self._ends = tokens

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        data, tokens = text.encode(), []
        while data:
            token = max(
                (i for i, piece in enumerate(self._pieces) if piece and data.startswith(piece)),
                key=lambda i: len(self._pieces[i]),
            )
            tokens.append(token)
            data = data[len(self._pieces[token]) :]
        return tokens

    def piece(self, token: int) -> bytes:
        return self._pieces[token] if token < self.eos else b""

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")


@dataclass
class ToyProvider:
    """An engine and a tokenizer."""

    engine: Engine
    tokenizer: PieceTokenizer


class Plain(Strategy):
    """A strategy that changes nothing."""

    def keep(self, new: Sequence[int]) -> int:
        return len(new)


def toy(pieces: Sequence[str | bytes], seed: int = 0, spread: float = 1.5) -> ToyProvider:
    """A table engine with random logits over ``pieces``; the end token is unlikely."""
    tokenizer = PieceTokenizer(pieces)
    table = np.random.default_rng(seed).normal(scale=spread, size=(tokenizer.n_vocab, tokenizer.n_vocab))
    table[:, tokenizer.eos] = -4.0
    return ToyProvider(TableEngine(table, n_ctx=4096), tokenizer)


def table_of(tokenizer: PieceTokenizer, probabilities: Sequence[float]) -> ToyProvider:
    """A table engine that gives the same probabilities after every token; the last is the end token's."""
    with np.errstate(divide="ignore"):
        row: Logits = np.log(np.array(probabilities, dtype=np.float32))
    return ToyProvider(TableEngine(np.tile(row, (len(row), 1)), n_ctx=4096), tokenizer)
