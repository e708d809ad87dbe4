"""Sampling: choose a token, evaluate it, choose the next. The plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..engine import Engine, Picker, prefill
from ..samplers import SamplerSettings, numpy_picker

__all__ = ["Sampling", "picker_for"]


@dataclass(frozen=True)
class Sampling:
    """A decoder that draws every token with ``settings``; same seed, same engine state, same tokens."""

    settings: SamplerSettings
    seed: int

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield up to ``limit`` tokens, ending before an end token.

        A token is evaluated only when the next one is asked for.
        """
        if limit < 1:
            return
        extend, tokens = engine.extend, list(prompt)
        logits = prefill(engine, prompt)
        pick = picker_for(engine, self.settings, self.seed, prompt)
        try:
            for n in range(1, limit + 1):
                token = pick(tokens, logits)
                if token in end_tokens:
                    return
                tokens.append(token)
                yield token
                if n < limit:
                    logits = extend((token,))
        finally:
            close = getattr(pick, "close", None)  # llama.cpp's chain is freed at once, not at some time
            if close is not None:
                close()


def picker_for(engine: Engine, settings: SamplerSettings, seed: int, history: Sequence[int]) -> Picker:
    """Return the engine's own picker where it has one (llama.cpp's chain), else the numpy picker."""
    native = getattr(engine, "picker", None)
    if native is None:
        return numpy_picker(settings, seed)
    picker: Picker = native(settings, seed, history)
    return picker
