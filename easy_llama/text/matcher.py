"""PhraseMatcher: phrases found in the text of tokens while it grows and is cut, in any tokenisation.

What strategies that ban and that replace have in common: the automaton, letter case, where a match begins,
and whether a stop string comes before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .phrases import PhraseFinder
from .track import TextTrack

__all__ = ["Ending", "Match", "PhraseMatcher", "is_behind_stop"]


@dataclass(frozen=True, slots=True)
class Match:
    """Phrase number ``phrase`` from character ``start`` to before character ``end``."""

    start: int
    end: int
    phrase: int


@dataclass(frozen=True, slots=True)
class Ending:
    """Phrase number ``phrase`` is complete ``offset`` folded characters into a character."""

    phrase: int
    offset: int


class PhraseMatcher:
    """Finds ``phrases``, with ``ignore_case`` in all case variants, one character at a time.

    A state is a number; 0 is the beginning. It keeps nothing of a text, so one serves many generations.
    """

    def __init__(self, phrases: Sequence[str], *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._folded = [phrase.casefold() if ignore_case else phrase for phrase in phrases]
        self._finder = PhraseFinder(self._folded)
        self.longest = max(map(len, self._folded), default=0)

    def step(self, state: int, char: str) -> tuple[int, tuple[Ending, ...]]:
        """Return the state after ``char`` and the phrases that are complete in it."""
        ends: tuple[Ending, ...] = ()
        for offset, folded in enumerate(char.casefold() if self._ignore_case else char, 1):
            state = self._finder.step(state, folded)
            if found := self._finder.endings(state):
                ends += tuple(Ending(phrase, offset) for phrase in found)
        return state, ends

    def matches(self, track: TextTrack, last: int, endings: Sequence[Ending]) -> Iterator[Match]:
        """Yield the matches that end in the character ``last`` of ``track``, given the endings there."""
        for ending in endings:
            start, missing = last, len(self._folded[ending.phrase]) - ending.offset
            while missing > 0 and start > 0:
                start -= 1
                missing -= len(track.chars[start].casefold()) if self._ignore_case else 1
            yield Match(start, last + 1, ending.phrase)


def is_behind_stop(track: TextTrack, stops: Sequence[str], start: int, end: int) -> bool:
    """Whether a stop is complete by now that begins before ``end``: the text ends there, and what lies from
    ``start`` to ``end`` does not count."""
    if not stops:
        return False
    begin = max(0, start - max(map(len, stops)))
    text = "".join(track.chars[begin:])
    return any(0 <= text.find(stop) < end - begin for stop in stops)
