"""The command ``chat``: a conversation in the terminal or through pipes, kept in the history."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import click

from ..chat.conversation import Conversation
from ..chat.history import History
from ..chat.overflow import POLICIES
from ..chat.recorder import Recorder
from ..console.loop import Console
from ..errors import PromptError
from ..formats.catalogue import find
from ..model import Model
from ..samplers.settings import SamplerSettings
from .flags import ban_option, banning, load_model, loading_options, model_argument, sampler_options
from .group import FlagCommand
from .recorded import model_of_chat, note_another_model, number_of_chat

__all__ = ["chat"]


@click.command(cls=FlagCommand)
@model_argument
@click.option(
    "--format", "-f", "format_name", metavar="NAME", help="A prompt format; by default the model's own."
)
@click.option("--system", "-s", metavar="TEXT", help="The system message.")
@click.option(
    "--overflow",
    type=click.Choice(POLICIES),
    default="trim",
    show_default=True,
    help="When the context is full.",
)
@click.option("--no-color/--color", help="Write without colours; NO_COLOR does the same.")
@click.option(
    "--resume",
    "-r",
    is_flag=False,
    flag_value="latest",
    metavar="[ID]",
    help="Go on with a kept chat; by default the last.",
)
@click.option("--no-history", is_flag=True, help="Do not keep this chat.")
@ban_option
@loading_options
@sampler_options
def chat(
    sampler: SamplerSettings,
    model_path: str | None = None,
    format_name: str | None = None,
    system: str | None = None,
    overflow: str = "trim",
    no_color: bool = False,
    resume: str | None = None,
    no_history: bool = False,
    ban: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Chat with MODEL: a path, a name that easy-llama models lists, or owner/repo:file.gguf; else the toy."""

    if resume is not None and (refused := _given("format_name", "system", "overflow")):
        flag = refused[0].removesuffix("_name")
        raise PromptError(f"--{flag} can't be changed in a chat that goes on; leave it or --resume out")
    is_person = bool(sys.stdin and sys.stdin.isatty())
    # what comes through a pipe is a script's business; a person's chats are kept
    with _history(wanted=resume is not None or (is_person and not no_history)) as history:
        number = number_of_chat(history, resume) if history and resume is not None else None
        path = model_path if model_path or number is None else model_of_chat(history, number)
        model = load_model(path, options)
        if number is None:
            chosen = find(format_name) if format_name else None
            thread = Conversation(model, chosen, sampler, overflow=overflow)
            if system is not None:
                thread.messages = [m for m in thread.messages if m["role"] != "system"]
                thread.add_message("system", system)
        else:
            note_another_model(history, number, model)
            thread = history.load(number, model)
            if _given(*(field.name for field in fields(SamplerSettings))):
                thread.sampler = sampler
        thread.strategy = banning(model, ban)
        console = Console(
            thread,
            color=not no_color,
            header=_header(model) if is_person else None,
            notes=sys.stderr,
            input_history=history.path.parent / "input" if history and is_person else None,
        )
        if history and not no_history:
            console.on_change = Recorder(history, console.screen.note, thread if number else None, number)
        console.run("reprint" if number is not None and is_person else "")
    if console.has_failed and not is_person:
        sys.exit(1)


def _header(model: Model) -> str:
    """What a person sees first."""
    return f"{model.filename}, {model.context_length} tokens of context. !help: commands, Ctrl-C: end."


def _given(*names: str) -> list[str]:
    """Which of the current command's flags were really given."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return [name for name in names if context.get_parameter_source(name) is source]


def _history(*, wanted: bool) -> Any:
    """Open the history, or stand in for it with None."""
    return History() if wanted else nullcontext()
