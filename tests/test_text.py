"""Tokens to pieces: whole characters, stop strings across borders, independence of the borders."""

from __future__ import annotations

import codecs
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easy_llama.errors import PromptError
from easy_llama.text.pieces import StopFinder, text_pieces


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut ``data`` at the given places (taken modulo its length)."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def run(pieces: list[bytes], stops: list[str]) -> tuple[list[str], int]:
    """Return the text pieces and how many of ``pieces`` were asked for."""
    asked = 0

    def tokens() -> object:
        nonlocal asked
        for i in range(len(pieces)):
            asked += 1
            yield i

    finder = StopFinder(stops) if stops else None
    out = list(text_pieces(tokens(), pieces.__getitem__, finder))  # type: ignore[arg-type]
    return out, asked


def first_stop(text: str, stops: list[str]) -> str:
    """The slow truth: the text before the earliest occurrence of any stop."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


@given(st.text(), st.lists(st.integers(0, 1000)))
def test_any_byte_split_gives_the_text_back(text: str, cuts: list[int]) -> None:
    pieces, _ = run(split(text.encode(), cuts), [])
    assert "".join(pieces) == text
    assert all(pieces), "an empty piece was shown"


@given(st.binary(), st.lists(st.integers(0, 1000)))
def test_bytes_that_are_not_utf8_become_replacement_characters(data: bytes, cuts: list[int]) -> None:
    pieces, _ = run(split(data, cuts), [])
    assert "".join(pieces) == codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def test_a_character_that_is_cut_off_by_the_end_is_left_out() -> None:
    assert "".join(run([b"a\xe2\x98"], [])[0]) == "a"
    assert "".join(run([b"a\xe2\x98"], ["x"])[0]) == "a"


@given(st.text("abc"), st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_the_stop_that_begins_first_wins_wherever_the_borders_are(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, 100)))
    pieces, _ = run(split(text.encode(), cuts), stops)
    assert "".join(pieces) == first_stop(text, stops)


@given(
    st.text("ab ☃é", max_size=30), st.lists(st.text("ab☃", min_size=1, max_size=3), min_size=1, max_size=3)
)
def test_one_byte_at_a_time(text: str, stops: list[str]) -> None:
    data = text.encode()
    pieces, _ = run([data[i : i + 1] for i in range(len(data))], stops)
    assert "".join(pieces) == first_stop(text, stops)


def test_only_the_possible_beginning_of_a_stop_is_held_back() -> None:
    finder = StopFinder(["<END>", "##"])
    assert finder.push("one <E") == "one "
    assert finder.push("x") == "<Ex"
    assert finder.push(" #") == " "
    assert finder.push("a") == "#a"
    assert finder.push("b<END>c") == "b"
    assert finder.found


def test_what_was_held_is_shown_at_the_end() -> None:
    assert run([b"a", b"<EN"], ["<END>"])[0] == ["a", "<EN"]


def test_a_shorter_stop_inside_a_longer_unfinished_one_counts_at_the_end() -> None:
    assert "".join(run([b"xabc"], ["abcd", "bc"])[0]) == "xa"


def test_no_token_is_asked_for_after_the_stop() -> None:
    pieces, asked = run([b"a", b"st", b"op", b"never"], ["stop"])
    assert (pieces, asked) == (["a"], 3)


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(PromptError, match="empty"):
        StopFinder(["a", ""])


def test_stops_with_characters_that_mean_something_to_a_regular_expression() -> None:
    for stop in ("]", "^", "\\", "-", "[a]", ".*", "a-z"):
        assert "".join(run([f"x{stop}y".encode()], [stop])[0]) == "x", re.escape(stop)
