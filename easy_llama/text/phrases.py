"""Finding phrases and patterns in text that grows and is cut: Aho-Corasick, and regular expressions.

Both tell where a match begins; neither looks at old text again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from ..errors import SettingsError

__all__ = ["PATTERN_SECONDS", "PatternFinder", "PhraseFinder"]

PATTERN_SECONDS = 0.5  # longest search of one pattern; ordinary ones take microseconds


class PhraseFinder:
    """An Aho-Corasick automaton over ``phrases``: one step a character, however many phrases there are.

    A state is a number; 0 is the beginning. ``endings(state)`` are the indices of the phrases that are
    complete in it, the longest first. Source: Aho and Corasick 1975, doi:10.1145/360825.360855.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._endings: list[tuple[int, ...]] = [()]
        for index, phrase in enumerate(phrases):
            state = 0
            for char in phrase:
                if char not in self._next[state]:
                    self._next[state][char] = len(self._next)
                    self._next.append({})
                    self._endings.append(())
                state = self._next[state][char]
            self._endings[state] = (*self._endings[state], index)
        self._failure = self._link()
        self.endings = self._endings.__getitem__

    def _link(self) -> list[int]:
        """Return, for each state, that of the longest proper suffix that is a beginning of a phrase."""
        failure = [0] * len(self._next)
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for char, child in self._next[state].items():
                failure[child] = self._step_from(failure, failure[state], char)
                self._endings[child] += self._endings[failure[child]]
                queue.append(child)
        return failure

    def _step_from(self, failure: list[int], state: int, char: str) -> int:
        while state and char not in self._next[state]:
            state = failure[state]
        return self._next[state].get(char, 0)

    def step(self, state: int, char: str) -> int:
        """Return the state after ``char``."""
        return self._step_from(self._failure, state, char)


class PatternFinder:
    """Finds the matches of regular expressions in a short text.

    Patterns are those of the ``regex`` package, which understands all that ``re`` does and can be stopped:
    a search that takes longer than half a second is an error.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        import regex  # here, because few need it

        self._patterns = []
        for pattern in patterns:
            try:
                self._patterns.append(regex.compile(pattern))
            except regex.error as error:
                raise SettingsError(f"{pattern!r} is no regular expression: {error}") from None

    def matches(self, text: str, start: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, index of the pattern) of all matches that begin at ``start`` or later.

        What stands before is seen by lookbehinds and ``\\b``. Empty matches are left out.
        """
        for index, pattern in enumerate(self._patterns):
            try:
                for match in pattern.finditer(text, start, timeout=PATTERN_SECONDS):
                    if match.end() > match.start():
                        yield match.start(), match.end(), index
            except TimeoutError:
                raise SettingsError(
                    f"the pattern {pattern.pattern!r} took over {PATTERN_SECONDS} s on {len(text)} "
                    "characters; it backtracks without end: leave out repetitions inside repetitions"
                ) from None
