"""Flags that several commands share: how a model is loaded, and one for every field of SamplerSettings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast

import click

from ..decoding import AntiSlopStrategy, Strategy
from ..errors import PromptError, SettingsError
from ..hub import fetch, is_hub_name
from ..model import Model
from ..samplers.fields import FIELDS
from ..samplers.kinds import Number
from ..samplers.settings import SamplerSettings
from ..samplers.texts import text_of_value, value_from_text
from .group import Flag
from .inputs import text_of_flag
from .interrupts import interrupts_end

__all__ = [
    "HEADINGS",
    "ban_option",
    "banning",
    "load_model",
    "loading_options",
    "model_argument",
    "model_options",
    "sampler_options",
]

F = TypeVar("F", bound=Callable[..., Any])

HEADINGS = {
    "Sampling (a flag that has a number takes off, too)": "max_len_tokens temp top_k top_p min_p seed",
    "What the text must follow": "grammar json_schema logit_bias",
    "Against repetition": "repeat_penalty frequency_penalty presence_penalty penalty_last_n dry_multiplier "
    "dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers",
    "Searching instead of sampling": "num_beams length_penalty early_stopping penalty_alpha",
    "More sampling": "typical_p top_n_sigma xtc_probability xtc_threshold dynatemp_range dynatemp_exponent "
    "mirostat mirostat_tau mirostat_eta adaptive_target adaptive_decay",
}
"""The fields of SamplerSettings as help shows them; the most used come first."""
_HELP = {"seed": "Seed of the draws; without one it is drawn."}


class _OrOff(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """The value of a field of SamplerSettings, or ``off`` for None; a text may come from ``@FILE``."""

    def __init__(self, field: str) -> None:
        self.field, self.kind = field, FIELDS[field].kind
        self.takes_file = self.kind.words in ("a text", "JSON")
        words = "NUMBER" if isinstance(self.kind, Number) else self.kind.flag.removesuffix("|off")
        self.name = f"{words}|@FILE" if self.takes_file else words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, or None for ``off``; what is not of the field's kind is refused."""
        text = str(value)
        if self.takes_file:
            flag = f"--{self.field.replace('_', '-')}"
            text = text_of_flag(text, flag, lambda words: self.fail(words, param, ctx))
        try:
            return value_from_text(self.field, text)
        except SettingsError as error:
            if isinstance(self.kind, Number):
                self.fail(f"{value!r} is neither {self.kind.words} nor off", param, ctx)
            self.fail(str(error).removeprefix(f"{self.field} "), param, ctx)


def sampler_options(command: F) -> F:
    """Add a flag for every field of SamplerSettings and hand them over as ``sampler``."""

    def with_sampler(**values: Any) -> Any:
        given = {field.name: values.pop(field.name) for field in fields(SamplerSettings)}
        return command(sampler=SamplerSettings(**given), **values)

    with_sampler.__doc__ = command.__doc__
    with_sampler.__name__ = command.__name__
    params = list(getattr(command, "__click_params__", []))
    defaults = {field.name: field.default for field in fields(SamplerSettings)}
    in_order = [(heading, name) for heading, names in HEADINGS.items() for name in names.split()]
    for heading, name in reversed(in_order):
        params.append(
            Flag(
                [f"--{name.replace('_', '-')}"],
                type=(kind := _OrOff(name)),
                metavar=kind.name,
                default=text_of_value(defaults[name]),
                show_default=True,
                help=_HELP.get(name, FIELDS[name].help),
                heading=heading,
            )
        )
    cast(Any, with_sampler).__click_params__ = params
    return cast(F, with_sampler)


def _loading(*names: str, **options: Any) -> Callable[[F], F]:
    return click.option(*names, cls=Flag, heading="How the model is loaded", **options)


def loading_options(command: F) -> F:
    """Add the flags that say how a model is loaded."""
    for option in (
        _loading("--verbose", is_flag=True, help="Show llama.cpp's log."),
        _loading("--rope-freq-base", type=float, help="RoPE base, instead of the file's or a raised one."),
        _loading("--quantize-kv-cache", is_flag=True, help="Half the memory for the context."),
        _loading("--flash-attn", is_flag=True, help="Use Flash Attention."),
        _loading("--threads", type=int, help="Threads; by default one for each physical core."),
        _loading("--gpu-layers", type=int, default=0, help="Layers on the GPU; -1 for all."),
        _loading("--context-length", type=int, help="Tokens of context; by default the native length."),
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


_MODEL_HELP = "A GGUF file, or owner/repo:file.gguf on the hub; by default the toy in the box."


def model_options(command: F) -> F:
    """Add ``--model`` and the flags that say how it is loaded."""
    file = click.option("--model", "-m", "model_path", metavar="MODEL", help=_MODEL_HELP)
    return file(loading_options(command))


def model_argument(command: F) -> F:
    """Add the argument MODEL, which ``--model`` gives as well, and hand it over as ``model_path``."""

    def with_model(model_path: str | None, model_flag: str | None, **values: Any) -> Any:
        if model_path is not None and model_flag is not None:
            raise PromptError(f"there are two models, {model_path} and {model_flag}; give one")
        return command(model_path=model_flag if model_path is None else model_path, **values)

    with_model.__doc__, with_model.__name__ = command.__doc__, command.__name__
    cast(Any, with_model).__click_params__ = list(getattr(command, "__click_params__", []))
    flag = click.option("--model", "-m", "model_flag", metavar="MODEL", help="The same as MODEL.")
    argument = click.argument("model_path", metavar="[MODEL]", required=False)
    return cast(F, argument(flag(with_model)))


def load_model(path: str | None, options: dict[str, Any]) -> Model:
    """Load the model at ``path``, or behind ``owner/repo:file.gguf``, as the flags say.

    It is unloaded when the command ends.
    """
    file = fetch(path) if path is not None and is_hub_name(path) else path
    with interrupts_end():  # llama.cpp does not notice KeyboardInterrupt while it loads
        model = Model(
            file,
            context_length=options.get("context_length"),
            n_gpu_layers=options.get("gpu_layers", 0),
            flash_attn=options.get("flash_attn", False),
            verbose=options.get("verbose", False),
            quantize_kv_cache=options.get("quantize_kv_cache", False),
            n_threads=options.get("threads"),
            rope_freq_base=options.get("rope_freq_base"),
        )
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(lambda: _unload(model))
    return model


def _unload(model: Model) -> None:
    """Free the model here and not whenever Python gets to it, where Ctrl-C would print a traceback."""
    with interrupts_end():
        model.unload()
