"""Layouts: how the messages of a conversation become text and tokens, by a dictionary or by a whole template.

Both give the same three things: the texts around a message, the text of a conversation, and its tokens, in
which markup of the format is tokens and markup inside a content is plain text.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..engine import ChatProvider
from ..errors import EasyLlamaWarning, FormatError
from ..formats.doctor import check
from ..formats.shape import Format, accepted, check_format, texts_around
from .encoder import MessageEncoder
from .message import Message

if TYPE_CHECKING:
    from ..formats.derive import Derivation
    from ..formats.template import ChatTemplate

__all__ = ["DictLayout", "Layout", "TemplateLayout", "alone", "layout_of", "rewrite", "warn_of_misfit"]

# what harms every conversation; the doctor's other findings depend on what is written in it
_MISFITS = ("foreign_markup", "whitespace", "differs")
_examined: set[tuple[str, str]] = set()  # (model file, format): a misfit is told once


class Layout(Protocol):
    """The way messages are written for a model."""

    stops: list[str | int]

    def texts(self, role: str, after: Message | None) -> tuple[str, str]:
        """Return prefix and postfix of a message of ``role`` that follows ``after``."""
        ...

    def text(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text of a conversation; ``generate`` ends with what precedes the bot's reply."""
        ...

    def tokens(self, messages: Sequence[Message], *, generate: bool = True) -> list[int]:
        """Return the tokens of that text."""
        ...


class DictLayout:
    """Messages written one after the other with the texts of a format dictionary."""

    def __init__(self, format: Format, encoder: MessageEncoder) -> None:
        self.format, self.encoder = format, encoder
        self.stops: list[str | int] = list(format["stops"])

    def texts(self, role: str, after: Message | None) -> tuple[str, str]:
        """Return prefix and postfix; see the protocol."""
        after_system = after is not None and after["role"] == "system" and bool(after["content"])
        return texts_around(role, self.format, after_system=after_system)

    def text(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text; see the protocol."""
        opening = self.format["bot_prefix"] if generate else ""
        return "".join(message.as_string() for message in self._placed(messages)) + opening

    def tokens(self, messages: Sequence[Message], *, generate: bool = True) -> list[int]:
        """Return the tokens; see the protocol."""
        opening = self.format["bot_prefix"] if generate else ""
        return self.encoder.conversation(self._placed(messages), opening)

    def _placed(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the prefixes that suit their neighbours: the one before may have been dropped."""
        own = {self.format["user_prefix"], self.format.get("user_prefix_after_system", "")}
        placed: list[Message] = []
        for message in messages:
            if message["role"] == "user" and message["prefix"] in own and len(own) > 1:
                prefix, _ = self.texts("user", placed[-1] if placed else None)
                if prefix != message["prefix"]:
                    message = message.copy()
                    message["prefix"] = prefix
            placed.append(message)
        return placed


class TemplateLayout:
    """Messages written by a chat template that no dictionary can replace."""

    def __init__(self, template: ChatTemplate, derived: Derivation, encoder: MessageEncoder) -> None:
        self.template, self.encoder = template, encoder
        self._refuses_system = derived.system == "refused"
        self.stops: list[str | int] = []

    def texts(self, role: str, after: Message | None) -> tuple[str, str]:
        """The template knows what stands around a message; the message does not."""
        return "", ""

    def text(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text; see the protocol."""
        return self.template.render(self._given(messages), generate=generate)

    def tokens(self, messages: Sequence[Message], *, generate: bool = True) -> list[int]:
        """Return the tokens; see the protocol.

        The template is rendered a second time with marks in place of the contents, which shows where they
        stand, so that their markup can be kept plain.
        """
        given = self._given(messages)
        if not given:
            return self.encoder.conversation([])
        contents = [content for _, content in given]
        marks = [f"Qm{i}x{len(given)}Q" for i in range(len(given))]
        marked = [(role, mark) for (role, _), mark in zip(given, marks, strict=True)]
        pieces = _between(self.template.render(marked, generate=generate), marks)
        text = self.template.render(given, generate=generate)
        if pieces is None or _woven(pieces, contents) != text:
            return self._tokens_at_once(text, contents)
        tokens = self.encoder.conversation([], pieces[0])
        for content, markup in zip(contents, pieces[1:], strict=True):
            tokens += self.encoder.text(content, special=False) + self.encoder.text(markup, special=True)
        return tokens

    def _tokens_at_once(self, text: str, contents: list[str]) -> list[int]:
        """For a template that changes contents: allowed only where no content holds markup."""
        for content in contents:
            if self.encoder.has_markup(content):
                raise FormatError(
                    "a message contains markup of the model, and its chat template changes contents, so the "
                    "markup can't be kept plain; use a format from ez.formats or remove it"
                )
        return self.encoder.conversation([], text)

    def _given(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """(role, content) as the template accepts them."""
        pairs = ((message["role"], message["content"]) for message in messages)
        return accepted(pairs, refuses_system=self._refuses_system)


def _between(text: str, marks: list[str]) -> list[str] | None:
    """Cut ``text`` at ``marks``, or return None where one is missing, doubled or out of order."""
    pieces, rest = [], text
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            return None
        pieces.append(before)
    return [*pieces, rest]


def _woven(pieces: list[str], contents: list[str]) -> str:
    return pieces[0] + "".join(a + b for a, b in zip(contents, pieces[1:], strict=True))


def warn_of_misfit(model: ChatProvider, format: Format) -> None:
    """Warn with the doctor's first finding if ``format`` does not fit, once for each model and format.

    A format without any text around the messages is chosen on purpose: no warning.
    """
    texts = {key: value for key, value in format.items() if key not in ("stops", "system_prompt")}
    case = (model.name, json.dumps(texts, sort_keys=True))
    if case in _examined or not any(texts.values()):
        return
    _examined.add(case)
    found = next((finding for finding in check(model, format) if finding.kind in _MISFITS), None)
    if found is not None:
        warnings.warn(f"{model.name}: {found.text}", EasyLlamaWarning, stacklevel=3)


def alone(layout: Layout, role: str, content: str) -> Message:
    """Return a message of ``role`` that nothing stands before."""
    prefix, postfix = layout.texts(role, None)
    return Message(role, prefix, content, postfix)


def rewrite(messages: Sequence[Message], layout: Layout) -> None:
    """Put the texts of ``layout`` around messages that were written for another model."""
    after = None
    for message in messages:
        message["prefix"], message["postfix"] = layout.texts(message["role"], after)
        after = message


def layout_of(
    model: ChatProvider, format: Format | None, encoder: MessageEncoder
) -> tuple[Layout, Format | None]:
    """Return the layout for ``format`` or for the model's own template, and its dictionary if it has one."""
    if format is not None:
        return DictLayout(check_format(format), encoder), format
    source = model.chat_template
    if source is None:
        raise FormatError(
            f"{model.name} has no chat template; give a format, such as ez.formats.chatml "
            "(ez.formats.names() lists all)"
        )
    from ..formats.derive import derive
    from ..formats.template import ChatTemplate

    tokenizer = model.tokenizer
    template = ChatTemplate(source, *tokenizer.markers(), adds_bos=bool(tokenizer.encode("")))
    derived = derive(template)
    case = (model.name, source)
    if derived.system == "refused" and case not in _examined:
        _examined.add(case)
        warnings.warn(
            f"{model.name}: its chat template refuses system messages, so they are put before the first "
            "user message",
            EasyLlamaWarning,
            stacklevel=4,
        )
    if derived.format is not None:
        return DictLayout(derived.format, encoder), derived.format
    return TemplateLayout(template, derived, encoder), None
