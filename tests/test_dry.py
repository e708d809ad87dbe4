"""DRY: the Z algorithm, breakers across the borders of tokens, and a slow version of the rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engine import Tokenizer
from easy_llama.steps.dry import Breakers, dry, dry_breakers, repeat_lengths

ZEROS = np.zeros(12, dtype=np.float32)


@given(st.lists(st.integers(0, 2), max_size=40))
def test_repeat_lengths_are_those_of_comparing_everything(sequence: list[int]) -> None:
    def slowly(k: int) -> int:
        n = 0
        while k + n < len(sequence) and sequence[n] == sequence[k + n]:
            n += 1
        return n

    assert repeat_lengths(sequence) == [slowly(k) if k else 0 for k in range(len(sequence))]


def test_the_penalty_grows_with_the_repetition() -> None:
    history = [1, 2, 3, 4, 9, 1, 2, 3]  # 4 came after 1 2 3 the last time
    assert dry(0.5, 2.0, 2, 64)(history, ZEROS)[4] == pytest.approx(-0.5 * 2.0 ** (3 - 2))
    assert dry(0.5, 2.0, 3, 64)(history, ZEROS)[4] == -0.5
    assert dry(0.5, 2.0, 4, 64)(history, ZEROS) is ZEROS
    assert dry(0.5, 2.0, 2, 6)(history, ZEROS) is ZEROS, "only 3 of the last 6 repeat nothing"
    assert dry(0.5, 2.0, 2, 0)(history, ZEROS) is ZEROS


def test_a_breaker_ends_a_repetition_and_is_free() -> None:
    history = [1, 2, 5, 3, 4, 9, 1, 2, 5, 3]
    one: Breakers = {5: frozenset({()})}
    assert dry(1.0, 2.0, 1, 64)(history, ZEROS)[4] == -(2.0**3)
    assert dry(1.0, 2.0, 1, 64, one)(history, ZEROS)[4] == -1.0, "only the 3 after the breaker counts"
    assert dry(1.0, 2.0, 2, 64, one)(history, ZEROS) is ZEROS
    assert dry(1.0, 2.0, 2, 64, one)([1, 2, 5, 9, 1, 2], ZEROS) is ZEROS, "a breaker is not held back"
    assert dry(1.0, 2.0, 2, 64)([1, 2, 5, 9, 1, 2], ZEROS)[5] == -1.0
    pair: Breakers = {5: frozenset({(3,)})}
    assert dry(1.0, 2.0, 1, 64, pair)(history, ZEROS) is ZEROS, "nothing came after 5 3"
    assert dry(1.0, 2.0, 1, 64, {5: frozenset({(3,), ()})})(history, ZEROS) is ZEROS, "the longest counts"


def test_long_repetitions_stay_finite() -> None:
    with np.errstate(all="raise"):
        out = dry(100.0, 100.0, 2, 10_000)([7] * 5000, ZEROS)
    assert np.isfinite(out).all()
    assert out[7] < -1e38


@given(
    st.lists(st.integers(0, 3), max_size=30),
    st.integers(0, 4),
    st.integers(0, 40),
    st.dictionaries(
        st.integers(0, 3), st.frozensets(st.lists(st.integers(0, 3), max_size=2).map(tuple), min_size=1)
    ),
)
def test_it_is_the_rule_written_slowly(
    history: list[int], allowed: int, last_n: int, breakers: dict[int, frozenset[tuple[int, ...]]]
) -> None:
    expected = ZEROS.copy()
    for token, length in slow_repeats(history[len(history) - min(last_n, len(history)) :], breakers).items():
        if length >= allowed and () not in breakers.get(token, ()):
            expected[token] = -0.7 * 1.5 ** (length - allowed)
    if len(history[-last_n:] if last_n else []) <= allowed:
        expected = ZEROS
    assert np.allclose(dry(0.7, 1.5, allowed, last_n, breakers)(history, ZEROS), expected, rtol=1e-5)


def slow_repeats(window: list[int], breakers: dict[int, frozenset[tuple[int, ...]]]) -> dict[int, int]:
    """Token -> the longest end of ``window`` that it followed before, no longer than since a breaker."""
    limit = len(window)
    for start in range(len(window)):
        for tail in sorted(breakers.get(window[start], ()), key=len):
            if tuple(window[start + 1 : start + 1 + len(tail)]) == tail:
                limit = len(window) - start - 1 - len(tail)
    longest: dict[int, int] = {}
    for end in range(1, len(window)):
        n = 0
        while n < min(end, limit) and window[end - 1 - n] == window[-1 - n]:
            n += 1
        longest[window[end]] = max(longest.get(window[end], 0), n)
    return longest


class Letters(Tokenizer):
    """A tokenizer with pieces of its own."""

    n_vocab = 6
    pieces = (b"a", b"b", b"ab", b"xa", b"ba", "é".encode())

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset()

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        assert (bos, special) == (False, False)
        return [self.pieces.index(letter.encode()) for letter in text]

    def piece(self, token: int) -> bytes:
        return self.pieces[token]


def test_breakers_are_found_wherever_the_borders_of_tokens_fall() -> None:
    assert dry_breakers(Letters(), ["ab"]) == {
        0: {(1,)}, 2: {()}, 3: {(1,)}, 4: {(1,)},
    }  # fmt: skip
    assert dry_breakers(Letters(), ["b", "aé"]) == {
        0: {(5,)}, 1: {()}, 2: {()}, 3: {(5,)}, 4: {(), (5,)},
    }  # fmt: skip
    assert dry_breakers(Letters(), []) == {}


def test_breakers_of_the_bundled_model(loaded: ez.Model) -> None:
    tokenizer = loaded.tokenizer
    found = dry_breakers(tokenizer, ["\n", ":"])
    for token in range(tokenizer.n_vocab):
        piece = tokenizer.piece(token)
        assert (token in found) == (b"\n" in piece or b":" in piece)
