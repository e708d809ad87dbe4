"""The command ``threads``: the chats that were kept."""

from __future__ import annotations

import click

from ..chat.history import History
from ..terminal.escape import shortened
from ..terminal.tables import make_table, print_table

__all__ = ["threads"]


@click.group(invoke_without_command=True)
@click.pass_context
def threads(context: click.Context) -> None:
    """List the chats that were kept; threads delete ID removes one."""
    if context.invoked_subcommand is not None:
        return
    with History() as history:
        table = make_table(
            "kept chats, the newest first", "id", "<changed", "messages", "<model", "<begins with"
        )
        for kept in history.threads():
            changed = f"{kept.changed.astimezone():%Y-%m-%d %H:%M}"
            table.add_row(str(kept.id), changed, str(kept.n_messages), kept.model, shortened(kept.title))
        print_table(table)


@threads.command()
@click.argument("number", type=int)
def delete(number: int) -> None:
    """Remove the chat with the id NUMBER."""
    with History() as history:
        history.delete(number)
