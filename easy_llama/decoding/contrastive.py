"""Contrastive search: likely tokens that do not repeat what is there already. Nothing is drawn.

Source: https://arxiv.org/abs/2202.06417 and https://arxiv.org/abs/2210.14140.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..caller import warn
from ..engine import Engine, HiddenEngine, Logits, Step, Tokenizer, common_prefix, room_for_forks
from ..errors import EngineError, NoTokenLeft, SettingsError
from ..samplers import SamplerSettings
from ..steps import likeliest, probabilities

__all__ = ["ContrastiveDecoder"]

_MANY = 10  # the papers use 3 to 10


@dataclass(frozen=True)
class ContrastiveDecoder:
    """A decoder that takes, of the ``top_k`` likeliest tokens v, the one with the highest score::

        (1 - alpha) * p(v) - alpha * max over earlier tokens j of cos(h_v, h_j)

    where h are hidden states after the last layer. ``alpha`` 0 is greedy, 0.6 with ``top_k`` 4 is usual.
    Of ``settings`` only what changes the model's distribution counts (logit bias, penalties, DRY). Needs an
    engine with hidden states. Every step evaluates ``top_k`` tokens: in one batch where the engine has forks
    for all of them, else in several.
    """

    alpha: float
    top_k: int
    settings: SamplerSettings
    tokenizer: Tokenizer | None = None

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield up to ``limit`` tokens, ending before an end token.

        Raises EngineError where the engine tells no hidden states, SettingsError where it has no room for a
        fork, NoTokenLeft where a bias bans every token.
        """
        if not isinstance(engine, HiddenEngine):
            raise EngineError(
                f"{type(engine).__name__} tells no hidden states, which contrastive search needs; "
                "use sampling or beam search"
            )
        if room_for_forks(engine) < 1:
            raise SettingsError(
                "contrastive search (penalty_alpha) evaluates candidates in forks, and the engine has room "
                "for none; close other forks, or use an ez.Model"
            )
        if self.top_k > _MANY:
            warn(
                f"contrastive search (penalty_alpha) evaluates top_k={self.top_k} candidates for each token: "
                "that is slow, and writes worse than with few; top_k=4 is usual"
            )
        if limit >= 1:
            yield from self._search(engine, prompt, end_tokens, limit)

    def _search(
        self, engine: HiddenEngine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        logits = _prefill(engine, prompt)
        known = _Directions(engine.hidden)
        history, steps = list(prompt), self.settings.model_steps(self.tokenizer)
        for _ in range(limit):
            best, chances = self._likeliest(history, logits, steps)
            rows, states = _look_ahead(engine, best)
            scores = (1 - self.alpha) * chances - self.alpha * known.similarity(states)
            winner = int(np.argmax(scores))
            if best[winner] in end_tokens:
                engine.rollback(len(engine.tokens))  # none of the candidates is taken
                return
            if winner < len(rows):
                logits = rows[winner]
            else:  # another batch has come since; only this one is evaluated twice
                (logits,), _ = engine.look_ahead([best[winner]])
            engine.take(winner if winner < len(rows) else 0)
            known.add(states[winner])
            history.append(best[winner])
            yield best[winner]

    def _likeliest(
        self, history: list[int], logits: Logits, steps: Sequence[Step]
    ) -> tuple[list[int], Logits]:
        """Return the ``top_k`` tokens that are likeliest after ``steps``, the likeliest first, and their
        probabilities."""
        for step in steps:
            logits = step(history, logits)
        if not logits.max() > -np.inf:
            raise NoTokenLeft("no token is left to choose from; ban fewer with logit_bias")
        chances = probabilities(logits)
        best = likeliest(chances, self.top_k)
        best = best[chances[best] > 0]
        return best.tolist(), chances[best]


def _prefill(engine: HiddenEngine, prompt: list[int]) -> Logits:
    """Make the engine hold the prompt with all its hidden states; evaluate what is not known yet."""
    keep = min(common_prefix(engine.tokens, prompt), len(engine.hidden), len(prompt) - 1)
    engine.rollback(keep)
    return engine.extend_hidden(prompt[keep:])


def _look_ahead(
    engine: HiddenEngine, candidates: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the hidden states after each candidate, (k, n_embd), and the logits after the first of them.

    They are evaluated in as few batches as the engine's forks allow, the first ones last: these are the
    likeliest, and one that was in the last batch can be taken as it is.
    """
    size = int(min(len(candidates), room_for_forks(engine)))
    starts = range(0, len(candidates), size)
    parts = [engine.look_ahead(candidates[start : start + size]) for start in reversed(starts)]
    return parts[-1][0], np.concatenate([states for _, states in reversed(parts)])


class _Directions:
    """The hidden states so far, scaled to length 1, in an array that grows by doubling."""

    def __init__(self, states: NDArray[np.float32]) -> None:
        self._n = len(states)
        self._rows = _unit(states)

    def add(self, state: NDArray[np.float32]) -> None:
        """Add one, float32 (n_embd,)."""
        if self._n == len(self._rows):
            self._rows = np.concatenate((self._rows, np.empty_like(self._rows)))
        self._rows[self._n] = _unit(state[None])[0]
        self._n += 1

    def similarity(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the highest cosine of each of ``states`` (k, n_embd) with any before: float32 (k,)."""
        cosines: NDArray[np.float32] = (_unit(states) @ self._rows[: self._n].T).max(axis=1)
        return cosines


def _unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = states / np.maximum(lengths, 1e-12)
    return scaled
