"""LlamaTokenizer: the vocabulary of a loaded GGUF, without the limits of ``Llama.tokenize``.

Facts behind it: ``Llama.tokenize`` allocates by the trained context on every call, and
``Llama.detokenize`` drops pieces longer than 32 bytes; both are replaced here.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any

import llama_cpp
from llama_cpp import Llama

from ...checks import check_token, token_ids
from ...engine import Tokenizer
from ...errors import ModelUnloadedException
from ...text.pieces import PieceCache, without_doubled
from .handles import model_handle, vocab_handle

__all__ = ["LlamaTokenizer"]

_NO_TOKEN = -1
_SPECIAL = {
    "bos": llama_cpp.llama_vocab_bos,
    "eos": llama_cpp.llama_vocab_eos,
    "eot": llama_cpp.llama_vocab_eot,
    "nl": llama_cpp.llama_vocab_nl,
    "sep": llama_cpp.llama_vocab_sep,
    "cls": llama_cpp.llama_vocab_cls,
    "pad": llama_cpp.llama_vocab_pad,
    "mask": llama_cpp.llama_vocab_mask,
    "fim_pad": llama_cpp.llama_vocab_fim_pad,
    "fim_rep": llama_cpp.llama_vocab_fim_rep,
    "fim_sep": llama_cpp.llama_vocab_fim_sep,
    "fim_pre": llama_cpp.llama_vocab_fim_pre,
    "fim_mid": llama_cpp.llama_vocab_fim_mid,
    "fim_suf": llama_cpp.llama_vocab_fim_suf,
}


def _vocab_of(llama: Llama) -> Any:
    if model_handle(llama) is None:
        raise ModelUnloadedException("the model was unloaded; call load() before using it again")
    return vocab_handle(llama)


def _read_piece(llama: Llama, token: int, *, special: bool = False) -> bytes:
    vocab = _vocab_of(llama)
    check_token(token, llama.n_vocab())
    size = 64
    while True:
        buffer = ctypes.create_string_buffer(size)
        n: int = llama_cpp.llama_token_to_piece(vocab, token, buffer, size, 0, special)
        if n >= 0:
            return buffer.raw[:n]
        size = -n


def _locked_piece(llama: Llama, lock: AbstractContextManager[object], token: int) -> bytes:
    with lock:
        return _read_piece(llama, token)


class LlamaTokenizer(Tokenizer):
    """Text to token ids and token ids to bytes, for one loaded model.

    ``piece(token)`` returns the bytes a token adds to the text; control tokens such as ``<|im_end|>``
    add none. ``lock`` is held during calls into libllama; it is the engine's, so that a model is not
    unloaded under them.
    """

    def __init__(self, llama: Llama, lock: AbstractContextManager[object] | None = None) -> None:
        self._llama = llama
        self._lock = lock or threading.RLock()
        self.n_vocab = llama.n_vocab()
        # of the Llama and not of self: a cycle would keep the model in memory until the collector runs
        self._pieces = PieceCache(partial(_locked_piece, llama, self._lock))

    @property
    def _vocab(self) -> Any:
        return _vocab_of(self._llama)

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of ``text``.

        ``bos`` lets the model put its beginning-of-sequence token first (many do, some do not);
        ``special`` reads markup such as ``<|im_end|>`` as single tokens, otherwise as plain text.
        """
        data = text.encode("utf-8", "replace")  # lone surrogates become "?"
        size = len(data) + 2
        while True:
            buffer = (llama_cpp.llama_token * size)()
            with self._lock:
                n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, size, bos, special)
            if n >= 0:
                return without_doubled(self._start, buffer[:n]) if bos else buffer[:n]
            size = -n

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text: maybe half a character, maybe none."""
        return self._pieces[token]

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Return the bytes of ``tokens``, without the space that ``encode`` adds at the beginning of a
        sequence; ``special`` writes control tokens out as text, and spaces as they are."""
        ids = token_ids(tokens, self.n_vocab)
        with self._lock:
            _vocab_of(self._llama)  # raises when the model is gone, also where all pieces are known
            if special:
                return b"".join(_read_piece(self._llama, token, special=True) for token in ids)
            data = b"".join(map(self.piece, ids))
        begins = self._start != [] and ids[:1] == self._start
        return data.removeprefix(b" ") if begins and self.adds_space else data

    @cached_property
    def adds_space(self) -> bool:
        """Whether ``encode`` puts a space before a text that is no part of it."""
        return b"".join(map(self.piece, self.encode("a", bos=False))) == b" a"

    def first_tokens(self) -> list[int]:
        """Return the beginning-of-sequence token, also where texts are not begun with it; [] without one."""
        return self.encode("") or list(self._start)

    @cached_property
    def _start(self) -> list[int]:
        """The beginning-of-sequence token, which templates write, too."""
        bos = self.special_token("bos")
        return [] if bos is None else [bos]

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """All tokens that end a generation: end of sequence, of turn, of message."""
        with self._lock:
            is_end, vocab = llama_cpp.llama_vocab_is_eog, self._vocab
            return frozenset(token for token in range(self.n_vocab) if is_end(vocab, token))

    @cached_property
    def texts(self) -> list[str]:
        """The raw vocabulary text of every token, such as ``Ġmeow`` or ``▁me``."""
        with self._lock:
            read, vocab = llama_cpp.llama_vocab_get_text, self._vocab
            return [read(vocab, token).decode("utf-8", "replace") for token in range(self.n_vocab)]

    def raw_text(self, token: int) -> str:
        """Return what the vocabulary writes for ``token``."""
        check_token(token, self.n_vocab)
        with self._lock:
            raw: bytes = llama_cpp.llama_vocab_get_text(self._vocab, token)
        return raw.decode("utf-8", "replace")

    def special_token(self, name: str) -> int | None:
        """Return the id of ``bos``, ``eos``, ``eot``, ``nl``, ``sep``, ``cls``, ``pad``, ``mask`` or of a
        ``fim_`` token (pre, mid, suf, pad, rep, sep); None where the model has none."""
        with self._lock:
            token: int = _SPECIAL[name](self._vocab)
        return None if token == _NO_TOKEN else token

    def markers(self) -> tuple[str, str]:
        """Return the texts of the beginning- and end-of-sequence tokens, "" where there are none."""
        found = (self.special_token("bos"), self.special_token("eos"))
        bos, eos = ("" if t is None else self.decode([t], special=True).decode() for t in found)
        return bos, eos

    def is_control(self, token: int) -> bool:
        """Whether ``token`` is markup that adds no text."""
        check_token(token, self.n_vocab)
        with self._lock:
            return bool(llama_cpp.llama_vocab_is_control(self._vocab, token))
