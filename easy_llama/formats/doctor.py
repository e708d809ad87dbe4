"""The doctor: whether a format fits a model, by the model's vocabulary and its own chat template.

``check`` returns what it found, most serious first, and never raises for what stands in the model's file.
Template and Jinja are loaded when a model is checked, not before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..engine import Tokenizer
from ..errors import FormatError
from .catalogue import check_format, find, names
from .shape import Format, accepted, layout

if TYPE_CHECKING:
    from .template import ChatTemplate

__all__ = ["Finding", "check"]

Messages = list[tuple[str, str]]

_TALK = [("system", "Be brief."), ("user", "One?"), ("bot", "Two."), ("user", "Three?")]
_TEXTS = ("system_prefix", "system_suffix", "user_prefix", "user_suffix", "bot_prefix", "bot_suffix")
# <|im_start|>, </s>, <<SYS>>; [INST], [/INST]; [|user|]
_MARKUP = re.compile(r"<+[^<>\n]+>+|\[/?[A-Z_]+\]|\[\|\w+\|\]")
_OWN = "make the Thread without a format to use the model's own"


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit: a ``kind`` for programs and a ``text`` for people.

    Kinds, most serious first: ``foreign_markup``, ``double_bos``, ``template_broken``, ``whitespace``,
    ``differs``, ``system_lost``, ``opening``, ``unstable_prefix``.
    """

    kind: str
    text: str


class Checkable(Protocol):
    """What of a model the doctor looks at."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary."""
        ...

    @property
    def chat_template(self) -> str | None:
        """Its Jinja template, or None."""
        ...


def check(model: Checkable, format: Format | None) -> list[Finding]:
    """Return what does not fit between ``format`` and ``model``, most serious first; [] if all is well.

    Looks for markup that the vocabulary does not have as tokens, for a doubled beginning-of-sequence
    token, and for differences from the chat template in the model's file, where it has one. None, the
    ``format`` of a Thread whose template is rendered whole, checks the template alone. Raises FormatError
    if ``format`` is no format.

    >>> import easy_llama as ez
    >>> ez.formats.check(ez.Model(), ez.formats.chatml)
    []
    >>> [finding.kind for finding in ez.formats.check(ez.Model(), ez.formats.alpaca)]
    ['differs']
    """
    from .template import ChatTemplate

    if format is not None:
        check_format(format)
    compared: list[Finding] = []
    trained, advice = "", "give a format made for this model's family"
    if model.chat_template is not None:
        template = ChatTemplate(model.chat_template, *model.tokenizer.markers())
        try:
            sample = _Sample(template)
            trained, advice = sample.theirs, sample.advice()
            if format is not None:
                compared += sample.differences(format) or sample.habits(format)
            compared += sample.unstable()
        except FormatError as error:
            compared = [Finding("template_broken", f"{error}; give a format that the model was trained with")]
    if format is None:
        return compared
    return [*_foreign_markup(model, format, trained, advice), *_double_bos(model, format), *compared]


def _foreign_markup(model: Checkable, format: Format, trained: str, advice: str) -> list[Finding]:
    """Markup that is no token, unless the model's own template writes it: some families train it as text."""
    found = [markup for key in _TEXTS for markup in _MARKUP.findall(str(format.get(key)))]
    foreign = [
        markup
        for markup in dict.fromkeys(found)
        if markup not in trained and len(model.tokenizer.encode(markup, bos=False)) != 1
    ]
    if not foreign:
        return []
    names = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
    text = f"the format marks roles with {names}, which this model's vocabulary does not have as tokens, so the model reads them as plain text and may repeat them"
    return [Finding("foreign_markup", f"{text}; {advice}")]


def _double_bos(model: Checkable, format: Format) -> list[Finding]:
    """A beginning-of-sequence text in front, where the tokenizer adds the token itself."""
    bos, _ = model.tokenizer.markers()
    adds = bool(bos) and bool(model.tokenizer.encode(""))
    if not adds or not any(format[key].startswith(bos) for key in ("system_prefix", "user_prefix")):
        return []
    text = f"the format begins with {bos}, which the tokenizer adds as well; easy_llama drops the second one at the beginning, but not before later turns: remove it from the format"
    return [Finding("double_bos", text)]


