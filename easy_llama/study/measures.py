"""What can be told of a text that a model wrote: pure functions of tokens, logits and text."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..engine import Logits
from ..errors import EngineError

__all__ = ["distinct", "find_json", "logprob_and_rank", "longest_repeat", "perplexity", "pieces_of"]


def logprob_and_rank(logits: Logits, token: int) -> tuple[float, int]:
    """Return the log-probability of ``token``, in nats, and its rank; 1 is the likeliest, equals share one.

    ``logits`` are the model's own, float32 (n_vocab,): temperature 1, nothing removed. Raises EngineError
    when they are no numbers.
    """
    peak = float(logits.max())
    if not math.isfinite(peak):
        raise EngineError("the model's logits are no numbers; its file may be broken")
    total = math.log(float(np.exp(logits - np.float32(peak)).sum(dtype=np.float64)))
    rank = 1 + int(np.count_nonzero(logits > logits[token]))
    return float(logits[token]) - peak - total, rank


def perplexity(logprobs: Sequence[float]) -> float | None:
    """Return exp of minus the mean log-probability (1 is certain); None without tokens."""
    if not logprobs:
        return None
    surprise = -math.fsum(logprobs) / len(logprobs)
    return math.exp(surprise) if surprise < 700 else math.inf


def distinct(tokens: Sequence[int], n: int) -> float:
    """Return the share of n-grams that are different from all others before: 1.0 where nothing is repeated.

    Usual for good text: 0.4 to 0.8 for n = 1, above 0.9 for n = 3; it falls with the length. 1.0 where the
    text is shorter than n. Source: distinct-n, https://arxiv.org/abs/1510.03055.
    """
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else 1.0


def longest_repeat(tokens: Sequence[int]) -> tuple[int, int]:
    """Return (start, length) of the longest stretch that occurs twice, its first time; (0, 0) without one.

    The two may overlap, so a loop counts nearly whole: ``a b a b a b`` repeats 4 tokens.

    >>> longest_repeat([7, 1, 2, 8, 1, 2])
    (1, 2)
    """
    classes = [np.unique(np.asarray(tokens, dtype=np.int64), return_inverse=True)[1]]
    while len(classes[-1]) > (step := 1 << (len(classes) - 1)):  # stretches of 1, 2, 4, 8, ... tokens
        classes.append(_pairs(classes[-1], step, len(classes[-1]) - step))
    low, high = 0, len(tokens)  # a repeat of ``low`` tokens exists, one of ``high`` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _first_of_two(classes, middle) is not None else (low, middle)
    return (_first_of_two(classes, low) or 0, low) if low else (0, 0)


def _pairs(classes: NDArray[np.int64], step: int, n: int) -> NDArray[np.int64]:
    """Number the stretches that begin at the first ``n`` places: equal ones get equal numbers."""
    both = classes[:n] * (int(classes.max()) + 1) + classes[step : step + n]
    numbers: NDArray[np.int64] = np.unique(both, return_inverse=True)[1]
    return numbers


def _first_of_two(classes: list[NDArray[np.int64]], length: int) -> int | None:
    """Return where the first stretch of ``length`` tokens begins that occurs again, None without one."""
    power = length.bit_length() - 1
    half = classes[power]  # two stretches of 2**power cover one of ``length``
    n = len(classes[0]) - length + 1
    numbers = _pairs(half, length - (1 << power), n)
    again = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
    return int(again[0]) if len(again) else None


def find_json(text: str) -> Literal["whole", "inside"] | None:
    """Return whether ``text`` is a JSON document, or has an object inside: what begins at its first ``{``.

    Strict: NaN and Infinity are no JSON. What is nested too deeply for Python's parser counts as none.
    """
    # numbers as floats: int() refuses very long ones
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=float)
    try:
        decoder.decode(text)
    except (ValueError, RecursionError):
        start = text.find("{")
    else:
        return "whole"
    try:
        decoder.raw_decode(text, start) if start >= 0 else _refuse("")
    except (ValueError, RecursionError):
        return None
    return "inside"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def pieces_of(tokens: Sequence[int], piece: Callable[[int], bytes]) -> tuple[str, ...]:
    """Return the text that each token adds; joined they are the text.

    A character made of several tokens is the last one's. Bytes that are not UTF-8 become U+FFFD; a character
    that is not complete at the end is left out.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    return tuple(decode(piece(token)) for token in tokens)
