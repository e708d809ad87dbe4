"""The command ``ask``: one question, one answer, in the model's chat format."""

from __future__ import annotations

from typing import Any

import click

from ..chat.conversation import Conversation
from ..errors import PromptError
from ..formats.catalogue import find
from ..samplers.settings import SamplerSettings
from .flags import ban_option, banning, load_model, model_options, sampler_options
from .group import FlagCommand
from .inputs import is_piped, standard_input
from .output import write_answer

__all__ = ["ask"]


@click.command(cls=FlagCommand)
@click.argument("question", required=False)
@click.option("--system", "-s", metavar="TEXT", help="The system message.")
@click.option(
    "--format", "-f", "format_name", metavar="NAME", help="A prompt format; by default the model's own."
)
@ban_option
@model_options
@sampler_options
def ask(
    question: str | None,
    system: str | None,
    format_name: str | None,
    ban: tuple[str, ...],
    sampler: SamplerSettings,
    model_path: str | None,
    **options: Any,
) -> None:
    """Answer QUESTION once, in the model's chat format, and print the answer only.

    What stands on standard input is the question, or comes below QUESTION: git diff | easy-llama ask "What
    changed?"
    """
    message = _message(question)
    chosen = find(format_name) if format_name else None
    model = load_model(model_path, options)
    thread = Conversation(model, chosen, sampler, strategy=banning(model, ban))
    if system is not None:
        thread.messages = []
        thread.add_message("system", system)
    write_answer(thread.stream(message))


def _message(question: str | None) -> str:
    """Return what is asked: the question, and below it what is piped."""
    given = "" if question in (None, "-") else str(question)
    piped = standard_input("the question") if is_piped() or question == "-" else ""
    message = f"{given}\n\n{piped}" if given.strip() and piped.strip() else given or piped
    if not message.strip():
        raise PromptError(
            'there is no question: easy-llama ask "What is the capital of France?", or pipe one in; '
            "easy-llama chat is for a conversation"
        )
    return message
