"""What a command is given from outside: standard input, files behind ``@``.

``-`` is standard input wherever a text is wanted, and ``@FILE`` a file's text where a flag says so. A prompt
may begin with ``@``, so there it is a character like any other.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import PromptError

__all__ = ["has_terminal", "is_piped", "prompt_given", "standard_input", "text_of_flag"]

_READ = "easy_llama.standard_input"  # in click's context: what standard input was read for
_FILE_NAME = re.compile(r"[^\s{}\[\]\"'|=<>]+\.(json|gbnf|ebnf|txt)", re.IGNORECASE)


def is_piped() -> bool:
    """Whether standard input is no terminal, and nothing has read it yet."""
    is_read = _READ in click.get_current_context().meta
    return sys.stdin is not None and not sys.stdin.isatty() and not is_read


def has_terminal() -> bool:
    """Whether a person reads and types: standard input and output are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


def standard_input(use: str) -> str:
    """Return standard input without the line breaks at its end; it can be read for one ``use`` only."""
    meta = click.get_current_context().meta
    if _READ in meta:
        raise PromptError(f"standard input can't be both {meta[_READ]} and {use}; give one of them as a file")
    meta[_READ] = use
    if sys.stdin is None:
        return ""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # cmd.exe's pipes speak the encoding of the console
        text = data.decode(_other_encoding(error), "replace")
    return text.rstrip("\r\n")


def _other_encoding(error: UnicodeDecodeError) -> str:
    encoding: str = sys.stdin.encoding or "utf-8"
    if encoding.lower().replace("-", "") in ("utf8", "ascii"):
        where = f"{error.reason} at byte {error.start}"
        raise PromptError(f"standard input is not text in UTF-8: {where}") from None
    return encoding


def prompt_given(prompt: str | None) -> str:
    """Return ``prompt``, or standard input for ``-`` and None; PromptError where that is empty.

    An empty ``prompt`` is one: the model begins a text from nothing.
    """
    if prompt is not None and prompt != "-":
        return prompt
    text = standard_input("the prompt")
    if not text:
        raise PromptError(
            'there is no prompt: give one as an argument or on standard input; "" begins a text from nothing'
        )
    return text


def text_of_flag(text: str, flag: str, fail: Any) -> str:
    """Return what ``text`` stands for: the file's contents for ``@FILE``, standard input for ``-`` or ``@-``.

    Anything else is returned as it is; ``fail`` is called with the words for what is the name of a file.
    """
    if text in ("-", "@-"):
        return standard_input(flag)
    if text.startswith("@"):
        try:
            return Path(text[1:]).expanduser().read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            fail(f"{text[1:]} is not text in UTF-8")
        except OSError as error:
            fail(f"can't read {text[1:]!r}: {error.strerror}")
        except (RuntimeError, ValueError) as error:  # no such user, a NUL inside
            fail(f"can't read {text[1:]!r}: {error}")
    if _FILE_NAME.fullmatch(text):
        fail(f"{text!r} looks like the name of a file; write @{text} to read it")
    return text
