"""Sampling: choose a token, evaluate it, choose the next. The plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..engine import Engine, Picker, Tokenizer, prefill
from ..samplers import SamplerSettings, numpy_picker

__all__ = ["Sampling", "close_picker", "picker_for"]


@dataclass(frozen=True)
class Sampling:
    """A decoder that draws every token with ``settings``; same seed, same engine state, same tokens.

    ``tokenizer`` is for engines without a picker of their own: see ``picker_for``.
    """

    settings: SamplerSettings
    seed: int
    tokenizer: Tokenizer | None = None

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield up to ``limit`` tokens, ending before an end token.

        A token is evaluated only when the next one is asked for.
        """
        if limit < 1:
            return
        logits = prefill(engine, prompt)
        pick = picker_for(engine, self.settings, self.seed, prompt, self.tokenizer)
        try:
            token = pick(prompt, logits)
            advance = _advance(engine, pick, list(prompt))
            for _ in range(limit - 1):
                if token in end_tokens:
                    return
                yield token
                token = advance(token)
            if token not in end_tokens:
                yield token
        finally:
            close_picker(pick)


def _advance(engine: Engine, pick: Picker, tokens: list[int]) -> Callable[[int], int]:
    """Return the function that evaluates a token and picks the next; engines may have a faster one."""
    native = getattr(engine, "advance", None)
    fast: Callable[[int], int] | None = native(pick) if native is not None else None
    if fast is not None:
        return fast

    def evaluate_and_pick(token: int) -> int:
        tokens.append(token)
        return pick(tokens, engine.extend((token,)))

    return evaluate_and_pick


def close_picker(pick: Picker) -> None:
    """Free a picker that holds memory, such as llama.cpp's chain, at once and not at some time."""
    close = getattr(pick, "close", None)
    if close is not None:
        close()


def picker_for(
    engine: Engine,
    settings: SamplerSettings,
    seed: int,
    history: Sequence[int],
    tokenizer: Tokenizer | None = None,
) -> Picker:
    """Return the engine's own picker where it has one (llama.cpp's chain), else the numpy picker.

    ``history`` are the tokens before the first draw. The numpy picker needs the ``tokenizer`` for texts in
    ``logit_bias`` and for DRY, and refuses a grammar or JSON schema with a SettingsError.
    """
    native = getattr(engine, "picker", None)
    if native is None:
        return numpy_picker(settings, seed, tokenizer)
    picker: Picker = native(settings, seed, history)
    return picker
