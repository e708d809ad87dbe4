"""Commands that look inside: ``candidates``, ``explain``, ``guide`` and ``info``."""

from __future__ import annotations

from typing import Any

import click

from ..decoding.guidance import HumanGuidanceStrategy
from ..engines.llama.outline import outline
from ..names import resolve
from ..samplers import SamplerSettings
from ..terminal.escape import shortened
from ..terminal.menu import choose
from ..terminal.tables import make_table, print_table
from .defaults import configured_model, saying_where_from
from .flags import load_model, model_argument, model_options, sampler_options
from .group import FlagCommand
from .inputs import prompt_given
from .output import write_text

__all__ = ["candidates", "explain", "guide", "info"]


@click.command(cls=FlagCommand)
@click.argument("prompt")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many tokens to show.")
@model_options
def candidates(prompt: str, k: int, model_path: str | None, **options: Any) -> None:
    """Show the likeliest next tokens after PROMPT; - is standard input."""
    prompt = prompt_given(prompt)
    model = load_model(model_path, options)
    found = model.candidates(prompt, k)
    table = make_table(f"after {shortened(prompt)!r}", "#", ">token", "probability", "<")
    for rank, (token, chance) in enumerate(found, 1):
        bar = "█" * round(20 * float(chance)) or "▏"
        table.add_row(str(rank), shortened(token), f"{float(chance):.6f}", bar)
    print_table(table)


@click.command(cls=FlagCommand)
@model_argument
def info(model_path: str | None) -> None:
    """Show what the header of MODEL says, without loading it, and what llama.cpp computes on here."""
    from ..engines.llama.devices import build
    from ..engines.llama.open import kv_cache_bytes

    name = configured_model() if model_path is None else model_path
    with saying_where_from(name):
        facts = outline(resolve(name))
    header = facts.header
    table = make_table(header.path.name, ">key", ">value")
    table.add_row("size", f"{facts.n_bytes / 1e6:,.1f} MB in {facts.n_files} file{'s' * (facts.n_files > 1)}")
    table.add_row("parameters", f"{facts.n_parameters / 1e6:,.1f} million")
    table.add_row("quantization", facts.quantization or "unknown")
    table.add_row(
        "cache for the native context", f"{kv_cache_bytes(header, facts.context_length) / 1e6:,.1f} MB"
    )
    for key, value in header.metadata.items():
        if not isinstance(value, list):
            table.add_row(key, shortened(str(value)))
    for key, length in header.array_lengths.items():
        table.add_row(key, f"{length:,} values")
    print_table(table)
    installed = build()
    here = make_table("what it would run on", ">key", ">value")
    here.add_row("llama-cpp-python", f"{installed.version}, built for {', '.join(installed.backends) or '?'}")
    for device in installed.devices:
        here.add_row("device", shortened(str(device)))
    print_table(here)


@click.command(cls=FlagCommand)
@click.argument("prompt")
@model_options
@sampler_options
def explain(prompt: str, sampler: SamplerSettings, model_path: str | None, **options: Any) -> None:
    """Show what each sampler step does to the next token after PROMPT; - is standard input."""
    prompt = prompt_given(prompt)
    model = load_model(model_path, options)
    reports = model.explain(prompt, sampler)
    favourite = shortened(reports[0].top)
    table = make_table(
        f"after {shortened(prompt)!r}",
        ">step",
        "tokens left",
        "bits",
        ">likeliest",
        "probability",
        f"left of {favourite}",
    )
    for report in reports:
        left = "removed" if report.favourite_probability == 0 else f"{report.favourite_probability:.4f}"
        table.add_row(
            report.step,
            f"{report.survivors:,}",
            f"{report.entropy:.2f}",
            shortened(report.top),
            f"{report.top_probability:.4f}",
            left,
        )
    print_table(table)


@click.command(cls=FlagCommand)
@click.argument("prompt")
@click.option("--top-k-shown", type=click.IntRange(1), default=3, show_default=True, help="Tokens to offer.")
@click.option("--autopass", type=click.FloatRange(0, 1), default=1.0, help="Take tokens this likely unasked.")
@model_options
def guide(prompt: str, top_k_shown: int, autopass: float, model_path: str | None, **options: Any) -> None:
    """Continue PROMPT, choosing every token by hand from a menu."""
    prompt = prompt_given(prompt)
    model, ask = load_model(model_path, options), lambda text, *rest: choose(prompt + text, *rest)
    guidance = HumanGuidanceStrategy(model, min(top_k_shown, model.n_vocab), autopass, choose=ask)
    write_text(prompt + model.generate(prompt, strategy=guidance) + "\n")
