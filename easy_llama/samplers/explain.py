"""What each sampler step does to the next token's distribution, as data and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..engine import Logits, Step
from ..errors import NoTokenLeft
from ..steps import probabilities
from ..steps.draws import DrawRule

__all__ = ["StepReport", "explain_steps", "first_draw"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """The distribution after one step.

    - ``step``: its name; the first is ``"model"``, before any step
    - ``survivors``: tokens that can still be chosen
    - ``entropy``: in bits: 0 for a certain token, log2(survivors) where all are equally likely
    - ``top``, ``top_probability``: the likeliest token now, as raw vocabulary text, and its probability
    - ``favourite_probability``: what is left of the token that was likeliest for the model; 0.0 when removed
    """

    step: str
    survivors: int
    entropy: float
    top: str
    top_probability: float
    favourite_probability: float


def explain_steps(
    tokens: Sequence[int],
    logits: Logits,
    named_steps: Sequence[tuple[str, Step]],
    text_of: Callable[[int], str],
) -> list[StepReport]:
    """Return a report on the model's own distribution and on what each step leaves of it.

    ``tokens`` are those before, ``logits`` (n_vocab,) the model's; ``text_of`` gives the text of a token.
    """
    favourite = int(logits.argmax())
    reports = [_report("model", logits, favourite, text_of)]
    for name, step in named_steps:
        logits = step(tokens, logits)
        reports.append(_report(name, logits, favourite, text_of))
    return reports


def first_draw(rule: DrawRule) -> Step:
    """Return what mirostat or adaptive-p does to the distribution at the beginning of a text, as a step."""
    return lambda tokens, logits: rule.shape(logits, rule.start())


def _report(name: str, logits: Logits, favourite: int, text_of: Callable[[int], str]) -> StepReport:
    if not logits.max() > -np.inf:
        raise NoTokenLeft(f"no token is left after the step {name}; ban fewer tokens")
    chances = probabilities(logits).astype(np.float64)
    alive = chances[np.isfinite(logits)]
    positive = alive[alive > 0]
    top = int(chances.argmax())
    return StepReport(
        step=name,
        survivors=len(alive),
        entropy=max(0.0, float(-(positive * np.log2(positive)).sum())),
        top=text_of(top),
        top_probability=float(chances[top]),
        favourite_probability=float(chances[favourite]),
    )
