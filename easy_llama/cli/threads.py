"""The command ``threads``: the chats that were kept. What stands in them comes from others and is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ..chat.history import History, Summary
from ..chat.markdown import markdown_of
from ..chat.storage import json_text
from ..errors import PromptError
from ..terminal.escape import escaped, shortened
from ..terminal.tables import make_table, print_table
from .group import FlagCommand
from .output import write_text

__all__ = ["threads"]

_limit = click.option(
    "--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="How many to list at most."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")


@click.group(invoke_without_command=True)
@_limit
@_as_json
@click.pass_context
def threads(context: click.Context, limit: int, as_json: bool) -> None:
    """List the chats that were kept; easy-llama chat --resume ID goes on with one."""
    if context.invoked_subcommand is not None:
        return
    with History() as history:
        kept = history.threads(limit)
    if as_json:
        _print_json(map(_as_dict, kept))
        return
    table = make_table("kept chats, the newest first", "id", "<changed", "messages", "<model", "<title")
    for one in kept:
        table.add_row(str(one.id), _when(one), str(one.n_messages), escaped(one.model), shortened(one.title))
    print_table(table)


@threads.command(cls=FlagCommand)
@click.argument("text")
@_limit
@_as_json
def search(text: str, limit: int, as_json: bool) -> None:
    """List the chats in which TEXT occurs.

    Capitals count as small letters.
    """
    with History() as history:
        found = history.search(text, limit)
    if as_json:
        where = ({"message": one.position, "excerpt": one.excerpt} for one in found)
        _print_json(_as_dict(one.thread) | more for one, more in zip(found, where, strict=True))
        return
    title = f"chats with {shortened(text)!r}, the newest first"
    table = make_table(title, "id", "<changed", "<title", "<where")
    for one in found:
        table.add_row(
            str(one.thread.id), _when(one.thread), shortened(one.thread.title, 40), escaped(one.excerpt)
        )
    print_table(table)


@threads.command(cls=FlagCommand)
@click.argument("number", metavar="ID", type=int)
@click.argument("title")
def rename(number: int, title: str) -> None:
    """Give the chat ID another TITLE.

    An empty one brings back its first message.
    """
    with History() as history:
        history.rename(number, title)


@threads.command(cls=FlagCommand)
@click.argument("number", metavar="ID", type=int)
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON, which !load and Thread.load read.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def export(number: int, file: Path | None, as_json: bool, force: bool) -> None:
    """Write the chat ID as Markdown or JSON.

    Without FILE it goes to standard output.
    """
    if file is not None and file.exists() and not force:
        raise PromptError(f"{file} is there already; --force overwrites it")
    with History() as history:
        data = history.exported(number)
    text = json_text(data) if as_json else markdown_of(data["messages"])
    if file is None:
        write_text(text)
    else:
        file.write_text(text, encoding="utf-8", errors="replace")


@threads.command(cls=FlagCommand)
@click.argument("number", metavar="ID", type=int)
def delete(number: int) -> None:
    """Remove the chat ID for good."""
    with History() as history:
        history.delete(number)


def _when(thread: Summary) -> str:
    return f"{thread.changed.astimezone():%Y-%m-%d %H:%M}"


def _as_dict(thread: Summary) -> dict[str, Any]:
    return {
        "id": thread.id,
        "title": thread.title,
        "model": thread.model,
        "messages": thread.n_messages,
        "created": thread.created.isoformat(),
        "changed": thread.changed.isoformat(),
    }


def _print_json(rows: Iterable[dict[str, Any]]) -> None:
    # in ASCII: what a terminal could obey is escaped, and it stays JSON
    click.echo(json.dumps(list(rows), indent=2))
