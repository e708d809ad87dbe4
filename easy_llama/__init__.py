"""easy_llama: language models on your own machine, through llama.cpp.

>>> import easy_llama as ez
>>> text = ez.Model().generate("Once upon a time")

Importing this package loads neither llama_cpp nor torch; they come with the first model.
"""

from __future__ import annotations

from . import decoding, errors, formats, model, samplers, steps, thread
from .errors import EasyLlamaError
from .model import Model
from .samplers import SamplerSettings
from .thread import Thread

__version__ = "0.1.0"

__all__ = [
    "EasyLlamaError",
    "Model",
    "SamplerSettings",
    "Thread",
    "__version__",
    "decoding",
    "errors",
    "formats",
    "model",
    "samplers",
    "steps",
    "thread",
]
