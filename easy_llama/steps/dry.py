"""DRY ("don't repeat yourself"): a token that would lengthen a repetition becomes less likely.

The longer the repetition, the harder: exponentially. Breakers are texts across which nothing counts as a
repetition, resolved to tokens as llama.cpp does. Source: https://github.com/oobabooga/text-generation-webui/pull/5677
and llama.cpp ``dry``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ..checks import check_integer, check_number
from ..engine import Logits, Step, Tokenizer

__all__ = ["MAX_BREAKER", "Breakers", "dry", "dry_breakers", "repeat_lengths"]

Breakers: TypeAlias = Mapping[int, frozenset[tuple[int, ...]]]
"""First token of a breaker -> the tokens that may follow it; () where the one token is a whole breaker."""

MAX_BREAKER = 40  # bytes; llama.cpp cuts longer ones
_MAX_TAIL = 20  # tokens; keeps the search for breakers linear
_MAX_FLOAT = float(np.finfo(np.float32).max)


def dry(
    multiplier: float, base: float, allowed_length: int, last_n: int, breakers: Breakers | None = None
) -> Step:
    """Subtract ``multiplier * base ** (n - allowed_length)`` from tokens that lengthen a repeat of n tokens.

    A repeat is a stretch of the last ``last_n`` tokens that is also their end. Repeats shorter than
    ``allowed_length`` are free. 0.8, 1.75, 2 and 64 or more are usual. Takes time linear in ``last_n``.
    """
    check_number("multiplier of dry", multiplier, 0, 100)
    check_number("base of dry", base, 1, 100)
    check_integer("allowed_length of dry", allowed_length, 0)
    check_integer("last_n of dry", last_n, 0)
    known = breakers or {}
    # the power stays within float32; llama.cpp cuts the exponent at the same place
    max_exponent = int(math.log(_MAX_FLOAT) / math.log(base)) if base > 1.000001 else 0

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        newest_first = list(tokens[-last_n:])[::-1] if last_n > 0 else []
        longest = _longest_repeats(newest_first, allowed_length, known)
        if not longest:
            return logits
        out = logits.copy()
        for token, length in longest.items():
            exponent = length - allowed_length
            penalty = multiplier * base ** (min(exponent, max_exponent) if max_exponent else exponent)
            out[token] -= min(penalty, _MAX_FLOAT)
        return out

    return step


def dry_breakers(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, frozenset[tuple[int, ...]]]:
    """Find the tokens that make up the breakers ``texts``, wherever the borders between tokens fall.

    A token that holds a breaker is one. A token that ends with the beginning of a breaker is one together
    with the tokens of the rest. Looks at the whole vocabulary: about 0.1 s for 150,000 tokens.
    """
    found: dict[int, set[tuple[int, ...]]] = {}
    pieces = [tokenizer.piece(token) for token in range(tokenizer.n_vocab)]
    for text in texts:
        whole = text.encode()
        tails = dict(_tails(tokenizer, whole))
        for token in [token for token, piece in enumerate(pieces) if whole in piece]:
            found.setdefault(token, set()).add(())
        for head, tail in tails.items():
            for token in [token for token, piece in enumerate(pieces) if piece.endswith(head)]:
                if whole not in pieces[token]:
                    found.setdefault(token, set()).add(tail)
    return {token: frozenset(tails) for token, tails in found.items()}


def _tails(tokenizer: Tokenizer, whole: bytes) -> list[tuple[bytes, tuple[int, ...]]]:
    """Every split of a breaker: its beginning as bytes and the tokens of the rest."""
    splits = []
    for i in range(1, len(whole)):
        try:
            rest = whole[i:].decode()
        except UnicodeDecodeError:
            continue  # in the middle of a character
        splits.append((whole[:i], tuple(tokenizer.encode(rest, bos=False, special=False))[:_MAX_TAIL]))
    return splits


def _longest_repeats(newest_first: list[int], allowed_length: int, breakers: Breakers) -> dict[int, int]:
    """Token -> length of the longest repeat that it would lengthen, where that is long enough to matter."""
    if len(newest_first) <= allowed_length:
        return {}
    limit = _since_breaker(newest_first, breakers)
    if limit < allowed_length:
        return {}
    longest: dict[int, int] = {}
    lengths = repeat_lengths(newest_first)
    for k in range(1, len(newest_first)):
        length = min(lengths[k], limit)
        if length >= allowed_length:
            token = newest_first[k - 1]  # what followed the last time
            if longest.get(token, -1) < length and () not in breakers.get(token, ()):
                longest[token] = length
    return longest


def _since_breaker(newest_first: list[int], breakers: Breakers) -> int:
    """How many tokens came after the last breaker."""
    for i, token in enumerate(newest_first):
        complete = [
            len(tail)
            for tail in breakers.get(token, ())
            if len(tail) <= i and list(tail) == newest_first[i - len(tail) : i][::-1]
        ]
        if complete:
            return i - max(complete)
    return len(newest_first)


def repeat_lengths(sequence: Sequence[int]) -> list[int]:
    """Return for every k how many elements from k on equal those from the beginning; 0 for k = 0.

    The Z algorithm: linear, because what is known to repeat is looked up and not compared again.

    >>> repeat_lengths([1, 2, 1, 2, 1, 3])
    [0, 0, 3, 0, 1, 0]
    """
    n = len(sequence)
    lengths = [0] * n
    start = end = 0  # the stretch found that reaches furthest: sequence[start:end] is also at the beginning
    for k in range(1, n):
        length = min(lengths[k - start], end - k) if k < end else 0
        if k + length >= end:
            while k + length < n and sequence[length] == sequence[k + length]:
                length += 1
            start, end = k, k + length
        lengths[k] = length
    return lengths
