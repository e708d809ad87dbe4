"""Conversations that tell whether a dictionary writes what a chat template writes, byte for byte.

Among them is what templates treat specially: thinking in past answers, white space around contents, empty
contents, markup of tools, whatever texts the template's own code mentions, and no system message at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..errors import FormatError
from .shape import Format, Told, accepted, layout
from .template import ChatTemplate, TemplateRefusal

__all__ = ["difference", "with_default"]

Pairs = list[tuple[str, str]]

_SYSTEM = ("system", "Be brief.\nBe kind.")
_TURNS = [
    ("user", "One?\n\nTwo."), ("bot", "Three: {4}"), ("user", "5"), ("bot", "Six\n7"), ("user", "8"),
]  # fmt: skip
_SPACED = [
    ("user", "  a\n"), ("bot", " b \n\n"), ("user", "\n\tc "), ("bot", "\n\nd\t"), ("user", "e\n"), ("bot", "f "),
]  # fmt: skip
_EMPTY = [("user", ""), ("bot", ""), ("user", "a"), ("bot", ""), ("user", ""), ("bot", "b"), ("user", "c")]
_BLANK = [("user", " "), ("bot", "\n"), ("user", "\n\n"), ("bot", " \t"), ("user", "a")]
_MIDDLE = [*_TURNS[:2], ("system", "Be kind."), *_TURNS[2:]]
# what models write and templates look for; the texts in the template's own code come on top
_MARKUP = (
    "<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>analysis<|message|>", "<tool_call>",
    "</tool_call>", "<tool_response>", "</tool_response>", "[TOOL_CALLS]", '{"name": "f", "arguments": {}}',
    "{{ a }}{% b %}{# c #}", "<&>\"'\\", "\r\n", "\u00a0é漢😀\u2028", "/think", "/no_think",
)  # fmt: skip
_LONGEST = 60  # characters of a text in the template's code that is tried in contents


@dataclass(frozen=True)
class _Probe:
    """A conversation, what a difference in it is called, and whether the template may reject it.

    Where it may, a rejection is no difference: there is no text to differ from.
    """

    messages: Pairs
    words: str
    may_be_rejected: bool = False


def difference(template: ChatTemplate, format: Format, *, refuses_system: bool) -> str:
    """Return what ``format`` writes differently from ``template``, "" where every probe came out the same."""
    theirs = _Theirs(template, refuses_system)
    probe = next((probe for probe in _probes(template) if theirs.differ(probe, format)), None)
    if probe is not None:
        return probe.words
    if theirs.write_thinking():
        return "thinking is written into past answers"
    return "the time of day is written" if theirs.tell_time() else ""


def with_default(messages: Sequence[tuple[str, str]], prompt: str) -> Pairs:
    """Return ``messages`` behind the system message ``prompt``, unless they begin with one or there is none.

    It's what templates with a default system message do.
    """
    is_missing = bool(prompt and messages) and messages[0][0] != "system"
    return [("system", prompt), *messages] if is_missing else list(messages)


class _Theirs:
    """What the template writes."""

    def __init__(self, template: ChatTemplate, refuses_system: bool) -> None:
        self._template, self._refuses_system = template, refuses_system

    def _write(self, messages: Sequence[Told]) -> tuple[str, str]:
        """The text of a conversation, and the same with what precedes a reply."""
        given = accepted(messages, refuses_system=self._refuses_system)
        return self._template.body(given, generate=False), self._template.body(given)

    def differ(self, probe: _Probe, format: Format) -> bool:
        """Whether the dictionary writes another text."""
        pairs = with_default(probe.messages, format["system_prompt"])
        ours = "".join(a + b + c for a, b, c in layout(pairs, format))
        try:
            return self._write(probe.messages) != (ours, ours + format["bot_prefix"])
        except TemplateRefusal:
            return not probe.may_be_rejected
        except FormatError:
            return True

    def write_thinking(self) -> bool:
        """Whether what the bot thought, given under the template's keys, is in the text."""
        if not self._template.thinking_keys:
            return False
        without: list[Told] = [("user", "a"), ("bot", "b"), ("user", "c"), ("bot", "d")]
        thinking: list[Told] = [("user", "a"), ("bot", "b", "e"), ("user", "c"), ("bot", "d", "f")]
        return self._write(without) != self._write(thinking) or self._write(without[:3]) != self._write(
            thinking[:3]
        )

    def tell_time(self) -> bool:
        """Whether the text is another one at another time."""
        if "strftime_now" not in self._template.source:
            return False

        def later(layout: str) -> str:
            return (datetime.now() + timedelta(days=3650)).strftime(layout)

        template = self._template
        variables = {**template.variables, "strftime_now": later}
        other = _Theirs(
            ChatTemplate(template.source, template.bos, template.eos, variables, adds_bos=template.adds_bos),
            False,
        )
        turn: list[Told] = [("user", "a"), ("bot", "b"), ("user", "c")]
        return self._write(turn) != other._write(turn)


def _probes(template: ChatTemplate) -> Iterator[_Probe]:
    """The conversations, those that tell most templates first."""
    yield _Probe([_SYSTEM, *_TURNS], "longer conversations are written differently")
    yield _Probe(list(_TURNS), "a conversation without a system message is written differently")
    yield _Probe(_TURNS[:4], "a conversation that ends with an answer is written differently")
    yield _Probe([("system", "\n Be kind. \n"), *_SPACED], "white space around contents is changed")
    yield _Probe(list(_EMPTY), "empty messages are written differently", may_be_rejected=True)
    yield _Probe(list(_BLANK), "blank messages are written differently", may_be_rejected=True)
    yield _Probe(list(_MIDDLE), "later system messages are written differently", may_be_rejected=True)
    thought = [("user", "a"), ("bot", "<think>\nb\n</think>\n\nc"), ("user", "d"), ("bot", "e</think>f")]
    yield _Probe([*thought, ("user", "g")], "thinking in past answers is changed")
    own = (text for text in template.literals() if text.strip() and len(text) <= _LONGEST)
    found = list(dict.fromkeys((*_MARKUP, *own)))
    for content in ("{}a", "a{}", "a {} b", "{}"):
        texts = [content.replace("{}", text) for text in found]
        turns = [(role, text) for text in texts for role in ("user", "bot")]
        yield _Probe([("system", " ".join(texts).strip()), *turns], "markup in contents is changed")
