"""Decoding methods by name: each name stands for a family with the values that the study compares.

A method is either steps and a draw, or SamplerSettings. The steps are those of numpy on every engine, so one
seed gives the same draws everywhere; settings use the engine's own chain where it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from .. import steps
from ..decoding.selection import decoder_for, room_for
from ..engine import Engine, HiddenEngine, Logits, Provider, Step, room_for_forks
from ..errors import SettingsError
from ..samplers import presets
from ..samplers.settings import SamplerSettings, in_python

__all__ = ["DEFAULT_METHODS", "NAMES", "Method", "Methods", "methods_of", "nucleus"]

Methods: TypeAlias = "Sequence[str] | Mapping[str, SamplerSettings] | None"

TEMPERATURES = (0.001, 0.1, 0.5, 1.0, 10.0)
NUCLEI = tuple((p, temp) for temp in (0.5, 1.0) for p in (0.15, 0.5, 0.9))
BEAMS = tuple((width, penalty) for width in (2, 4, 8) for penalty in (0.5, 1.0, 1.5))


@dataclass(frozen=True)
class Method:
    """One way of decoding.

    - ``label``: what it is called; ``family``: the name it belongs to, ``"settings"`` for one of your own
    - ``description``: a line for a reader
    - ``settings``: how tokens are chosen, where there are no ``steps``; limit and seed in any case
    - ``steps``: applied to the logits in this order before the draw
    """

    label: str
    family: str
    description: str
    settings: SamplerSettings = presets.SimpleSampling
    steps: tuple[Step, ...] = ()

    @property
    def searches(self) -> bool:
        """Whether it looks at several texts at once, beam search or contrastive search, and draws nothing."""
        return self.settings.num_beams > 1 or self.settings.penalty_alpha is not None

    @property
    def draws(self) -> bool:
        """Whether chance plays a part."""
        return not (self.searches or self.settings.is_greedy or self.family == "greedy")

    def refusal(self, engine: Engine, n_prompt: int) -> str:
        """Return why ``engine`` can't do this after a prompt of that length, "" where it can."""
        settings, alpha = self.settings, self.settings.penalty_alpha
        if alpha is not None and not isinstance(engine, HiddenEngine):
            return f"{type(engine).__name__} tells no hidden states, which contrastive search needs"
        needed = settings.num_beams if alpha is None else 1
        free = room_for_forks(engine)
        if self.searches and free < needed:
            return f"it needs {needed} forks, and the engine has room for {free}"
        if room_for(settings, engine.n_ctx, n_prompt, free) < 1:
            return f"the context of {engine.n_ctx} tokens has no room for its candidates"
        return ""


def nucleus(p: float) -> Step:
    """Keep the most likely tokens whose probabilities together do not exceed ``p``, and the first one always.

    The study's rule: unlike in ``steps.top_p`` the token that crosses ``p`` goes. Among equals the lower
    ids stay. 0.5 to 0.95 is usual. Source: https://arxiv.org/abs/1904.09751, with the border drawn inside.
    """
    reaching = steps.top_p(p)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        kept = np.flatnonzero(reaching(tokens, logits) > -np.inf)
        mass = steps.probabilities(logits)[kept].sum(dtype=np.float64)
        if len(kept) > 1 and mass > p:
            lowest = len(kept) - 1 - int(logits[kept][::-1].argmin())
            kept = np.delete(kept, lowest)
        out = np.full_like(logits, -np.inf)
        out[kept] = logits[kept]
        return out

    return step


# --- the names -----------------------------------------------------------------------------------------


def _greedy() -> list[Method]:
    chain = (steps.temperature(0),)
    return [Method("greedy", "greedy", "the likeliest token, always", steps=chain)]


def _sampling() -> list[Method]:
    chain = (steps.temperature(1.0),)
    return [Method("sampling", "sampling", "drawn from the model's own distribution", steps=chain)]


def _temperature() -> list[Method]:
    return [
        Method(
            f"temperature {temp:g}",
            "temperature",
            f"drawn from the whole distribution at temperature {temp:g}",
            steps=(steps.temperature(temp),),
        )
        for temp in TEMPERATURES
    ]


def _nucleus() -> list[Method]:
    return [
        Method(
            f"nucleus {p:g}, temp {temp:g}",
            "nucleus",
            f"temperature {temp:g}, then the likeliest tokens that make up at most {p:g}",
            steps=(steps.temperature(temp), nucleus(p)),
        )
        for p, temp in NUCLEI
    ]


def _beam() -> list[Method]:
    return [
        Method(
            f"beam {width}, penalty {penalty:g}",
            "beam",
            f"early-stopped beam search, {width} beams, length penalty {penalty:g}",
            replace(presets.SimpleSampling, num_beams=width, length_penalty=penalty, early_stopping=True),
        )
        for width, penalty in BEAMS
    ]


def _contrastive() -> list[Method]:
    text = "contrastive search, 4 candidates, alpha 0.6"
    return [Method("contrastive", "contrastive", text, presets.ContrastiveSearch)]


_FAMILIES: dict[str, Callable[[], list[Method]]] = {
    "greedy": _greedy,
    "sampling": _sampling,
    "temperature": _temperature,
    "nucleus": _nucleus,
    "beam": _beam,
    "contrastive": _contrastive,
}
NAMES = tuple(_FAMILIES)
DEFAULT_METHODS = ("greedy", "sampling", "temperature", "nucleus", "beam")


def methods_of(methods: Methods, provider: Provider) -> list[Method]:
    """Return what ``methods`` stands for; ``compare`` tells what it may be. Raises SettingsError."""
    if isinstance(methods, Mapping):
        chosen = [_of_settings(label, settings, provider) for label, settings in methods.items()]
    else:
        chosen = [method for name in _names(methods) for method in _FAMILIES[name]()]
    if not chosen:
        raise SettingsError(f"methods is empty; leave it out or choose among {', '.join(NAMES)}")
    return chosen


def _names(methods: object) -> list[str]:
    if methods is None:
        return list(DEFAULT_METHODS)
    if isinstance(methods, (str, bytes)) or not isinstance(methods, Sequence):
        raise SettingsError(
            "methods must be a list of names, or a dictionary of labels and SamplerSettings; "
            f"got {methods!r}. The names are {', '.join(NAMES)}"
        )
    for name in methods:
        if name not in NAMES:
            raise SettingsError(f"there is no method {name!r}; choose among {', '.join(NAMES)}")
    return list(dict.fromkeys(methods))


def _of_settings(label: object, settings: object, provider: Provider) -> Method:
    if not isinstance(label, str) or not label.strip():
        raise SettingsError(f"the label of a method must be a text; got {label!r}")
    if not isinstance(settings, SamplerSettings):
        raise SettingsError(
            f"method {label!r} must be a SamplerSettings; got {type(settings).__name__}. "
            "For methods by name give a list of names"
        )
    decoder_for(settings, 0, provider.tokenizer)  # refuses settings that do not go together
    return Method(label, _family(settings), in_python(settings) or "the defaults", settings)


def _family(settings: SamplerSettings) -> str:
    if settings.penalty_alpha is not None:
        return "contrastive"
    return "beam" if settings.num_beams > 1 else "settings"
