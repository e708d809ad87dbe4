"""Whether an argument is a number in its range, and the error that says what is allowed."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np

from .errors import SettingsError

__all__ = ["check_integer", "check_number", "is_integer", "is_number"]


def is_integer(value: object, low: float, high: float = math.inf) -> bool:
    """Whether ``value`` is an integer, numpy's too, from ``low`` to ``high``; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= int(value) <= high


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a number, numpy's too; a bool is none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int; SettingsError unless it is one from ``low`` to ``high``."""
    if is_integer(value, low, math.inf if high is None else high):
        return int(value)
    allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise SettingsError(f"{name} must be an integer {allowed}; got {value!r}")


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` as a float; SettingsError unless it is a number from ``low`` to ``high``."""
    if is_number(value) and low <= value <= high:
        return float(value)
    raise SettingsError(f"{name} must be a number from {low} to {high}; got {value!r}")
