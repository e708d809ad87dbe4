"""Conversations as readable JSON: messages and how they were made, the format, the sampler, the model's name.

What is read is checked: PromptError and SettingsError name what is wrong with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import PromptError, SavedFileError, SavedFileNotFoundError
from ..formats.shape import Format
from ..samplers.settings import SamplerSettings
from .message import Made, Message, Prompt, as_message
from .origin import Origin

__all__ = [
    "Stored",
    "json_text",
    "message_from_dict",
    "message_to_dict",
    "read_json",
    "sampler_from_dict",
    "write_json",
]

VERSION = 1


@dataclass(frozen=True)
class Stored:
    """What is kept of a conversation; ``model`` is the name of the one it was held with and ``file`` where
    that came from, ``format`` is None where that one's own was used."""

    sampler: SamplerSettings
    model: str
    overflow: str
    format: Format | None
    beginning: Sequence[Message]
    messages: Sequence[Message]
    file: Origin | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it made of JSON's types."""
        return {**self.head(), "messages": [message_to_dict(message) for message in self.messages]}

    def head(self) -> dict[str, Any]:
        """Return all but the messages, made of JSON's types."""
        return {
            "sampler": asdict(self.sampler),
            "model": self.model,
            "file": self.file and asdict(self.file),
            "overflow": self.overflow,
            "format": self.format,
            "beginning": [message_to_dict(message) for message in self.beginning],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stored:
        """Return what ``to_dict`` wrote; PromptError and SettingsError name what is wrong with ``data``."""
        return cls(
            sampler_from_dict(data.get("sampler") or {}),
            str(data.get("model") or ""),
            data.get("overflow", "trim"),
            data.get("format"),
            _messages(data, "beginning"),
            _messages(data, "messages"),
            Origin.from_dict(data.get("file")),
        )


def message_to_dict(message: Message) -> dict[str, Any]:
    """Return everything about a message; what is not set is left out."""
    made = [message.made_of(text) for text in _texts(message["content"], message.alternatives)]
    extra = {
        "thinking": message.thinking,
        "alternatives": message.alternatives,
        "made": [None if one is None else _made_to_dict(one) for one in made] if any(made) else None,
        "pinned": message.pinned,
        "is_summary": message.is_summary,
        "dropped": not message.in_context,
    }
    return dict(message) | {key: value for key, value in extra.items() if value}


def message_from_dict(data: Mapping[str, Any]) -> Message:
    """Return the message that ``message_to_dict`` wrote; PromptError names what is wrong with ``data``."""
    message = as_message(dict(data) if isinstance(data, Mapping) else data)  # a new one in any case
    alternatives, thinking = data.get("alternatives", []), data.get("thinking", "")
    if not _all(str, alternatives):
        raise PromptError(f"alternatives must be a list of texts; got {alternatives!r:.200}")
    if not isinstance(thinking, str):
        raise PromptError(f"thinking must be a text; got {thinking!r:.200}")
    texts = _texts(message["content"], alternatives)
    made = data.get("made") or []
    if not isinstance(made, list) or len(made) not in (0, len(texts)):
        raise PromptError(f"made must be a list of {len(texts)}, one for each text; got {made!r:.200}")
    for text, one in zip(texts, made, strict=False):
        if one is not None:
            message.keep_made(text, _made_from_dict(one))
    if not made and data.get("generated") is not None:  # as files were written before there was ``made``
        old = {"tokens": data["generated"], "seed": data.get("seed")}
        message.keep_made(message["content"], _made_from_dict(old))
    message.alternatives, message.thinking = list(alternatives), thinking
    message.pinned, message.is_summary = bool(data.get("pinned")), bool(data.get("is_summary"))
    message.in_context = not data.get("dropped")
    return message


def _messages(data: Mapping[str, Any], key: str) -> list[Message]:
    kept = data.get(key) or []
    if not isinstance(kept, list):
        raise PromptError(f"{key} must be a list of messages; got {kept!r:.200}")
    return [message_from_dict(message) for message in kept]


def _texts(content: str, alternatives: Sequence[str]) -> list[str]:
    """All texts of a message: its alternatives, and before them its content where that is none of them."""
    return [*([] if content in alternatives else [content]), *alternatives]


def _made_to_dict(made: Made) -> dict[str, Any]:
    """Return how a text was made; what is as in ``Made()`` is left out."""
    plain = Made(())
    data = {
        field.name: value
        for field in fields(Made)
        if (value := getattr(made, field.name)) != getattr(plain, field.name)
    }
    if made.sampler is not None:
        data["sampler"] = made.sampler.changed()
    if made.prompt is not None:
        data["prompt"] = asdict(made.prompt)
    return data


def _made_from_dict(data: object) -> Made:
    if not isinstance(data, dict) or not _all(int, data.get("tokens", ())):
        raise PromptError(f"made must hold a list of token ids under 'tokens'; got {data!r:.200}")
    unknown = set(data) - {field.name for field in fields(Made)}
    prompt, sampler, tokens = data.get("prompt"), data.get("sampler"), tuple(data.get("tokens", ()))
    try:
        numbers = [data.get(key, 0) for key in ("n_given", "n_rest")]
        answer = data.get("answer", 0)
        bounded = _all(int, numbers) and sum(numbers) <= len(tokens) and min(numbers) >= 0
        is_text = isinstance(data.get("thinking", ""), str) and isinstance(data.get("strategy", ""), str)
        if unknown or not bounded or not is_text or not (answer is None or 0 <= answer <= len(tokens)):
            raise ValueError
        return replace(
            Made(**data),
            tokens=tokens,
            sampler=None if sampler is None else sampler_from_dict(sampler),
            prompt=None if prompt is None else Prompt(**{**prompt, "dropped": tuple(prompt["dropped"])}),
        )
    except (TypeError, ValueError, KeyError):
        raise PromptError(f"this is not how a reply was made: {data!r:.200}") from None


def _all(kind: type, values: object) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, kind) for value in values)


