"""Strategies for the backtracking decoder: creative writing, adaptive temperature, debugging, chains.

``AntiSlopStrategy``, ``ReplaceStrategy`` and ``HumanGuidanceStrategy`` have files of their own. The shortest
to learn from is ``DebugStrategy``.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from ..caller import helpful
from ..checks import check_integer, check_number
from ..engine import Logits, Provider
from ..errors import SettingsError, StrategyError
from ..steps import largest, likeliest, probabilities
from ..text.pieces import decoded
from .backtracking import Circumstances, Rewind, Strategy

__all__ = [
    "AdaptiveTemperatureStrategy",
    "ChainStrategy",
    "CreativeWritingStrategy",
    "DebugStrategy",
    "force",
    "is_flat",
    "likeliest_left",
]

_NEG_INF = np.float32(-np.inf)
_FAR = np.float32(1e4)  # this much below another logit a probability is 0, at any sensible temperature


# --- creative writing ----------------------------------------------------------------------------------


@helpful()
class CreativeWritingStrategy(Strategy):
    """Avoids the likeliest token, and goes back to it where that leads to a place without direction.

    - ``provider``: the model
    - ``top_p_flat``, ``top_k_threshold_flat``: a distribution is flat when at least ``top_k_threshold_flat``
      tokens are needed to make up ``top_p_flat`` of the probability; 0.5 to 0.8 and 5 to 30 are usual
    - ``eos_penalty``: factor for the probability of end tokens, 0 (never) to 1 (as the model wants it)

    The likeliest token is banned at every step, unless it ends the text or no other is left. Where the
    distribution after another token than the likeliest is flat, that token is taken back and the likeliest
    comes in its place; the step after it is an ordinary one. Probabilities are those before the sampler's
    steps. Source: the idea is that of https://github.com/Mihaiii/backtrack_sampler. Raises SettingsError.
    """

    def __init__(
        self,
        provider: Provider,
        top_p_flat: float = 0.65,
        top_k_threshold_flat: int = 9,
        eos_penalty: float = 0.75,
    ) -> None:
        self.provider = provider
        self.top_p_flat = check_number("top_p_flat", top_p_flat, 0, 1)
        self.top_k_threshold_flat = check_integer("top_k_threshold_flat", top_k_threshold_flat, 1)
        self.eos_penalty = check_number("eos_penalty", eos_penalty, 0, 1)

    def begin(self) -> None:
        """Forget the last generation."""
        self._end_tokens = self.provider.tokenizer.end_tokens
        self._ends = np.array(sorted(self._end_tokens), dtype=np.intp)
        self._end_bias = np.float32(math.log(self.eos_penalty) if self.eos_penalty else -math.inf)
        self._likeliest: list[int] = []  # at each position; the token that stays, once that is decided
        self._settled: list[int] = []  # the positions where the likeliest has to come
        self._back: int | None = None  # where to go back to in the coming ``keep``

    @property
    def hold(self) -> int:
        """The newest token: what follows it is not known yet."""
        return 1

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Ban the likeliest token, or bring it back where the other one was no good."""
        n = len(new)
        del self._likeliest[n:]
        while self._settled and self._settled[-1] > n:
            self._settled.pop()
        self._back = None
        if self._was_creative(new):
            if is_flat(logits, self.top_p_flat, self.top_k_threshold_flat):
                self._settled.append(n - 1)
                self._back = n - 1
                return logits  # whatever is chosen now is taken back together with the token before it
            self._likeliest[n - 1] = new[n - 1]  # it stays, and is not looked at again
        best = int(logits.argmax())
        logits[self._ends] += self._end_bias
        is_end = best in self._end_tokens
        self._likeliest.append(int(logits.argmax()) if is_end else best)
        if self._settled[-1:] == [n]:
            return self._favour(self._likeliest[n], logits)
        return logits if is_end else _without(best, logits)

    def keep(self, new: Sequence[int]) -> int:
        """Take the creative token back when the place after it turned out to be flat."""
        if self._back is None:
            return len(new)
        text = decoded(self.provider.tokenizer, [new[self._back]])
        self.note(Rewind(self._back, text, "what followed was flat"))
        return self._back

    def stuck(self, new: Sequence[int]) -> int:
        """Allow the likeliest token, because no other one can come."""
        if self._back is not None:
            return self.keep(new)
        if self._settled[-1:] != [len(new)]:
            self._settled.append(len(new))
        return len(new)

    def _was_creative(self, new: Sequence[int]) -> bool:
        """Whether the newest token is another than the likeliest, and may be taken back."""
        at = len(new) - 1
        return at >= 0 and new[at] != self._likeliest[at] and at not in self._settled[-2:]

    @staticmethod
    def _favour(token: int, logits: Logits) -> Logits:
        """Move the others so far away that ``token`` comes, unless something else bans it."""
        kept = logits[token]
        logits -= _FAR
        logits[token] = kept
        return logits


