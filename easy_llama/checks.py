"""Whether an argument may be what it is, and the error that says what may: numbers, functions, tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import index
from typing import Any, TypeGuard

import numpy as np

from .errors import ExceededContextLengthException, PromptError, SettingsError

__all__ = [
    "check_callable",
    "check_each_once",
    "check_flag",
    "check_integer",
    "check_number",
    "check_optional_integer",
    "check_rollback",
    "check_token",
    "check_tokens",
    "is_integer",
    "is_number",
    "token_ids",
]


def is_integer(value: object, low: float, high: float = math.inf) -> bool:
    """Whether ``value`` is an integer, numpy's too, from ``low`` to ``high``; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= int(value) <= high


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number, numpy's too; a bool is none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_integer(name: str, value: Any, low: int, high: int | None = None, *, also: str = "") -> int:
    """Return ``value`` as an int; SettingsError unless it is one from ``low`` to ``high``.

    ``also`` ends the sentence about what is allowed.
    """
    if is_integer(value, low, math.inf if high is None else high):
        return int(value)
    allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise SettingsError(f"{name} must be an integer {allowed}{also}; got {value!r:.80}")


def check_optional_integer(name: str, value: Any, low: int, high: int | None = None) -> int | None:
    """Return ``value`` as an int or None; SettingsError unless it is one of them."""
    return None if value is None else check_integer(name, value, low, high, also=", or None")


def check_number(name: str, value: Any, low: float, high: float, *, also: str = "") -> float:
    """Return ``value`` as a float; SettingsError unless it is a number from ``low`` to ``high``.

    ``also`` ends the sentence about what is allowed.
    """
    if is_number(value) and low <= value <= high:
        return float(value)
    raise SettingsError(f"{name} must be a number from {low:.10g} to {high:.10g}{also}; got {value!r:.80}")


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool; SettingsError unless it is True or False, numpy's too."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise SettingsError(f"{name} must be True or False; got {value!r:.80}")


def check_callable(name: str, value: Any, *, also: str = "") -> Callable[..., Any]:
    """Return ``value``; SettingsError unless it is a function or something else that can be called."""
    if callable(value):
        function: Callable[..., Any] = value
        return function
    raise SettingsError(f"{name} must be a function{also}; got {value!r:.80}")


# --- tokens --------------------------------------------------------------------------------------------


def check_token(token: Any, n_vocab: int) -> int:
    """Return ``token`` as an int; PromptError unless it is in the vocabulary (libllama would abort)."""
    with suppress(TypeError):
        if not isinstance(token, bool) and 0 <= index(token) < n_vocab:
            return index(token)
    raise PromptError(f"the token id {token!r:.80} is not an int from 0 to {n_vocab - 1}")


def token_ids(tokens: Any, n_vocab: int) -> list[int]:
    """Return ``tokens``, a list or an array of one dimension, as ints; PromptError unless they are ids."""
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise PromptError(f"tokens must be a list of token ids; got {tokens!r:.80}")
    return [check_token(token, n_vocab) for token in tokens]


def check_tokens(tokens: Sequence[int], held: int, n_vocab: int, n_ctx: int) -> None:
    """Raise what stands against evaluating ``tokens`` on an engine that holds ``held`` tokens."""
    if not len(tokens):
        raise PromptError("there is nothing to evaluate; give at least one token")
    low, high = min(tokens), max(tokens)
    if low < 0 or high >= n_vocab:
        bad = low if low < 0 else high
        raise PromptError(f"the token id {bad} is outside the vocabulary (0 to {n_vocab - 1})")
    if held + len(tokens) > n_ctx:
        raise ExceededContextLengthException(held + len(tokens), n_ctx)


def check_rollback(n: int, held: int) -> None:
    """Raise PromptError unless the first ``n`` of ``held`` tokens can be kept."""
    if not 0 <= n <= held:
        raise PromptError(f"can't keep the first {n} tokens: the engine holds {held}")


def check_each_once(engines: Sequence[object], tokens: Sequence[int]) -> None:
    """Raise PromptError unless there is one token for each of ``engines``, and none of these twice."""
    if len(engines) != len(tokens) or len(set(map(id, engines))) != len(engines) or not engines:
        raise PromptError(f"give one token for each engine, each once; got {len(tokens)} for {len(engines)}")
