"""Sampling: choose a token, evaluate it, choose the next: the plain loop, and the same for several texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import (
    AdvancingEngine,
    Engine,
    Logits,
    Picker,
    PickingEngine,
    RewindingPicker,
    Tokenizer,
    extend_all,
    prefill,
)
from ..samplers.picker import NumpyPicker
from ..samplers.settings import SamplerSettings

__all__ = ["Sampling", "picker_for", "sample", "sample_together"]


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
        pick = self.picker(engine, prompt)
        try:
            yield from sample(engine, pick, prompt, logits, end_tokens, limit)
        finally:
            pick.close()

    def picker(self, engine: Engine, prompt: Sequence[int]) -> RewindingPicker:
        """Return what chooses the tokens after ``prompt``."""
        return picker_for(engine, self.settings, self.seed, prompt, self.tokenizer)


def sample(
    engine: Engine,
    pick: Picker,
    prompt: Sequence[int],
    logits: Logits,
    end_tokens: frozenset[int],
    limit: int,
) -> Iterator[int]:
    """Yield what ``pick`` chooses after ``prompt``, which ``engine`` holds with these ``logits``.

    Ends before an end token and after ``limit`` tokens, at least 1. The last token is not evaluated.
    """
    token = pick(prompt, logits)
    advance = _advance(engine, pick, list(prompt))
    for _ in range(limit - 1):
        if token in end_tokens:
            return
        yield token
        token = advance(token)
    if token not in end_tokens:
        yield token


def _advance(engine: Engine, pick: Picker, tokens: list[int]) -> Callable[[int], int]:
    """Return the function that evaluates a token and picks the next; engines may have a faster one."""
    fast = engine.advance(pick) if isinstance(engine, AdvancingEngine) else None
    if fast is not None:
        return fast

    def evaluate_and_pick(token: int) -> int:
        tokens.append(token)
        return pick(tokens, engine.extend((token,)))

    return evaluate_and_pick


def sample_together(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    decoders: Sequence[Sampling],
    end_tokens: frozenset[int],
    limit: int,
) -> list[list[int]]:
    """Return the new tokens of each prompt, drawn by its decoder; all texts go on in step, in one batch.

    Each ends at its own end token. The engine keeps what it holds; forks of it are evaluated.
    """
    prefill(engine, prompts[0])  # what the prompts have in common is evaluated once
    forks, pickers = list[Engine](), list[RewindingPicker]()
    histories = [list(prompt) for prompt in prompts]
    try:
        for decoder, prompt in zip(decoders, prompts, strict=True):
            forks.append(engine.fork())
            pickers.append(decoder.picker(forks[-1], prompt))
        rows: Any = [prefill(fork, prompt).copy() for fork, prompt in zip(forks, prompts, strict=True)]
        alive = list(range(len(prompts)))
        for n in range(1, limit + 1):
            drawn = [pickers[i](histories[i], row) for i, row in zip(alive, rows, strict=True)]
            going = [j for j, token in enumerate(drawn) if token not in end_tokens]
            alive = [alive[j] for j in going]
            for i, j in zip(alive, going, strict=True):
                histories[i].append(drawn[j])
            if not alive or n == limit:
                break
            rows = extend_all([forks[i] for i in alive], [drawn[j] for j in going])
    finally:
        for pick in pickers:
            pick.close()
        for fork in forks:
            fork.close()
    return [history[len(prompt) :] for history, prompt in zip(histories, prompts, strict=True)]


def picker_for(
    engine: Engine,
    settings: SamplerSettings,
    seed: int,
    history: Sequence[int],
    tokenizer: Tokenizer | None = None,
) -> RewindingPicker:
    """Return the engine's own picker where it has one (llama.cpp's chain), else the numpy picker.

    ``history`` are the tokens before the first draw. The numpy picker needs the ``tokenizer`` for texts in
    ``logit_bias`` and for DRY, and refuses a grammar or JSON schema with a SettingsError.
    """
    if isinstance(engine, PickingEngine):
        return engine.picker(settings, seed, history)
    return NumpyPicker(settings, seed, tokenizer)
