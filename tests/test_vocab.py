"""LlamaTokenizer against expectations nobody here wrote: llama.cpp's own vocabulary tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import llama_cpp
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engines.llama.log import collected_log, install_log
from easy_llama.engines.llama.vocab import LlamaTokenizer
from easy_llama.errors import PromptError
from tests.conftest import SHARED

VOCABULARIES = sorted((SHARED / "vocab").glob("*.gguf"))


@pytest.fixture(params=VOCABULARIES, ids=lambda path: path.stem)
def vocabulary(request: pytest.FixtureRequest) -> Iterator[tuple[Path, LlamaTokenizer]]:
    install_log()
    with collected_log():
        llama = llama_cpp.Llama(str(request.param), vocab_only=True, n_ctx=8, n_batch=8, verbose=False)
    yield request.param, LlamaTokenizer(llama)
    llama.close()


def test_token_ids_equal_the_expected_ones(vocabulary: tuple[Path, LlamaTokenizer]) -> None:
    path, tokenizer = vocabulary
    texts = Path(f"{path}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    expected = Path(f"{path}.out").read_text(encoding="utf-8").splitlines()
    assert len(texts) == len(expected)
    for text, line in zip(texts, expected, strict=True):
        assert tokenizer.encode(text, bos=False, special=False) == [int(token) for token in line.split()]


def test_every_piece_is_whole_and_text_comes_back(vocabulary: tuple[Path, LlamaTokenizer]) -> None:
    _, tokenizer = vocabulary
    longest = max((tokenizer.piece(token) for token in range(tokenizer.n_vocab)), key=len)
    assert len(longest) > 8
    for text in ("Hello, world! 123", "é ☃ 👩‍👩‍👧 \n\t  x", "{'a': [1.5, null]}"):
        tokens = tokenizer.encode(text, bos=False, special=False)
        assert tokenizer.decode(tokens).decode().strip() == text.strip()


TEXTS = [
    "", "a", " a", "  a", "a ", " ", "   ", "\n", "\n\n a\n", "\t\tx", "Hello, world! 123",
    "one\ntwo\n\nthree", "日本語のテキスト", " 日本語", "👩‍👩‍👧 emoji 🦙", "é ☃ naïve", "e\u0301",
    "<b>bold</b>", "a <i>b</i>",
    "{'a': [1.5, null]}",
    "\u2581under", "\u200b", "x" * 300, "مرحبا بالعالم", "\u00a0nbsp",
]  # fmt: skip


def test_a_text_comes_back_as_it_was(vocabulary: tuple[Path, LlamaTokenizer]) -> None:
    path, tokenizer = vocabulary
    theirs = Path(f"{path}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    for text in [*TEXTS, *theirs]:
        back = tokenizer.decode(tokenizer.encode(text)).decode()
        if "\u2581" in text and tokenizer.adds_space:
            text = text.replace("\u2581", " ")  # SentencePiece writes a space so: the two are one to it
        assert back == text


@given(st.text(max_size=40))
def test_any_text_comes_back(text: str) -> None:
    assume("\u2581" not in text)
    for tokenizer in loaded_vocabularies():
        tokens = tokenizer.encode(text, special=False)
        assert tokenizer.decode(tokens).decode() == text


@lru_cache
def loaded_vocabularies() -> list[LlamaTokenizer]:
    """Kept until the tests end; [] where the files are not."""
    install_log()
    with collected_log():
        return [
            LlamaTokenizer(llama_cpp.Llama(str(path), vocab_only=True, n_ctx=8, n_batch=8, verbose=False))
            for path in VOCABULARIES
        ]


def test_what_stands_in_the_middle_of_a_text_keeps_its_space(vocabulary: tuple[Path, LlamaTokenizer]) -> None:
    _, tokenizer = vocabulary
    whole = tokenizer.encode("one two three")
    n = len(tokenizer.encode("one"))
    assert tokenizer.decode(whole[n:]) == b" two three"
    assert b"".join(tokenizer.decode([token]) for token in whole[n:]) == b" two three"
    assert tokenizer.decode(whole[:n]) == b"one"


def test_markup_is_text_unless_asked_for(vocabulary: tuple[Path, LlamaTokenizer]) -> None:
    _, tokenizer = vocabulary
    ends = [token for token in tokenizer.end_tokens if tokenizer.is_control(token)]
    assert ends
    for token in ends:
        markup = tokenizer.decode([token], special=True).decode()
        assert tokenizer.encode(markup, bos=False) == [token]
        assert token not in tokenizer.encode(markup, bos=False, special=False)
        assert tokenizer.decode([token]) == b""


def test_ids_outside_the_vocabulary_are_refused(model: ez.Model) -> None:
    for token in (-1, 1024, 10**12):
        with pytest.raises(PromptError, match=str(token)):
            model.tokenizer.piece(token)
        with pytest.raises(PromptError):
            model.tokenizer.is_control(token)
