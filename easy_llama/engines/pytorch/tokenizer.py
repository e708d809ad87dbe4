"""Tokenizers of other libraries as a Tokenizer: TransformersTokenizer for those of Hugging Face.

Objects are used for what they can do. transformers is imported only to find the tokenizer of a model that
tells its name, on this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from ...checks import check_token, token_ids
from ...engine import Tokenizer
from ...text.pieces import PieceCache, without_doubled

__all__ = ["TransformersTokenizer", "tokenizer_of"]

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"  # how SentencePiece writes a space

Piece = Callable[[str], bytes]


class TransformersTokenizer(Tokenizer):
    """Text to token ids and token ids to bytes, by a Hugging Face tokenizer ``hf``.

    - ``n_vocab``: how many ids the model knows, when it is more than the tokenizer has (rows for padding);
      ids that the tokenizer does not know add no text
    - ``end_tokens``: end tokens of the model; the tokenizer's ``eos_token_id`` is added

    ``piece(token)`` is exact for byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece, with byte fallback
    or without (Llama 2, Gemma, Mistral). For anything else it is what ``hf.decode`` adds after another
    token: right for whole characters, U+FFFD for parts of one.
    """

    def __init__(
        self, hf: Any, *, n_vocab: int | None = None, end_tokens: frozenset[int] = frozenset()
    ) -> None:
        self._hf = hf
        self._n_known = 1 + max(hf.get_vocab().values())  # there may be gaps: len(hf) can be less
        self.n_vocab = max(self._n_known, n_vocab or 0)
        self._ends = end_tokens | ({hf.eos_token_id} - {None})
        self._added: dict[int, Any] = dict(hf.added_tokens_decoder)
        special = {token for token, added in self._added.items() if added.special}
        self._control = frozenset(special | set(hf.all_special_ids))
        # the token for what is unknown is a right answer to plain text; GPT-2's is its end token, too
        self._markup = self._control - ({hf.unk_token_id} - {hf.eos_token_id, hf.bos_token_id})
        self._bytes_of = _rule_of(hf)
        self._pieces = PieceCache(self._read)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._ends

    def markers(self) -> tuple[str, str]:
        """Return the texts of the beginning- and end-of-sequence tokens, "" where there are none."""
        return str(self._hf.bos_token or ""), str(self._hf.eos_token or "")

    # --- text to tokens --------------------------------------------------------------------------------

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of ``text``.

        ``bos`` puts first what the tokenizer puts before every text, if anything, and not twice; nothing is
        put behind it. ``special`` reads markup such as ``<|im_end|>`` as single tokens; otherwise it is
        plain text. Added tokens that are not marked as special (``<tool_call>`` of Qwen) are always read.
        """
        text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates become "?"
        if bos and self._swallows_space and text.startswith(" "):
            text = f" {text}"
        tokens = self._encode(text, add_special_tokens=False, split_special_tokens=not special)
        if not special:
            tokens = [one for token in tokens for one in self._without_markup(token)]
        prefix = self._prefix if bos else []
        return without_doubled(prefix, prefix + tokens)

    @cached_property
    def _swallows_space(self) -> bool:
        """Whether a space is added only where the text has none; SentencePiece itself adds it always, and so
        does llama.cpp: else a first space would be lost."""
        plain, spaced = (self._encode(text, add_special_tokens=False) for text in ("a", " a"))
        return self.adds_space and plain == spaced

    def _encode(self, text: str, **options: bool) -> list[int]:
        tokens: list[int] = self._hf.encode(text, verbose=False, **options)
        return tokens

    @cached_property
    def _prefix(self) -> list[int]:
        """What the tokenizer puts before every text, such as BOS; found by encoding one letter."""
        plain = self._encode("a", add_special_tokens=False)
        full = self._encode("a", add_special_tokens=True)
        for i in range(len(full)):
            if full[i : i + len(plain)] == plain:
                return full[:i]
        return []

    def _without_markup(self, token: int) -> list[int]:
        """Spell a control token that came out of plain text: some vocabularies hold it as a word, too."""
        if token not in self._markup:
            return [token]
        return [one for char in self._hf.convert_ids_to_tokens(token) for one in self._spelled(char)]

    def _spelled(self, char: str) -> list[int]:
        """Return a character as a token of its own, or as its bytes."""
        data = char.encode("utf-8")
        for form in ([char], [_BYTE_LETTERS[byte] for byte in data], [f"<0x{byte:02X}>" for byte in data]):
            tokens = [self._vocab.get(text) for text in form]
            found = [token for token in tokens if token is not None]
            if len(found) == len(form) and b"".join(map(self.piece, found)) == data:
                return found
        return [] if self._hf.unk_token_id is None else [self._hf.unk_token_id]

    @cached_property
    def _vocab(self) -> dict[str, int]:
        return dict(self._hf.get_vocab())

    # --- tokens to text --------------------------------------------------------------------------------

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text: maybe half a character, maybe none."""
        return self._pieces[token]

    def raw_text(self, token: int) -> str:
        """Return what the vocabulary writes for ``token``, "" for ids that the tokenizer does not know."""
        known = check_token(token, self.n_vocab) < self._n_known
        return str(self._hf.convert_ids_to_tokens(token) or "") if known else ""

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of ``tokens``; control tokens add none.

        Where they begin a sequence, with what ``encode`` puts first, the space that it adds goes.
        """
        ids = token_ids(tokens, self.n_vocab)
        data, start = b"".join(map(self.piece, ids)), self._prefix
        begins = start != [] and ids[: len(start)] == start
        return data.removeprefix(b" ") if begins and self.adds_space else data

    @cached_property
    def adds_space(self) -> bool:
        """Whether ``encode`` puts a space before a text that is no part of it."""
        return b"".join(map(self.piece, self._encode("a", add_special_tokens=False))) == b" a"

    def first_tokens(self) -> list[int]:
        """Return what the tokenizer puts before every text, or else its beginning-of-sequence token."""
        bos = self._hf.bos_token_id
        return list(self._prefix) or ([] if bos is None else [bos])

    def is_control(self, token: int) -> bool:
        """Whether ``token`` is markup that adds no text."""
        return check_token(token, self.n_vocab) in self._control

    def _read(self, token: int) -> bytes:
        """Return the bytes of ``token``, asked for the first time."""
        token = check_token(token, self.n_vocab)
        if token in self._control:
            return b""
        if token in self._added and self._bytes_of in (None, _byte_level):
            return str(self._added[token]).encode("utf-8")  # as it stands in the text
        text = self._hf.convert_ids_to_tokens(token) if token < self._n_known else None
        if text is None:  # a row of the model that no token has
            return b""
        return self._bytes_of(text) if self._bytes_of else self._decoded(token)

    def _decoded(self, token: int) -> bytes:
        """What ``token`` adds to the text after another one, as far as ``decode`` shows it."""
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        anchor = self._encode("a", add_special_tokens=False)
        before: str = self._hf.decode(anchor, **options)
        after: str = self._hf.decode([*anchor, token], **options)
        return after[len(before) :].encode("utf-8")


