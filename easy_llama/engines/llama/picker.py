"""Which picker an engine uses for which settings, and what a constraint leaves of the first token."""

from __future__ import annotations

from collections.abc import Sequence

from ...constraints.json_schema import schema_to_grammar
from ...engine import Logits, Step
from ...samplers.picker import NumpyPicker
from ...samplers.settings import SamplerSettings
from .chain import Candidates, LlamaChain, Source
from .grammar import Grammar
from .vocab import LlamaTokenizer

__all__ = ["constraint_step_of", "picker_of"]


def constraint_step_of(source: Source, settings: SamplerSettings) -> Step:
    """Return what the grammar of ``settings`` leaves of the first token, as a step."""
    grammar = _grammar_of(source, settings)

    def step(tokens: Sequence[int], logits: Logits) -> Logits:
        candidates = Candidates(len(logits))
        with source.lock:
            grammar.mask(candidates.fill(logits))
        return candidates.logits()

    return step


def picker_of(
    source: Source, settings: SamplerSettings, seed: int, history: Sequence[int]
) -> LlamaChain | NumpyPicker:
    """Return llama.cpp's sampler chain, with the grammar that ``settings`` ask for.

    Mirostat and adaptive-p are drawn in numpy: their state in the chain can't be rewound, and llama.cpp's
    mirostat sorts the whole vocabulary (8 ms a token at 151,936).
    """
    if settings.draws_with_state:
        return NumpyPicker(settings, seed, LlamaTokenizer(source.llama, source.lock))
    grammar = _grammar_of(source, settings) if settings.is_constrained else None
    return LlamaChain(source, settings, seed, history, grammar)


def _grammar_of(source: Source, settings: SamplerSettings) -> Grammar:
    text = settings.grammar
    if settings.json_schema is not None:
        text = schema_to_grammar(settings.json_schema)
    with source.lock:
        return Grammar(source.llama, text or "")
