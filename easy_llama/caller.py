"""The caller's side: arguments of no such name get "did you mean", warnings point at the caller's own line.

``helpful`` goes on what people call by hand. Its errors name what was called, never something inside.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from .errors import ArgumentError, EasyLlamaWarning

__all__ = ["ALIASES", "helpful", "warn"]

C = TypeVar("C", bound=Callable[..., Any])

_ELSEWHERE = {
    "ez.Model": ("context_length", "n_gpu_layers", "n_threads", "flash_attn", "rope_freq_base"),
    "ez.SamplerSettings": (
        "temp", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "seed", "max_len_tokens",
        "json_schema", "grammar", "penalty_alpha", "logit_bias", "mirostat",
    ),
}  # fmt: skip

ALIASES: Mapping[str, tuple[str, ...]] = {
    # how tokens are chosen
    "temperature": ("temp",),
    "temp": ("temperature",),
    "max_tokens": ("max_len_tokens", "max_new_tokens", "max_length"),
    "max_new_tokens": ("max_len_tokens", "max_length"),
    "max_length": ("max_len_tokens", "max_new_tokens"),
    "max_len": ("max_len_tokens", "max_length"),
    "max_completion_tokens": ("max_len_tokens",),
    "n_predict": ("max_len_tokens",),
    "num_predict": ("max_len_tokens",),
    "n_tokens": ("max_len_tokens",),
    "topk": ("top_k", "k"),
    "top_k": ("k",),
    "k": ("top_k",),
    "topp": ("top_p", "p"),
    "top_p": ("p",),
    "p": ("top_p", "min_p"),
    "nucleus": ("top_p",),
    "minp": ("min_p",),
    "typical": ("typical_p",),
    "typ_p": ("typical_p",),
    "repetition_penalty": ("repeat_penalty",),
    "rep_pen": ("repeat_penalty",),
    "repeat_last_n": ("penalty_last_n",),
    "n_sigma": ("top_n_sigma",),
    "mirostat_mode": ("mirostat",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "response_format": ("json_schema",),
    "schema": ("json_schema",),
    "n_beams": ("num_beams",),
    "beams": ("num_beams", "beam_width"),
    "beam_size": ("num_beams", "beam_width"),
    "num_beams": ("beam_width",),
    "beam_width": ("num_beams",),
    "alpha": ("penalty_alpha",),
    # what generates, and when it ends
    "stop": ("stops",),
    "stop_strings": ("stops",),
    "stop_sequences": ("stops",),
    "stopping_strings": ("stops",),
    "sampler_settings": ("sampler",),
    "sampling_params": ("sampler",),
    "settings": ("sampler",),
    "text": ("prompt",),
    "inputs": ("prompt",),
    "prompt": ("input_ids", "text"),
    "exclusion_threshold": ("threshold",),
    "reward_model": ("reward",),
    "reward_fn": ("reward",),
    "tokens": ("prompt",),
    "phrases": ("slops",),
    "banned": ("slops",),
    "bans": ("slops",),
    "n": ("num_return_sequences", "k"),
    "n_return": ("num_return_sequences",),
    "top_logprobs": ("k",),
    # loading
    "n_ctx": ("context_length",),
    "num_ctx": ("context_length",),
    "ctx_size": ("context_length",),
    "max_seq_len": ("context_length",),
    "max_model_len": ("context_length",),
    "n_gpu": ("n_gpu_layers",),
    "num_gpu": ("n_gpu_layers",),
    "ngl": ("n_gpu_layers",),
    "gpu_layers": ("n_gpu_layers",),
    "threads": ("n_threads",),
    "num_threads": ("n_threads",),
    "num_thread": ("n_threads",),
    "flash_attention": ("flash_attn",),
    "fa": ("flash_attn",),
    "rope_base": ("rope_freq_base",),
    "path": ("model_path",),
    "filename": ("model_path",),
    "model": ("model_path", "provider", "engine"),
    "llm": ("llama", "model"),
    "provider": ("model",),
    # conversations
    "prompt_format": ("format",),
    "chat_format": ("format",),
    "chat_template": ("format",),
    "template": ("format",),
    "history": ("messages",),
}
"""What other libraries call an argument -> what it may be called here."""


def warn(text: str) -> None:
    """Warn with an EasyLlamaWarning that points at the first line outside this package."""
    package, level, frame = __name__.partition(".")[0], 1, inspect.currentframe()
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, EasyLlamaWarning, stacklevel=level - 1 if frame is None else level)


def helpful(*, sampler: Collection[str] = ()) -> Callable[[C], C]:
    """Return a decorator for functions and classes: wrong arguments raise ArgumentError with what was meant.

    ``sampler`` are the names that an argument of that name holds: the fields of SamplerSettings.
    """

    def decorate(target: C) -> C:
        if not isinstance(target, type):
            return cast("C", _checked(target, sampler))
        # not an assignment, which would be one to a method
        type.__setattr__(target, "__init__", _checked(target.__dict__["__init__"], sampler))
        return target

    return decorate


def _checked(function: Callable[..., Any], fields: Collection[str]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            trace = error.__traceback__
            if trace is None or trace.tb_next is not None:  # raised inside: no matter of the arguments' names
                raise
            try:
                signature.bind(*args, **kwargs)
            except TypeError as wrong:
                what = _what_is_wrong(signature, kwargs, fields, str(wrong))
                raise ArgumentError(f"{_name(function, args)}(){what}") from None
            raise

    return call


def _name(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What was called, as the caller wrote it: ``Model``, ``Model.generate``, ``compare``."""
    if "." not in function.__qualname__:
        return function.__name__
    owner = type(args[0]).__name__ if args else function.__qualname__.partition(".")[0]
    return owner if function.__name__ == "__init__" else f"{owner}.{function.__name__}"


def _what_is_wrong(
    signature: inspect.Signature, kwargs: Mapping[str, Any], fields: Collection[str], error: str
) -> str:
    known = {name: one.kind for name, one in signature.parameters.items() if name != "self"}
    unknown = [name for name in kwargs if name not in known]
    if unknown:
        hints = {name: _hint(name, kwargs[name], list(known), fields) for name in unknown}
        if len(unknown) == 1:
            return f" has no argument {unknown[0]!r}; {hints[unknown[0]]}"
        return " has no arguments " + ", ".join(f"{name!r} ({hint})" for name, hint in hints.items())
    if "too many" in error:
        places = [name for name, kind in known.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        return f" takes at most {len(places)} arguments by position: {', '.join(places)}"
    return f": {error}"


def _hint(name: str, value: Any, known: list[str], fields: Collection[str]) -> str:
    found = _meant(name, known)
    if found is not None:
        return f"did you mean {found!r}?"
    found = _meant(name, fields)
    if found is not None:
        shown = repr(value) if len(repr(value)) <= 40 else "..."
        return f"did you mean sampler=ez.SamplerSettings({found}={shown})?"
    for one in _names_of(name):
        for home, names in _ELSEWHERE.items():
            if one in names:
                return f"that is {one!r} of {home}"
    return f"it takes {', '.join(known)}" if len(known) <= 12 else "help() lists what it takes"


def _meant(name: str, known: Collection[str]) -> str | None:
    """Which of the names may have been meant: what another library's name stands for, or the nearest."""
    for one in _names_of(name):
        if one in known:
            return one
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    return near[0] if near else None


def _names_of(name: str) -> tuple[str, ...]:
    return (name.lower(), *ALIASES.get(name.lower(), ()))