def _without(token: int, logits: Logits) -> Logits:
    """Ban ``token`` where another one is left."""
    kept = logits[token]
    logits[token] = _NEG_INF
    if not logits.max() > _NEG_INF:
        logits[token] = kept
    return logits


def is_flat(logits: Logits, top_p: float, top_k: int) -> bool:
    """Return whether it takes ``top_k`` tokens or more to make up ``top_p`` of the probability."""
    n_before = top_k - 1
    peak = logits.max()
    if n_before >= len(logits) or not peak > _NEG_INF:
        return False
    weights = logits - peak
    np.exp(weights, out=weights)
    before = np.exp(logits[largest(logits, n_before)] - peak)
    return bool(before.sum() < top_p * weights.sum())


# --- adaptive temperature ------------------------------------------------------------------------------


@helpful()
class AdaptiveTemperatureStrategy(Strategy):
    """Sharpens distributions that are neither certain nor hopeless: the logits times beta(entropy).

    beta is the polynomial ``poly_coeffs`` (highest power first) of the entropy in nats, but at least 1, and 1
    up to an entropy of 0.5: it never flattens. Nothing is taken back. Source: figure 4 of
    https://arxiv.org/abs/2410.01104, where it is meant for attention heads. ``provider`` is not needed.
    Raises SettingsError for coefficients that are not finite numbers.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        poly_coeffs: Sequence[float] = (-0.037, 0.481, -2.3, 4.917, -1.791),
    ) -> None:
        self.provider = provider
        try:
            coefficients = np.asarray(poly_coeffs, dtype=np.float64)
        except (TypeError, ValueError):
            coefficients = np.empty(0)
        if coefficients.ndim != 1 or not len(coefficients) or not np.isfinite(coefficients).all():
            raise SettingsError(
                f"poly_coeffs must be a list of finite numbers, highest power first; got {poly_coeffs!r}"
            )
        self.poly_coeffs = tuple(coefficients.tolist())

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Multiply the logits by beta."""
        entropy = _entropy(logits)
        if entropy > 0.5:
            logits *= np.float32(max(1.0, float(np.polyval(self.poly_coeffs, entropy))))
        return logits


def _entropy(logits: Logits) -> float:
    """Return the entropy of the distribution in nats; 0 where no token is left."""
    peak = logits.max()
    if not peak > _NEG_INF:
        return 0.0
    below = logits - peak
    np.maximum(below, np.float32(-100.0), out=below)  # a logit of -inf times 0 would be nan
    weights = np.exp(below)
    mass = float(weights.sum())
    return math.log(mass) - float(weights @ below) / mass


# --- debugging -----------------------------------------------------------------------------------------


