"""The sampler as the console shows and changes it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, replace

from .. import samplers
from ..errors import SettingsError
from ..samplers import SamplerSettings
from ..samplers.fields import FIELDS
from ..samplers.texts import text_of_value, value_from_text

__all__ = ["changed_sampler", "field_of", "names", "shown"]

_PRESETS = {n.lower(): n for n in samplers.__all__ if isinstance(getattr(samplers, n), SamplerSettings)}
_ASSIGNS = re.compile(r"\s*=\s*|\s+")  # temp 0.5, temp=0.5, grammar root ::= "a"
_FIELDS = [field.name for field in fields(SamplerSettings)]


def names() -> list[str]:
    """Return the names of all fields and presets."""
    return [*_FIELDS, *_PRESETS.values()]


def field_of(argument: str) -> str | None:
    """Return the field that ``argument`` names alone, without a value, or None."""
    return argument if argument in _FIELDS else None


def shown(settings: SamplerSettings, *, everything: bool) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and what it does for every field, or for those that are not as by default."""
    default = SamplerSettings()
    for name in _FIELDS:
        value = getattr(settings, name)
        if everything or value != getattr(default, name):
            yield name, text_of_value(value), FIELDS[name].help


def changed_sampler(settings: SamplerSettings, argument: str) -> SamplerSettings:
    """Return the preset that ``argument`` names, or ``settings`` with a field changed.

    >>> changed_sampler(SamplerSettings(), "temp=0.5").temp
    0.5
    """
    name, *value = _ASSIGNS.split(argument, maxsplit=1)
    if name.lower() in _PRESETS:
        preset: SamplerSettings = getattr(samplers, _PRESETS[name.lower()])
        return preset
    if name not in _FIELDS:
        begun = [field for field in _FIELDS if len(field) > 2 and name.startswith(field)]
        near = begun or difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; !sampler all lists the fields"
        raise SettingsError(f"the sampler has no field and there is no preset {name!r}{hint}")
    return replace(settings, **{name: value_from_text(name, "".join(value).strip())})
