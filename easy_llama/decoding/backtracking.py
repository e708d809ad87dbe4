"""Backtracking: generate, look at what came out, take some of it back, go on differently.

A ``Strategy`` decides; ``Backtracking`` is the decoder that obeys it. A token is shown (yielded) only when
the strategy holds it back no longer, so nothing shown is ever taken back. The logits of all positions that
may be taken back are kept: a rewind evaluates nothing.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..engine import Engine, Logits, Tokenizer, prefill
from ..errors import NoTokenLeft, StrategyError
from ..samplers import SamplerSettings
from ..text.pieces import StopFinder, text_pieces
from .sampling import picker_for

__all__ = ["Backtracking", "Circumstances", "Rewind", "Strategy"]

_ROW_BYTES = 64 << 20  # memory for the logits of positions that may be taken back
_MAX_REWINDS = 10_000  # without the text having become longer: a strategy that never comes to an end

S = TypeVar("S", bound="Strategy")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a strategy may want to know about the generation it steers.

    ``stops`` are the texts that end it, ``end_tokens`` the tokens that do (they are not part of the text);
    ``seed`` is that of the draws, ``is_greedy`` tells that there are none.
    """

    stops: tuple[str, ...] = ()
    end_tokens: frozenset[int] = frozenset()
    seed: int = 0
    is_greedy: bool = False


@dataclass(frozen=True, slots=True)
class Rewind:
    """One entry of ``strategy.report``: what was taken back at which token, and why.

    ``position`` counts the generated tokens before it; ``passed`` tells that there was no other way and it
    was let through.
    """

    position: int
    text: str
    reason: str
    passed: bool = False


def _one_is_enough(method: F) -> F:
    """Mark a method as abstract, but not to mypy: a class that overrides another one is complete."""
    return abstractmethod(method)


