"""SamplerSettings: how the next token is chosen, and what follows from it: steps, draws, seeds, limits.

``None`` switches a step off; a field that is not given has llama.cpp's default. The tables of the fields and
of the steps in their order are in ``fields.py``.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..caller import helpful
from ..engine import Step, Tokenizer
from ..steps import draws
from ..steps.random import XTC, stream_seed, uniform
from .fields import MAX_SEED, STEPS, SamplerFields, StepNeeds, StepRow, describe

__all__ = ["SamplerSettings", "in_python", "preset"]


@helpful()
@dataclass(frozen=True, slots=True, repr=False)
class SamplerSettings(SamplerFields):
    """How the next token is chosen."""

    def __repr__(self) -> str:
        return _PRESETS.get(id(self)) or f"SamplerSettings({in_python(self)})"

    @property
    def window(self) -> int:
        """How many of the last tokens the steps look at."""
        if self.mirostat:
            return 0
        penalties = self.penalty_last_n if self.penalizes else 0
        return max(penalties, self.dry_penalty_last_n if self.breaks_repeats else 0)

    @property
    def draws_with_state(self) -> bool:
        """Whether what is drawn changes how the next token is drawn: mirostat or adaptive-p."""
        return self.draw_rule() is not None

    def draw_rule(self) -> draws.DrawRule | None:
        """Return mirostat or adaptive-p if one is on; greedy decoding needs neither."""
        if self.is_greedy:
            return None
        if self.mirostat:
            kind = draws.Mirostat if self.mirostat == 1 else draws.MirostatV2
            return kind(self.mirostat_tau, self.mirostat_eta)
        if self.adaptive_target is not None:
            return draws.AdaptiveP(self.adaptive_target, self.adaptive_decay)
        return None

    # --- the steps in numpy ----------------------------------------------------------------------------

    def named_steps(
        self, tokenizer: Tokenizer | None = None, coin: Callable[[int], float] | None = None
    ) -> list[tuple[str, Step]]:
        """The steps that are on, in order, with their names.

        ``tokenizer`` resolves texts in ``logit_bias`` and DRY's breakers; SettingsError where it is needed
        and missing. ``coin`` gives XTC a number in [0, 1) for a position; without it they come from ``seed``.
        """
        return self._made(self.active_steps, tokenizer, coin)

    def steps(
        self, tokenizer: Tokenizer | None = None, coin: Callable[[int], float] | None = None
    ) -> list[Step]:
        """The steps that are on, in order: numpy functions ``(tokens, logits) -> logits``."""
        return [step for _, step in self.named_steps(tokenizer, coin)]

    def model_steps(self, tokenizer: Tokenizer | None = None) -> list[Step]:
        """The steps that change the model's distribution and remove nothing: bias, penalties, DRY.

        For searches, which do not draw.
        """
        rows = [row for row in STEPS if row.keeps_all and row.is_on(self)]  # mirostat replaces draws only
        return [step for _, step in self._made(rows, tokenizer)]

    def _made(
        self,
        rows: list[StepRow],
        tokenizer: Tokenizer | None,
        coin: Callable[[int], float] | None = None,
    ) -> list[tuple[str, Step]]:
        seed = stream_seed(self.seed or 0, XTC)
        needs = StepNeeds(tokenizer, coin or (lambda position: uniform(seed, position)))
        return [(row.name, row.make(self, needs)) for row in rows]

    # --- numbers ---------------------------------------------------------------------------------------

    def real_seed(self) -> int:
        """Return the seed, drawing one if none is set."""
        return secrets.randbelow(MAX_SEED + 1) if self.seed is None else int(self.seed)

    def limit(self, room: int) -> int:
        """Return how many tokens may be generated where ``room`` are left in the context."""
        return room if self.max_len_tokens < 1 else min(self.max_len_tokens, room)


_PRESETS: dict[int, str] = {}  # id -> name; a copy of a preset is another object, which shows its fields


def preset(name: str, **values: Any) -> SamplerSettings:
    """Return settings that show as ``ez.samplers.<name>``; for objects that are never deleted."""
    made = SamplerSettings(**values)
    _PRESETS[id(made)] = f"ez.samplers.{name}"
    return made


def in_python(settings: SamplerSettings) -> str:
    """Return the fields that are not at their defaults, as they are written in Python."""
    return ", ".join(f"{name}={_literal(value)}" for name, value in settings.changed().items())


def _literal(value: object) -> str:
    """``repr``, with an infinity as something that can be evaluated."""
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(one)}, ' for one in value).rstrip(' ' if len(value) < 2 else ', ')})"
    return f"float('{value}')" if isinstance(value, float) and math.isinf(value) else repr(value)


SamplerSettings.__doc__ = f"How the next token is chosen.\n\n{describe()}\n"
