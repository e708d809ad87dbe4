"""Defaults that a person keeps for the commands: a JSON file in the user's folder, checked value by value.

JSON because Python can read and write it without another library. Keys are flags with _ for -. Python code
that uses the package is not touched by it.
"""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from ..caller import ALIASES
from ..chat.overflow import POLICIES
from ..errors import EasyLlamaError, EasyLlamaWarning, ModelFileError, SettingsError
from ..folders import config_file, data_folder
from ..formats.catalogue import find
from ..names import lasting
from ..samplers.fields import FIELDS
from ..samplers.kinds import Number
from ..samplers.settings import SamplerSettings
from ..samplers.texts import text_of_value, value_from_text

__all__ = [
    "COMMANDS",
    "KEYS",
    "LAST",
    "ConfigError",
    "check_key",
    "check_value",
    "configured_model",
    "default_map",
    "fault_of",
    "parameter_of",
    "read",
    "remember",
    "saying_where_from",
    "text_of",
    "write",
]

LAST = "last"  # as a model: the one that was given last

# commands that take the defaults; chat and info have the model as an argument, which load_model looks up
_WITH_SAMPLER = ("chat", "ask", "generate", "explain")
_WITHOUT = ("candidates", "compare", "guide", "info")
COMMANDS = _WITH_SAMPLER + _WITHOUT
_MODEL_IS_ARGUMENT = ("chat", "info")
_PARAMETERS = {
    "model": "model_path",
    "format": "format_name",
}  # not called like their flags
_INTEGERS = {"context_length": "context_length", "gpu_layers": "n_gpu_layers", "threads": "n_threads"}
_LOADING = {**_INTEGERS, "rope_freq_base": "rope_freq_base"}

_TEXTS = ("model", "system", "format", "overflow")


class ConfigError(SettingsError):
    """What is wrong with the config: it speaks of keys, so no names become flags in it."""


# --- keys and values -----------------------------------------------------------------------------------


def _loading(key: str) -> Callable[[str], Any]:
    def check(text: str) -> float:
        from ..engines.llama.plan import LoadOptions  # llama_cpp

        argument = _LOADING[key]
        try:
            value = int(text) if key in _INTEGERS else float(text)
            options: dict[str, Any] = {argument: value}
            LoadOptions(**options)
        except ValueError as error:
            if not isinstance(error, SettingsError):
                kind = "integer" if key in _INTEGERS else "number"
                raise SettingsError(f"{text!r} is not a valid {kind}") from None
            raise SettingsError(
                str(error).replace(f"{argument} must", f"{key} must").replace(", or None", "")
            ) from None
        return value

    return check


def _sampler(key: str) -> Callable[[str], Any]:
    def check(text: str) -> Any:
        try:
            value = value_from_text(key, text)
        except SettingsError as error:
            kind = FIELDS[key].kind
            is_number = isinstance(kind, Number)
            raise SettingsError(f"{text!r} is neither {kind.words} nor off" if is_number else error) from None
        SamplerSettings(**{key: value})
        return value

    return check


def _format(text: str) -> str:
    find(text)
    return text


def _model(text: str) -> str:
    return text if text == LAST else lasting(text)


def _system(text: str) -> str:
    if not text.strip():
        raise SettingsError(f"system must be a text; got {text!r}")
    return text


def _flag(text: str) -> bool:
    try:
        return bool(click.BOOL.convert(text, None, None))
    except click.BadParameter:
        raise SettingsError(f"{text!r} is neither true nor false") from None


def _overflow(text: str) -> str:
    if text not in POLICIES:
        raise SettingsError(f"{text!r} is not one of {', '.join(POLICIES)}")
    return text


KEYS: dict[str, Callable[[str], Any]] = {
    "model": _model,
    "system": _system,
    "format": _format,
    "overflow": _overflow,
    "no_color": _flag,
    **{key: _loading(key) for key in _LOADING},
    "flash_attn": _flag,
    "quantize_kv_cache": _flag,
    "verbose": _flag,
    **{key: _sampler(key) for key in FIELDS},
}


def check_key(key: str) -> str:
    """Return ``key`` as it stands in the file; SettingsError with near misses for one that there is not."""
    name = key.removeprefix("--").replace("-", "_").lower()
    if name in KEYS:
        return name
    # also by what others call it: n_ctx, temperature
    close = difflib.get_close_matches(name, [*KEYS, *ALIASES], n=3, cutoff=0.7)
    named = [own for one in close for own in (one, *ALIASES.get(one, ())) if own in KEYS]
    near = named or [one for one in KEYS if len(one) > 3 and name.endswith(one)]
    hint = f"did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
    raise ConfigError(f"there is no key {key!r}; {hint}`easy-llama config --help` lists all {len(KEYS)}")


