"""Message: one turn of a conversation, a dictionary with ``role``, ``prefix``, ``content`` and ``postfix``.

Beside it stands how a reply was made: the tokens that were really evaluated, so that the next turn extends
the cache exactly, and the seed, the settings and what came before, so that it can be had again.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PromptError
from ..samplers.settings import SamplerSettings

__all__ = ["ROLES", "TEXTS", "Made", "Message", "Prompt", "as_message", "check_role"]

ROLES = ("system", "user", "bot")
TEXTS = ("role", "prefix", "content", "postfix")


@dataclass(frozen=True)
class Prompt:
    """What a reply continued: how many tokens, their SHA-256, and which messages were out of the context.

    ``dropped`` holds positions in the thread. The tokens themselves are written anew from the messages; the
    hash tells whether they are the same. ``n_reused`` of them were evaluated before: which tokens go through
    the model together decides on the last bits of the logits.
    """

    n_tokens: int
    sha256: str
    dropped: tuple[int, ...] = ()
    n_reused: int = 0

    @classmethod
    def of(cls, tokens: Sequence[int], dropped: Sequence[int] = ()) -> Prompt:
        """Return what is kept of the prompt ``tokens``."""
        digest = hashlib.sha256(array("q", tokens).tobytes()).hexdigest()
        return cls(len(tokens), digest, tuple(dropped))


@dataclass(frozen=True)
class Made:
    """How the model wrote a reply.

    - ``tokens``: its tokens: first ``n_given`` that were given (a prefix, or a reply that was continued),
      then those that were drawn, last ``n_rest`` for text which a stop string cut out of a token
    - ``answer``: where in ``tokens`` the content begins, behind the thinking; None where no token begins
      there
    - ``thinking``: what the model thought before it answered
    - ``seed``, ``sampler``, ``strategy`` (the name of its class, or ""), ``finish_reason`` (None where it was
      stopped) and ``prompt``: what it takes to draw the tokens again; None where that is not known
    """

    tokens: tuple[int, ...]
    answer: int | None = 0
    n_given: int = 0
    n_rest: int = 0
    thinking: str = ""
    seed: int | None = None
    sampler: SamplerSettings | None = None
    strategy: str = ""
    finish_reason: str | None = None
    prompt: Prompt | None = None

    @property
    def drawn(self) -> tuple[int, ...]:
        """The tokens that were drawn."""
        return self.tokens[self.n_given : len(self.tokens) - self.n_rest]


class Message(dict[str, str]):
    """A message with the text around it; made like a dict, or from the four texts in their order.

    >>> Message({"role": "user", "prefix": "", "content": "Hello", "postfix": ""})["content"]
    'Hello'

    - ``generated``: the token ids of a content that the model wrote, None otherwise; they hold for that
      content only, so changing it is safe. ``made`` tells how it was written
    - ``thinking``: what the model thought before it answered; it is no part of the content
    - ``alternatives``: other contents that the model wrote in this place, the shown one included
    - ``pinned``: never dropped when the context overflows
    - ``in_context``: False once it was dropped
    - ``is_summary``: written by ``overflow="summarize"`` in place of dropped messages
    - ``seed``: of the draws of a generated content, None otherwise
    """

    def __init__(self, *texts: Any, **items: str) -> None:
        if len(texts) == len(TEXTS):
            super().__init__(zip(TEXTS, texts, strict=True), **items)
        else:
            super().__init__(*texts, **items)
        self.alternatives: list[str] = []
        self.pinned = False
        self.in_context = True
        self.is_summary = False
        self.thinking = ""
        self._made: dict[str, Made] = {}

    @property
    def made(self) -> Made | None:
        """How the model wrote the present content, or None."""
        return self._made.get(self.get("content", ""))

    @made.setter
    def made(self, made: Made | None) -> None:
        if made is None:
            self._made.pop(self["content"], None)
        else:
            self._made[self["content"]] = made
            self.thinking = made.thinking

    @property
    def seed(self) -> int | None:
        """The seed that the present content was drawn with, or None."""
        return None if self.made is None else self.made.seed

    @property
    def generated(self) -> list[int] | None:
        """The token ids that the model wrote for the present content, or None."""
        made = self.made
        return None if made is None or made.answer is None else list(made.tokens[made.answer :])

    @generated.setter
    def generated(self, tokens: Sequence[int] | None) -> None:
        self.made = None if tokens is None else Made(tuple(tokens))

    def made_of(self, content: str) -> Made | None:
        """Return how the model wrote ``content``, one of the alternatives, or None."""
        return self._made.get(content)

    def forget_tokens(self) -> None:
        """Forget how everything was made: another model has other tokens."""
        self._made = {}

    def keep_made(self, content: str, made: Made) -> None:
        """Keep how the model wrote ``content``, the present one or an alternative."""
        self._made[content] = made

    def show(self, content: str) -> None:
        """Make ``content``, one of the alternatives, the present one."""
        self["content"] = content
        self.thinking = self.made.thinking if self.made else ""

    def take_place(self, old: Message | None, made: Made | None = None, *, grows: bool = False) -> None:
        """Stand in the place of the reply ``old``, whose contents become alternatives, each of them once.

        Where this one ``grows`` out of what ``old`` shows, that is none of them any more.
        """
        earlier: list[str] = []
        if old is not None:
            shown = old["content"]
            earlier = [*old.alternatives, *([] if shown in old.alternatives else [shown])]
            if grows:
                earlier.remove(shown)
            self._made = {text: old._made[text] for text in earlier if text in old._made}
        self.alternatives = [*(text for text in earlier if text != self["content"]), self["content"]]
        if made is not None:
            self.made = made

    def as_string(self) -> str:
        """Return the full text: prefix, content and postfix."""
        return self["prefix"] + self["content"] + self["postfix"]

    def copy(self) -> Message:
        """Return an independent copy."""
        twin = Message(self)
        twin.alternatives, twin._made = list(self.alternatives), dict(self._made)
        twin.pinned, twin.in_context, twin.is_summary = self.pinned, self.in_context, self.is_summary
        twin.thinking = self.thinking
        return twin

    def state(self) -> tuple[object, ...]:
        """Return everything about it; equal states are equal messages. Nothing in it can change."""
        flags = (self.pinned, self.in_context, self.is_summary, self.thinking)
        kept = {text: self._made.get(text) for text in (self.get("content", ""), *self.alternatives)}
        return (*self.items(), tuple(self.alternatives), tuple(kept.items()), *flags)


def check_role(role: object) -> str:
    """Return ``role`` in lower case; PromptError unless it is one of the three."""
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise PromptError(f"role must be 'system', 'user' or 'bot'; got {role!r}")
    return role.lower()


def as_message(value: object) -> Message:
    """Return ``value`` as a Message; a plain dict with its four texts is one too."""
    if isinstance(value, dict) and all(isinstance(value.get(key), str) for key in TEXTS):
        if isinstance(value, Message) and value["role"] in ROLES:
            return value
        return Message(check_role(value["role"]), *(value[key] for key in TEXTS[1:]))
    raise PromptError(f"a message needs the texts {', '.join(TEXTS)}; got {value!r:.200}")
