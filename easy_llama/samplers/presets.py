"""The presets: SamplerSettings under names."""

from __future__ import annotations

from ..steps import MAX_TEMP
from .settings import preset

__all__ = [
    "ClassicSampling",
    "ContrastiveSearch",
    "DefaultSampling",
    "GreedyDecoding",
    "HighTempSampling",
    "LowMinPSampling",
    "LowTempSampling",
    "MinPSampling",
    "RandomSampling",
    "SemiSampling",
    "SimpleSampling",
    "StrictMinPSampling",
    "TikTokenSampling",
    "WarmContrastiveSearch",
]

GreedyDecoding = preset("GreedyDecoding", temp=0.0)
"""The most likely token, always."""

DefaultSampling = preset("DefaultSampling")
"""llama.cpp's defaults."""

ClassicSampling = preset("ClassicSampling", min_p=None, repeat_penalty=1.1)
"""llama.cpp's defaults of 2023: no min-p, a repeat penalty."""

SimpleSampling = preset("SimpleSampling", top_k=None, top_p=None, min_p=None, temp=None)
"""The model's own distribution."""

SemiSampling = preset("SemiSampling", top_k=80, top_p=0.975, min_p=0.025, temp=0.9)
"""Halfway between DefaultSampling and SimpleSampling."""

TikTokenSampling = preset("TikTokenSampling", temp=0.65)
"""For models with a large vocabulary, which tend to run hot."""

LowMinPSampling = preset("LowMinPSampling", top_k=None, top_p=None, min_p=0.025, temp=None)
"""Only min-p, weak."""

MinPSampling = preset("MinPSampling", top_k=None, top_p=None, min_p=0.05, temp=None)
"""Only min-p, moderate."""

StrictMinPSampling = preset("StrictMinPSampling", top_k=None, top_p=None, min_p=0.1, temp=None)
"""Only min-p, strict."""

ContrastiveSearch = preset("ContrastiveSearch", top_k=4, top_p=None, min_p=None, temp=None, penalty_alpha=0.6)
"""Contrastive search as its authors use it: 4 candidates, alpha 0.6."""

WarmContrastiveSearch = preset(
    "WarmContrastiveSearch", top_k=4, top_p=None, min_p=None, temp=None, penalty_alpha=0.8
)
"""Contrastive search that keeps further away from what is there already: alpha 0.8."""

RandomSampling = preset("RandomSampling", top_k=None, top_p=None, min_p=None, temp=MAX_TEMP)
"""Any token of the vocabulary, all equally likely."""

LowTempSampling = preset("LowTempSampling", temp=0.4)
"""DefaultSampling, more predictable."""

HighTempSampling = preset("HighTempSampling", temp=1.2)
"""DefaultSampling, less predictable."""