def check_value(key: str, text: str) -> Any:
    """Return what ``text`` means for ``key``; SettingsError, or another of ours, in the flag's own words."""
    try:
        return KEYS[key](text)
    except SettingsError as error:
        words = str(error)
        raise ConfigError(words if words.startswith(f"{key} must") else f"{key}: {words}") from None


def parameter_of(key: str) -> str:
    """Return what the commands' functions call the flag of ``key``."""
    return _PARAMETERS.get(key, key)


def text_of(value: Any) -> str:
    """Return a value of the file as one types it."""
    return value if isinstance(value, str) else text_of_value(value)


def fault_of(key: str, value: Any) -> str:
    """Say what is wrong with a pair of the file, "" if nothing; that the model is there is not checked."""
    try:
        name = check_key(key)
        if name in _TEXTS and not (isinstance(value, str) and value.strip()):
            return f"{name} must be a text; got {value!r}"
        if name != "model":
            check_value(name, text_of(value))
    except EasyLlamaError as error:
        return str(error)
    return "" if name == key else f"the key must be written {name}"


# --- the file ------------------------------------------------------------------------------------------


def read() -> dict[str, Any]:
    """Return what stands in the file, unchecked; {} without one. SettingsError where it is no JSON object."""
    file = config_file()
    try:
        text = file.read_text(encoding="utf-8-sig")
        values = json.loads(text) if text.strip() else {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"the config file {file} can't be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the config file {file} is not JSON: {error}; mend it, or remove it: "
            "easy-llama config unset --all"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            f'the config file {file} must hold keys and values such as {{"temp": 0.5}}; mend it, or remove '
            "it: easy-llama config unset --all"
        )
    return values


def write(values: dict[str, Any]) -> Path:
    """Make the file hold ``values``; {} removes it. Raises SettingsError where it can't be written."""
    file = config_file()
    try:
        if not values:
            file.unlink(missing_ok=True)
        else:
            _replace(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigError(f"the config file {file} can't be written: {error.strerror or error}") from None
    return file


def _replace(file: Path, text: str) -> None:
    """Write all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        whole.write_text(text, encoding="utf-8")
        whole.replace(file)
    finally:
        whole.unlink(missing_ok=True)


# --- for the commands ----------------------------------------------------------------------------------


def default_map(command: str) -> dict[str, Any]:
    """Return the defaults of a command for click, by parameter; {} for one that takes none.

    Raises SettingsError that names file, key and fault.
    """
    if command not in COMMANDS:
        return {}
    found: dict[str, Any] = {}
    for key, value in read().items():
        if fault := fault_of(key, value):
            raise ConfigError(f"in {config_file()}: {fault} (easy-llama config unset {key})")
        if (key in FIELDS and command in _WITHOUT) or (key == "model" and command in _MODEL_IS_ARGUMENT):
            continue
        found[parameter_of(key)] = value if isinstance(value, bool) else text_of(value)
    if "model_path" in found:
        found["model_path"] = configured_model()
    return found


def configured_model() -> str | None:
    """Return the model to take where a command is given none; None is the bundled one."""
    model = read().get("model")
    if model != LAST:
        return model
    with suppress(FileNotFoundError):
        return _last_file().read_text(encoding="utf-8").strip() or None
    return None


@contextmanager
def saying_where_from(model: str | None) -> Iterator[None]:
    """Let errors about ``model`` say that it is the config that names it, if so."""
    try:
        yield
    except ModelFileError as error:
        if model is None or model != configured_model():
            raise
        last = "was given last, and " if read().get("model") == LAST else ""
        why = f"{model} {last}is kept by {config_file()}; to change that: easy-llama config set model NAME"
        raise type(error)(f"{error} ({why})") from error


def remember(model: str) -> None:
    """Keep ``model`` as the one given last, where the config asks for that."""
    if read().get("model") != LAST or model == configured_model():
        return
    try:
        _replace(_last_file(), lasting(model) + "\n")
    except OSError as error:
        warnings.warn(f"{model} can't be remembered: {error}", EasyLlamaWarning, stacklevel=2)


def _last_file() -> Path:
    return data_folder() / "last-model"
