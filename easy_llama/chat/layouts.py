"""Layouts: how the messages of a conversation become text and tokens, by a dictionary or by a whole template.

Both give the same three things: the texts around a message, the text of a conversation, and its tokens, in
which markup of the format is tokens and markup inside a content is plain text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..caller import warn
from ..engine import ChatProvider
from ..errors import FormatError
from ..formats.catalogue import check_format
from ..formats.doctor import check
from ..formats.marks import Marked
from ..formats.shape import Format, Told, accepted, texts_around
from ..formats.thinking import thinking_of
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
    """Messages written one after the other with the texts of a format dictionary.

    ``default`` is the system message of a conversation that begins without one.
    """

    def __init__(self, format: Format, encoder: MessageEncoder, default: str = "") -> None:
        self.format, self.encoder, self._default = format, encoder, default
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
        if self._default and messages and messages[0]["role"] != "system":
            messages = [alone(self, "system", self._default), *messages]
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
        thinking = thinking_of(template.source)
        self._markers = (thinking.start, thinking.end) if thinking else ()
        self.stops: list[str | int] = list(derived.stops)

    def texts(self, role: str, after: Message | None) -> tuple[str, str]:
        """The template knows what stands around a message; the message does not."""
        return "", ""

    def text(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text; see the protocol."""
        return self._written(messages, generate)[1]

    def tokens(self, messages: Sequence[Message], *, generate: bool = True) -> list[int]:
        """Return the tokens; see the protocol.

        The template is rendered a second time with marks in place of the contents, which shows where they
        stand, so that their markup can be kept plain and generated ones keep their tokens.
        """
        if not messages:
            return self.encoder.conversation([])
        given, text = self._written(messages, generate)
        marked = Marked(given, self._markers)
        pieces = marked.cut(self.template.render(marked.messages, generate=generate))
        if "".join(marked.text_of(piece) for piece in pieces) != text:
            return self._tokens_at_once(text, [part for message in given for part in message[1:]])
        generated = {m["content"]: m.generated or [] for m in messages if m["role"] == "bot"}
        return self._tokens_of(marked, pieces, generated)

    def _tokens_of(self, marked: Marked, pieces: list[str], generated: dict[str, list[int]]) -> list[int]:
        """The tokens of markup and contents by turns; ``pieces`` begin and end with markup."""
        tokens: list[int] = []
        markup = pieces[0]
        for mark, after in zip(pieces[1::2], pieces[2::2], strict=True):
            before, body, behind = marked.around(mark)
            known = generated.get(before + body + behind)
            if known and markup.endswith(before) and after.startswith(behind):
                markup, after = markup[: len(markup) - len(before)], after[len(behind) :]
            else:
                known = self.encoder.text(body, special=False)
            tokens += self._markup(markup, first=not tokens) + known
            markup = after
        return tokens + self._markup(markup, first=not tokens)

    def _markup(self, text: str, *, first: bool) -> list[int]:
        return self.encoder.conversation([], text) if first else self.encoder.text(text, special=True)

    def _tokens_at_once(self, text: str, contents: list[str]) -> list[int]:
        """For a template that changes contents: allowed only where no content holds markup."""
        for content in contents:
            if self.encoder.has_markup(content):
                raise FormatError(
                    "a message contains markup of the model, and its chat template changes contents, so the "
                    "markup can't be kept plain; use a format from ez.formats or remove it"
                )
        return self.encoder.conversation([], text)

    def _written(self, messages: Sequence[Message], generate: bool) -> tuple[list[Told], str]:
        """The messages as the template accepts them, and what it writes.

        Some templates reject empty answers. A model that said nothing must not end the conversation, so such
        answers are left out then.
        """
        told: list[Told] = [(m["role"], m["content"], m.thinking) for m in messages]
        given = accepted(told, refuses_system=self._refuses_system)
        try:
            return given, self.template.render(given, generate=generate)
        except FormatError:
            said = [message for message in told if message[0] != "bot" or any(message[1:])]
            if len(said) == len(told):
                raise
        given = accepted(said, refuses_system=self._refuses_system)
        return given, self.template.render(given, generate=generate)


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
        warn(f"{model.name}: {found.text}")


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

    adds_bos = bool(model.tokenizer.encode(""))
    template = ChatTemplate(source, *model.tokenizer.markers(), adds_bos=adds_bos)
    derived = derive(template)
    case = (model.name, source)
    if derived.system == "refused" and case not in _examined:
        _examined.add(case)
        warn(
            f"{model.name}: its chat template refuses system messages, so they are put before the first "
            "user message"
        )
    if derived.format is not None:
        return DictLayout(derived.format, encoder, derived.format["system_prompt"]), derived.format
    return TemplateLayout(template, derived, encoder), None
