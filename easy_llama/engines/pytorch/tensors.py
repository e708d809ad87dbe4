"""A bare PyTorch model and ``input_ids`` as a provider and lists: tensors in, tensors out.

There is no tokenizer, so tokens stand for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...engine import Tokenizer
from ...errors import PromptError
from .engine import TorchEngine, end_tokens_of
from .model import import_torch
from .tokenizer import tokenizer_of

if TYPE_CHECKING:
    import torch

__all__ = ["IdTokenizer", "ModelProvider", "rows_of", "tensor_of"]

_FIRST = 0x10000  # characters from here on are four bytes of UTF-8 each, and none is special


class IdTokenizer(Tokenizer):
    """A tokenizer for models without one: each token is a character of its own, so that text can be searched.

    ``spelled(tokens)`` writes token ids as such characters; texts that people write are found nowhere.
    """

    def __init__(self, n_vocab: int, end_tokens: frozenset[int]) -> None:
        self.n_vocab, self._ends = n_vocab, end_tokens

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._ends

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        """Return the tokens of a text that ``spelled`` made."""
        return [ord(char) - _FIRST for char in text]

    def piece(self, token: int) -> bytes:
        """Return the bytes of the token's character."""
        return chr(_FIRST + token).encode()

    def spelled(self, tokens: Sequence[int]) -> str:
        """Return the characters of ``tokens``."""
        return "".join(chr(_FIRST + token) for token in tokens)

    def answer(self, tokens: Sequence[int]) -> Any:
        """Return what a reward gets instead of a text: a tensor of the tokens, int64 (1, n)."""
        return import_torch().tensor([list(tokens)], dtype=import_torch().long)


class ModelProvider:
    """An engine and a stand-in tokenizer for a bare model."""

    tokenizer: Tokenizer

    def __init__(self, model: Any) -> None:
        self._model = model
        self.engine = TorchEngine(model)
        self.tokenizer = IdTokenizer(self.engine.n_vocab, end_tokens_of(model))

    def read_text(self) -> bool:
        """Use the tokenizer that belongs to the model; return whether there is one."""
        found = tokenizer_of(self._model, self.engine.n_vocab, self.tokenizer.end_tokens)
        self.tokenizer = self.tokenizer if found is None else found
        return found is not None


def rows_of(input_ids: Any, provider: ModelProvider) -> list[list[int]]:
    """Return the rows of ``input_ids``, int64 (batch, n), as lists.

    Raises PromptError for an empty batch or row, ids out of range, and a tensor on another device.
    """
    torch = import_torch()
    is_tensor = isinstance(input_ids, torch.Tensor)
    if not is_tensor or input_ids.ndim not in (1, 2) or input_ids.is_floating_point():
        kind = tuple(input_ids.shape) if hasattr(input_ids, "shape") else type(input_ids).__name__
        raise PromptError(f"input_ids must be a tensor of token ids, int64 (batch, n); got {kind}")
    rows = input_ids if input_ids.ndim == 2 else input_ids[None]
    if rows.numel() == 0:
        shape = tuple(input_ids.shape)
        raise PromptError(f"input_ids is empty: its shape is {shape}; give at least one token")
    device = provider.engine.device
    if device is not None and rows.device.type != device.type:
        raise PromptError(
            f"input_ids is on {rows.device} and the model on {device}; use input_ids.to(model.device)"
        )
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= provider.engine.n_vocab:
        bad = low if low < 0 else high
        last = provider.engine.n_vocab - 1
        raise PromptError(f"the token id {bad} is outside the vocabulary (0 to {last})")
    lists: list[list[int]] = rows.tolist()
    return lists


def tensor_of(
    sequences: Sequence[Sequence[int]], input_ids: torch.Tensor, model: Any, ends: frozenset[int]
) -> torch.Tensor:
    """Return the sequences as one tensor like ``input_ids``, the shorter ones padded at their end.

    Padding is ``config.pad_token_id``, or else the end token, or else 0.
    """
    torch = import_torch()
    pad = getattr(getattr(model, "config", None), "pad_token_id", None)
    if not isinstance(pad, int):
        pad = min(ends) if ends else 0
    out = torch.full((len(sequences), max(map(len, sequences))), pad, dtype=torch.long)
    for row, tokens in zip(out, sequences, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return out.to(input_ids.device)
