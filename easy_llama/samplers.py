"""All about sampling in one place: SamplerSettings, the presets, and the picker in numpy."""

from __future__ import annotations

from .picker import NumpyPicker, numpy_picker
from .presets import (
    ClassicSampling,
    ContrastiveSearch,
    DefaultSampling,
    GreedyDecoding,
    HighTempSampling,
    LowMinPSampling,
    LowTempSampling,
    MinPSampling,
    RandomSampling,
    SemiSampling,
    SimpleSampling,
    StrictMinPSampling,
    TikTokenSampling,
    WarmContrastiveSearch,
)
from .setting_checks import MAX_SEED, MAX_TEMP
from .settings import LogitBias, SamplerSettings, resolve_biases
from .steps import MIN_TEMP

__all__ = [
    "MAX_SEED",
    "MAX_TEMP",
    "MIN_TEMP",
    "ClassicSampling",
    "ContrastiveSearch",
    "DefaultSampling",
    "GreedyDecoding",
    "HighTempSampling",
    "LogitBias",
    "LowMinPSampling",
    "LowTempSampling",
    "MinPSampling",
    "NumpyPicker",
    "RandomSampling",
    "SamplerSettings",
    "SemiSampling",
    "SimpleSampling",
    "StrictMinPSampling",
    "TikTokenSampling",
    "WarmContrastiveSearch",
    "numpy_picker",
    "resolve_biases",
]
