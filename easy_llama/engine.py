"""What every engine and tokenizer can do, and the one function that reuses their cache.

An engine knows token ids only. It evaluates tokens, forgets the newest ones and forks; ``prefill``
turns that into "make the engine hold exactly these tokens, evaluating as few as possible".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import index
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import ExceededContextLengthException, PromptError

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


@runtime_checkable
class HiddenEngine(Engine, Protocol):
    """An engine that also tells the last hidden state of every token, after the final norm.

    Contrastive search needs it. Engines without it are refused by name.
    """

    @property
    def hidden(self) -> NDArray[np.float32]:
        """The hidden states of the first tokens held, float32 (n, n_embd), n <= len(tokens).

        They are known for tokens that ``extend_hidden`` and ``take`` evaluated, up to the first that
        ``extend`` did.
        """
        ...

    def extend_hidden(self, tokens: Sequence[int]) -> Logits:
        """Do what ``extend`` does and note the hidden states."""
        ...

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate as the next token and return (logits, hidden states), without taking any.

        Shapes (k, n_vocab) and (k, n_embd), copies. They occupy forks until ``take``, ``rollback`` or
        ``fork`` is called. Raises EngineError when there is no room for k.
        """
        ...

    def take(self, index: int) -> None:
        """Append that candidate of the last ``look_ahead``; nothing is evaluated again."""
        ...


class Tokenizer(Protocol):
    """Text to token ids, and token ids to bytes."""

    n_vocab: int

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


class Provider(Protocol):
    """What has an engine and a tokenizer: a Model, a LlamacppProvider, a TransformersProvider."""

    @property
    def engine(self) -> Engine:
        """Evaluates tokens."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into tokens and back."""
        ...


Decoder: TypeAlias = Callable[[Engine, list[int], frozenset[int], int], Iterator[int]]
"""(engine, prompt, end tokens, limit) -> tokens; it yields only tokens that stay."""


@contextmanager
def reserved(engine: Engine) -> Iterator[Callable[[], None]]:
    """Reserve an engine that is shared for one generation; see ``LlamaEngine.session``.

    A generator must call the yielded function each time it is resumed, because another thread may have
    taken it over. Engines that can't be shared need no reservation.
    """
    session = getattr(engine, "session", None)
    if session is None:
        yield lambda: None
        return
    with session() as claim:
        yield claim


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


def prompt_tokens(provider: Provider, prompt: str | Sequence[int], room: int = 1) -> list[int]:
    """Return the token ids of a prompt, text or ids, that leaves room for ``room`` more tokens.

    Raises PromptError for an empty prompt and for what is neither text nor ids of the vocabulary, and
    ExceededContextLengthException.
    """
    if isinstance(prompt, str):
        # a beginning-of-sequence token alone is no prompt by accident
        tokens = provider.tokenizer.encode(prompt) if prompt else []
    elif isinstance(prompt, (bytes, bytearray, memoryview)) or not _is_list(prompt):
        raise PromptError(f"prompt must be a str or token ids; got {type(prompt).__name__}")
    else:
        n_vocab = provider.engine.n_vocab
        tokens = [check_token(token, n_vocab) for token in prompt]
    if not tokens:
        raise PromptError("the prompt is empty; give at least one token, such as [model.bos_token]")
    if len(tokens) + room > provider.engine.n_ctx:
        raise ExceededContextLengthException(len(tokens), provider.engine.n_ctx, room)
    return tokens


def _is_list(prompt: object) -> bool:
    return isinstance(prompt, Sequence) or hasattr(prompt, "__array__")  # numpy's and torch's, too


def check_token(token: Any, n_vocab: int) -> int:
    """Return ``token`` as an int; PromptError unless it is in the vocabulary (libllama would abort)."""
    with suppress(TypeError):
        if not isinstance(token, bool) and 0 <= index(token) < n_vocab:
            return index(token)
    raise PromptError(f"the token id {token!r} is not an int from 0 to {n_vocab - 1}")


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


def extend_all(
    engines: Sequence[Engine], tokens: Sequence[int], *, batch: bool = True
) -> NDArray[np.float32]:
    """Evaluate one token on each engine and return the logits, float32 (len(engines), n_vocab).

    In one batch where the engines share a context (an optional ``extend_batch``), else one by one. Like
    the result of ``extend`` it is valid until the next call on any of the engines. On large weights a
    batch of 2 to 6 tokens can be slower than one after the other; ``batch=False`` asks for that.
    """
    native = getattr(engines[0], "extend_batch", None) if batch and len(engines) > 1 else None
    if native is not None:
        rows: NDArray[np.float32] = native(engines, tokens)
        return rows
    out = np.empty((len(engines), engines[0].n_vocab), dtype=np.float32)
    for row, engine, token in zip(out, engines, tokens, strict=True):
        row[:] = engine.extend((token,))
    return out
