"""Conversations as readable JSON: messages with their tokens, the format, the sampler, the seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import PromptError
from ..formats.shape import Format
from ..samplers.settings import SamplerSettings
from .message import Message, as_message

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
    """What is kept of a conversation; ``model`` is the name of the one it was held with, ``format`` is None
    where that one's own was used."""

    sampler: SamplerSettings
    model: str
    overflow: str
    format: Format | None
    beginning: Sequence[Message]
    messages: Sequence[Message]

    def to_dict(self) -> dict[str, Any]:
        """Return it made of JSON's types."""
        return {**self.head(), "messages": [message_to_dict(message) for message in self.messages]}

    def head(self) -> dict[str, Any]:
        """Return all but the messages, made of JSON's types."""
        return {
            "sampler": asdict(self.sampler),
            "model": self.model,
            "overflow": self.overflow,
            "format": self.format,
            "beginning": [message_to_dict(message) for message in self.beginning],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Stored:
        """Return what ``to_dict`` wrote; PromptError and SettingsError name what is wrong with ``data``."""
        return cls(
            sampler_from_dict(data.get("sampler") or {}),
            data.get("model") or "",
            data.get("overflow", "trim"),
            data.get("format"),
            [message_from_dict(message) for message in data.get("beginning") or []],
            [message_from_dict(message) for message in data.get("messages") or []],
        )


def message_to_dict(message: Message) -> dict[str, Any]:
    """Return everything about a message; what is not set is left out."""
    extra = {
        "generated": message.generated,
        "alternatives": message.alternatives,
        "seed": message.seed,
        "pinned": message.pinned,
        "is_summary": message.is_summary,
        "dropped": not message.in_context,
    }
    return dict(message) | {key: value for key, value in extra.items() if value not in (None, False, [])}


def message_from_dict(data: Mapping[str, Any]) -> Message:
    """Return the message that ``message_to_dict`` wrote; PromptError names what is wrong with ``data``."""
    message = as_message(dict(data) if isinstance(data, Mapping) else data)  # a new one in any case
    generated, alternatives = data.get("generated"), data.get("alternatives", [])
    if generated is not None and not _all(int, generated):
        raise PromptError(f"generated must be a list of token ids; got {generated!r:.200}")
    if not _all(str, alternatives):
        raise PromptError(f"alternatives must be a list of texts; got {alternatives!r:.200}")
    message.generated, message.alternatives = generated, list(alternatives)
    message.seed = data.get("seed")
    message.pinned, message.is_summary = bool(data.get("pinned")), bool(data.get("is_summary"))
    message.in_context = not data.get("dropped")
    return message


def _all(kind: type, values: object) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, kind) for value in values)


def sampler_from_dict(data: Mapping[str, Any]) -> SamplerSettings:
    """Return the settings; an unknown field is an error that names it."""
    known = {field.name for field in fields(SamplerSettings)}
    unknown = [name for name in data if name not in known]
    if unknown:
        raise PromptError(f"the sampler has the unknown field {unknown[0]!r}")
    return SamplerSettings(**data)


def json_text(data: Mapping[str, Any]) -> str:
    """Return ``data``, which ``Stored.to_dict`` made, as the text of a file that ``read_json`` reads."""
    return json.dumps({"easy_llama_thread": VERSION, **data}, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str | os.PathLike[str], data: Mapping[str, Any]) -> None:
    """Write ``data`` to ``path``; the old file stays whole until the new one is."""
    target, text = Path(path), json_text(data)
    if not target.name:
        raise PromptError(f"{path} is no file name")
    part = target.with_name(target.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace")  # lone surrogates become "?"
    part.replace(target)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what ``write_json`` wrote; PromptError where the file is no saved thread."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{path} is not a saved thread: {error}") from None
    if not isinstance(data, dict) or data.get("easy_llama_thread") != VERSION:
        raise PromptError(f"{path} is not a saved thread of version {VERSION}")
    return data
