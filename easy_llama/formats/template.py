"""Chat templates from model files: Jinja, rendered as data and with limits.

A template runs in Jinja's immutable sandbox; its output is limited in size and its rendering in time.
Names and filters are those of transformers, which templates are written for: ``tools`` and ``documents``
(None), ``raise_exception``, ``strftime_now``, ``tojson``, loop controls and ``{% generation %}``.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import FormatError
from .shape import ROLE_NAMES, Told, parts_of

__all__ = ["ChatTemplate", "TemplateRefusal"]

MAX_SECONDS = 2.0
MAX_GROWTH = 1_000_000  # characters that a template may add to the messages

# where templates look for what a bot thought; the last two are parts of its content
_THINKING_KEYS = (
    "reasoning_content", "reasoning", "thinking", "thought", "content.thinking", "content.thoughts",
)  # fmt: skip
_PROBE = "Qthought1Q"


class TemplateRefusal(FormatError):
    """The template itself raised: it rejects a role or an order of messages."""


class ChatTemplate:
    """A chat template with the texts of its beginning- and end-of-sequence tokens.

    ``adds_bos`` says that the tokenizer writes the beginning-of-sequence token itself. ``variables`` are given
    to the template beside the messages: ``tools``, ``documents``, ``functions``, ``enable_thinking`` and
    whatever else it asks for. Compiled at its first use, so that a broken one troubles only who needs it.
    """

    def __init__(
        self,
        source: str,
        bos: str = "",
        eos: str = "",
        variables: Mapping[str, object] | None = None,
        *,
        adds_bos: bool = True,
    ) -> None:
        self.source, self.bos, self.eos, self.adds_bos = source, bos, eos, adds_bos
        self.variables = dict(variables or {})
        self._absent: Mapping[str, object] = {"tools": None, "documents": None}

    @cached_property
    def thinking_keys(self) -> tuple[str, ...]:
        """The keys of a bot message under which the template takes what the bot thought, found by rendering.

        ``content.thinking`` and ``content.thoughts`` stand for contents that are made of parts.
        """
        named = [key for key in _THINKING_KEYS if key.split(".")[-1] in self.source]
        try:
            self._written([("user", "Q1Q"), ("bot", "Q2Q")], False, ())
        except FormatError:  # it would be tried once for every key, which takes long where it does not end
            return ()
        plain = tuple(key for key in named if "." not in key and self._takes(key))
        return plain or tuple(key for key in named if "." in key and self._takes(key))[:1]

    def literals(self) -> list[str]:
        """Return the texts in quotation marks in the template's code, which it may look for in contents."""
        constants = _environment().parse(self.source).find_all(nodes.Const)
        return sorted({node.value for node in constants if isinstance(node.value, str)})

    def _takes(self, key: str) -> bool:
        """Whether a thought under ``key`` is written anywhere."""
        turn: list[Told] = [("user", "Q1Q"), ("bot", "Q2Q", _PROBE)]
        for messages, generate in ((turn, False), ([*turn, ("user", "Q3Q")], True)):
            with suppress(FormatError):  # another key then
                text = self._written(messages, generate, (key,))
                if text.count(_PROBE) == 1 and "'type'" not in text:  # the content as Python writes lists
                    return True
        return False

    def render(self, messages: Sequence[Told], *, generate: bool = True) -> str:
        """Return the text of messages given as (role, content), roles ``system``, ``user``, ``bot``.

        A bot's may be (role, content, thinking): the content is the answer alone, and the template decides
        what becomes of the thinking. ``generate`` ends with what precedes the bot's reply. Raises
        TemplateRefusal where the template rejects the messages, FormatError where it is broken, endless or
        boundless.
        """
        keys = self.thinking_keys if any(parts_of(message)[2] for message in messages) else ()
        return self._written(messages, generate, keys)

    def _written(self, messages: Sequence[Told], generate: bool, keys: tuple[str, ...]) -> str:
        given = _given(messages, keys)
        limit = MAX_GROWTH + 2 * sum(map(len, (part for message in messages for part in message)))
        try:
            return _with_timeout(lambda: self._render(given, generate, limit, self._absent))
        except FormatError as error:
            if not self._absent or not isinstance(error.__cause__, TypeError):
                raise
        # some templates loop over the tools: without any they work only where that name is unknown
        text = _with_timeout(lambda: self._render(given, generate, limit, {}))
        self._absent = {}
        return text

    def body(self, messages: Sequence[Told], *, generate: bool = True) -> str:
        """Do what ``render`` does, and leave the beginning-of-sequence text to the tokenizer."""
        return self.without_bos(self.render(messages, generate=generate))

    def without_bos(self, text: str) -> str:
        """Return ``text`` without the beginning-of-sequence text in front that the tokenizer adds.

        Where it adds none, that text may well be markup: SmolLM2's messages begin with it.
        """
        return text.removeprefix(self.bos) if self.adds_bos else text

    def _render(
        self, messages: list[dict[str, Any]], generate: bool, limit: int, absent: Mapping[str, object]
    ) -> str:
        parts: list[str] = []
        size = 0
        variables: dict[str, object] = {
            **absent, "bos_token": self.bos, "eos_token": self.eos, **self.variables,
            "messages": messages, "add_generation_prompt": generate,
        }  # fmt: skip
        try:
            for part in _compiled(self.source).generate(variables):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise FormatError(f"the chat template writes more than {limit} characters")
        except (FormatError, _OutOfTime):
            raise
        except Exception as error:  # a template can raise anything; all of it is the template's fault
            raise FormatError(f"the chat template failed: {type(error).__name__}: {error}") from error
        return "".join(parts)


