"""What is given to generate from: a provider and a prompt, checked."""

from __future__ import annotations

from collections.abc import Sequence

from .checks import check_token
from .engine import Provider
from .errors import ExceededContextLengthException, PromptError, SettingsError

__all__ = ["check_provider", "prompt_tokens"]


def check_provider(provider: object) -> Provider:
    """Return ``provider``; SettingsError unless it has an engine and a tokenizer."""
    if isinstance(provider, Provider):
        return provider
    raise SettingsError(
        f"provider must be a Model, a LlamacppProvider or a TransformersProvider; got {provider!r:.200}"
    )


def prompt_tokens(provider: Provider, prompt: str | Sequence[int], room: int = 1) -> list[int]:
    """Return the token ids of a prompt, text or ids, that leaves room for ``room`` more tokens.

    An empty text is the beginning-of-sequence token. Raises PromptError where the vocabulary has none, for an
    empty list and for what is neither text nor ids of the vocabulary, and ExceededContextLengthException.
    """
    if isinstance(prompt, str):
        tokens = provider.tokenizer.encode(prompt) if prompt else provider.tokenizer.first_tokens()
    elif isinstance(prompt, (bytes, bytearray, memoryview)) or not _is_list(prompt):
        raise PromptError(f"prompt must be a str or token ids; got {type(prompt).__name__}")
    else:
        n_vocab = provider.engine.n_vocab
        tokens = [check_token(token, n_vocab) for token in prompt]
    if not tokens:
        raise PromptError(
            "the prompt is empty, and this vocabulary has no beginning-of-sequence token that a text from "
            "nothing could begin with; give at least one character"
            if isinstance(prompt, str)
            else "the prompt is an empty list; give at least one token id"
        )
    if len(tokens) + room > provider.engine.n_ctx:
        raise ExceededContextLengthException(len(tokens), provider.engine.n_ctx, room)
    return tokens


def _is_list(prompt: object) -> bool:
    return isinstance(prompt, Sequence) or hasattr(prompt, "__array__")  # numpy's and torch's, too