class PlainTokenizer(Tokenizer):
    """Whatever has ``encode(text)`` and ``decode(tokens)``: a token is what ``decode`` adds for a second one.

    Right for whole characters, U+FFFD for parts of one; nothing is known of markup.
    """

    def __init__(self, theirs: Any, n_vocab: int, end_tokens: frozenset[int]) -> None:
        self._theirs, self.n_vocab, self._ends = theirs, n_vocab, end_tokens
        self._pieces = PieceCache(self._read)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end a generation."""
        return self._ends

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of ``text``, with whatever the tokenizer puts around it."""
        return list(map(int, self._theirs.encode(text)))

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` adds to the text."""
        return self._pieces[token]

    def _read(self, token: int) -> bytes:
        if token in self._ends:
            return b""
        one, two = (str(self._theirs.decode([token] * n)) for n in (1, 2))
        return two[len(one) :].encode()


# --- the tokenizer of a model --------------------------------------------------------------------------


def tokenizer_of(model: Any, n_vocab: int, end_tokens: frozenset[int]) -> Tokenizer | None:
    """Return the tokenizer that belongs to a PyTorch model, None where there is none to be found.

    It is the model's attribute ``tokenizer``, or what transformers has for the name in ``model.config``, in
    a folder or in its cache: nothing is fetched, and no code that came with a model is run.
    """
    own = getattr(model, "tokenizer", None)
    if _has_methods(own, "encode", "piece"):
        return cast("Tokenizer", own)  # one of ours
    if not _has_methods(own, "encode", "decode"):
        name = getattr(getattr(model, "config", None), "name_or_path", None)
        own = _known_here(name) if isinstance(name, str) and name else None
    if own is None:
        return None
    if _has_methods(own, "convert_ids_to_tokens", "get_vocab"):
        return TransformersTokenizer(own, n_vocab=n_vocab, end_tokens=end_tokens)
    return PlainTokenizer(own, n_vocab, end_tokens)


def _has_methods(object: Any, *names: str) -> bool:
    return all(callable(getattr(object, name, None)) for name in names)


def _known_here(name: str) -> Any:
    """Return the tokenizer of that name that transformers has on this machine, or None."""
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception:  # not installed, not there, not readable: whatever it raises, there is none
        return None


# --- the rules of vocabularies -------------------------------------------------------------------------


def _rule_of(hf: Any) -> Piece | None:
    """Return how the texts of this vocabulary stand for bytes, None where no rule is known."""
    backend = getattr(hf, "backend_tokenizer", None)
    if backend is not None:
        kinds = {step["type"]: step for step in _steps(backend.decoder)}
        if kinds.keys() == {"ByteLevel"}:
            return _byte_level
        spaces = kinds.get("Metaspace", {}).get("replacement") or _replaced(kinds.get("Replace", {}))
        # Strip and Fuse join the whole text and drop its first space, which is no matter of one token
        if spaces and kinds.keys() <= {"Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}:
            return _sentence_piece(spaces)
        return None
    if hasattr(hf, "byte_decoder"):
        return _byte_level
    return _sentence_piece(_SPACE) if hasattr(hf, "sp_model") else None


def _steps(decoder: Any) -> Iterator[dict[str, Any]]:
    """The steps of a decoder of the tokenizers package, which shows them as JSON."""
    if decoder is None:
        return
    described = json.loads(decoder.__getstate__())
    yield from described["decoders"] if described["type"] == "Sequence" else [described]


def _replaced(step: dict[str, Any]) -> str | None:
    """What a Replace step turns into a space."""
    pattern = step.get("pattern", {}).get("String")
    return pattern if step.get("content") == " " else None


def _sentence_piece(space: str) -> Piece:
    def read(text: str) -> bytes:
        byte = _BYTE.fullmatch(text)
        return bytes([int(byte[1], 16)]) if byte else text.replace(space, " ").encode("utf-8")

    return read


def _byte_level(text: str) -> bytes:
    if not all(char in _LETTER_BYTES for char in text):
        return text.encode("utf-8")
    return bytes(_LETTER_BYTES[char] for char in text)


def _byte_letters() -> list[str]:
    """The letter that byte-level BPE writes for each byte: itself where it is visible, else one from 256 on.

    Source: GPT-2, https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
    """
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


_BYTE_LETTERS = _byte_letters()
_LETTER_BYTES = {letter: byte for byte, letter in enumerate(_BYTE_LETTERS)}
