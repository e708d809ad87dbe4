"""Flags that several commands share: how a model is loaded, and one for every field of SamplerSettings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast

import click

from ..decoding import AntiSlopStrategy, Strategy
from ..errors import SettingsError
from ..model import Model
from ..samplers.fields import FIELDS
from ..samplers.kinds import Number
from ..samplers.settings import SamplerSettings
from ..samplers.texts import text_of_value, value_from_text
from .defaults import configured_model, remember, saying_where_from

__all__ = ["ban_option", "banning", "load_model", "loading_options", "model_options", "sampler_options"]

F = TypeVar("F", bound=Callable[..., Any])


class _OrOff(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """The value of a field of SamplerSettings, or ``off`` for None."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.name = FIELDS[field].kind.flag

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or None for ``off``; what is not of the field's kind is refused."""
        try:
            return value_from_text(self.field, str(value))
        except SettingsError as error:
            kind = FIELDS[self.field].kind
            self.fail(
                f"{value!r} is neither {kind.words} nor off" if isinstance(kind, Number) else str(error)
            )


def sampler_options(command: F) -> F:
    """Add a flag for every field of SamplerSettings and hand them over as ``sampler``."""

    def with_sampler(**values: Any) -> Any:
        given = {field.name: values.pop(field.name) for field in fields(SamplerSettings)}
        return command(sampler=SamplerSettings(**given), **values)

    with_sampler.__doc__ = command.__doc__
    with_sampler.__name__ = command.__name__
    params = list(getattr(command, "__click_params__", []))
    for field in reversed(fields(SamplerSettings)):
        params.append(
            click.Option(
                [f"--{field.name.replace('_', '-')}"],
                type=_OrOff(field.name),
                default=text_of_value(field.default),
                show_default=True,
                help=FIELDS[field.name].help,
            )
        )
    cast(Any, with_sampler).__click_params__ = params
    return cast(F, with_sampler)


def loading_options(command: F) -> F:
    """Add the flags that say how a model is loaded."""
    for option in (
        click.option("--verbose/--no-verbose", help="Show llama.cpp's log."),
        click.option("--threads", type=int, help="Threads; by default one for each physical core."),
        click.option("--flash-attn/--no-flash-attn", help="Use Flash Attention."),
        click.option("--gpu-layers", type=int, default=0, help="Layers on the GPU; -1 for all."),
        click.option("--context-length", type=int, help="Tokens of context; by default the native length."),
    ):
        command = option(command)
    return command


def ban_option(command: F) -> F:
    """Add the flag for phrases that must not appear."""
    return click.option(
        "--ban",
        multiple=True,
        metavar="TEXT",
        help="Never write this; may be given several times.",
    )(command)


def banning(model: Model, ban: tuple[str, ...]) -> Strategy | None:
    """Return the strategy for ``--ban``."""
    return AntiSlopStrategy(model, ban, ignore_case=True) if ban else None


def model_options(command: F) -> F:
    """Add ``--model`` and the flags that say how it is loaded."""
    file = click.option(
        "--model",
        "-m",
        "model_path",
        metavar="MODEL",
        help="A GGUF file, or a name that easy-llama models lists, or owner/repo:file.gguf; else the toy.",
    )
    return file(loading_options(command))


def load_model(name: str | None, options: dict[str, Any]) -> Model:
    """Load the model called ``name`` as the flags say; None is the one that the config names, or the toy."""
    name = configured_model() if name is None else name
    with saying_where_from(name):
        model = Model(
            name,
            context_length=options.get("context_length"),
            n_gpu_layers=options.get("gpu_layers", 0),
            flash_attn=options.get("flash_attn", False),
            verbose=options.get("verbose", False),
            n_threads=options.get("threads"),
        )
    if name is not None:
        remember(name)
    return model
