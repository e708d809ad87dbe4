"""A format dictionary from a chat template, found by probing it.

The template is rendered with a few short conversations; what stands around the contents gives the
prefixes and suffixes. The result counts only if it then writes the conversations of ``probes`` exactly as
the template does. Where it can't, the template has to be rendered whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..errors import FormatError
from .probes import difference
from .shape import Format, like, make
from .template import ChatTemplate

__all__ = ["Derivation", "derive", "system_role"]

_SYSTEM, _USER, _BOT, _NEXT = "Qsystem1Q", "Quser1Q", "Qbot1Q", "Quser2Q"


@dataclass(frozen=True)
class Derivation:
    """What became of a template.

    ``format`` is None where the template is not regular, and ``reason`` says why. Its ``system_prompt`` is
    what the template writes where no system message comes first. ``system`` is ``"own"`` or ``"refused"``
    (it goes into the first user message, joined by an empty line). ``stops`` are texts that end a turn, also
    where there is no format.
    """

    format: Format | None
    system: str
    reason: str = ""
    stops: tuple[str | int, ...] = ()


class _Irregular(Exception):
    """The template does not write messages one after the other in a fixed way."""


def derive(template: ChatTemplate) -> Derivation:
    """Return the dictionary that writes what ``template`` writes, or why there is none.

    Raises FormatError where the template can't even render a single user message.
    """
    if template.variables:  # they may be anything
        return _derive(template)
    found = _derived(template.source, template.bos, template.eos, template.adds_bos)
    return found if found.format is None else replace(found, format=like(found.format))


@lru_cache(maxsize=16)  # every Thread asks, and the answer depends on nothing else
def _derived(source: str, bos: str, eos: str, adds_bos: bool) -> Derivation:
    return _derive(ChatTemplate(source, bos, eos, adds_bos=adds_bos))


def _derive(template: ChatTemplate) -> Derivation:
    probe = _Probe(template)
    probe.render([("user", _USER)], generate=False)
    system = system_role(template)
    stops: tuple[str | int, ...] = ()
    try:
        format = probe.format(system)
        stops = tuple(format["stops"])
        found = difference(template, format, refuses_system=system == "refused")
        if found:
            raise _Irregular(found)
    except _Irregular as error:
        return Derivation(None, system, str(error), stops)
    return Derivation(format, system, stops=stops)


def system_role(template: ChatTemplate) -> str:
    """How the template takes a system message: ``"own"`` or ``"refused"``."""
    try:
        text = template.body([("system", _SYSTEM), ("user", _USER)], generate=False)
    except FormatError:
        return "refused"
    return "own" if _SYSTEM in text else "refused"


class _Probe:
    """Renders probes without the beginning-of-sequence text that the tokenizer adds."""

    def __init__(self, template: ChatTemplate) -> None:
        self.render = template.body

    def part(self, text: str, start: str, end: str) -> str:
        """Return what stands between two contents, "" for the borders of the text."""
        if (start and text.count(start) != 1) or (end and text.count(end) != 1):
            raise _Irregular("a message is left out or written twice")
        begin = text.index(start) + len(start) if start else 0
        stop = text.index(end) if end else len(text)
        if begin > stop:
            raise _Irregular("the messages change their order")
        return text[begin:stop]

    def format(self, system: str) -> Format:
        """Read the texts around the messages from four conversations."""
        one = self.render([("user", _USER)], generate=False)
        before, user_suffix = self.part(one, "", _USER), self.part(one, _USER, "")
        asked = self.render([("user", _USER)])
        if not asked.startswith(one):
            raise _Irregular("the last user message is written differently")
        bot_prefix = asked[len(one) :]
        three = self.render([("user", _USER), ("bot", _BOT), ("user", _NEXT)], generate=False)
        if self.part(three, _USER, _BOT) != user_suffix + bot_prefix:
            raise _Irregular("past answers are written differently from the one to come")
        bot_suffix, user_prefix = self._between_turns(self.part(three, _BOT, _NEXT))
        if not before.endswith(user_prefix) or self.part(three, _NEXT, "") != user_suffix:
            raise _Irregular("the first user message is written differently")
        preamble = before[: len(before) - len(user_prefix)]
        stop = bot_suffix.strip() or user_prefix.strip()
        made = make(
            ("", ""), (user_prefix, user_suffix), (bot_prefix, bot_suffix), stops=[stop] if stop else []
        )
        self._add_system(made, system, preamble)
        return made

    def _between_turns(self, text: str) -> tuple[str, str]:
        """Split what stands between an answer and the next user message into suffix and prefix."""
        two = self.render([("user", _USER), ("bot", _BOT)], generate=False)
        suffix = self.part(two, _BOT, "")
        if not text.startswith(suffix):
            raise _Irregular("the last answer is written differently from the others")
        return suffix, text[len(suffix) :]

    def _add_system(self, made: Format, system: str, preamble: str) -> None:
        """Set the three system texts, and how the first user message goes on after them."""
        if system == "refused":
            if preamble:
                raise _Irregular("a fixed text stands before the conversation")
            made["system_prefix"], made["system_suffix"] = made["user_prefix"], "\n\n"
            made["user_prefix_after_system"] = ""
            return
        text = self.render([("system", _SYSTEM), ("user", _USER)], generate=False)
        made["system_prefix"] = self.part(text, "", _SYSTEM)
        between = self.part(text, _SYSTEM, _USER)
        if between.endswith(made["user_prefix"]) and made["user_prefix"]:
            made["system_suffix"] = between[: len(between) - len(made["user_prefix"])]
        else:
            made["system_suffix"], made["user_prefix_after_system"] = between, ""
        made["system_prompt"] = self._default_prompt(made, preamble)

    def _default_prompt(self, made: Format, preamble: str) -> str:
        """The system message that the template writes when it is given none."""
        prefix, suffix = made["system_prefix"], made["system_suffix"]
        if not preamble:
            return ""
        whole = preamble.startswith(prefix) and preamble.endswith(suffix)
        if whole and len(preamble) > len(prefix) + len(suffix) and prefix:
            return preamble[len(prefix) : len(preamble) - len(suffix)]
        raise _Irregular("a fixed text stands before the conversation")
