"""Chat templates from model files: Jinja, rendered as data and with limits.

A template runs in Jinja's immutable sandbox; its output is limited in size and its rendering in time.
Names that templates expect are there: ``raise_exception``, ``strftime_now``, ``tojson``, loop controls and
the ``{% generation %}`` mark. ``tools`` stays undefined.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import FormatError
from .shape import ROLE_NAMES

__all__ = ["ChatTemplate", "TemplateRefusal"]

MAX_SECONDS = 2.0
MAX_GROWTH = 1_000_000  # characters that a template may add to the messages


class TemplateRefusal(FormatError):
    """The template itself raised: it rejects a role or an order of messages."""


class ChatTemplate:
    """A chat template with the texts of its beginning- and end-of-sequence tokens.

    ``adds_bos``: the tokenizer puts the first of them in front of every text itself, so ``body`` leaves it out.
    Compiled at its first use, so that a broken one is no trouble to who does not need it.
    """

    def __init__(self, source: str, bos: str = "", eos: str = "", *, adds_bos: bool = True) -> None:
        self.source, self.bos, self.eos, self._adds_bos = source, bos, eos, adds_bos

    @cached_property
    def _template(self) -> Template:
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise FormatError(f"the chat template is broken: {error}") from error

    def render(self, messages: Sequence[tuple[str, str]], *, generate: bool = True) -> str:
        """Return the text of messages given as (role, content), roles ``system``, ``user``, ``bot``.

        ``generate`` ends with what precedes the bot's reply. Raises TemplateRefusal where the template
        rejects the messages, FormatError where it is broken, endless or boundless.
        """
        given = [{"role": ROLE_NAMES[role], "content": content} for role, content in messages]
        limit = MAX_GROWTH + 2 * sum(len(content) for _, content in messages)
        return _with_timeout(lambda: self._render(given, generate, limit))

    def body(self, messages: Sequence[tuple[str, str]], *, generate: bool = True) -> str:
        """Do what ``render`` does, and leave the beginning-of-sequence text to a tokenizer that adds it."""
        return self.without_bos(self.render(messages, generate=generate))

    def without_bos(self, text: str) -> str:
        """Return ``text`` without the beginning-of-sequence text in front, where the tokenizer adds it."""
        return text.removeprefix(self.bos) if self._adds_bos else text

    def _render(self, messages: list[dict[str, str]], generate: bool, limit: int) -> str:
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(
                messages=messages, add_generation_prompt=generate, bos_token=self.bos, eos_token=self.eos
            ):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise FormatError(f"the chat template writes more than {limit} characters")
        except (FormatError, _OutOfTime):
            raise
        except Exception as error:  # a template can raise anything; all of it is the template's fault
            raise FormatError(f"the chat template failed: {type(error).__name__}: {error}") from error
        return "".join(parts)


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


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    """Templates of models expect plain JSON, where Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


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
