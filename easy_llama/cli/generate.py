"""The command ``generate``: what follows a text."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..decoding.backtracking import Strategy
from ..errors import PromptError
from ..model import Model
from ..samplers.settings import SamplerSettings
from .flags import ban_option, banning, load_model, model_options, sampler_options

__all__ = ["generate"]


@click.command()
@click.argument("prompt", required=False)
@click.option("--stop", "stops", multiple=True, help="End at this text; may be given several times.")
@ban_option
@model_options
@sampler_options
def generate(
    prompt: str | None,
    stops: tuple[str, ...],
    ban: tuple[str, ...],
    sampler: SamplerSettings,
    model_path: str | None,
    **options: Any,
) -> None:
    """Continue PROMPT, or what stands on standard input.

    In a terminal without a PROMPT it asks for one after the other, until an empty line.
    """
    if prompt is None and not (sys.stdin and sys.stdin.isatty()):
        prompt = sys.stdin.read().rstrip("\r\n") if sys.stdin else ""
    if prompt is not None and not prompt:
        raise PromptError("there is no prompt: give one as an argument or on standard input")
    model = load_model(model_path, options)
    if prompt is not None:
        _continue(model, prompt, list(stops), sampler, banning(model, ban))
        return
    click.echo(f"{model.filename}: type the beginning of a text, such as Once upon a time. Empty line: end.")
    while prompt := _ask():
        _continue(model, prompt, list(stops), sampler, banning(model, ban))


def _ask() -> str:
    try:
        return str(input("> "))
    except EOFError:
        click.echo()
        return ""


def _continue(
    model: Model, prompt: str, stops: list[str], sampler: SamplerSettings, strategy: Strategy | None
) -> None:
    """Print the prompt and what follows it; Ctrl-C ends this text only."""
    model.generation(prompt, stops, sampler, strategy=strategy)  # says what is wrong before a word is printed
    click.echo(prompt, nl=False)
    try:
        model.stream_print(prompt, stops=stops, sampler=sampler, strategy=strategy)
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)
