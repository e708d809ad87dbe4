"""SamplerSettings, the presets, and the way from settings to a picker in numpy.

``None`` switches a step off; a field that is not given has llama.cpp's default. Settings are checked
when they are made. Order of the steps: penalties, top-k, top-p, min-p, temperature, as in llama.cpp.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from . import steps
from .engine import Logits, Picker, Step
from .errors import SettingsError

__all__ = [
    "MAX_SEED",
    "ClassicSampling",
    "ContrastiveSearch",
    "DefaultSampling",
    "GreedyDecoding",
    "HighTempSampling",
    "LowMinPSampling",
    "LowTempSampling",
    "MinPSampling",
    "RandomSampling",
    "SamplerSettings",
    "SemiSampling",
    "SimpleSampling",
    "StrictMinPSampling",
    "TikTokenSampling",
    "WarmContrastiveSearch",
]

MAX_SEED = 0xFFFFFFFE  # llama.cpp reads 0xFFFFFFFF as "draw one"
MAX_TEMP = 3.0e38
MIN_TEMP = 1e-6  # divided by less, logits leave the range of float32

_INTEGERS = ("max_len_tokens", "top_k", "seed", "penalty_last_n")
# field -> (lowest, highest) allowed value; both ends count
_RANGES: dict[str, tuple[float, float]] = {
    "temp": (0.0, MAX_TEMP),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "frequency_penalty": (-100.0, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "repeat_penalty": (0.01, 100.0),
    "seed": (0, MAX_SEED),
    "top_k": (-1, 1_000_000_000),
    "max_len_tokens": (-1_000_000_000, 1_000_000_000),
    "penalty_last_n": (0, 1 << 24),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How the next token is chosen.

    - ``max_len_tokens``: longest generation in tokens; below 1 is unlimited (to the end of the context)
    - ``temp``: temperature, 0 is greedy, 1 the model's own distribution; 0.2 to 1.5 is usual
    - ``top_p``: nucleus sampling, 0.8 to 0.98 is usual (https://arxiv.org/abs/1904.09751)
    - ``min_p``: least probability as a share of the highest, 0.02 to 0.2 (https://arxiv.org/abs/2407.01082)
    - ``frequency_penalty``: subtracted per occurrence among the last tokens, 0 to 1
    - ``presence_penalty``: subtracted once for tokens that occur, 0 to 1
    - ``repeat_penalty``: divides the logits of tokens that occur, 1.0 to 1.3
    - ``top_k``: keep the k most likely tokens; below 1 is off
    - ``seed``: of the draws, 0 to 4,294,967,294; None draws one, which ``model.stats.seed`` records
    - ``penalty_last_n``: how many of the last tokens, prompt included, the penalties look at
    """

    max_len_tokens: int = -1
    temp: float | None = 0.8
    top_p: float | None = 0.95
    min_p: float | None = 0.05
    frequency_penalty: float | None = 0.0
    presence_penalty: float | None = 0.0
    repeat_penalty: float | None = 1.0
    top_k: int | None = 40
    seed: int | None = None
    penalty_last_n: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))

    @property
    def penalizes(self) -> bool:
        """Whether any of the three penalties is on."""
        neutral = (self.repeat_penalty or 1.0) == 1.0
        return bool(self.penalty_last_n) and not (
            neutral and not self.frequency_penalty and not self.presence_penalty
        )

    def named_steps(self) -> list[tuple[str, Step]]:
        """The steps that are on, in order, with their names."""
        chain: list[tuple[str, Step]] = []
        if self.penalizes:
            chain.append(
                (
                    "penalties",
                    steps.penalties(
                        self.penalty_last_n,
                        self.repeat_penalty or 1.0,
                        self.frequency_penalty or 0.0,
                        self.presence_penalty or 0.0,
                    ),
                )
            )
        if self.top_k is not None and self.top_k > 0:
            chain.append(("top_k", steps.top_k(self.top_k)))
        if self.top_p is not None and self.top_p < 1:
            chain.append(("top_p", steps.top_p(self.top_p)))
        if self.min_p is not None and self.min_p > 0:
            chain.append(("min_p", steps.min_p(self.min_p)))
        if self.temp is not None and self.temp != 1:
            chain.append(("temperature", steps.temperature(self.temp)))
        return chain

    def steps(self) -> list[Step]:
        """The steps that are on, in order: numpy functions ``(tokens, logits) -> logits``."""
        return [step for _, step in self.named_steps()]

    def real_seed(self) -> int:
        """Return the seed, drawing one if none is set."""
        return secrets.randbelow(MAX_SEED + 1) if self.seed is None else int(self.seed)

    def limit(self, room: int) -> int:
        """Return how many tokens may be generated where ``room`` are left in the context."""
        return room if self.max_len_tokens < 1 else min(self.max_len_tokens, room)


