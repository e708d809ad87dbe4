"""What engines, tokenizers and providers can do, and the functions that need no more than that.

An engine knows token ids only. It evaluates tokens, forgets the newest ones and forks; ``prefill``
turns that into "make the engine hold exactly these tokens, evaluating as few as possible". What only
some engines can do are protocols of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeAlias, TypeGuard, TypeVar, runtime_checkable

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


# --- what an engine may do beyond that -----------------------------------------------------------------
# Each is asked for by isinstance, and tests/engine_suite.py tests it on every engine that has it. Most list
# only what comes beside Engine, because isinstance looks at every member.


@runtime_checkable
class CountingEngine(Protocol):
    """An engine that counts what it evaluates; statistics are made of it."""

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far, by this engine and its forks."""
        ...


@runtime_checkable
class SessionEngine(Protocol):
    """An engine that several Python threads may share, one generation after the other."""

    def session(self) -> AbstractContextManager[Callable[[], None]]:
        """Reserve it for one generation; another thread waits for its turn.

        A generator must call what is yielded each time it is resumed, because another thread may have
        taken it over. Raises EngineBusyError where waiting would never end.
        """
        ...


@runtime_checkable
class ForkingEngine(Protocol):
    """An engine that has room for some forks only."""

    @property
    def n_forks_free(self) -> int:
        """How many more forks there is room for."""
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that evaluates several forks at once."""

    def extend_batch(self, engines: Sequence[Engine], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate one token on each of ``engines``, which are forks of one engine, in one batch.

        Returns the logits, float32 (len(engines), n_vocab), valid until the next call on any of them.
        Raises EngineError for engines that do not belong together.
        """
        ...


@runtime_checkable
class RowsEngine(Protocol):
    """An engine that tells the logits after each of several tokens."""

    def extend_rows(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate ``tokens`` at once and return the logits after each, float32 (len(tokens), n_vocab).

        Valid until the next call. Takes memory for all of them, so evaluate long texts in parts.
        """
        ...


@runtime_checkable
class ShiftingEngine(Protocol):
    """An engine that can forget tokens in the middle without evaluating the later ones again."""

    def discard(self, start: int, stop: int) -> bool:
        """Remove the tokens from ``start`` to before ``stop`` and let the later ones take their place.

        Nothing is evaluated, but what is kept still carries traces of what was removed. Returns False, and
        changes nothing, where it can't be done.
        """
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


class RewindingPicker(Protocol):
    """A Picker that can go back, and that holds memory."""

    def __call__(self, tokens: Sequence[int], logits: Logits, /) -> int:
        """Choose the token after ``tokens``; NoTokenLeft where every logit is -inf."""
        ...

    def rewind(self, tokens: Sequence[int], salt: int) -> None:
        """Go back to having chosen exactly ``tokens``; new random numbers, which derive from ``salt``."""
        ...

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        ...


Settings_contra = TypeVar("Settings_contra", contravariant=True)


@runtime_checkable
class PickingEngine(Protocol[Settings_contra]):
    """An engine with pickers of its own, such as llama.cpp's sampler chain."""

    def picker(self, settings: Settings_contra, seed: int, history: Sequence[int] = ()) -> RewindingPicker:
        """Return the picker for SamplerSettings; ``history`` are the tokens before the first draw."""
        ...


@runtime_checkable
class AdvancingEngine(Protocol):
    """An engine that evaluates and picks in one go."""

    def advance(self, picker: Picker) -> Callable[[int], int] | None:
        """Return a function that evaluates a token and picks the next: the same as ``extend`` and ``picker``,
        but faster. None where it has none for this picker."""
        ...


@runtime_checkable
class ConstrainingEngine(Protocol[Settings_contra]):
    """An engine that keeps grammars and JSON schemas."""

    def constraint_step(self, settings: Settings_contra) -> Step:
        """Return what the constraint of SamplerSettings leaves of the first token, as a step."""
        ...


# --- tokenizers and providers --------------------------------------------------------------------------


class Tokenizer(Protocol):
    """Text to token ids, and token ids to bytes.

    A class that derives from it writes the first four; the others have answers that suit a vocabulary
    without markup.
    """

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

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of ``tokens``; control tokens add none.

        Where they begin a sequence, with its beginning token, a space that ``encode`` added goes.
        """
        return b"".join(map(self.piece, tokens))

    def first_tokens(self) -> list[int]:
        """Return what a text from nothing begins with: the beginning-of-sequence token, [] without one."""
        return self.encode("")

    @property
    def adds_space(self) -> bool:
        """Whether ``encode`` puts a space before a text that is no part of it, as SentencePiece does."""
        return False

    def raw_text(self, token: int) -> str:
        """Return what the vocabulary writes for ``token``, such as ``Ġmeow`` or ``▁me``."""
        return self.piece(token).decode("utf-8", "replace")

    def is_control(self, token: int) -> bool:
        """Whether ``token`` is markup that adds no text."""
        return token in self.end_tokens

    def markers(self) -> tuple[str, str]:
        """Return the texts of the beginning- and end-of-sequence tokens, "" where there are none."""
        return "", ""


@runtime_checkable
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


@runtime_checkable
class ChatProvider(Provider, Protocol):
    """A provider that tells what its model is called and how it was taught to chat."""

    @property
    def name(self) -> str:
        """What the model is called: the name of its file, where there is one."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with the model, or None."""
        ...


@runtime_checkable
class FromFile(Protocol):
    """A provider that can say which file its model came from."""

    @property
    def path(self) -> Path:
        """The file."""
        ...


Decoder: TypeAlias = Callable[[Engine, list[int], frozenset[int], int], Iterator[int]]
"""(engine, prompt, end tokens, limit) -> tokens; it yields only tokens that stay."""


@contextmanager
def reserved(engine: Engine) -> Iterator[Callable[[], None]]:
    """Reserve an engine that is shared for one generation; see ``SessionEngine``.

    Engines that can't be shared need no reservation.
    """
    if not isinstance(engine, SessionEngine):
        yield lambda: None
        return
    with engine.session() as claim:
        yield claim


def n_evaluated(engine: Engine) -> int:
    """How many tokens ``engine`` has evaluated; always 0 where it doesn't count."""
    return engine.n_evaluated if isinstance(engine, CountingEngine) else 0


def room_for_forks(engine: Engine) -> float:
    """How many more forks ``engine`` has room for; infinity where it sets no limit."""
    return engine.n_forks_free if isinstance(engine, ForkingEngine) else math.inf


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


def _is_batch_engine(engine: Engine) -> TypeGuard[BatchEngine]:
    """``isinstance``, without the microseconds that it takes for a protocol: a search asks at every step."""
    return _has_batches(type(engine))


@lru_cache(maxsize=64)
def _has_batches(kind: type) -> bool:
    return issubclass(kind, BatchEngine)


def extend_all(
    engines: Sequence[Engine], tokens: Sequence[int], *, batch: bool = True
) -> NDArray[np.float32]:
    """Evaluate one token on each engine and return the logits, float32 (len(engines), n_vocab).

    In one batch where they are BatchEngines, else one by one. Like the result of ``extend`` it is valid
    until the next call on any of the engines. On large weights a batch of 2 to 6 tokens can be slower than
    one after the other; ``batch=False`` asks for that.
    """
    first = engines[0]
    if batch and len(engines) > 1 and _is_batch_engine(first):
        return first.extend_batch(engines, tokens)
    out = np.empty((len(engines), first.n_vocab), dtype=np.float32)
    for row, engine, token in zip(out, engines, tokens, strict=True):
        row[:] = engine.extend((token,))
    return out
