"""Which picker an engine uses for which settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engine import Logits, Step
from ..samplers import NumpyPicker, SamplerSettings
from .llama_chain import Candidates, LlamaChain
from .llama_vocab import LlamaTokenizer

if TYPE_CHECKING:
    from .llama import LlamaEngine
    from .llama_grammar import Grammar

__all__ = ["grammar_step", "picker_of"]


def grammar_step(engine: LlamaEngine, settings: SamplerSettings) -> Step:
    """Return what the grammar of ``settings`` leaves of the first token, as a step."""
    grammar = _constraint_of(engine, settings)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        candidates = Candidates(len(logits))
        with engine.lock:
            grammar.mask(candidates.fill(logits))
        return candidates.logits()

    return step


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
    return LlamaChain(engine, settings, seed, history, _constraint_of(engine, settings))


def _constraint_of(engine: LlamaEngine, settings: SamplerSettings) -> Grammar:
    from .llama_grammar import Grammar, schema_to_grammar  # here, because few need it

    text = settings.grammar
    if settings.json_schema is not None:
        text = schema_to_grammar(settings.json_schema)
    with engine.lock:
        return Grammar(engine.llama, text or "")