class _Sample:
    """One conversation as a template writes it, to compare with what a format writes."""

    def __init__(self, template: ChatTemplate) -> None:
        from .derive import system_role

        self.template = template
        self.system = system_role(template)
        self.body = self._render(_TALK, generate=False)
        self.theirs = self._render(_TALK)

    def _render(self, messages: Messages, *, generate: bool = True) -> str:
        """The template's text; a system message that it does not take opens the user's."""
        given = accepted(messages, refuses_system=self.system == "refused")
        return self.template.body(given, generate=generate)

    def _write(self, format: Format, messages: Messages, *, generate: bool = True) -> str:
        text = "".join(a + b + c for a, b, c in layout(messages, format))
        return self.template.without_bos(text + format["bot_prefix"] * generate)

    def differences(self, format: Format) -> list[Finding]:
        """How the format's text of a whole conversation differs from the template's."""
        ours = self._write(format, _TALK)
        if ours == self.theirs:
            return []
        where = _first_difference(self.theirs, ours)
        if "".join(ours.split()) == "".join(self.theirs.split()):
            text = f"the format differs from the model's chat template in spaces or newlines, which costs quality: {where}"
            return [Finding("whitespace", f"{text}; correct them, or {_OWN}")]
        if self._write(format, _TALK, generate=False) == self.body and self.theirs.startswith(self.body):
            opening = self.theirs[len(self.body) :]
            text = f"the model's chat template begins a reply with {opening!r}, the format with {format['bot_prefix']!r}, so a thought or channel may be opened or left out unexpectedly"
            return [Finding("opening", f"{text}; change bot_prefix, or {_OWN}")]
        if self.system == "refused" and self._write(format, _TALK[1:]) == self._render(_TALK[1:]):
            text = "the model's chat template takes no system message, but the format writes one in a way the model was not trained with"
            return [Finding("system_lost", f"{text}; put it into the first user message, or {_OWN}")]
        text = f"the format is not the one that the model was trained with: its chat template writes {where}"
        return [Finding("differs", f"{text}; {self.advice()}")]

    def advice(self) -> str:
        """Which format to take: a named one that writes what the template writes, if there is one."""
        same = [name for name in names() if self._write(find(name), _TALK, generate=False) == self.body]
        name = min(same, key=lambda name: bool(find(name)["system_prompt"]), default=None)
        return f"use ez.formats.{name}, or {_OWN}" if name else _OWN

    def habits(self, format: Format) -> list[Finding]:
        """A default system message of the template that a format without one leaves out."""
        ours, theirs = self._write(format, _TALK[1:]), self._render(_TALK[1:])
        if format["system_prompt"] or ours == theirs or not theirs.endswith(ours):
            return []
        left_out = theirs[: len(theirs) - len(ours)]
        text = f"without a system message the model's chat template writes {_short(left_out)} first, and the format writes nothing"
        return [Finding("system_lost", f"{text}; give it that system_prompt, or begin with a system message")]

    def unstable(self) -> list[Finding]:
        """Whether the template's text of a turn is no beginning of the next turn's."""
        before = self._render(_TALK[:2]) + _TALK[2][1]
        if self.theirs.startswith(before):
            return []
        where = _first_difference(self.theirs, before)
        text = f"the model's chat template writes past turns differently from the newest one ({where})"
        return [
            Finding(
                "unstable_prefix",
                f"{text}, so a Thread without a format evaluates anew from there at every turn",
            )
        ]


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _first_difference(theirs: str, ours: str) -> str:
    shorter = min(len(theirs), len(ours))
    at = next((i for i in range(shorter) if theirs[i] != ours[i]), shorter)
    start = max(0, at - 8)
    return f"{theirs[start : at + 24]!r} and not {ours[start : at + 24]!r}"
