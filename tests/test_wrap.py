"""Lines broken at words, at once and while the text is still coming."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from easy_llama.terminal.screen import Screen
from easy_llama.terminal.wrap import Wrapper


def wrapped(text: str, width: int | None, pieces: list[str] | None = None, indent: int = 0) -> str:
    wrapper = Wrapper(lambda: width, indent)
    return "".join(map(wrapper.push, [text] if pieces is None else pieces)) + wrapper.finish()


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("the farmer came near the field", 12, ["the farmer", "came near", "the field"]),
        ("exactly ten chars wide", 10, ["exactly", "ten chars", "wide"]),
        ("a\n\n  kept indentation here", 12, ["a", "", "  kept", "indentation", "here"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("see " + "x" * 12 + " end", 10, ["see", "x" * 10, "xx end"]),
        ("日本語の文章を折り返す。", 10, ["日本語の文", "章を折り返", "す。"]),
        ("これは「引用」です、はい", 9, ["これは", "「引用」", "です、は", "い"]),
        ("naïve café olé", 10, ["naïve café", "olé"]),
        ("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 4, ["👩‍👩‍👧👩‍👩‍👧", "👩‍👩‍👧"]),
        ("tab\tstop", 8, ["tab", "stop"]),
        ("", 10, [""]),
    ],
)
def test_lines_break_at_words(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width).split("\n") == lines


def test_lines_after_a_break_can_be_indented() -> None:
    text = "  !save   Save the conversation"
    assert wrapped(text, 24, indent=10) == "  !save   Save the\n          conversation"


def test_no_width_changes_nothing() -> None:
    text = "a  b\n" + "x" * 500 + " \t c "
    assert wrapped(text, None) == text


@given(st.text(alphabet="ab  \n\tü日。「」é👍\u200d👩\u0301ก", max_size=80), st.integers(2, 20), st.data())
def test_pieces_give_the_same_lines_and_no_line_is_too_wide(
    text: str, width: int, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = wrapped(text, width)
    assert "".join(wrapped(text, width, pieces).split()) == "".join(text.split()), "nothing but space is lost"
    assert wrapped(text, width, pieces) == whole
    for line in whole.split("\n"):
        if "\t" not in line:
            clusters = 2  # one that is wider than the line stands alone on it
            assert wcswidth(line.rstrip()) <= max(width, clusters)


def test_words_come_as_soon_as_they_are_whole() -> None:
    wrapper = Wrapper(lambda: 20)
    assert [wrapper.push(piece) for piece in ("The ca", "t", " sa", "t.")] == ["The", "", " cat", ""]
    assert wrapper.finish() == " sat."


def test_a_terminal_that_changes_its_width_is_followed_at_the_next_line() -> None:
    widths = iter([30, 8])
    wrapper = Wrapper(lambda: next(widths))
    assert wrapper.push("one two three\nfour five six") + wrapper.finish() == "one two three\nfour\nfive six"


def test_without_a_terminal_lines_stay_whole_and_remarks_go_elsewhere() -> None:
    out, notes = io.StringIO(), io.StringIO()
    screen = Screen(out, notes=notes)
    screen.line("word " * 60)
    screen.note("a remark")
    screen.error("a fault")
    with screen.flow("bot") as flow:
        flow.write("word " * 60)
    assert out.getvalue() == "word " * 60 + "\n" + "word " * 60
    assert notes.getvalue() == "[a remark]\na fault\n"
