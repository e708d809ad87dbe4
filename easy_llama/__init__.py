"""easy_llama: language models on your own machine, through llama.cpp.

>>> import easy_llama as ez
>>> text = ez.Model().generate("Once upon a time")

Importing this package loads neither llama_cpp nor torch; they come with the first model.
"""

from __future__ import annotations

from . import decoding, errors, formats, model, samplers, steps, thread
from .decoding import (
    AdaptiveTemperatureStrategy,
    AntiSlopStrategy,
    BacktrackSampler,
    ChainStrategy,
    CreativeWritingStrategy,
    DebugStrategy,
    HumanGuidanceStrategy,
    ReplaceStrategy,
    Strategy,
)
from .errors import EasyLlamaError
from .generation.providers import EngineProvider, LlamacppProvider, TransformersProvider
from .model import Model
from .samplers import SamplerSettings
from .study import Study, compare
from .thread import Thread
from .token_samplers import (
    AntiSlopSampler,
    BeamSearchSampler,
    MinPSampler,
    QAlignSampler,
    TemperatureSampler,
    TokenSampler,
    TopKSampler,
    TopPSampler,
    XTCSampler,
)
from .version import __version__

__all__ = [
    "AdaptiveTemperatureStrategy",
    "AntiSlopSampler",
    "AntiSlopStrategy",
    "BacktrackSampler",
    "BeamSearchSampler",
    "ChainStrategy",
    "CreativeWritingStrategy",
    "DebugStrategy",
    "EasyLlamaError",
    "EngineProvider",
    "HumanGuidanceStrategy",
    "LlamacppProvider",
    "MinPSampler",
    "Model",
    "QAlignSampler",
    "ReplaceStrategy",
    "SamplerSettings",
    "Strategy",
    "Study",
    "TemperatureSampler",
    "Thread",
    "TokenSampler",
    "TopKSampler",
    "TopPSampler",
    "TransformersProvider",
    "XTCSampler",
    "__version__",
    "compare",
    "decoding",
    "errors",
    "formats",
    "model",
    "samplers",
    "steps",
    "thread",
]
