"""easy_llama: language models on your own machine, through llama.cpp.

>>> import easy_llama as ez
>>> text = ez.Model().generate("Once upon a time")

Importing this package loads nothing; a name loads its part when it is used for the first time.
"""

from __future__ import annotations

import sys

from .version import __version__

TYPE_CHECKING = False  # type checkers take it as true; ``typing`` itself would cost a third of the import
if TYPE_CHECKING:
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

# where the names above are, but for the modules themselves
_NAMES = {
    "decoding": "AdaptiveTemperatureStrategy AntiSlopStrategy BacktrackSampler ChainStrategy "
    "CreativeWritingStrategy DebugStrategy HumanGuidanceStrategy ReplaceStrategy Strategy",
    "errors": "EasyLlamaError",
    "generation.providers": "EngineProvider LlamacppProvider TransformersProvider",
    "model": "Model",
    "samplers": "SamplerSettings",
    "study": "Study compare",
    "thread": "Thread",
    "token_samplers": "AntiSlopSampler BeamSearchSampler MinPSampler QAlignSampler TemperatureSampler "
    "TokenSampler TopKSampler TopPSampler XTCSampler",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker that sees this function takes any name for granted

    def __getattr__(name: str) -> object:
        """Load what is not loaded yet (PEP 562)."""
        if name not in __all__:
            here = sys.modules[__name__]  # told, so that Python itself can say "did you mean"
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=here)
        from importlib import import_module

        home = _HOMES.get(name)
        value = import_module(f".{home or name}", __name__)
        if home is not None:
            value = getattr(value, name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """Return the names, loaded or not."""
        return sorted({*globals(), *__all__})