class Strategy(ABC):
    """Steers a generation: an abstract class. A strategy overrides ``adjust`` or ``keep``, mostly, or both.

    - ``begin()`` is called before each generation, on a copy of the strategy: set up what it remembers
    - ``adjust(new, logits)`` before each choice: return the logits to choose from; it may write into them
    - ``keep(new)`` after each choice: return how many of the ``new`` tokens stay, all of them by default
    - ``hold``: how many of the newest tokens are not shown yet, because ``keep`` may still take them back

    ``new`` are the tokens generated so far, for ``keep`` with the one just chosen, which may be an end token.
    Two more are for strategies that look at text: ``finish(new)`` is ``keep`` for a text that is about to
    end, ``stuck(new)`` is asked what to do when nothing is left to choose. ``report`` lists what the
    newest generation took back; ``around`` tells about the generation, from ``begin`` on.
    """

    around = Circumstances()
    report: Sequence[Rewind] = ()
    _notes: list[Rewind]

    def __init_subclass__(cls, **options: Any) -> None:
        """Where a class steers in one way, the other methods may stay as they are."""
        super().__init_subclass__(**options)
        own = (cls.adjust, cls.keep, cls.finish, cls.stuck, cls.hold)
        if own == (Strategy.adjust, Strategy.keep, Strategy.finish, Strategy.stuck, Strategy.hold):
            return
        if cls.adjust is Strategy.adjust:
            type.__setattr__(cls, "adjust", _leave)
        if cls.keep is Strategy.keep:
            type.__setattr__(cls, "keep", _keep_all)

    def begin(self) -> None:  # noqa: B027  # a strategy may have nothing to remember
        """Set up what is remembered during a generation."""

    @_one_is_enough
    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Return the logits to choose from: float32 (n_vocab,), -inf for what must not be chosen."""
        return logits

    @_one_is_enough
    def keep(self, new: Sequence[int]) -> int:
        """Return how many of the new tokens stay; not fewer than were shown."""
        return len(new)

    def finish(self, new: Sequence[int]) -> int:
        """Return how many stay although the text would end here."""
        return len(new)

    def stuck(self, new: Sequence[int]) -> int:
        """Return how many to keep when ``adjust`` left no token; all of them means that it is looser now."""
        return len(new)

    @property
    def hold(self) -> int:
        """How many of the newest tokens are not shown yet."""
        return 0

    def fresh(self: S, around: Circumstances) -> S:
        """Return a copy for one generation; its report can be read here, too."""
        run, notes = copy.copy(self), list[Rewind]()
        for strategy, name, value in (
            (self, "report", notes), (run, "report", notes), (run, "_notes", notes), (run, "around", around),
        ):  # fmt: skip
            object.__setattr__(strategy, name, value)  # a strategy may be a frozen dataclass
        run.begin()
        return run

    def note(self, rewind: Rewind) -> None:
        """Add to the report; for use in ``keep``, ``finish`` and ``stuck``."""
        self._notes.append(rewind)


def _leave(self: Strategy, new: Sequence[int], logits: Logits) -> Logits:
    """Leave the logits as they are."""
    return logits


def _keep_all(self: Strategy, new: Sequence[int]) -> int:
    """Keep all of the new tokens."""
    return len(new)


@dataclass(frozen=True)
class Backtracking:
    """A decoder that draws with ``settings`` and obeys ``strategy``.

    ``stops`` end the text as soon as they are complete, also inside what is held back; ``tokenizer`` is
    needed for them.
    """

    strategy: Strategy
    settings: SamplerSettings
    seed: int
    tokenizer: Tokenizer | None = None
    stops: tuple[str, ...] = ()

    def __call__(
        self, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> Iterator[int]:
        """Yield up to ``limit`` tokens that stay, ending before an end token.

        Raises StrategyError when the strategy wants back what was shown, or never comes to an end.
        """
        if limit < 1:
            return
        run = _Run(self, engine, prompt, end_tokens, limit)
        try:
            while not run.ended:
                if run.step():
                    yield from run.ready()
            yield from run.rest()
        finally:
            run.close()


class _Run:
    """One generation: the tokens so far, how many of them were shown, and the way back."""

    def __init__(
        self, plan: Backtracking, engine: Engine, prompt: list[int], end_tokens: frozenset[int], limit: int
    ) -> None:
        self.ended = False
        settings = plan.settings
        self._strategy = plan.strategy.fresh(
            Circumstances(plan.stops, end_tokens, plan.seed, settings.is_greedy)
        )
        self._stop = _StopWatch(plan.stops, plan.tokenizer)
        self._rows = _Rows(engine, prompt)
        self._pick = picker_for(engine, settings, plan.seed, prompt, plan.tokenizer)
        self._end_tokens, self._limit = end_tokens, limit
        self._n_prompt, self._history = len(prompt), list(prompt)
        self._new: list[int] = []
        self._shown = self._longest = self._n_rewinds = self._n_fruitless = 0

    def step(self) -> bool:
        """Choose a token and do what the strategy says about it; return whether the text has grown."""
        new, strategy = self._new, self._strategy
        keep = self._choose()
        if keep == len(new) and self._is_complete():
            keep = strategy.finish(new)
            self.ended = keep == len(new)
        if not isinstance(keep, int) or not self._shown <= keep <= len(new):
            raise StrategyError(
                f"{type(strategy).__name__} wants to keep {keep!r} of {len(new)} tokens; {self._shown} were "
                "shown already, so it must be from there up. hold tells how many are not shown yet"
            )
        if keep == len(new):
            return True
        self._rewind(keep)
        return False

    def _choose(self) -> int:
        """Append the next token, where one is left, and return how many the strategy keeps."""
        new, strategy = self._new, self._strategy
        try:
            token = self._pick(self._history, self._adjusted())
        except NoTokenLeft:
            keep = strategy.stuck(new)
            if keep != len(new):
                return keep
            token = self._pick_loosened()
        new.append(token)
        self._history.append(token)
        return strategy.keep(new)

    def _pick_loosened(self) -> int:
        """Pick after the strategy has loosened what it banned, and without it where that was not enough."""
        self._renew_picker()  # a pick that failed may have been counted
        try:
            token = self._pick(self._history, self._adjusted())
        except NoTokenLeft:
            self._renew_picker()
            token = self._pick(self._history, self._rows.logits(self._new))
        return token

    def _adjusted(self) -> Logits:
        """The logits to choose from, by the strategy."""
        given = self._rows.logits(self._new)
        logits = self._strategy.adjust(self._new, given)
        if logits is given:
            return given
        is_array = isinstance(logits, np.ndarray)
        if not is_array or logits.shape != given.shape:
            raise StrategyError(
                f"{type(self._strategy).__name__}.adjust must return the logits, an array of the shape "
                f"{given.shape}; it returned {logits.shape if is_array else type(logits).__name__}"
            )
        return logits

    def _renew_picker(self) -> None:
        """Bring the picker to the state after the tokens so far, with new random numbers."""
        self._n_rewinds += 1
        self._pick.rewind(self._history, self._n_rewinds)

    def _is_complete(self) -> bool:
        new = self._new
        return bool(new) and (
            new[-1] in self._end_tokens or len(new) >= self._limit or self._stop.is_complete(new)
        )

    def _rewind(self, keep: int) -> None:
        """Go back to ``keep`` tokens. What is drawn from there on is new: a redraw with the same random
        number would be biased, because that number led to what was rejected."""
        self._n_fruitless = 0 if len(self._new) > self._longest else self._n_fruitless + 1
        if self._n_fruitless > _MAX_REWINDS:
            raise StrategyError(
                f"{type(self._strategy).__name__} went back {_MAX_REWINDS:,} times without the text growing"
            )
        self._longest = max(self._longest, len(self._new))
        del self._new[keep:], self._history[self._n_prompt + keep :]
        self._rows.rewind(keep)
        self._renew_picker()

    def ready(self) -> list[int]:
        """Return what the strategy holds back no longer; it counts as shown."""
        shown, until = self._shown, len(self._new) - self._strategy.hold
        if until <= shown or self.ended:
            return []
        self._shown = until
        self._rows.forget_before(until)
        return self._new[shown:until]

    def rest(self) -> Iterator[int]:
        """Yield all that was held back, without the end token."""
        if self._new[-1] in self._end_tokens:
            self._new.pop()
        yield from self._new[self._shown :]

    def close(self) -> None:
        """Free the picker."""
        self._pick.close()


class _Rows:
    """The logits after each of the newest tokens, and the engine that evaluates what is missing."""

    def __init__(self, engine: Engine, prompt: list[int]) -> None:
        self._engine, self._prompt = engine, prompt
        self._rows: dict[int, Logits] = {}  # number of new tokens before -> the model's own logits
        self._first = 0  # the rows are those of consecutive positions, from this one on
        self._spare: list[Logits] = []
        self._scratch: Logits = np.empty(engine.n_vocab, dtype=np.float32)
        self._n_max = max(16, _ROW_BYTES // (4 * engine.n_vocab))
        self._n_same = self._n_held = 0  # new tokens in the engine: those that are right, and all of them

    def logits(self, new: Sequence[int]) -> Logits:
        """Return the logits after ``new``, to write into: the engine's, or a copy of what was kept."""
        n, rows = len(new), self._rows
        if n in rows:
            np.copyto(self._scratch, rows[n])
            return self._scratch
        view = self._evaluate(new)
        if len(rows) >= self._n_max:
            self.forget_before(self._first + 1)
        if not rows:
            self._first = n
        rows[n] = kept = self._spare.pop() if self._spare else np.empty_like(self._scratch)
        kept[:] = view
        return view

    def _evaluate(self, new: Sequence[int]) -> Logits:
        n = len(new)
        if n == 0:
            view = prefill(self._engine, self._prompt)
        else:
            same = min(self._n_same, n - 1)
            if self._n_held > same:
                self._engine.rollback(len(self._prompt) + same)
            view = self._engine.extend(new[same:])
        self._n_same = self._n_held = n
        return view

    def rewind(self, n: int) -> None:
        """Only the first ``n`` new tokens are right."""
        self._n_same = min(self._n_same, n)
        for i in range(self._first + len(self._rows) - 1, max(n, self._first - 1), -1):
            self._spare.append(self._rows.pop(i))

    def forget_before(self, n: int) -> None:
        """There is no way back to fewer than ``n`` new tokens."""
        while self._rows and self._first < n:
            self._spare.append(self._rows.pop(self._first))
            self._first += 1


