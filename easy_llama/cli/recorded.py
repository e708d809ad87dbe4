"""Kept chats and the models that they were held with."""

from __future__ import annotations

from pathlib import Path

import click

from ..chat.history import History
from ..chat.origin import Origin, origin_of
from ..errors import ModelNotFoundError, PromptError
from ..model import BUNDLED_MODEL, Model

__all__ = ["model_of_chat", "note_another_model", "number_of_chat"]


def number_of_chat(history: History, wanted: str) -> int:
    """Return the id that ``wanted`` names: a number, or ``latest``."""
    if wanted == "latest":
        latest = history.latest()
        if latest is None:
            raise PromptError("there is no chat to go on with; easy-llama threads lists those that are kept")
        return latest
    if not (wanted.isascii() and wanted.isdigit()):
        raise PromptError(f"{wanted!r} is no id of a chat; easy-llama threads lists them")
    return int(wanted)


def model_of_chat(history: History, number: int) -> str | None:
    """Return the model that chat ``number`` was held with, None for the bundled one.

    Raises ModelNotFoundError where it is not there any more; a file that has changed is told on stderr.
    """
    name, origin = history.origin(number)
    place = _place_of(name, origin)
    if place is None:
        was = f"was at {origin.path}" if origin else "is not known where it was"
        raise ModelNotFoundError(
            f"chat {number} was with {name}, which {was}; say where it is: "
            f"easy-llama chat MODEL --resume {number}"
        )
    if origin is not None and not origin.is_at(place):
        click.echo(f"easy-llama: {place} has changed since this chat was held with it", err=True)
    return None if place == BUNDLED_MODEL else str(place)


def _place_of(name: str, origin: Origin | None) -> Path | None:
    """Where the file is: where it was, or elsewhere under the same name."""
    if origin is not None and Path(origin.path).is_file():
        return Path(origin.path)
    return BUNDLED_MODEL if name == BUNDLED_MODEL.name else None


def note_another_model(history: History, number: int, model: Model) -> None:
    """Tell on stderr where a chat goes on with another model than it was held with."""
    name, before = history.origin(number)
    now = origin_of(model)
    differs = name != model.name if before is None or now is None else before.fingerprint != now.fingerprint
    if differs:
        click.echo(f"easy-llama: this chat was with {name}; it goes on with {model.name}", err=True)
