"""Hugging Face tokenizers as Tokenizers: exact bytes, no markup out of plain text. All made in memory."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

from easy_llama import AntiSlopStrategy, BacktrackSampler
from easy_llama.engines.pytorch.tokenizer import TransformersTokenizer
from easy_llama.errors import PromptError, SettingsError
from easy_llama.generation.providers import TransformersProvider
from tests.conftest import SHARED
from tests.toys import Plain

from .models import llama

CORPUS = ["Hello world, hello there. The owl's house: 12 trees!", "naïve café, ünïcödé, 日本語"] * 3
MARKUP = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_level(*, bos: bool = False, ends: bool = False) -> Any:
    """As GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=MARKUP, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("▁é日", special=False)])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>" if ends else "<s> $A", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def sentence_piece() -> Any:
    """As Llama 2 has it: spaces are written out, and what is no piece becomes bytes."""
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>"])}
    for text in [f"<0x{byte:02X}>" for byte in range(256)] + list("▁Helowrdé") + ["ll", "▁w", "▁▁"]:
        vocab[text] = len(vocab)
    merges = [("l", "l"), ("▁", "w"), ("▁", "▁")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def unigram() -> Any:
    """As T5 and XLM have it; its vocabulary holds the markup as pieces, so plain text can hit it."""
    words = ["<unk>", "<s>", "</s>", "▁", *"<>/sabc", "▁ab"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def word_piece() -> Any:
    """As BERT has it: no rule says what its tokens add."""
    vocab = {"[UNK]": 0, "[SEP]": 1, "a": 2, "play": 3, "##ing": 4, "é": 5}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[SEP]", unk_token="[UNK]")


class Slow(PreTrainedTokenizer):
    """A tokenizer in Python with GPT-2's letters for bytes."""

    def __init__(self) -> None:
        self._ids = {text: token for token, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        self._texts = {token: text for text, token in self._ids.items()}
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._letters = letters
        self.byte_decoder: dict[str, int] = {}  # what tells that its texts are such letters
        super().__init__(eos_token="</s>")

    @property
    def vocab_size(self) -> int:
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(self._letters.pre_tokenize_str(text)[0][0]) if text else []

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids[token]

    def _convert_id_to_token(self, index: int) -> str | None:
        return self._texts.get(index)


BYTE_LEVEL = TransformersTokenizer(byte_level())
SENTENCE_PIECE = TransformersTokenizer(sentence_piece())
SLOW = TransformersTokenizer(Slow())


# --- tokens to bytes -------------------------------------------------------------------------------------


@given(st.text())
def test_byte_level_pieces_are_the_bytes_of_the_text(text: str) -> None:
    data = text.encode("utf-8", "replace")
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text, special=False)) == data
    assert SLOW.decode(SLOW.encode(text, special=False)) == data


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_sentence_pieces_are_the_bytes_of_the_text_with_its_space_in_front(text: str) -> None:
    tokens = SENTENCE_PIECE.encode(text, bos=False, special=False)
    assert SENTENCE_PIECE.decode(tokens).decode() == " " + text.replace("▁", " ")


def test_every_byte_has_a_piece() -> None:
    for tokenizer in (BYTE_LEVEL, SENTENCE_PIECE, SLOW):
        single = {tokenizer.piece(token) for token in range(tokenizer.n_vocab)}
        assert {bytes([byte]) for byte in range(256)} <= single


def test_pieces_of_half_a_character_are_bytes() -> None:
    tokens = SENTENCE_PIECE.encode("日", bos=False)
    assert [SENTENCE_PIECE.piece(token) for token in tokens] == [b" ", b"\xe6", b"\x97", b"\xa5"]
    assert SENTENCE_PIECE.piece(sentence_piece().convert_tokens_to_ids("▁▁")) == b"  "


def test_control_tokens_add_nothing_and_other_added_tokens_their_text() -> None:
    hf = byte_level()
    tokenizer = TransformersTokenizer(hf)
    for text in MARKUP:
        assert tokenizer.piece(hf.convert_tokens_to_ids(text)) == b""
        assert tokenizer.is_control(hf.convert_tokens_to_ids(text))
    for text in ("<tool_call>", "▁é日"):
        assert tokenizer.piece(hf.convert_tokens_to_ids(text)) == text.encode()
        assert not tokenizer.is_control(hf.convert_tokens_to_ids(text))


def test_rows_of_the_model_that_no_token_has_add_nothing() -> None:
    tokenizer = TransformersTokenizer(byte_level(), n_vocab=400)
    assert tokenizer.n_vocab == 400
    assert tokenizer.decode([399, *tokenizer.encode("a")]) == b"a"
    for wrong in (400, -1, "a"):
        with pytest.raises(PromptError, match="token id"):
            tokenizer.decode([wrong])  # type: ignore[list-item]  # the point of the test


def test_other_vocabularies_are_decoded_after_another_token() -> None:
    tokenizer = TransformersTokenizer(word_piece())
    assert [tokenizer.piece(token) for token in range(6)] == [
        b"",
        b"",
        b" a",
        b" play",
        b"ing",
        " é".encode(),
    ]
    assert TransformersTokenizer(unigram()).decode([11, 3, 8]) == b" ab a"


# --- text to tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [byte_level, sentence_piece, unigram, Slow])
def test_markup_is_read_only_when_it_is_asked_for(make: Any) -> None:
    tokenizer = TransformersTokenizer(make())
    end = tokenizer.encode("</s>", bos=False)
    assert make().eos_token_id in end
    for text in ("</s>", "a</s>b </s></s>"):
        plain = tokenizer.encode(text, special=False)
        assert not any(map(tokenizer.is_control, plain[1:]))  # the first may be BOS
        assert tokenizer.decode(plain).strip() == text.encode()
    assert tokenizer.encode("</s>", bos=False) == end


def test_markup_of_chats_is_plain_text_too() -> None:
    tokens = BYTE_LEVEL.encode("<|im_end|>", special=False)
    assert len(tokens) > 1
    assert BYTE_LEVEL.decode(tokens) == b"<|im_end|>"
    assert BYTE_LEVEL.encode("<|im_end|>") == [3]


def test_bos_is_put_first_where_the_tokenizer_does_and_never_twice() -> None:
    plain = BYTE_LEVEL.encode("Hello", bos=False)
    assert BYTE_LEVEL.encode("Hello") == plain
    for hf in (byte_level(bos=True), byte_level(bos=True, ends=True)):  # no end token behind a prompt
        tokenizer = TransformersTokenizer(hf)
        assert tokenizer.encode("Hello") == [0, *plain]
        assert tokenizer.encode("<s>Hello") == [0, *plain]
        assert tokenizer.encode("") == [0]
        assert tokenizer.encode("Hello", bos=False) == plain
        assert tokenizer.encode("<s>", special=False)[0] == 0
        assert 0 not in tokenizer.encode("<s>", special=False)[1:]
    assert SENTENCE_PIECE.encode("Hell")[0] == 1


def test_lone_surrogates_are_no_error() -> None:
    for tokenizer in (BYTE_LEVEL, SENTENCE_PIECE, SLOW):
        assert tokenizer.decode(tokenizer.encode("a\ud800", bos=False)).strip() == b"a?"


def test_end_tokens_are_those_of_tokenizer_and_model() -> None:
    assert BYTE_LEVEL.end_tokens == {1}
    assert TransformersTokenizer(byte_level(), end_tokens=frozenset({3})).end_tokens == {1, 3}
    nothing = PreTrainedTokenizerFast(tokenizer_object=byte_level().backend_tokenizer)
    assert TransformersTokenizer(nothing).end_tokens == frozenset()


# --- the provider ----------------------------------------------------------------------------------------


def test_a_provider_has_what_strategies_need() -> None:
    model = llama()
    model.resize_token_embeddings(400)
    provider = TransformersProvider(model, byte_level(bos=True), "cpu")
    assert provider.tokenizer.n_vocab == provider.engine.n_vocab == 400
    assert provider.tokenizer.end_tokens == {1, 2}  # 2 is the model's
    tokens = provider.encode("Hello </s>")
    assert tokens[0] == 0
    assert tokens[-1] == 1
    assert provider.decode(tokens) == "Hello "
    assert provider.decode(provider.encode("Hello </s>", add_special_tokens=False)) == "Hello </s>"
    assert provider.decode(provider.encode("é", add_special_tokens=False)[:1] + tokens[-1:]) in ("é", "�")
    free = list(BacktrackSampler(provider, Plain()).generate("Hello", max_new_tokens=5, temperature=0))
    banned = provider.decode(free[:1])
    strategy = AntiSlopStrategy(provider, [banned])
    other = list(BacktrackSampler(provider, strategy).generate("Hello", max_new_tokens=5, temperature=0))
    assert len(other) == 5
    assert other[0] != free[0]


def test_what_is_no_tokenizer_is_refused() -> None:
    for wrong in (None, "gpt2", SimpleNamespace(encode=json.dumps)):
        with pytest.raises(SettingsError, match="tokenizer must be"):
            TransformersProvider(llama(), wrong)


# --- a text comes back as it was -------------------------------------------------------------------------

TEXTS = [
    "",
    "a",
    " a",
    "  a",
    " ",
    "   ",
    "\n",
    "\n a\n",
    "Hello world",
    "日本語",
    " 日",
    "👩‍👩‍👧 e\u0301",
    "<b>x</b>",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [lambda: byte_level(bos=True), sentence_piece])
def test_a_text_comes_back_as_it_was(make: Any, text: str) -> None:
    tokenizer = TransformersTokenizer(make())
    assert tokenizer.decode(tokenizer.encode(text)).decode() == text


@pytest.mark.parametrize("path", sorted((SHARED / "vocab").glob("*.gguf")), ids=lambda path: path.stem)
def test_real_vocabularies_give_texts_back(path: Any) -> None:
    """Also as transformers reads them from a GGUF file, where it adds a space only where there is none."""
    tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)).decode() == text, text


def test_a_piece_of_a_text_keeps_its_space() -> None:
    tokenizer = TransformersTokenizer(sentence_piece())
    assert tokenizer.adds_space
    whole = tokenizer.encode("Hello world")
    n = len(tokenizer.encode("Hello"))
    assert tokenizer.decode(whole[:n]) == b"Hello"
    assert tokenizer.decode(whole[n:]) == b" world"
    assert tokenizer.first_tokens() == [1]
    assert TransformersTokenizer(unigram()).first_tokens() == [1], "also where texts are not begun with it"


def test_what_is_no_list_of_tokens_is_refused() -> None:
    tokenizer = TransformersTokenizer(sentence_piece())
    wrong: Any
    for wrong in (5, None, "abc", [1.5], [-1], [10**6]):
        with pytest.raises(PromptError):
            tokenizer.decode(wrong)
