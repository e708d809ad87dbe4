"""Message: one turn of a conversation, as text and as tokens.

A message is a dictionary with ``role``, ``prefix``, ``content`` and ``postfix``. Beside it stand the tokens
that were really evaluated for a generated content, so that the next turn extends the cache exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .engine import Tokenizer
from .errors import PromptError

__all__ = ["ROLES", "Message", "MessageEncoder", "as_message", "check_role"]

ROLES = ("system", "user", "bot")


class Message(dict[str, str]):
    """A message with the text around it.

    - ``generated``: the token ids of a content that the model wrote, None otherwise; they hold for that
      content only, so changing it is safe
    - ``alternatives``: other contents that the model wrote in this place, the shown one included
    - ``pinned``: never dropped when the context overflows
    - ``in_context``: False once it was dropped
    - ``is_summary``: written by ``overflow="summarize"`` in place of dropped messages
    - ``seed``: of the draws of a generated content, None otherwise
    """

    def __init__(self, role: str, prefix: str, content: str, postfix: str) -> None:
        super().__init__(role=role, prefix=prefix, content=content, postfix=postfix)
        self.alternatives: list[str] = []
        self.pinned = False
        self.in_context = True
        self.is_summary = False
        self.seed: int | None = None
        self._generated: tuple[str, list[int]] | None = None

    @property
    def generated(self) -> list[int] | None:
        """The token ids that the model wrote for the present content, or None."""
        if self._generated is None or self._generated[0] != self["content"]:
            return None
        return self._generated[1]

    @generated.setter
    def generated(self, tokens: Sequence[int] | None) -> None:
        self._generated = None if tokens is None else (self["content"], list(tokens))

    def as_string(self) -> str:
        """Return the full text: prefix, content and postfix."""
        return self["prefix"] + self["content"] + self["postfix"]

    def copy(self) -> Message:
        """Return an independent copy."""
        twin = Message(self["role"], self["prefix"], self["content"], self["postfix"])
        twin.alternatives = list(self.alternatives)
        twin.pinned, twin.in_context, twin.is_summary = self.pinned, self.in_context, self.is_summary
        twin.seed, twin._generated = self.seed, self._generated
        return twin


def check_role(role: object) -> str:
    """Return ``role`` in lower case; PromptError unless it is one of the three."""
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise PromptError(f"role must be 'system', 'user' or 'bot'; got {role!r}")
    return role.lower()


def as_message(value: object) -> Message:
    """Return ``value`` as a Message; a plain dict with its four texts is one too."""
    if isinstance(value, Message):
        return value
    keys = ("role", "prefix", "content", "postfix")
    if isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys):
        return Message(check_role(value["role"]), *(value[key] for key in keys[1:]))
    raise PromptError(f"a message needs the texts {', '.join(keys)}; got {value!r:.200}")


class MessageEncoder:
    """Messages to tokens: markup in prefixes and postfixes becomes tokens, in contents it stays text.

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
        n_bos = len(self._bos)
        return tokens[n_bos:] if n_bos and tokens[n_bos : 2 * n_bos] == self._bos else tokens

    def message(self, message: Message, *, first: bool = False) -> list[int]:
        """Return the tokens of one message; ``first`` says that nothing stands before it."""
        generated = message.generated
        prefix, content, postfix = message["prefix"], message["content"], message["postfix"]
        if generated is not None:
            before = self.text(prefix, special=True, first=first)
            return before + generated + self.text(postfix, special=True)
        whole = self.text(prefix + content + postfix, special=True, first=first)
        if self.text(content, special=True) == self.text(content, special=False):
            return whole  # no markup inside: the whole text at once is what the model was trained on
        return (
            self.text(prefix, special=True, first=first)
            + self.text(content, special=False)
            + self.text(postfix, special=True)
        )

    def text(self, text: str, *, special: bool, first: bool = False) -> list[int]:
        """Return the tokens of a text in the middle of a conversation, or at its beginning."""
        if not text:
            return []
        if first or not self._lead:
            return self._get_tokenizer().encode(text, bos=False, special=special)
        return self._get_tokenizer().encode(self._lead + text, bos=False, special=special)[self._n_lead :]
