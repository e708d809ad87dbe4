"""The commands ``models`` and ``pull``: what there is to load here, and getting a file from the hub."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ..engines.llama.outline import outline
from ..errors import MissingExtraError, ModelFileError
from ..files import size_text
from ..folders import models_folder
from ..hub import cached, exact, fetch, parse
from ..names import BUNDLED_MODEL, BUNDLED_NAME, names_in
from ..terminal.escape import escaped

__all__ = ["models", "pull"]


@dataclass(frozen=True)
class _Found:
    """A model that is here; the figures are None where its header can't be read, and ``error`` says why."""

    name: str
    where: str
    path: str
    size: int | None = None
    parameters: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    context_length: int | None = None
    chat_template: bool | None = None
    error: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects.")
def models(as_json: bool) -> None:
    """List the models that are on this machine, by the names to type for them.

    In the box, in the models folder, and in the cache of the Hugging Face hub.
    """
    found = [_found(BUNDLED_NAME, "in the box", BUNDLED_MODEL)]
    found += [_found(name, "models folder", path) for name, path in names_in(models_folder()).items()]
    hint = ""
    try:
        found += [_found(str(one.name), "hub cache", one.path) for one in cached()]
    except MissingExtraError as error:
        hint = str(error)
    if as_json:
        # in ASCII: what a terminal could obey is escaped, and it stays JSON
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    _print(found)
    click.echo(f"The models folder is {models_folder()}")
    for one in found:
        if one.error is not None:
            click.echo(f"{escaped(one.name)}: {escaped(one.error)}", err=True)
    if hint:
        click.echo(f"({hint})", err=True)


def _found(name: str, where: str, path: Path) -> _Found:
    try:
        facts = outline(path)
    except ModelFileError as error:
        return _Found(name, where, str(path), error=str(error))
    return _Found(
        name,
        where,
        str(path),
        facts.n_bytes,
        facts.n_parameters,
        facts.architecture,
        facts.quantization,
        facts.context_length,
        facts.has_template,
    )


def _print(found: list[_Found]) -> None:
    """Print a line for each; a name that leaves no room for the rest on a terminal has a line of its own."""
    head = ("name", "size", "kind", "context", "chat")
    rows = [head, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths[0] = min(widths[0], max(room - sum(widths[1:]) - 3 * len(head), len(head[0])))
    _print_row(head, widths)
    where = ""
    for one, row in zip(found, rows[1:], strict=True):
        if one.where != where:
            where = one.where
            click.echo(f"{where}:")
        _print_row(row, widths)


def _print_row(row: Sequence[str], widths: list[int]) -> None:
    name, size, kind, context, chat = row
    if len(name) > widths[0]:
        click.echo(f"  {name}")
        name = ""
    figures = f"{size:>{widths[1]}}   {kind:<{widths[2]}}   {context:>{widths[3]}}   {chat}"
    click.echo(f"  {name:<{widths[0]}}   {figures}".rstrip())


def _row(one: _Found) -> tuple[str, str, str, str, str]:
    if one.error is not None:
        return escaped(one.name), "", "can't be used", "", ""
    kind = f"{one.architecture} {_millions(one.parameters or 0)} {one.quantization}"
    chat = "yes" if one.chat_template else "no"
    return escaped(one.name), size_text(one.size or 0), escaped(kind), f"{one.context_length:,}", chat


def _millions(n: int) -> str:
    return f"{n / 1e9:.1f} B" if n >= 1e9 else f"{n / 1e6:.1f} M"


@click.command()
@click.argument("name")
def pull(name: str) -> None:
    """Download a model from the Hugging Face hub: owner/repo:file.gguf, or owner/repo if it has one only."""
    hub = parse(name)
    if hub is None:
        raise ModelFileError(
            f"{escaped(name)} is no file on the Hugging Face hub; write owner/repo:file.gguf, or copy the "
            "address of the file there"
        )
    found = exact(hub)
    size = size_text(outline(fetch(found, refresh=True)).n_bytes)
    click.echo(f"{found} is there ({size}). To use it: easy-llama chat {shlex.quote(str(found))}")
