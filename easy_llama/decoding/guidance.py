"""HumanGuidanceStrategy: a person chooses the tokens, and may go back to an earlier choice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..caller import helpful
from ..checks import check_callable, check_integer, check_number, is_integer
from ..engine import Logits, Provider
from ..errors import EngineError, SettingsError
from ..terminal import menu
from ..text.pieces import decoded
from .backtracking import Rewind, Strategy
from .strategies import force, likeliest_left

__all__ = ["Chooser", "HumanGuidanceStrategy"]

Chooser: TypeAlias = Callable[[str, list[menu.Option], bool], menu.Choice]
"""(text so far, options, whether there is a way back) -> the index of an option, "back" or "end"."""


@helpful()
class HumanGuidanceStrategy(Strategy):
    """Lets a person choose each token from the likeliest ones, go back to the last choice, or end the text.

    - ``provider``: the model
    - ``top_k``: how many tokens to offer; what can't come is never offered
    - ``min_autopass``: a token at least this probable is taken without asking; 0 never asks and takes the
      likeliest, 1 always asks
    - ``choose``: called as ``choose(text, options, can_go_back)`` with the text generated so far; it returns
      the index of an option, ``"back"`` or ``"end"``. None is the menu in the terminal, ``menu.choose``

    What is chosen comes, whatever the sampler would do. Going back skips what was taken without asking.
    Nothing is shown before the text is over, because all of it can be taken back. A choice that a grammar
    forbids is asked again without it. Probabilities are those before the sampler's steps. Raises
    SettingsError, also for an answer that is none, and EngineError where the text can't end.
    """

    def __init__(
        self,
        provider: Provider,
        top_k: int = 3,
        min_autopass: float = 1.0,
        *,
        choose: Chooser | None = None,
    ) -> None:
        self.provider = provider
        self.top_k = check_integer("top_k", top_k, 1)
        self.min_autopass = check_number("min_autopass", min_autopass, 0, 1)
        self.choose: Chooser = (
            menu.choose if choose is None else check_callable("choose", choose, also=" or None")
        )

    def begin(self) -> None:
        """Forget the last generation."""
        self._asked: list[int] = []  # the positions where a person chose
        self._refused: dict[int, set[int]] = {}  # position -> tokens that can't be chosen there after all
        self._forced: int | None = None  # the token that has to come now
        self._back: int | None = None  # where to go back to in the coming ``keep``
        self._stuck_at = -1  # the newest position where a choice was refused

    @property
    def hold(self) -> int:
        """All tokens: there may be a way back to the first."""
        return sys.maxsize

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Ask, and leave nothing but the answer."""
        self._forget_after(len(new))
        self._forced = self._back = None
        refused = self._refused.get(len(new), set())
        logits[list(refused)] = -np.inf
        options = self._options(logits)
        if not options:
            return logits  # the decoder says so
        if self.min_autopass < 1 and options[0].probability >= self.min_autopass:
            return self._force(options[0].token, logits)
        answer = self._ask(new, options)
        if answer == "back":
            self._back = self._asked.pop()
            return logits  # whatever is chosen now is taken back with the rest
        self._asked.append(len(new))
        if answer == "end":
            return self._force(self._end_token(logits, refused), logits)
        return self._force(options[answer].token, logits)

    def keep(self, new: Sequence[int]) -> int:
        """Go back where that was the answer, and where something else was drawn than what was chosen."""
        n = len(new) - 1
        if self._back is not None:
            return self._go_back(new[:n])
        if self._stuck_at == n and self._forced is not None and new[n] != self._forced:
            self._refused.setdefault(n, set()).add(self._forced)
            return n
        return n + 1

    def stuck(self, new: Sequence[int]) -> int:
        """Ask again without what can't be chosen."""
        if self._back is not None:
            return self._go_back(new)
        if self._forced is not None:
            self._stuck_at = len(new)
            self._refused.setdefault(len(new), set()).add(self._forced)
        return len(new)

    def _go_back(self, new: Sequence[int]) -> int:
        back = len(new) if self._back is None else self._back
        self.note(Rewind(back, self._text(new[back:]), "a person went back"))
        return back

    def _forget_after(self, n: int) -> None:
        """Forget what was chosen at positions that are to be chosen again."""
        while self._asked and self._asked[-1] >= n:
            self._asked.pop()
        self._refused = {at: tokens for at, tokens in self._refused.items() if at <= n}

    def _force(self, token: int, logits: Logits) -> Logits:
        self._forced = token
        return force(token, logits)

    def _options(self, logits: Logits) -> list[menu.Option]:
        ends = self.provider.tokenizer.end_tokens
        top = likeliest_left(logits, self.top_k)
        return [menu.Option(token, self._text([token]), chance, token in ends) for token, chance in top]

    def _ask(self, new: Sequence[int], options: list[menu.Option]) -> menu.Choice:
        """Return the answer; SettingsError for one that is none."""
        answer = self.choose(self._text(new), options, bool(self._asked))
        is_index = is_integer(answer, 0, len(options) - 1)
        if is_index or answer == "end" or (answer == "back" and self._asked):
            return answer
        back = '"back", ' if self._asked else ""
        raise SettingsError(
            f'choose must return an integer from 0 to {len(options) - 1}, {back}or "end"; got {answer!r}'
        )

    def _end_token(self, logits: Logits, refused: set[int]) -> int:
        """The likeliest end token; EngineError where there is none, or none is allowed."""
        ends = [token for token in sorted(self.provider.tokenizer.end_tokens) if token not in refused]
        if not ends:
            why = "a grammar or the sampler settings forbid it" if refused else "the model has no end token"
            raise EngineError(f"the text can't end here: {why}; choose another token")
        return max(ends, key=lambda token: float(logits[token]))

    def _text(self, tokens: Sequence[int]) -> str:
        return decoded(self.provider.tokenizer, tokens)
