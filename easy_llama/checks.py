"""Whether an argument is a number in its range, and the error that says what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np

from .errors import SettingsError

__all__ = [
    "check_callable",
    "check_integer",
    "check_number",
    "check_optional_integer",
    "is_integer",
    "is_number",
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
    raise SettingsError(f"{name} must be an integer {allowed}{also}; got {value!r}")


def check_optional_integer(name: str, value: Any, low: int, high: int | None = None) -> int | None:
    """Return ``value`` as an int or None; SettingsError unless it is one of them."""
    return None if value is None else check_integer(name, value, low, high, also=", or None")


def check_number(name: str, value: Any, low: float, high: float, *, also: str = "") -> float:
    """Return ``value`` as a float; SettingsError unless it is a number from ``low`` to ``high``.

    ``also`` ends the sentence about what is allowed.
    """
    if is_number(value) and low <= value <= high:
        return float(value)
    raise SettingsError(f"{name} must be a number from {low} to {high}{also}; got {value!r}")


def check_callable(name: str, value: Any, *, also: str = "") -> Callable[..., Any]:
    """Return ``value``; SettingsError unless it is a function or something else that can be called."""
    if callable(value):
        function: Callable[..., Any] = value
        return function
    raise SettingsError(f"{name} must be a function{also}; got {value!r}")