def sampler_from_dict(data: Mapping[str, Any]) -> SamplerSettings:
    """Return the settings; an unknown field is an error that names it."""
    if not isinstance(data, Mapping):
        raise PromptError(f"sampler must be an object of settings; got {data!r:.200}")
    known = {field.name for field in fields(SamplerSettings)}
    unknown = [name for name in data if name not in known]
    if unknown:
        raise PromptError(f"the sampler has the unknown field {unknown[0]!r}")
    return SamplerSettings(**data)


def json_text(data: Mapping[str, Any]) -> str:
    """Return ``data``, which ``Stored.to_dict`` made, as the text of a file that ``read_json`` reads."""
    return json.dumps({"easy_llama_thread": VERSION, **data}, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike[str], data: Mapping[str, Any]) -> None:
    """Write ``data`` to ``path``; the old file stays whole until the new one is.

    Raises SavedFileError where that can't be done; nothing is left behind then.
    """
    target, text = Path(path), json_text(data)
    if not target.name or target.is_dir():
        raise SavedFileError(f"{path} is a folder; give the name of a file in it, such as talk.json")
    part = target.with_name(target.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")  # lone surrogates become "?"
        part.replace(target)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        with suppress(OSError, ValueError):
            part.unlink()
        raise SavedFileError(f"{path} can't be written: {_reason(error)}") from error


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``write_json`` wrote; PromptError where the file is no saved thread.

    Raises SavedFileError, or SavedFileNotFoundError, where it can't be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SavedFileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise SavedFileError(f"{path} can't be read: {_reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{path} is not a saved thread: {error}") from None
    if not isinstance(data, dict) or data.get("easy_llama_thread") != VERSION:
        raise PromptError(f"{path} is not a saved thread of version {VERSION}")
    return data


def _reason(error: Exception) -> str:
    """What the system says, without the number and without the name of a file it was asked for."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
