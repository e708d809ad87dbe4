"""Which picker an engine uses for which settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..samplers import NumpyPicker, SamplerSettings
from .llama_chain import LlamaChain
from .llama_vocab import LlamaTokenizer

if TYPE_CHECKING:
    from .llama import LlamaEngine

__all__ = ["picker_of"]


def picker_of(
    engine: LlamaEngine, settings: SamplerSettings, seed: int, history: Sequence[int]
) -> LlamaChain | NumpyPicker:
    """Return llama.cpp's sampler chain, with the grammar that ``settings`` ask for.

    Mirostat and adaptive-p are drawn in numpy: their state in the chain can't be rewound, and llama.cpp's
    mirostat sorts the whole vocabulary (8 ms a token at 151,936).
    """
    if settings.draws_with_state:
        return NumpyPicker(settings, seed, LlamaTokenizer(engine.llama, engine.lock))
    if not settings.is_constrained:
        return LlamaChain(engine, settings, seed, history)
    from .llama_grammar import Grammar, schema_to_grammar  # here, because few need it

    text = settings.grammar
    if settings.json_schema is not None:
        text = schema_to_grammar(settings.json_schema)
    return LlamaChain(engine, settings, seed, history, Grammar(engine.llama, text or ""))
