"""Tables on a terminal, by rich, which is imported when the first one is made."""

from __future__ import annotations

from typing import Any

__all__ = ["make_table", "print_table"]


def make_table(title: str, *columns: str) -> Any:
    """A rich table; a column that starts with ``>`` or ``<`` is aligned left, others right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        left = column[0] in "<>"
        table.add_column(column.lstrip("<>"), justify="left" if left else "right", overflow="fold")
    return table


def print_table(table: Any) -> None:
    """Print a table; 100 columns wide where there is no terminal."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 100
    console.print(table)
