"""LlamaTokenizer against expectations nobody here wrote: llama.cpp's own vocabulary tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

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
