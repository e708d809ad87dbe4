"""The rack of decoders: (engine, prompt, end tokens, limit) -> tokens that stay.

To add a decoder, add a file here. None imports torch or llama_cpp.
"""

from __future__ import annotations

from .antislop import AntiSlopStrategy
from .backtrack_sampler import BacktrackSampler
from .backtracking import Backtracking, Rewind, Strategy
from .beam import BeamSearch, Hypothesis
from .contrastive import ContrastiveDecoder
from .guidance import HumanGuidanceStrategy
from .qalign import Alignment, QAlign, Sample
from .replace import ReplaceStrategy
from .sampling import Sampling
from .selection import beam_search_of, decoder_for, room_for
from .strategies import (
    AdaptiveTemperatureStrategy,
    ChainStrategy,
    CreativeWritingStrategy,
    DebugStrategy,
)

__all__ = [
    "AdaptiveTemperatureStrategy",
    "Alignment",
    "AntiSlopStrategy",
    "BacktrackSampler",
    "Backtracking",
    "BeamSearch",
    "ChainStrategy",
    "ContrastiveDecoder",
    "CreativeWritingStrategy",
    "DebugStrategy",
    "HumanGuidanceStrategy",
    "Hypothesis",
    "QAlign",
    "ReplaceStrategy",
    "Rewind",
    "Sample",
    "Sampling",
    "Strategy",
    "beam_search_of",
    "decoder_for",
    "room_for",
]
