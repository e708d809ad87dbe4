"""The command ``formats``: which prompt formats there are, what one looks like, whether it fits a model."""

from __future__ import annotations

import json
from typing import Any

import click

from ..formats.catalogue import find, names
from ..formats.doctor import check as findings_of
from ..formats.shape import Format, layout
from ..terminal.escape import escaped, harmless, shortened
from ..terminal.tables import make_table, print_table
from .flags import load_model, model_options
from .group import FlagCommand
from .output import write_text
from .wording import as_flags

__all__ = ["formats"]

_TALK = [("user", "Hello!"), ("bot", "Hi there."), ("user", "How are you?")]


@click.group(invoke_without_command=True)
@click.pass_context
def formats(context: click.Context) -> None:
    """List the prompt formats, by name: the text around the messages that a model was trained with."""
    if context.invoked_subcommand is not None:
        return
    title = "prompt formats; easy-llama formats show NAME tells more"
    table = make_table(title, "<name", "<a question", "<an answer")
    for name in names():
        format = find(name)
        question = f"{format['user_prefix']}…{format['user_suffix']}"
        answer = f"{format['bot_prefix']}…{format['bot_suffix']}"
        table.add_row(name, shortened(question, 21), shortened(answer, 21))
    print_table(table)


@formats.command(cls=FlagCommand)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the dictionary only, as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show the format NAME, and a short conversation written in it."""
    format = find(name)
    dictionary = json.dumps(format, indent=2, ensure_ascii=False)
    write_text(f"{dictionary}\n" if as_json else f"{dictionary}\n\n{_written(format)}\n")


def _written(format: Format) -> str:
    """A conversation up to where the model's next answer begins."""
    opening = [("system", format["system_prompt"] or "Be brief.")]
    parts = layout([*opening, *_TALK], format)
    return "".join(a + b + c for a, b, c in parts) + format["bot_prefix"]


@formats.command(cls=FlagCommand)
@click.argument("name", required=False)
@model_options
@click.pass_context
def check(context: click.Context, /, name: str | None, model_path: str | None, **options: Any) -> None:
    """Say what does not fit between the format NAME and a model.

    The exit code is 1 where something does not. Without NAME the model's own chat template is looked at.
    """
    format = find(name) if name is not None else None
    model = load_model(model_path, options)
    found = findings_of(model, format)
    for finding in found:
        click.echo(f"{escaped(finding.kind)}: {harmless(as_flags(finding.text))}")
    if found:
        context.exit(1)
    subject = f"the format {name}" if name is not None else "its own chat template"
    if format is None and model.chat_template is None:
        subject = "no chat template of its own: give chats a --format; otherwise all"
    click.echo(f"{escaped(model.filename)} and {subject} fit")
