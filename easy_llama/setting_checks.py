"""Which values the fields of SamplerSettings may have; every value is checked and brought into one form.

An error names the field, the given value and what is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .checks import is_integer, is_number
from .dry import MAX_BREAKER
from .errors import SettingsError
from .steps import MIN_TEMP

__all__ = ["INTEGERS", "MAX_SEED", "MAX_TEMP", "NUMBERS", "checked", "refuse_contradictions"]

MAX_SEED = 0xFFFFFFFE  # llama.cpp reads 0xFFFFFFFF as "draw one"
MAX_TEMP = 3.0e38
_MAX_TOKEN = (1 << 31) - 1
_MAX_BIAS = 1e9
_MAX_LAST_N = 1 << 24


class _Range(NamedTuple):
    """The numbers that a field may hold; both ends count."""

    low: float
    high: float
    whole: bool = False
    optional: bool = True


_RANGES = {
    "max_len_tokens": _Range(-1_000_000_000, 1_000_000_000, whole=True, optional=False),
    "temp": _Range(0, MAX_TEMP),
    "top_p": _Range(0, 1),
    "min_p": _Range(0, 1),
    "frequency_penalty": _Range(-100, 100),
    "presence_penalty": _Range(-100, 100),
    "repeat_penalty": _Range(0.01, 100),
    "top_k": _Range(-1, 1_000_000_000, whole=True),
    "seed": _Range(0, MAX_SEED, whole=True),
    "penalty_last_n": _Range(0, _MAX_LAST_N, whole=True, optional=False),
    "typical_p": _Range(0, 1),
    "top_n_sigma": _Range(0, 100),
    "xtc_probability": _Range(0, 1),
    "xtc_threshold": _Range(0, 1, optional=False),
    "dry_multiplier": _Range(0, 100),
    "dry_base": _Range(1, 100, optional=False),
    "dry_allowed_length": _Range(0, _MAX_LAST_N, whole=True, optional=False),
    "dry_penalty_last_n": _Range(0, _MAX_LAST_N, whole=True, optional=False),
    "dynatemp_range": _Range(0, 100),
    "dynatemp_exponent": _Range(0, 100, optional=False),
    "mirostat": _Range(0, 2, whole=True),
    "mirostat_tau": _Range(0, 100, optional=False),
    "mirostat_eta": _Range(0, 1, optional=False),
    "adaptive_target": _Range(0, 1),
    "adaptive_decay": _Range(0, 0.99, optional=False),  # llama.cpp cuts it there
    "penalty_alpha": _Range(0, 1),
    "num_beams": _Range(1, 256, whole=True, optional=False),
    "length_penalty": _Range(-100, 100, optional=False),
}
INTEGERS = frozenset(name for name, allowed in _RANGES.items() if allowed.whole)
NUMBERS = frozenset(_RANGES) - INTEGERS


def checked(name: str, value: Any) -> Any:
    """Return ``value`` in the form in which the field ``name`` keeps it; SettingsError unless allowed."""
    if name in _RANGES:
        return _number(name, value)
    return _SPECIAL[name](value)


def refuse_contradictions(*, grammar: object, json_schema: object, alpha: object, num_beams: int) -> None:
    """Raise SettingsError where two settings exclude each other."""
    if grammar is not None and json_schema is not None:
        raise SettingsError(
            "grammar and json_schema can't be used together; a JSON schema becomes a grammar, so give one"
        )
    if num_beams > 1 and alpha is not None:
        raise SettingsError(
            f"num_beams={num_beams} (beam search) and penalty_alpha={alpha!r} (contrastive search) exclude "
            "each other; give num_beams=1 or penalty_alpha=None"
        )


def _number(name: str, value: Any) -> int | float | None:
    low, high, whole, optional = _RANGES[name]
    if value is None and optional:
        return 0 if name == "mirostat" else None
    fits = is_integer(value, low, high) if whole else is_number(value) and low <= value <= high
    if fits and (name != "temp" or not 0 < value < MIN_TEMP):
        number: int | float = value.item() if isinstance(value, np.generic) else value
        return number
    kind = "an integer" if whole else "a number"
    if name == "temp":
        kind += f" of at least 0 (0 is greedy, the next is {MIN_TEMP})"
    elif name != "max_len_tokens":
        kind += f" from {low:.10g} to {high:.10g}"
    off = ", or None to draw one" if name == "seed" else ", or None to switch it off"
    raise SettingsError(f"{name} must be {kind}{off if optional else ''}; got {value!r}")


def _breakers(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_breaker, value)):
        return tuple(value)
    raise SettingsError(
        f"dry_sequence_breakers must be a list of texts of 1 to {MAX_BREAKER} bytes (UTF-8, without NUL), "
        f"or None for none; got {value!r}"
    )


def _is_breaker(text: Any) -> bool:
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        return 1 <= len(text.encode()) <= MAX_BREAKER
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _logit_bias(value: Any) -> tuple[tuple[int | str, float], ...]:
    if value is None:
        return ()
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        raise SettingsError(f"logit_bias must be a dictionary or a list of pairs; got {value!r}")
    return tuple(map(_bias, pairs))


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


def _grammar(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise SettingsError(
        f'grammar must be a text in GBNF such as \'root ::= "yes" | "no"\', or None; got {value!r:.200}'
    )


def _json_schema(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    schema = value
    if isinstance(value, type) and hasattr(value, "model_json_schema"):  # a pydantic model
        try:
            schema = value.model_json_schema()
        except Exception as error:  # whatever a class of the caller raises
            raise SettingsError(f"json_schema: {value.__name__} has no JSON schema: {error}") from error
    if not isinstance(schema, Mapping) or not schema:
        raise SettingsError(
            "json_schema must be a dictionary such as {'type': 'object'}, a pydantic model class, or None; "
            f"got {value!r:.200}"
        )
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(schema)))
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"json_schema must hold JSON values only: {error}; got {value!r:.200}") from None
    return copy


def _early_stopping(value: Any) -> bool | str:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if value == "never" and isinstance(value, str):
        return value
    raise SettingsError(f"early_stopping must be True, False or 'never'; got {value!r}")


_SPECIAL = {
    "dry_sequence_breakers": _breakers,
    "logit_bias": _logit_bias,
    "grammar": _grammar,
    "json_schema": _json_schema,
    "early_stopping": _early_stopping,
}
