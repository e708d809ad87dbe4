"""NumpyPicker: tokens drawn with numpy steps, from numbers that depend on seed and position only.

Coming back to a position finds the state it had there and draws the same number again. A redraw of a
rejected token needs other numbers, which ``rewind`` with another salt gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..engine import Logits, Step, Tokenizer
from ..errors import SettingsError
from ..steps.draws import DrawRule, DrawState, draw
from ..steps.random import DRAW, XTC, stream_seed, uniform
from .settings import SamplerSettings

__all__ = ["NumpyPicker", "numpy_picker"]


class _Numbers:
    """Numbers in [0, 1) for one purpose, one for each position."""

    def __init__(self, seed: int, purpose: int) -> None:
        self._seed, self._purpose = seed, purpose
        self.renew(0)

    def __call__(self, position: int) -> float:
        return uniform(self._stream, position)

    def renew(self, salt: int) -> None:
        """Go over to the numbers that belong to ``salt``; 0 is the original stream."""
        self._stream = stream_seed(self._seed, self._purpose, salt)


class NumpyPicker:
    """Chooses the next token with the numpy steps of ``settings``; a Picker for every engine.

    ``tokenizer`` is needed for texts in ``logit_bias`` and for DRY's breakers. Raises SettingsError for a
    grammar or JSON schema, which only llama.cpp's chain keeps.
    """

    def __init__(self, settings: SamplerSettings, seed: int, tokenizer: Tokenizer | None = None) -> None:
        _refuse_constraints(settings)
        coin = _Numbers(seed, XTC)
        self._set_up(settings.steps(tokenizer, coin), seed, settings.draw_rule(), coin)

    @classmethod
    def of_steps(cls, steps: Sequence[Step], seed: int) -> NumpyPicker:
        """Return the picker that applies ``steps`` and draws."""
        picker = cls.__new__(cls)
        picker._set_up(steps, seed, None, _Numbers(seed, XTC))
        return picker

    def _set_up(self, steps: Sequence[Step], seed: int, rule: DrawRule | None, coin: _Numbers) -> None:
        self._steps, self._rule, self._coin = tuple(steps), rule, coin
        self._numbers = _Numbers(seed, DRAW)
        # position -> (the token drawn before it, the state if it was taken, the state if another was)
        self._states: dict[int, tuple[int, DrawState, DrawState]] = {}

    def __call__(self, tokens: Sequence[int], logits: Logits) -> int:
        """Draw the token after ``tokens``; NoTokenLeft where every logit is -inf."""
        for step in self._steps:
            logits = step(tokens, logits)
        position = len(tokens)
        if self._rule is None or not logits.max() > -np.inf:
            return draw(logits, lambda: self._numbers(position))
        state = self._state(tokens)
        shaped = self._rule.shape(logits, state)
        token = draw(shaped, lambda: self._numbers(position))
        self._states[position + 1] = (token, self._rule.learn(state, logits, shaped, token), state)
        return token

    def rewind(self, tokens: Sequence[int], salt: int) -> None:
        """Go back to having drawn exactly ``tokens``; what is drawn from now on comes from new numbers.

        They derive from the seed and ``salt``; 0 is the original stream.
        """
        self._numbers.renew(salt)
        self._coin.renew(salt)
        self._states = {n: known for n, known in self._states.items() if n <= len(tokens)}

    def close(self) -> None:
        """Do nothing; only the picker of llama.cpp has memory to free."""

    def _state(self, tokens: Sequence[int]) -> DrawState:
        """The state of the draw's rule after ``tokens``: nothing is learned from tokens not drawn here."""
        position = len(tokens)
        if position not in self._states:
            position = max((n for n in self._states if n < position), default=-1)
        if position < 0:
            return self._rule.start() if self._rule is not None else ()
        drawn, taken, refused = self._states[position]
        return taken if tokens[position - 1] == drawn else refused


def numpy_picker(settings: SamplerSettings, seed: int, tokenizer: Tokenizer | None = None) -> NumpyPicker:
    """Return a picker made of the numpy steps and a draw that depends on ``seed`` and position only."""
    return NumpyPicker(settings, seed, tokenizer)


def _refuse_constraints(settings: SamplerSettings) -> None:
    if not settings.is_constrained:
        return
    name = "grammar" if settings.grammar is not None else "json_schema"
    if settings.draws_with_state:
        raise SettingsError(
            f"{name} can't be combined with mirostat or adaptive_target; switch one of them off"
        )
    raise SettingsError(f"{name} needs a llama.cpp engine, which keeps the constraint; set it to None here")
