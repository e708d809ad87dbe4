"""The draw at the end of the steps: plain, or by a rule with a state that every token changes.

A rule is a frozen dataclass of pure functions; its state is a tuple of numbers that the caller keeps. So a
state can be kept for every position, and going back costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..checks import check_number
from ..engine import Logits
from ..errors import NoTokenLeft
from .basic import largest, probabilities

__all__ = ["AdaptiveP", "DrawRule", "DrawState", "Mirostat", "MirostatV2", "draw"]

DrawState: TypeAlias = tuple[float, ...]

_N_FITTED = 100  # tokens that mirostat fits Zipf's law to
_NEG_INF = np.float32(-np.inf)


class DrawRule(Protocol):
    """What is done to the logits right before the draw, and what is learned from the token."""

    def start(self) -> DrawState:
        """Return the state before the first draw."""
        ...

    def shape(self, logits: Logits, state: DrawState) -> Logits:
        """Return the logits to draw from."""
        ...

    def learn(self, state: DrawState, logits: Logits, shaped: Logits, token: int) -> DrawState:
        """Return the state after ``token``, which was drawn from ``shaped``, made of ``logits``."""
        ...


@dataclass(frozen=True)
class MirostatV2:
    """Drop tokens with a surprise above mu bits, and move mu so that the surprise comes to ``tau``.

    mu begins at 2 tau and goes down by ``eta`` times the error; the likeliest token always stays. ``tau``
    3 to 8 and ``eta`` 0.1 are usual. Source: https://arxiv.org/abs/2007.14966 and llama.cpp.
    """

    tau: float
    eta: float

    def __post_init__(self) -> None:
        check_number("tau", self.tau, 0, 100)
        check_number("eta", self.eta, 0, 1)

    def start(self) -> DrawState:
        """Return mu before the first draw."""
        return (2 * self.tau,)

    def shape(self, logits: Logits, state: DrawState) -> Logits:
        """Drop what is more surprising than mu."""
        peak = logits.max()
        with np.errstate(divide="ignore"):
            surprise = -np.log2(probabilities(logits))
        return np.where((surprise <= state[0]) | (logits == peak), logits, _NEG_INF)

    def learn(self, state: DrawState, logits: Logits, shaped: Logits, token: int) -> DrawState:
        """Move mu against the error of the surprise among the tokens that were left."""
        surprise = -math.log2(max(float(probabilities(shaped)[token]), 1e-45))
        return (state[0] - self.eta * (surprise - self.tau),)


@dataclass(frozen=True)
class Mirostat(MirostatV2):
    """The first version: estimates from the 100 likeliest tokens how many to keep for a surprise of mu."""

    def shape(self, logits: Logits, state: DrawState) -> Logits:
        """Keep the k likeliest, for a k from the fitted exponent of Zipf's law."""
        top = np.sort(logits[largest(logits, _N_FITTED)])[::-1].astype(np.float64)
        k = _zipf_k(top, state[0], len(logits))
        if k >= len(logits):
            return logits
        kept = largest(logits, k)
        out = np.full_like(logits, _NEG_INF)
        out[kept] = logits[kept]
        return out


def _zipf_k(top: NDArray[np.float64], mu: float, n_vocab: int) -> int:
    """How many tokens to keep for a surprise of ``mu`` bits, if rank r has probability ~ r ** -s.

    Follows from the formula for k in the paper, with its limits at s = 0 and s = 1.
    """
    if len(top) < 2:
        return 1
    ranks = np.log(np.arange(2, len(top) + 1) / np.arange(1, len(top)))
    s = float(ranks @ (top[:-1] - top[1:]) / (ranks @ ranks))
    excess = s - 1
    # ln of the bracket (s - 1) 2**mu / (1 - n**(1 - s)); near s = 1 it tends to 2**mu / ln n
    share = (
        math.log(math.log(n_vocab))
        if abs(excess) < 1e-9
        else math.log(abs(math.expm1(-excess * math.log(n_vocab))) / abs(excess))
    )
    log_bracket = mu * math.log(2) - share
    if s * math.log(n_vocab) <= log_bracket:
        return n_vocab
    return max(int(math.exp(log_bracket / s)), 1) if log_bracket > 0 else 1


@dataclass(frozen=True)
class AdaptiveP:
    """Prefer tokens whose probability is near a target, which moves so that the average comes to ``target``.

    ``target`` 0.3 to 0.7 is usual; the average fades with ``decay`` (0.9 remembers about 10 tokens).
    Source: llama.cpp ``adaptive_p``, https://github.com/ggml-org/llama.cpp/pull/17927.
    """

    target: float
    decay: float

    def __post_init__(self) -> None:
        check_number("target", self.target, 0, 1)
        check_number("decay", self.decay, 0, 0.99)

    def start(self) -> DrawState:
        """Return the sums of probabilities and of weights, as if the past had been on target."""
        return (self.target / (1 - self.decay), 1 / (1 - self.decay))

    def shape(self, logits: Logits, state: DrawState) -> Logits:
        """Replace the logits by a hill around the target: quadratic near it, linear far away."""
        wanted = min(max(2 * self.target - state[0] / state[1], 0.0), 1.0)
        distance = np.abs(probabilities(logits) - np.float32(wanted)) / np.float32(0.3)
        return np.where(logits > _NEG_INF, 5 - 10 * distance**2 / (1 + distance), _NEG_INF)

    def learn(self, state: DrawState, logits: Logits, shaped: Logits, token: int) -> DrawState:
        """Count the probability that the token had before the hill."""
        chance = float(probabilities(logits)[token])
        return (chance + self.decay * state[0], 1 + self.decay * state[1])


def draw(logits: Logits, number: Callable[[], float]) -> int:
    """Draw a token; ``number`` gives a random number in [0, 1) where there is a choice.

    Raises NoTokenLeft where every logit is -inf.
    """
    alive = np.flatnonzero(logits > _NEG_INF)
    if len(alive) == 0:
        raise NoTokenLeft(
            f"no token is left to choose from: all {len(logits)} logits are -inf; ban fewer tokens"
        )
    if len(alive) == 1:
        return int(alive[0])
    mass = np.cumsum(probabilities(logits[alive]), dtype=np.float64)
    drawn = np.searchsorted(mass, number() * mass[-1], side="right")
    return int(alive[min(int(drawn), len(alive) - 1)])
