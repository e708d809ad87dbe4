"""AntiSlopStrategy: phrases and patterns that must not appear, whatever tokens they are written with.

When one is complete, the text is taken back to the token it begins in, that token is banned at exactly this
prefix, and another is drawn from the logits that were kept. Where that can't be done, or has been done too
often, the token that completes the phrase is banned instead. What may become a phrase is not shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..caller import helpful
from ..checks import check_integer, check_number
from ..engine import Logits, Provider
from ..errors import SettingsError
from ..prompt import check_provider
from ..steps.random import SOFT_BAN, stream_seed, uniform
from ..text.matcher import Ending, PhraseMatcher, is_behind_stop
from ..text.phrases import PatternFinder
from ..text.track import TextTrack
from .backtracking import Rewind, Strategy

__all__ = ["AntiSlopStrategy"]

Slop: TypeAlias = "str | re.Pattern[str]"

_MAX_VISITS = 100  # rewinds to one place, after which phrases may begin there
_MAX_FRUITLESS = 500  # rewinds without the text growing, after which they may begin anywhere
_SLACK = 4  # tokens held back beyond the longest phrase: room to go back further
_MAX_KNOWN = 100_000  # steps remembered, some 20 MB
_CONTEXT = 32  # characters before the window that lookbehinds can see


@dataclass(frozen=True, slots=True)
class _Match:
    """What is to be acted on, from character ``start`` to before ``end``."""

    start: int
    end: int
    slop: str
    factor: float


@helpful()
class AntiSlopStrategy(Strategy):
    """Bans phrases: what is generated does not contain them, in any tokenisation.

    >>> strategy = ez.AntiSlopStrategy(model, ["tapestry", "a testament to"])   # doctest: +SKIP

    - ``provider``: the model; its tokenizer gives the text of the tokens
    - ``slops``: phrases, and regular expressions as ``re.compile(...)``; as a mapping, the factor by which
      a slop's first token becomes less likely: 0 is a ban, ``{"tapestry": 0.2}`` a soft one
    - ``ignore_case``: ban all case variants of the phrases, too (a pattern has its own flags)
    - ``whole_words``: leave phrases alone that are parts of longer words
    - ``window``: longest match of a pattern in characters; twice as many are held back

    A soft ban applies once at each place: the phrase may still come, with the chance that is left to it.
    Where every way on leads to a phrase, it goes back further, as far as nothing was shown; where a grammar
    or the bans together leave no way at all, the phrase is let through, and ``report`` says so. The idea of
    the rewind is that of https://arxiv.org/abs/2510.15061.

    Raises SettingsError for an empty list or phrase, a factor outside 0 to 1, a phrase longer than the
    context, and a broken pattern; also during a generation, for a pattern that takes over half a second.
    """

    def __init__(
        self,
        provider: Provider,
        slops: Iterable[Slop] | Mapping[Slop, float],
        *,
        ignore_case: bool = False,
        whole_words: bool = False,
        window: int = 64,
    ) -> None:
        if isinstance(slops, (str, re.Pattern)) or not isinstance(slops, Iterable):
            raise SettingsError(f"slops must be a list of phrases or a mapping; got only {slops!r}")
        check_provider(provider)
        check_integer("window", window, 1, 1_000)
        if not isinstance(slops, Mapping):
            slops = list(slops)
            unfit = [slop for slop in slops if not isinstance(slop, (str, re.Pattern))]
            if unfit:
                raise SettingsError(f"a slop must be a str or a compiled pattern of one; got {unfit[0]!r}")
        factors = dict(slops) if isinstance(slops, Mapping) else dict.fromkeys(slops, 0.0)
        _check(factors, provider)
        self.provider, self.ignore_case, self.whole_words = provider, ignore_case, whole_words
        phrases = {slop: factor for slop, factor in factors.items() if isinstance(slop, str)}
        self._phrases = list(phrases.items())
        self._matcher = PhraseMatcher(list(phrases), ignore_case=ignore_case)
        # steps made before, also by other generations: (state, text) -> states and endings
        self._known: dict[tuple[int, str], tuple[list[int], list[tuple[Ending, ...]]]] = {}
        patterns = {slop: factor for slop, factor in factors.items() if isinstance(slop, re.Pattern)}
        self._patterns = [(slop.pattern, factor) for slop, factor in patterns.items()]
        self._pattern_finder = PatternFinder([_for_regex(slop) for slop in patterns])
        self._looks_ahead = [bool(re.search(r"\(\?[=!]", slop.pattern)) for slop in patterns]
        self._window = window if patterns else 0
        self._hold_chars = max(self._matcher.longest - 1 + whole_words, 2 * self._window)

    # --- one generation --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget the last generation."""
        self._track = TextTrack(self.provider.tokenizer.piece, self.around.end_tokens)
        self._states = [0]  # of the matcher, before each character
        self._endings: list[tuple[Ending, ...]] = []  # the phrases that are complete in each character
        self._path = [0]  # a number for each beginning of the tokens; equal ones have equal numbers
        self._children: dict[tuple[int, int], int] = {}
        self._bans: dict[int, dict[int, float]] = {}  # beginning -> token -> what is added to its logit
        self._firsts: dict[int, set[int]] = {}  # those of the bans that only led to a slop, by beginning
        self._softened: set[tuple[int, int, str]] = set()
        self._lenient: set[int] = set()  # beginnings after which a slop may begin
        self._open: set[int] = set()  # beginnings after which a slop may even be completed
        self._let_through: set[tuple[int, str]] = set()  # (the beginning before it, slop)
        self._held = self._shown = self._longest = self._n_fruitless = 0

    @property
    def hold(self) -> int:
        """The tokens that a slop in progress may begin in, and a few more."""
        return self._held

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Lower what was banned after exactly these tokens."""
        if not self._bans:
            return logits
        for token, added in self._bans.get(self._path[len(new)], {}).items():
            logits[token] += added
        return logits

    def keep(self, new: Sequence[int]) -> int:
        """Take a slop back when it is complete."""
        return self._checked(new, self._push(new), at_end=False)

    def finish(self, new: Sequence[int]) -> int:
        """Look at what was undecided because the next character was not known."""
        return self._checked(new, len(self._track.chars), at_end=True)

    def stuck(self, new: Sequence[int]) -> int:
        """Loosen the bans here, or go back further, when they leave no token."""
        node = self._path[len(new)]
        if firsts := self._firsts.pop(node, None):
            self._lenient.add(node)
            for token in firsts:
                del self._bans[node][token]
            return len(new)
        can_go_back = len(new) > self._shown and self._path[len(new) - 1] not in self._open
        if can_go_back and self._n_fruitless < _MAX_FRUITLESS:
            return self._ban(new, len(new) - 1, "no token was left after it")
        self._open.add(node)
        self._bans.pop(node, None)
        return len(new)

    def _push(self, new: Sequence[int]) -> int:
        """Take the newest token in; return the number of characters before it."""
        n, track = len(new), self._track
        before = track.push(new)
        if len(self._path) > n:
            del self._path[n:], self._states[before + 1 :], self._endings[before:]
        key = (self._path[-1], new[-1])
        self._path.append(self._children.setdefault(key, len(self._children) + 1))
        step = (self._states[-1], track.newest)
        found = self._known.get(step)
        if found is None:
            if len(self._known) > _MAX_KNOWN:
                self._known.clear()
            found = self._known[step] = self._walk(*step)
        states, endings = found
        self._states += states
        self._endings += endings
        return before

    def _walk(self, state: int, text: str) -> tuple[list[int], list[tuple[Ending, ...]]]:
        """Return the state after each character, and the phrases that are complete there."""
        states, endings = list[int](), list[tuple[Ending, ...]]()
        for char in text:
            state, ends = self._matcher.step(state, char)
            states.append(state)
            endings.append(ends)
        return states, endings

    def _checked(self, new: Sequence[int], before: int, *, at_end: bool) -> int:
        """Return how many tokens stay; ``before`` is the number of characters before the newest token."""
        match = self._first_match(new, before, at_end)
        if match is not None:
            return self._take_back(new, self._track.owners[match.start], match)
        if len(new) > self._longest:
            self._longest, self._n_fruitless = len(new), 0
        self._held = min(self._track.n_tokens_of(self._hold_chars) + _SLACK, len(new))
        self._shown = max(self._shown, len(new) - self._held)
        return len(new)

    # --- matches ---------------------------------------------------------------------------------------

    def _first_match(self, new: Sequence[int], before: int, at_end: bool) -> _Match | None:
        """Return the match that begins first, of those that count."""
        if not self._window and not any(self._endings[max(before - 1, 0) :]):
            return None  # which is nearly always so
        found = [*self._phrase_matches(before, at_end), *self._pattern_matches(at_end)]
        matches = [match for match in found if self._counts(new, match)]
        return min(matches, key=lambda match: (match.start, -match.end)) if matches else None

    def _phrase_matches(self, before: int, at_end: bool) -> Iterator[_Match]:
        """Yield the phrases that were completed; whole words are known one character later."""
        n_chars = len(self._track.chars)
        first, last = (max(before - 1, 0), n_chars - (not at_end)) if self.whole_words else (before, n_chars)
        for i in range(first, last):
            for match in self._matcher.matches(self._track, i, self._endings[i]):
                if not self.whole_words or self._is_whole(match.start, match.end):
                    phrase, factor = self._phrases[match.phrase]
                    yield _Match(match.start, match.end, phrase, factor)

    def _is_whole(self, start: int, end: int) -> bool:
        chars = self._track.chars
        return not (
            (start > 0 and _is_word(chars[start - 1]) and _is_word(chars[start]))
            or (end < len(chars) and _is_word(chars[end]) and _is_word(chars[end - 1]))
        )

    def _pattern_matches(self, at_end: bool) -> Iterator[_Match]:
        """Yield the matches of the patterns.

        One that touches the end of the text, or looks ahead, may still grow or vanish: it counts when the
        text is over, or when it fills the window.
        """
        if not self._window:
            return
        text = self._track.tail(2 * self._window + _CONTEXT)
        offset = len(self._track.chars) - len(text)
        sure_before = len(text) - self._window
        for start, end, index in self._pattern_finder.matches(text, min(_CONTEXT, offset)):
            is_sure = end < len(text) and not self._looks_ahead[index]
            if at_end or is_sure or start < sure_before:
                pattern, factor = self._patterns[index]
                yield _Match(offset + start, offset + end, pattern, factor)

    def _counts(self, new: Sequence[int], match: _Match) -> bool:
        """Whether a match is to be acted on: not let through, not softened already, not behind a stop."""
        token = self._track.owners[match.start]
        node = self._path[token]
        if (node, match.slop) in self._let_through or (node, new[token], match.slop) in self._softened:
            return False
        if match.factor > 0 and token < self._shown:
            return False
        if self._path[len(new) - 1] in self._open:
            self._let_through.add((node, match.slop))
            self.note(Rewind(token, self._track.since(token), repr(match.slop), passed=True))
            return False
        return not is_behind_stop(self._track, self.around.stops, match.start, match.end)

    # --- taking back -----------------------------------------------------------------------------------

    def _take_back(self, new: Sequence[int], at: int, match: _Match) -> int:
        """Go back to the token ``at``, in which the match begins, or to the one that completes it."""
        node, reason = self._path[at], repr(match.slop)
        if match.factor > 0:
            return self._soften(new, at, match)
        if at >= self._shown and node not in self._lenient and self._n_fruitless < _MAX_FRUITLESS:
            firsts = self._firsts.setdefault(node, set())
            if len(firsts) < _MAX_VISITS:
                firsts.add(new[at])
                return self._ban(new, at, reason)
        return self._ban(new, len(new) - 1, reason)

    def _soften(self, new: Sequence[int], at: int, match: _Match) -> int:
        """Keep a soft slop with the probability ``factor``, else draw again from what is left of it.

        Together that is the factor: p f + p (1 - f) p' = p', where p' = f p / (1 - p + f p) is the redraw's.
        Greedy decoding has no chance to keep it by.
        """
        self._softened.add((self._path[at], new[at], match.slop))
        coin = uniform(stream_seed(self.around.seed, SOFT_BAN), len(self._softened))
        if match.factor == 1 or (coin < match.factor and not self.around.is_greedy):
            return self._checked(new, len(self._track.chars), at_end=False)
        return self._ban(new, at, repr(match.slop), math.log(match.factor))

    def _ban(self, new: Sequence[int], at: int, reason: str, added: float = -math.inf) -> int:
        """Ban the token at index ``at`` after what stands before it, and go back there."""
        bans = self._bans.setdefault(self._path[at], {})
        bans[new[at]] = bans.get(new[at], 0.0) + added
        self._n_fruitless += 1
        self.note(Rewind(at, self._track.since(at), reason))
        return at


def _check(factors: Mapping[Slop, float], provider: Provider) -> None:
    """Raise SettingsError for what can't be banned."""
    if not factors:
        raise SettingsError("there is nothing to ban: slops is empty")
    n_ctx = provider.engine.n_ctx
    for slop, factor in factors.items():
        text: object = slop.pattern if isinstance(slop, re.Pattern) else slop
        if not isinstance(text, str):  # there are patterns of bytes, too
            raise SettingsError(f"a slop must be a str or a compiled pattern of one; got {slop!r}")
        if slop == "":
            raise SettingsError("a slop is empty; leave it out")
        check_number(f"the factor of {slop!r}", factor, 0, 1, also=" (0 is a ban)")
        if isinstance(slop, str) and len(slop.encode("utf-8", "replace")) > n_ctx:
            n_tokens = len(provider.tokenizer.encode(slop, bos=False, special=False))
            if n_tokens > n_ctx:
                raise SettingsError(
                    f"the slop {slop[:40]!r}... has {n_tokens} tokens, and the context holds {n_ctx}: it "
                    "can't come up; leave it out"
                )


def _for_regex(pattern: re.Pattern[str]) -> str:
    """Write the pattern for the ``regex`` package: flags inside, and braces that are no counts escaped,
    because it would read them as approximate matching."""
    flags = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x", re.ASCII: "a"}
    letters = "".join(letter for flag, letter in flags.items() if pattern.flags & flag)
    text = re.sub(
        r"\\.|\{(?!\d*,?\d*\})", lambda m: m[0] if len(m[0]) > 1 else r"\{", pattern.pattern, flags=re.S
    )
    return f"(?{letters}){text}" if letters else text


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
