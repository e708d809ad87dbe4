"""Commands that look inside: ``candidates``, ``explain``, ``guide`` and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from ..decoding.guidance import HumanGuidanceStrategy
from ..model import BUNDLED_MODEL
from ..samplers import SamplerSettings
from ..terminal.escape import shortened
from ..terminal.menu import choose
from ..terminal.tables import make_table, print_table
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
    from ..engines.llama.gguf import read_gguf, shard_paths
    from ..engines.llama.open import kv_cache_bytes

    paths = shard_paths(model_path or BUNDLED_MODEL)
    header = read_gguf(paths[0])
    shards = [header, *map(read_gguf, paths[1:])]
    n_bytes = sum(shard.file_size for shard in shards)
    n_params = sum(tensor.n_elements for shard in shards for tensor in shard.tensors)
    n_ctx = int(cast(int, header.get("context_length")))
    table = make_table(Path(paths[0]).name, ">key", ">value")
    table.add_row("size", f"{n_bytes / 1e6:,.1f} MB in {len(paths)} file{'s' * (len(paths) > 1)}")
    table.add_row("parameters", f"{n_params / 1e6:,.1f} million")
    table.add_row("cache for the native context", f"{kv_cache_bytes(header, n_ctx) / 1e6:,.1f} MB")
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
