"""The command ``compare``: several decoding methods on one prompt, as a table and as an HTML report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..errors import SettingsError
from ..samplers.fields import MAX_SEED
from ..study import Study
from ..study import compare as compare_methods
from ..study.methods import DEFAULT_METHODS, NAMES
from ..terminal.escape import escaped, harmless
from .flags import load_model, model_options
from .group import FlagCommand
from .inputs import prompt_given

__all__ = ["compare"]


@click.command(cls=FlagCommand)
@click.argument("prompt")
@click.option(
    "--methods",
    "names",
    metavar="NAMES",
    default=",".join(DEFAULT_METHODS),
    show_default=True,
    help=f"Of {', '.join(NAMES)}: several with commas between.",
)
@click.option("--html", "html", metavar="FILE", help="Write a report with the texts beside each other.")
@click.option("--texts", is_flag=True, help="Print the texts, too.")
@click.option("--max-len-tokens", type=int, default=1000, show_default=True, help="Longest text in tokens.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True, help="Of all draws.")
@model_options
def compare(
    prompt: str,
    names: str,
    html: str | None,
    texts: bool,
    max_len_tokens: int,
    seed: int,
    model_path: str | None,
    **options: Any,
) -> None:
    """Continue PROMPT by several decoding methods and compare the texts; - is standard input."""
    prompt = prompt_given(prompt)
    if html is not None:
        _check_writable(Path(html).absolute())
    model = load_model(model_path, options)
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    study = compare_methods(
        model, prompt, chosen, max_len_tokens=max_len_tokens, seed=seed, progress=_show_progress
    )
    if texts:
        _print_texts(study)
    study.table()
    if html is not None:
        click.echo(f"report: {study.to_html(html)}", err=True)


def _check_writable(file: Path) -> None:
    """Say now what would fail after all the work."""
    if not file.parent.is_dir():
        raise SettingsError(f"--html: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise SettingsError(f"--html: {file} is a folder; give a file in it, such as {file / 'report.html'}")
    is_new = not file.exists()
    try:
        file.open("a").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise SettingsError(f"--html: {file} can't be written: {error.strerror}") from None


def _show_progress(label: str) -> None:
    """Say on a terminal what is going on; a comparison can take long."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"{label} ...", err=True)


def _print_texts(study: Study) -> None:
    for outcome in study:
        click.echo(f"--- {escaped(outcome.label)}")
        click.echo(harmless(outcome.text))
