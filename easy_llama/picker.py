"""NumpyPicker: tokens drawn with the numpy steps, from numbers that depend on seed and position only.

Coming back to a position finds the state it had there and draws the same number again. A redraw of a
rejected token needs other numbers, which ``rewind`` with another salt gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .draws import DrawState, draw
from .engine import Logits, Tokenizer
from .errors import SettingsError
from .settings import SamplerSettings
from .steps import DRAW, XTC, stream_seed, uniform

__all__ = ["NumpyPicker", "numpy_picker"]


class NumpyPicker:
    """Chooses the next token with the numpy steps of ``settings``; a Picker for every engine.

    ``tokenizer`` is needed for texts in ``logit_bias`` and for DRY's breakers. Raises SettingsError for a
    grammar or JSON schema, which only llama.cpp's chain keeps.
    """

    def __init__(self, settings: SamplerSettings, seed: int, tokenizer: Tokenizer | None = None) -> None:
        _refuse_constraints(settings)
        self._seed = seed
        self._draw_seed, self._coin_seed = seed, stream_seed(seed, XTC)
        self._steps = settings.steps(tokenizer, lambda position: uniform(self._coin_seed, position))
        self._rule = settings.draw_rule()
        # position -> (the token drawn before it, the state if it was taken, the state if another was)
        self._states: dict[int, tuple[int, DrawState, DrawState]] = {}

    def __call__(self, tokens: Sequence[int], logits: Logits) -> int:
        """Draw the token after ``tokens``; NoTokenLeft where every logit is -inf."""
        for step in self._steps:
            logits = step(tokens, logits)
        position = len(tokens)
        if self._rule is None or not logits.max() > -np.inf:
            return draw(logits, lambda: uniform(self._draw_seed, position))
        state = self._state(tokens)
        shaped = self._rule.shape(logits, state)
        token = draw(shaped, lambda: uniform(self._draw_seed, position))
        self._states[position + 1] = (token, self._rule.learn(state, logits, shaped, token), state)
        return token

    def rewind(self, tokens: Sequence[int], salt: int) -> None:
        """Go back to having drawn exactly ``tokens``; what is drawn from now on comes from new numbers.

        They derive from the seed and ``salt``; 0 is the original stream.
        """
        self._draw_seed = stream_seed(self._seed, DRAW, salt)
        self._coin_seed = stream_seed(self._seed, XTC, salt)
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
