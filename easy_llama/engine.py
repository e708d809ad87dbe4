"""What every engine and tokenizer can do, and the one function that reuses their cache.

An engine knows token ids only. It evaluates tokens, forgets the newest ones and forks; ``prefill``
turns that into "make the engine hold exactly these tokens, evaluating as few as possible".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import PromptError

Logits: TypeAlias = NDArray[np.float32]
"""Unnormalised log-probabilities of the next token, float32, shape (n_vocab,)."""

Step: TypeAlias = Callable[[Sequence[int], Logits], Logits]
"""A pure function of (tokens so far, logits); it never writes into its arguments."""

Picker: TypeAlias = Callable[[Sequence[int], Logits], int]
"""Chooses the next token from (tokens so far, logits): steps and a draw, or llama.cpp's chain."""


@runtime_checkable
class Engine(Protocol):
    """A language model with a memory of the tokens it has evaluated."""

    n_vocab: int
    n_ctx: int

    @property
    def tokens(self) -> list[int]:
        """The tokens evaluated so far, a copy."""
        ...

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate at least one token and return the logits of the token after the last.

        The array is a view that is valid until the next call on this engine; copy it to keep it.
        Raises ExceededContextLengthException when the tokens do not fit.
        """
        ...

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens. Absolute, and it always succeeds for 0 <= n <= len(tokens)."""
        ...

    def fork(self) -> Engine:
        """Return an independent engine that holds the same tokens."""
        ...

    def close(self) -> None:
        """Free the memory. Closing twice is harmless."""
        ...


class Tokenizer(Protocol):
    """Text to token ids, and token ids to bytes."""

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""
        ...

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of ``text``.

        ``bos`` puts the beginning-of-sequence token first where the model wants one; ``special``
        reads markup such as ``<|im_end|>`` as single tokens, otherwise it is plain text.
        """
        ...

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text: maybe half a character, maybe none."""
        ...


Decoder: TypeAlias = Callable[[Engine, list[int], frozenset[int], int], Iterator[int]]
"""(engine, prompt, end tokens, limit) -> tokens; it yields only tokens that stay."""


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two sequences share from their beginning.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    n = min(len(left), len(right))
    if list(left[:n]) == list(right[:n]):
        return n
    a, b = np.asarray(left[:n]), np.asarray(right[:n])
    return int(np.argmax(a != b))


def prefill(engine: Engine, tokens: Sequence[int]) -> Logits:
    """Make ``engine`` hold exactly ``tokens`` and return the logits after the last one.

    Evaluates only what follows the common prefix, and the last token in any case, because an engine
    keeps no logits of the past.
    """
    if not tokens:
        raise PromptError("the prompt is empty; give at least one token")
    keep = min(common_prefix(engine.tokens, tokens), len(tokens) - 1)
    engine.rollback(keep)
    return engine.extend(tokens[keep:])
