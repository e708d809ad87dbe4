"""Message: one turn of a conversation, a dictionary with ``role``, ``prefix``, ``content`` and ``postfix``.

Beside it stand the tokens that were really evaluated for a generated content, so that the next turn extends
the cache exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PromptError

__all__ = ["ROLES", "TEXTS", "Message", "as_message", "check_role"]

ROLES = ("system", "user", "bot")
TEXTS = ("role", "prefix", "content", "postfix")


class Message(dict[str, str]):
    """A message with the text around it.

    - ``generated``: the token ids of a content that the model wrote, None otherwise; they hold for that
      content only, so changing it is safe
    - ``alternatives``: other contents that the model wrote in this place, the shown one included
    - ``pinned``: never dropped when the context overflows
    - ``in_context``: False once it was dropped
    - ``is_summary``: written by ``overflow="summarize"`` in place of dropped messages
    - ``seed``: of the draws of a generated content, None otherwise
    - ``thinking``: what the model thought before it wrote the content, "" if nothing
    """

    def __init__(self, role: str, prefix: str, content: str, postfix: str) -> None:
        super().__init__(role=role, prefix=prefix, content=content, postfix=postfix)
        self.alternatives: list[str] = []
        self.pinned = False
        self.in_context = True
        self.is_summary = False
        self.seed: int | None = None
        self._generated: tuple[str, tuple[int, ...]] | None = None
        self.thinking = ""

    @property
    def generated(self) -> list[int] | None:
        """The token ids that the model wrote for the present content, or None."""
        if self._generated is None or self._generated[0] != self["content"]:
            return None
        return list(self._generated[1])

    @generated.setter
    def generated(self, tokens: Sequence[int] | None) -> None:
        self._generated = None if tokens is None else (self["content"], tuple(tokens))

    def as_string(self) -> str:
        """Return the full text: prefix, content and postfix."""
        return self["prefix"] + self["content"] + self["postfix"]

    def copy(self) -> Message:
        """Return an independent copy."""
        twin = Message(*(self[text] for text in TEXTS))
        twin.alternatives = list(self.alternatives)
        twin.pinned, twin.in_context, twin.is_summary = self.pinned, self.in_context, self.is_summary
        twin.seed, twin._generated, twin.thinking = self.seed, self._generated, self.thinking
        return twin

    def state(self) -> tuple[object, ...]:
        """Return everything about it; equal states are equal messages. Nothing in it can change."""
        is_valid = self._generated is not None and self._generated[0] == self["content"]
        flags = (self.pinned, self.in_context, self.is_summary, self.seed, self.thinking)
        generated = self._generated if is_valid else None
        return (*self.items(), generated, tuple(self.alternatives), *flags)


def check_role(role: object) -> str:
    """Return ``role`` in lower case; PromptError unless it is one of the three."""
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise PromptError(f"role must be 'system', 'user' or 'bot'; got {role!r}")
    return role.lower()


def as_message(value: object) -> Message:
    """Return ``value`` as a Message; a plain dict with its four texts is one too."""
    if isinstance(value, Message):
        return value
    if isinstance(value, dict) and all(isinstance(value.get(key), str) for key in TEXTS):
        return Message(check_role(value["role"]), *(value[key] for key in TEXTS[1:]))
    raise PromptError(f"a message needs the texts {', '.join(TEXTS)}; got {value!r:.200}")
