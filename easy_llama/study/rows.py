"""The figures of outcomes as rows of text: for the table in a terminal, for a pipe, for the report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from shutil import get_terminal_size
from typing import TextIO

from ..terminal.escape import shortened
from ..terminal.tables import make_table, print_table
from .outcome import Outcome

__all__ = ["COLUMNS", "HINTS", "cells", "print_rows"]

_COLUMNS: dict[str, tuple[str, Callable[[Outcome], str]]] = {
    "tokens": ("length of the text in tokens", lambda one: str(one.n_tokens)),
    "log-prob": ("sum of the log-probabilities, in nats", lambda one: _number(one.logprob, "#.4g")),
    "ppl": (
        "perplexity: as unsure as among so many equal tokens",
        lambda one: _number(one.perplexity, "#.4g"),
    ),
    "dist-1": ("share of tokens that are different", lambda one: f"{one.distinct[0]:.2f}"),
    "dist-2": ("share of pairs of tokens that are different", lambda one: f"{one.distinct[1]:.2f}"),
    "dist-3": ("share of triples of tokens that are different", lambda one: f"{one.distinct[2]:.2f}"),
    "repeat": ("length of the longest stretch that occurs twice", lambda one: str(one.longest_repeat)),
    "end": ("stop: an end token; length: the limit or a full context", lambda one: one.finish_reason),
    "JSON": (
        "whole: the text is a JSON document; inside: an object begins at its first {",
        lambda one: one.json or "no",
    ),
    "tok/s": ("tokens per second", lambda one: _number(one.tokens_per_second, ".0f")),
}
_LEFT_OUT = ("dist-1", "dist-3", "tok/s")  # where a terminal is narrow
COLUMNS = tuple(_COLUMNS)
HINTS = {name: hint for name, (hint, _) in _COLUMNS.items()}


def cells(outcome: Outcome) -> list[str]:
    """Return the figures of ``outcome`` in the order of COLUMNS."""
    return [text(outcome) for _, text in _COLUMNS.values()]


def print_rows(outcomes: Sequence[Outcome], file: TextIO | None = None) -> None:
    """Print the figures to ``file`` (standard output): a table in a terminal, else a line for each method.

    In a line, columns are two spaces or more apart. A terminal of less than 100 columns gets fewer figures.
    """
    out = sys.stdout if file is None else file
    rows = [["method", *COLUMNS], *([shortened(one.label), *cells(one)] for one in outcomes)]
    if out is sys.stdout and out.isatty():
        _print_table(rows)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        out.write("  ".join([f"{first:<{widths[0]}}", *numbers]) + "\n")
    out.flush()


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    narrow = get_terminal_size().columns < 100
    places = [i for i, name in enumerate(rows[0]) if not (narrow and name in _LEFT_OUT)]
    table = make_table("", *("<" * (i == 0) + rows[0][i] for i in places))
    table.title, table.padding, table.pad_edge, table.show_edge = None, (0, 1, 0, 0), False, False
    for row in rows[1:]:
        table.add_row(*(row[i] for i in places))
    print_table(table)


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if abs(value) >= 1e5 else f"{value:{form}}".rstrip(".")
