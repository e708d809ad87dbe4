"""What the library says, in the words of the command line: flags for arguments, ``off`` for None."""

from __future__ import annotations

import re
from dataclasses import fields

from ..samplers.settings import SamplerSettings

__all__ = ["as_flags", "flag_of"]

_FIELDS = {field.name for field in fields(SamplerSettings)}
_ARGUMENTS = {name: f"--{name.replace('_', '-')}" for name in _FIELDS} | {
    "context_length": "--context-length",
    "flash_attn": "--flash-attn",
    "k": "-k",
    "min_autopass": "--autopass",
    "n_gpu_layers": "--gpu-layers",
    "n_threads": "--threads",
    "quantize_kv_cache": "--quantize-kv-cache",
    "rope_freq_base": "--rope-freq-base",
}
_QUOTED = r"(?<!\w)(?:'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")(?!\w)"  # what somebody gave stays as it is
_NAMES = "|".join(sorted(_ARGUMENTS, key=len, reverse=True))
_NAMED = re.compile(
    rf"(?P<quoted>{_QUOTED})|(?<![\w.\-/])(?P<name>{_NAMES})(?!\w)(?:=(?P<value>[^\s,;)]*[^\s,;.)]))?"
    r"(?P<must>(?= must\b))?"
)
_NONE = re.compile(r", or None(?P<why> (?:to|for) [^;]*)?(?=;|$)")
_PHRASES = [
    (re.compile(r"\bez\.formats\.names\(\)"), "`easy-llama formats`"),
    (re.compile(r"\bez\.formats\.(\w+)"), r"--format \1"),
    (re.compile(r"\bAntiSlopStrategy\b"), "--ban"),
    (re.compile(r"\bleave strategy out\b"), "leave --ban out"),
    (re.compile(r"\bTrue, False or 'never'"), "true, false or never"),
    (re.compile(r"\bmake the Thread without a format\b"), "leave --format out"),
]


def flag_of(argument: str) -> str:
    """Return the flag for an argument of the library.

    >>> flag_of("n_gpu_layers"), flag_of("format")
    ('--gpu-layers', '--format')
    """
    return _ARGUMENTS.get(argument, f"--{argument.replace('_', '-')}")


def as_flags(text: str) -> str:
    """Return an error's or a warning's ``text`` for somebody who typed a command.

    >>> as_flags("n_threads must be an integer from 1 to 8, or None; got 999")
    '--threads must be an integer from 1 to 8; got 999'
    >>> as_flags("top_p must be a number from 0 to 1, or None to switch it off; got 'temp=2'")
    "--top-p must be a number from 0 to 1, or off to switch it off; got 'temp=2'"
    """
    spoken = _NAMED.sub(lambda found: _flag(found, text), text)
    has_off = any(found["name"] in _FIELDS for found in _NAMED.finditer(text))
    spoken = _NONE.sub(lambda found: f", or off{found['why'] or ''}" if has_off else "", spoken)
    for phrase, words in _PHRASES:
        spoken = phrase.sub(words, spoken)
    return spoken


def _flag(found: re.Match[str], text: str) -> str:
    """The flag for an argument that is named, or what stands there where it is a word like any other."""
    name, value = found["name"], found["value"]
    if name is None or not ("_" in name or value or found["must"] is not None or _is_list(found, text)):
        return found[0]
    flag = _ARGUMENTS[name]
    if value is None or value == "True":
        return flag
    return f"{flag} {'off' if value == 'None' else value}"


def _is_list(found: re.Match[str], text: str) -> bool:
    """Whether a word at the beginning of the text begins a list of arguments: ``grammar and json_schema``."""
    other = re.match(r" and (\w+)", text[found.end() :])
    return found.start() == 0 and other is not None and other[1] in _ARGUMENTS
