"""Tables on a terminal, by rich, which is imported when the first one is made; cells are made harmless."""

from __future__ import annotations

from typing import Any

from .escape import escaped, harmless

__all__ = ["make_table", "print_table"]


def make_table(title: str, *columns: str) -> Any:
    """A rich table; a column that starts with ``>`` or ``<`` is aligned left, others right."""
    from rich import box
    from rich.table import Table

    class HarmlessTable(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(harmless(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    table = HarmlessTable(title=escaped(title), title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        left, head = column[0] in "<>", escaped(column.lstrip("<>"))
        table.add_column(head, justify="left" if left else "right", overflow="fold")
    return table


def print_table(table: Any) -> None:
    """Print a table; 100 columns wide where there is no terminal."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 100
    console.print(table)
