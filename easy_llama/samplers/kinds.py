"""The kinds of values that fields of SamplerSettings hold: which are allowed, and how they are typed as text.

``check`` brings a value into the one form in which it is kept; an error names the field, the value that was
given and what is allowed. ``parse`` reads what a person types; ``off`` is None.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..checks import is_integer, is_number
from ..constraints.document import document_of
from ..errors import SettingsError
from ..steps.dry import MAX_BREAKER

__all__ = ["Biases", "EarlyStopping", "Gbnf", "Kind", "Number", "Schema", "Texts"]

_MAX_TOKEN = (1 << 31) - 1
_MAX_BIAS = 1e9


class Kind(ABC):
    """What a field holds."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What a value is, to a reader."""

    @property
    @abstractmethod
    def flag(self) -> str:
        """What the help of a command shows."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The values that are allowed, in a few words."""

    @abstractmethod
    def check(self, name: str, value: Any) -> Any:
        """Return ``value`` in the form in which the field ``name`` keeps it; SettingsError unless allowed."""

    def parse(self, name: str, text: str) -> Any:
        """Return the value that ``text`` gives, not yet checked; SettingsError for another kind of value."""
        if text.strip().lower() in ("off", "none"):
            return None
        try:
            return self._parsed(text)
        except (ValueError, RecursionError) as error:
            why = f" ({error})" if self.words == "JSON" else ""
            raise SettingsError(f"{name} must be {self.words} or off; got {text!r}{why}") from None

    def _parsed(self, text: str) -> Any:
        return text


@dataclass(frozen=True)
class Number(Kind):
    """A number from ``low`` to ``high``, both included.

    ``whole`` for integers; ``off`` is what None does, "" where it is not allowed, and ``none`` what is kept
    for it. ``near_zero`` is the least number above 0. ``bounded`` says whether an error tells the range.
    """

    low: float
    high: float
    off: str = "to switch it off"
    whole: bool = False
    none: int | None = None
    near_zero: float = 0.0
    bounded: bool = True

    @property
    def words(self) -> str:
        """An integer or a number."""
        return "an integer" if self.whole else "a number"

    @property
    def flag(self) -> str:
        """What the help of a command shows."""
        return "INTEGER|off" if self.whole else "FLOAT|off"

    @property
    def allowed(self) -> str:
        """The range."""
        if not self.bounded:
            return "integers" if self.whole else "numbers"
        text = f"{self.low:.10g} to {self.high:.10g}"
        return f"{text}, None" if self.off and self.none is None else text

    def check(self, name: str, value: Any) -> int | float | None:
        """Return it as a number of Python, or None."""
        if value is None and self.off:
            return self.none
        fits = (
            is_integer(value, self.low, self.high)
            if self.whole
            else is_number(value) and self.low <= value <= self.high
        )
        if fits and not 0 < value < self.near_zero:
            number: int | float = value.item() if isinstance(value, np.generic) else value
            return number
        bounds = f" from {self.low:.10g} to {self.high:.10g}" if self.bounded else ""
        if self.near_zero:
            bounds = f" of at least 0 (0 is greedy, the next is {self.near_zero})"
        off = f", or None {self.off}" if self.off else ""
        raise SettingsError(f"{name} must be {self.words}{bounds}{off}; got {value!r:.80}")

    def _parsed(self, text: str) -> int | float:
        return int(text) if self.whole else float(text)


class Texts(Kind):
    """A list of short texts."""

    words = "JSON"
    flag = "JSON|off"
    allowed = f"texts of 1 to {MAX_BREAKER} bytes"

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        """Return them as a tuple, () for None."""
        if value is None:
            return ()
        if isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_breaker, value)):
            return tuple(value)
        raise SettingsError(
            f"{name} must be a list of texts of 1 to {MAX_BREAKER} bytes (UTF-8, without NUL), "
            f"or None for none; got {value!r}"
        )

    def _parsed(self, text: str) -> Any:
        return json.loads(text)


class Biases(Kind):
    """Numbers to add to logits, by token."""

    words = "JSON"
    flag = "JSON|off"
    allowed = f"numbers from {-_MAX_BIAS:g} to {_MAX_BIAS:g}, -inf"

    def check(self, name: str, value: Any) -> tuple[tuple[int | str, float], ...]:
        """Return pairs (id or text, number), () for None."""
        if value is None:
            return ()
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if not isinstance(pairs, Sequence) or isinstance(pairs, str):
            raise SettingsError(f"{name} must be a dictionary or a list of pairs; got {value!r}")
        return tuple(map(_bias, pairs))

    def _parsed(self, text: str) -> Any:
        biases = json.loads(text)
        if isinstance(biases, dict):  # JSON has no integers as keys: digits are ids, as in OpenAI's API
            return [(int(key) if key.isdecimal() else key, bias) for key, bias in biases.items()]
        return biases


class Gbnf(Kind):
    """A grammar in GBNF."""

    words = "a text"
    flag = "TEXT|off"
    allowed = "GBNF, None"

    def check(self, name: str, value: Any) -> str | None:
        """Return it as it is."""
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        raise SettingsError(
            f'{name} must be a text in GBNF such as \'root ::= "yes" | "no"\', or None; got {value!r:.200}'
        )


class Schema(Kind):
    """A JSON schema: a dictionary, or a pydantic model class that has one."""

    words = "JSON"
    flag = "JSON|off"
    allowed = "a schema, a pydantic model, None"

    def check(self, name: str, value: Any) -> dict[str, Any] | None:
        """Return a copy of the dictionary."""
        if value is None:
            return None
        if isinstance(value, Mapping) and not value:
            raise SettingsError(
                f"{name} must be a dictionary that says something, such as {{'type': 'object'}}, a pydantic "
                f"model class, or None; got {value!r}"
            )
        return document_of(value, name)

    def _parsed(self, text: str) -> Any:
        return json.loads(text)


class EarlyStopping(Kind):
    """True, False or "never"."""

    words = "true, false or never"
    flag = "true|false|never"
    _TYPED: ClassVar[dict[str, bool | str]] = {
        "true": True, "on": True, "false": False, "off": False, "never": "never",
    }  # fmt: skip

    allowed = 'True, False, "never"'

    def check(self, name: str, value: Any) -> bool | str:
        """Return it as it is."""
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if value == "never" and isinstance(value, str):
            return value
        raise SettingsError(f"{name} must be True, False or 'never'; got {value!r}")

    def parse(self, name: str, text: str) -> Any:
        """Return the value; ``off`` is False."""
        word = text.strip().lower()
        return self._TYPED[word] if word in self._TYPED else super().parse(name, text)


def _is_breaker(text: Any) -> bool:
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        return 1 <= len(text.encode()) <= MAX_BREAKER
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _bias(pair: Any) -> tuple[int | str, float]:
    if isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2:
        key, bias = pair
        is_token = is_integer(key, 0, _MAX_TOKEN)
        is_text = isinstance(key, str) and key != ""
        if (is_token or is_text) and is_number(bias) and (-_MAX_BIAS <= bias <= _MAX_BIAS or bias == -np.inf):
            return (key if is_text else int(key), float(bias))
    raise SettingsError(
        f"logit_bias must give each token (an id, or a text that is one token) a number from "
        f"{-_MAX_BIAS:.0f} to {_MAX_BIAS:.0f} or -inf, which bans it; got {pair!r}"
    )