class _StopWatch:
    """Tells whether a stop string has been found, as ``StopFinder`` finds it in what is shown."""

    def __init__(self, stops: Sequence[str], tokenizer: Tokenizer | None) -> None:
        self._stops, self._encoded = stops, [stop.encode() for stop in stops]
        self._longest = max(map(len, self._encoded), default=0)
        self._piece = tokenizer.piece if tokenizer is not None else None
        self._since: int | None = None  # tokens when a stop was first complete; a longer one may be pending

    def is_complete(self, new: Sequence[int]) -> bool:
        """Whether the text of ``new`` ends at a stop."""
        if not self._stops or self._piece is None:
            return False
        if self._since is None or len(new) <= self._since:
            self._since = len(new) if self._has_one(new, self._piece) else None
        if self._since is None:
            return False
        finder = StopFinder(self._stops)
        for _ in text_pieces(new, self._piece, finder):
            pass
        return finder.found

    def _has_one(self, new: Sequence[int], piece_of: Callable[[int], bytes]) -> bool:
        """Look at as many of the newest tokens as a stop that ends in the last one can span."""
        tail, wanted = piece_of(new[-1]), self._longest - 1
        i = len(new) - 1
        while wanted > 0 and i > 0:
            i -= 1
            piece = piece_of(new[i])
            tail, wanted = piece + tail, wanted - len(piece)
        return any(stop in tail for stop in self._encoded)