def _given(messages: Iterable[Told], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The messages as templates know them, with thinking under ``keys``."""
    given: list[dict[str, Any]] = []
    for role, content, thinking in map(parts_of, messages):
        message: dict[str, Any] = {"role": ROLE_NAMES[role], "content": content}
        if "content.thoughts" in keys and role == "bot":  # all of them: the template takes no mixture
            thoughts = [{"type": "thoughts", "text": thinking}] if thinking else []
            message["content"] = {"blocks": [*thoughts, {"type": "response", "text": content}]}
        elif "content.thinking" in keys and thinking:
            answer = {"type": "text", "text": content}
            message["content"] = [{"type": "thinking", "thinking": thinking}, answer]
        elif thinking:
            message |= dict.fromkeys(keys, thinking)
        given.append(message)
    return given


@lru_cache(maxsize=16)  # compiling takes much longer than rendering, and every Thread does it
def _compiled(source: str) -> Template:
    try:
        return _environment().from_string(source)
    except TemplateError as error:
        raise FormatError(f"the chat template is broken: {error}") from error


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, which bounds ``range``, with bounds on repetition and powers too."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sized = next((value for value in (left, right) if hasattr(value, "__len__")), "")
        times = next((value for value in (left, right) if isinstance(value, int)), 0)
        if len(sized) * times > MAX_GROWTH or (operator == "**" and abs(right) > 64):
            raise FormatError(f"the chat template makes a value of more than {MAX_GROWTH} elements")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """``{% generation %}`` marks what the model writes; its contents are kept as they are."""

    tags = {"generation"}  # noqa: RUF012  # the attribute that jinja2 asks for

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write plain JSON, with the options that transformers has; Jinja's own filter escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise TemplateRefusal(f"the chat template refuses these messages: {message}")


class _OutOfTime(BaseException):
    """Sent into the thread that renders for too long; no template can catch it."""


def _with_timeout(work: Any) -> str:
    """Run ``work`` in a thread of its own and stop it after MAX_SECONDS.

    The sandbox bounds ``range`` but not loops inside loops, so only time can end some templates.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # handed to the caller below
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    while thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_OutOfTime)
        )
        thread.join(0.1)
    if isinstance(outcome[0], _OutOfTime):
        raise FormatError(f"the chat template does not end within {MAX_SECONDS:g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return str(outcome[0])
