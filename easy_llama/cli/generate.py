"""The command ``generate``: what follows a text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ..errors import PromptError
from ..samplers.settings import SamplerSettings
from ..terminal.reader import make_reader
from .flags import ban_option, banning, load_model, model_options, sampler_options
from .group import FlagCommand
from .inputs import has_terminal, prompt_given
from .output import write_answer, write_text
from .wording import as_flags

__all__ = ["generate"]


@click.command(cls=FlagCommand)
@click.argument("prompt", required=False)
@click.option("--stop", "stops", multiple=True, metavar="TEXT", help="End at this; can be given many times.")
@click.option(
    "--echo/--no-echo", default=None, help="Print PROMPT in front of the text; by default on a terminal only."
)
@ban_option
@model_options
@sampler_options
def generate(
    prompt: str | None,
    stops: tuple[str, ...],
    echo: bool | None,
    ban: tuple[str, ...],
    sampler: SamplerSettings,
    model_path: str | None,
    **options: Any,
) -> None:
    """Continue PROMPT, or what stands on standard input, also for the PROMPT -.

    Into a pipe or a file only the new text is printed. In a terminal without a PROMPT it asks for one after
    the other, until an empty line.
    """
    asks = prompt is None and has_terminal()
    text = "" if asks else prompt_given(prompt)
    model = load_model(model_path, options)
    strategy = banning(model, ban)

    def go_on(text: str) -> None:
        generation = model.generation(text, list(stops), sampler, strategy=strategy)
        write_answer(generation.pieces(), before=text if echoes else "")

    echoes = sys.stdout is not None and sys.stdout.isatty() if echo is None else echo
    if asks:
        example = "type the beginning of a text, such as Once upon a time. Empty line: end."
        write_text(f"{model.filename}: {example}\n")
        _ask(go_on)
    else:
        go_on(text)


def _ask(go_on: Callable[[str], None]) -> None:
    """Continue one text after the other; Ctrl-C ends the text that is being written only."""
    reader = make_reader()
    while True:
        try:
            prompt = reader.read("> ")
        except EOFError:
            return
        if not prompt:
            return
        try:
            go_on(prompt)
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except PromptError as error:  # too long, for example: the next one may do
            click.echo(as_flags(str(error)), err=True)