def numpy_picker(settings: SamplerSettings, seed: int) -> Picker:
    """Return a picker made of the numpy steps and a draw that depends on ``seed`` and position only."""
    chain = settings.steps()

    def pick(tokens: Sequence[int], logits: Logits) -> int:
        for step in chain:
            logits = step(tokens, logits)
        alive = np.flatnonzero(logits > -np.inf)
        if len(alive) == 1:
            return int(alive[0])
        mass = np.cumsum(steps.probabilities(logits[alive]), dtype=np.float64)
        drawn = np.searchsorted(mass, steps.uniform(seed, len(tokens)) * mass[-1], side="right")
        return int(alive[min(int(drawn), len(alive) - 1)])

    return pick


def _check(name: str, value: Any) -> None:
    """Raise SettingsError unless ``value`` is allowed for the field ``name``."""
    optional = name not in ("max_len_tokens", "penalty_last_n")
    if value is None and optional:
        return
    low, high = _RANGES[name]
    kinds = (int, np.integer) if name in _INTEGERS else (int, float, np.integer, np.floating)
    is_number = isinstance(value, kinds) and not isinstance(value, bool)
    if is_number and low <= value <= high and (name != "temp" or not 0 < value < MIN_TEMP):
        return
    kind = "an integer" if name in _INTEGERS else "a number"
    if name == "temp":
        kind += f" of at least 0 (0 is greedy, the next is {MIN_TEMP})"
    elif name != "max_len_tokens":
        kind += f" from {low:,g} to {high:,g}" if high <= 1 << 24 else f" from {low} to {high}"
    off = ", or None to draw one" if name == "seed" else ", or None to switch it off"
    raise SettingsError(f"{name} must be {kind}{off if optional else ''}; got {value!r}")


GreedyDecoding = SamplerSettings(temp=0.0)
"""The most likely token, always."""

DefaultSampling = SamplerSettings()
"""llama.cpp's defaults."""

ClassicSampling = SamplerSettings(min_p=None, repeat_penalty=1.1)
"""llama.cpp's defaults of 2023: no min-p, a repeat penalty."""

SimpleSampling = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None)
"""The model's own distribution."""

SemiSampling = SamplerSettings(top_k=80, top_p=0.975, min_p=0.025, temp=0.9)
"""Halfway between DefaultSampling and SimpleSampling."""

TikTokenSampling = SamplerSettings(temp=0.65)
"""For models with a large vocabulary, which tend to run hot."""

LowMinPSampling = SamplerSettings(top_k=None, top_p=None, min_p=0.025, temp=None)
"""Only min-p, weak."""

MinPSampling = SamplerSettings(top_k=None, top_p=None, min_p=0.05, temp=None)
"""Only min-p, moderate."""

StrictMinPSampling = SamplerSettings(top_k=None, top_p=None, min_p=0.1, temp=None)
"""Only min-p, strict."""

ContrastiveSearch = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=0.0, presence_penalty=0.6)
"""Greedy with a moderate penalty on what is there already (alpha 0.6)."""

WarmContrastiveSearch = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=0.0, presence_penalty=1.0)
"""Greedy with a strong penalty on what is there already (alpha 1.0)."""

RandomSampling = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=MAX_TEMP)
"""Any token of the vocabulary, all equally likely."""

LowTempSampling = SamplerSettings(temp=0.4)
"""DefaultSampling, more predictable."""

HighTempSampling = SamplerSettings(temp=1.2)
"""DefaultSampling, less predictable."""
