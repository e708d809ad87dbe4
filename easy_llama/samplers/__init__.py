"""How the next token is chosen: SamplerSettings, the presets, the picker in numpy; ``ez.samplers``.

To add a sampler step, see ``fields.py``.
"""

from __future__ import annotations

from ..steps import MAX_TEMP, MIN_TEMP
from .fields import MAX_SEED, LogitBias, resolve_biases
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
from .settings import SamplerSettings

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
