"""QAlign: a Markov chain of answers that reaches the model's distribution tilted towards a reward.

The target is p(answer) * exp(reward(answer) / beta), up to its sum. Each step keeps the beginning of the
answer, samples the rest again and accepts or refuses the result (Metropolis-Hastings); nothing is trained.
Source: https://arxiv.org/abs/2504.03790.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import check_callable, check_integer, is_number
from ..engine import Engine, Tokenizer
from ..errors import SettingsError
from ..samplers import MAX_SEED, SamplerSettings, SimpleSampling
from .sampling import Sampling

__all__ = ["Alignment", "QAlign", "Sample"]


@dataclass(frozen=True)
class Sample:
    """One state of the chain: an answer without prompt and end token, and its reward.

    ``accepted`` is whether it was proposed in this step; if not, it is the state before once more.
    """

    text: str
    tokens: tuple[int, ...]
    reward: float
    accepted: bool


@dataclass(frozen=True)
class Alignment:
    """What QAlign found.

    ``chain`` has ``steps + 1`` states and begins with the first draw; a final answer is its ``best`` (the
    highest reward, the earliest among equals) or, as the paper does, the most frequent one.
    ``acceptance_rate`` is the share of the ``steps`` proposals that were accepted, 0 to 1.
    """

    chain: tuple[Sample, ...]
    acceptance_rate: float
    best: Sample


@dataclass(frozen=True)
class QAlign:
    """Samples answers in proportion to p(answer) * exp(reward / beta); as a decoder it yields the best one.

    - ``reward``: a number for an answer's text, more is better; -inf forbids the answer
    - ``text``: makes text of an answer's tokens, such as ``model.detokenize``
    - ``steps``: how many proposals; 16 to 1000 is usual, each costs half an answer on average
    - ``beta``: divides the reward; the smaller, the more the reward counts. 0.1 to 10 times the spread of the
      rewards is usual
    - ``seed``: of all draws; each proposal draws anew, and the same seed gives the same chain
    - ``settings``: p is the distribution that these sample from; their own seed is not used. Samplers that
      adapt while they sample begin anew with each proposal, so with them the target is only approximate
    - ``tokenizer``: for engines without a picker of their own: see ``picker_for``
    """

    reward: Callable[[str], float]
    text: Callable[[Sequence[int]], str]
    steps: int
    beta: float
    seed: int
    settings: SamplerSettings = SimpleSampling
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_callable("reward", self.reward)
        check_callable("text", self.text)
        check_integer("steps", self.steps, 1)
        check_integer("seed", self.seed, 0, MAX_SEED)
        if not is_number(self.beta) or not 0 < self.beta < math.inf:
            raise SettingsError(f"beta must be a number above 0; got {self.beta!r}")
        if not isinstance(self.settings, SamplerSettings):
            raise SettingsError(f"settings must be a SamplerSettings; got {self.settings!r}")
        if self.settings.is_constrained:
            raise SettingsError(
                "QAlign can't keep to a grammar or JSON schema, which would begin anew in the middle of an "
                "answer; leave it out and give answers that break it the reward -inf"
            )
        if self.settings.penalty_alpha is not None or self.settings.num_beams > 1:
            raise SettingsError("QAlign samples; leave out penalty_alpha and num_beams, which search")

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield the tokens of the answer with the highest reward; the whole chain comes before the first."""
        if limit >= 1:
            yield from self.align(engine, prompt, end_tokens, limit).best.tokens

    def align(self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int) -> Alignment:
        """Run the chain with answers of up to ``limit`` tokens, at least 1.

        A proposal evaluates only what the engine doesn't hold from the one before; the engine is left with
        the last proposal. Raises SettingsError, which names the text, when the reward fails or is NaN or inf.
        """
        check_integer("limit", limit, 1)
        now = self._draw(engine, prompt, end_tokens, limit, (), self._rng(0))
        chain = [now.sample]
        for step in range(1, self.steps + 1):
            rng = self._rng(step)
            kept = now.sample.tokens[: rng.integers(now.length)]
            new = self._draw(engine, prompt, end_tokens, limit, kept, rng)
            accepted = bool(rng.random() < self._acceptance(now, new))
            if accepted:
                now = new
            chain.append(replace(now.sample, accepted=accepted))
        n_accepted = sum(sample.accepted for sample in chain[1:])
        return Alignment(tuple(chain), n_accepted / self.steps, max(chain, key=lambda sample: sample.reward))

    def _rng(self, step: int) -> np.random.Generator:
        """The generator of one step's draws; those of different steps and seeds are independent."""
        return np.random.default_rng((int(self.seed), step))

    def _draw(
        self,
        engine: Engine,
        prompt: list[int],
        end_tokens: frozenset[int],
        limit: int,
        kept: tuple[int, ...],
        rng: np.random.Generator,
    ) -> _State:
        """Sample the answer that begins with ``kept`` to its end."""
        sampling = Sampling(self.settings, int(rng.integers(MAX_SEED + 1)), self.tokenizer)
        room = limit - len(kept)
        drawn = list(sampling(engine, [*prompt, *kept], end_tokens, room))
        tokens = (*kept, *drawn)
        text = self.text(tokens)
        has_end = len(drawn) < room
        return _State(Sample(text, tokens, self._reward_of(text), True), len(tokens) + has_end)

    def _acceptance(self, now: _State, new: _State) -> float:
        """The probability of moving from ``now`` to ``new``, 0 to 1.

        The model's probabilities cancel out, because the proposal was drawn from them.
        """
        before, after = now.sample.reward, new.sample.reward
        gain = 0.0 if before == after else (after - before) / self.beta  # equal: -inf minus -inf is NaN
        return math.exp(min(0.0, gain + self._log_length_ratio(now, new)))

    def _log_length_ratio(self, now: _State, new: _State) -> float:
        """The log of |now| / |new|: how likely the place of the cut was, on the way back and on this way."""
        return math.log(now.length / new.length)

    def _reward_of(self, text: str) -> float:
        """Return the reward as a float below inf."""
        try:
            value: Any = self.reward(text)
        except Exception as error:
            raise SettingsError(f"the reward failed on the text {_short(text)}: {error!r}") from error
        try:
            number = math.nan if isinstance(value, (str, bytes)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isnan(number) or number == math.inf:
            raise SettingsError(
                f"the reward must be a number below inf; for the text {_short(text)} it is {value!r}"
            )
        return number


@dataclass(frozen=True)
class _State:
    """An answer and how many tokens were drawn for it; the end token is one of them."""

    sample: Sample
    length: int


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
