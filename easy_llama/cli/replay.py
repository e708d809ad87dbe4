"""The command ``replay``: a kept reply generated again, and compared with what was said."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..chat.history import History
from ..errors import PromptError
from ..terminal.escape import harmless
from .flags import ban_option, banning, load_model, model_options
from .recorded import model_of_chat, note_another_model, number_of_chat

__all__ = ["replay"]


@click.command()
@click.argument("chat", metavar="ID")
@click.argument("place", metavar="[N]", type=click.IntRange(0), required=False)
@click.option("--text", is_flag=True, help="Print the text that was generated now, too.")
@ban_option
@model_options
def replay(
    chat: str, place: int | None, text: bool, ban: tuple[str, ...], model_path: str | None, **options: Any
) -> None:
    """Generate a reply of the kept chat ID again, and say whether it comes out the same.

    N is the number of the message, as !messages counts; by default the last reply. The exit code is 0 where
    it is the same, 1 where it differs. ID may be "latest".
    """
    with History() as history:
        number = number_of_chat(history, chat)
        path = model_path or model_of_chat(history, number)
        model = load_model(path, options)
        note_another_model(history, number, model)
        thread = history.load(number, model)
    thread.strategy = banning(model, ban)
    replies = [i for i, message in enumerate(thread.messages) if message["role"] == "bot"]
    if place is None and not replies:
        raise PromptError(f"chat {number} has no reply yet")
    done = thread.replay(replies[-1] if place is None else place)
    click.echo(harmless(str(done)))
    if text:
        click.echo(harmless(done.text) if sys.stdout.isatty() else done.text)
    if not done.is_same:
        sys.exit(1)