@helpful()
class DebugStrategy(Strategy):
    """Prints each step: the likeliest tokens with their probabilities, and what was selected.

    - ``provider``: the model
    - ``top_k``: how many tokens to show
    - ``file``: where to print; None is standard output

    Probabilities are those before the sampler's steps. It changes nothing and takes nothing back, so it is
    also the skeleton of a strategy. Raises SettingsError.
    """

    def __init__(self, provider: Provider, top_k: int = 2, file: TextIO | None = None) -> None:
        self.provider = provider
        self.top_k = check_integer("top_k", top_k, 1)
        self.file = file

    def begin(self) -> None:
        """Forget the last generation."""
        self._n_new = 0  # after the last ``keep``
        self._line = ""

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Note the likeliest tokens; the logits stay as they are."""
        if len(new) < self._n_new:
            self._print(f"      back to {len(new)}")
        top = (f"{self._text(token)} {chance:.4f}" for token, chance in likeliest_left(logits, self.top_k))
        self._line = "  ".join(top)
        return logits

    def keep(self, new: Sequence[int]) -> int:
        """Print what was selected; all of it stays."""
        self._print(f"{len(new) - 1:4}  {self._line}  -> {self._text(new[-1])}")
        self._n_new = len(new)
        return len(new)

    def _text(self, token: int) -> str:
        return repr(decoded(self.provider.tokenizer, [token]))

    def _print(self, line: str) -> None:
        out = sys.stdout if self.file is None else self.file
        out.write(f"{line}\n")
        out.flush()


# --- several at once -----------------------------------------------------------------------------------


@helpful()
class ChainStrategy(Strategy):
    """Several strategies at once.

    Each adjusts what the one before it left, all are told of every token, and the text is taken back as far
    as the one that goes back furthest wants it. A ban of an earlier strategy binds the later ones; put
    those that ban before those that choose. ``report`` lists what each took back, strategy by strategy, and
    so do the reports of the strategies themselves. Raises SettingsError for an empty list.
    """

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        if isinstance(strategies, Strategy) or not all(isinstance(part, Strategy) for part in strategies):
            raise SettingsError(f"strategies must be a list of strategies; got {strategies!r}")
        if not strategies:
            raise SettingsError("strategies is empty; give at least one")
        self.strategies = tuple(strategies)
        self._parts: list[Strategy] = []

    def fresh(self, around: Circumstances) -> ChainStrategy:
        """Return a copy of the chain with copies of its strategies; reports are read at the originals."""
        run = copy.copy(self)
        run.around = around
        run._parts = [part.fresh(around) for part in self.strategies]
        return run

    @property
    def report(self) -> Sequence[Rewind]:  # type: ignore[override]  # a view: nothing is assigned to it
        """What the newest generation took back, strategy by strategy."""
        return [entry for part in self.strategies for entry in part.report]

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Let the strategies adjust the logits in order."""
        for part in self._parts:
            logits = part.adjust(new, logits)
        return logits

    def keep(self, new: Sequence[int]) -> int:
        """Return how many tokens all of them keep."""
        return self._common([part.keep(new) for part in self._parts], new)

    def finish(self, new: Sequence[int]) -> int:
        """Return how many tokens all of them keep at the end of the text."""
        return self._common([part.finish(new) for part in self._parts], new)

    def stuck(self, new: Sequence[int]) -> int:
        """Return how many tokens all of them keep where nothing is left to choose."""
        return self._common([part.stuck(new) for part in self._parts], new)

    @property
    def hold(self) -> int:
        """As many as the most cautious one."""
        return max(part.hold for part in self._parts)

    def _common(self, answers: Sequence[Any], new: Sequence[int]) -> int:
        for part, n in zip(self._parts, answers, strict=True):
            if not isinstance(n, int) or not 0 <= n <= len(new):
                raise StrategyError(f"{type(part).__name__} wants to keep {n!r} of {len(new)} tokens")
        return int(min(answers))


# --- what strategies have in common --------------------------------------------------------------------


def force(token: int, logits: Logits) -> Logits:
    """Leave ``token`` as the only one; its logit becomes 0, whatever it was."""
    logits.fill(_NEG_INF)
    logits[token] = 0.0
    return logits


def likeliest_left(logits: Logits, k: int) -> list[tuple[int, float]]:
    """Return up to ``k`` tokens that are left with their probabilities, the likeliest first."""
    top = likeliest(logits, k).tolist()
    chances = probabilities(logits) if top else logits
    return [(token, float(chances[token])) for token in top]
