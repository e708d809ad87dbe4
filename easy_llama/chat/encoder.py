"""MessageEncoder: messages to tokens. Markup around a content becomes tokens, inside it stays text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..engine import Tokenizer
from ..text.pieces import without_doubled
from .message import Message

__all__ = ["MessageEncoder"]


class MessageEncoder:
    """Writes messages for one model.

    ``tokenizer`` returns the tokenizer of the loaded model, which is another one after a reload.
    """

    def __init__(self, tokenizer: Callable[[], Tokenizer]) -> None:
        self._get_tokenizer = tokenizer
        tokenizer_now = tokenizer()
        self._bos = tokenizer_now.encode("", bos=True)
        # tokenizers of the SentencePiece kind put a space before every text; inside a conversation that
        # would double it, so texts are encoded behind a newline, whose tokens are cut off again
        first = tokenizer_now.piece(tokenizer_now.encode("x", bos=False)[0])
        self._lead = "\n" if first.startswith(b" ") else ""
        self._n_lead = len(tokenizer_now.encode(self._lead, bos=False)) if self._lead else 0

    def conversation(self, messages: Sequence[Message], opening: str = "") -> list[int]:
        """Return the tokens of ``messages`` and of ``opening``, the markup before the next reply."""
        tokens = list(self._bos)
        for message in messages:
            tokens += self.message(message, first=len(tokens) == len(self._bos))
        if opening:
            tokens += self.text(opening, special=True, first=len(tokens) == len(self._bos))
        return without_doubled(self._bos, tokens)

    def message(self, message: Message, *, first: bool = False) -> list[int]:
        """Return the tokens of one message; ``first`` says that nothing stands before it."""
        generated = message.generated
        prefix, content, postfix = message["prefix"], message["content"], message["postfix"]
        if generated is not None:
            before = self.text(prefix, special=True, first=first)
            return before + generated + self.text(postfix, special=True)
        if not self.has_markup(content):
            # the whole text at once is what the model was trained on
            return self.text(prefix + content + postfix, special=True, first=first)
        return (
            self.text(prefix, special=True, first=first)
            + self.text(content, special=False)
            + self.text(postfix, special=True)
        )

    def has_markup(self, text: str) -> bool:
        """Whether ``text`` holds what the vocabulary would read as markup."""
        return self.text(text, special=True) != self.text(text, special=False)

    def text(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """Return the tokens of a text in the middle of a conversation, or at its beginning."""
        if not text:
            return []
        if first or not self._lead:
            return self._get_tokenizer().encode(text, bos=False, special=special)
        return self._get_tokenizer().encode(self._lead + text, bos=False, special=special)[self._n_lead :]
