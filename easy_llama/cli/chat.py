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
from ..console.commands import run_command
from ..console.loop import Console
from ..errors import PromptError
from ..formats.catalogue import find
from ..samplers.settings import SamplerSettings
from .flags import ban_option, banning, load_model, loading_options, sampler_options

__all__ = ["chat"]


@click.command()
@click.argument("model_path", metavar="[MODEL]", required=False)
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
    "--resume", "-r", is_flag=False, flag_value="latest", metavar="[ID]", help="Go on with a thread."
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
    """Chat with MODEL: a GGUF file, a name that easy-llama models lists, or owner/repo:file.gguf on the hub.

    By default the model that easy-llama config names, or the toy in the box.
    """

    if resume is not None and (refused := _given("format_name", "system", "overflow")):
        flag = refused[0].removesuffix("_name")
        raise PromptError(f"--{flag} can't be changed in a chat that goes on; leave it or --resume out")
    model = load_model(model_path, options)
    chosen = find(format_name) if format_name else None
    strategy = banning(model, ban)
    thread = Conversation(model, chosen, sampler, overflow=overflow, strategy=strategy)
    if system is not None:
        thread.messages = [m for m in thread.messages if m["role"] != "system"]
        thread.add_message("system", system)
    header, is_person = None, bool(sys.stdin and sys.stdin.isatty())
    if is_person:
        header = f"{model.filename}, {model.context_length} tokens of context. !help: commands, Ctrl-C: end."
    # what comes through a pipe is a script's business; a person's chats are kept
    with _history(wanted=resume is not None or (is_person and not no_history)) as history:
        number = None
        if resume is not None and history is not None:
            number = _resumed(history, resume)
            thread = history.load(number, model)
            thread.strategy = strategy
            if _given(*(field.name for field in fields(SamplerSettings))):
                thread.sampler = sampler
        input_history = history.path.parent / "input" if history and is_person else None
        console = Console(thread, color=not no_color, header=header, input_history=input_history)
        if history and not no_history:
            console.on_change = Recorder(history, console.screen.note, thread if number else None, number)
        if resume is not None and is_person:
            run_command(console, "reprint")
        console.run()


def _given(*names: str) -> list[str]:
    """Which of the current command's flags were really given."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return [name for name in names if context.get_parameter_source(name) is source]


def _history(*, wanted: bool) -> Any:
    """Open the history, or stand in for it with None."""
    return History() if wanted else nullcontext()


def _resumed(history: History, resume: str) -> int:
    """Return the id behind ``--resume``: a number, or the thread changed last."""
    latest = history.latest()
    if resume == "latest" and latest is not None:
        return latest
    if not resume.isdigit():
        raise PromptError(
            "there is no thread to go on with"
            if resume == "latest"
            else f"--resume needs an id; got {resume!r}"
        )
    return int(resume)
