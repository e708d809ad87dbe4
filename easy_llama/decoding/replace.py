"""ReplaceStrategy: find and replace in the text while it is generated.

When a phrase is complete, in whatever tokens, the text is taken back to the token it begins in, what should
stand there is written token by token, and the model goes on from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..caller import helpful
from ..checks import check_integer, check_number
from ..engine import Logits, Provider, Tokenizer
from ..errors import SettingsError
from ..steps import probabilities
from ..text.matcher import Match, PhraseMatcher, is_behind_stop
from ..text.track import TextTrack
from .backtracking import Rewind, Strategy
from .strategies import force

__all__ = ["ReplaceStrategy", "spell"]

# put before a text, so that a tokenizer that begins with a space puts it there; one of them will not merge
_ANCHORS = ("\n", "a", ".", "1", "\n\n")
_BROKEN = "\ufffd"  # stands for bytes that are no character; they may end at any border


@dataclass(frozen=True, slots=True)
class _Edit:
    """One replacement: ``tokens`` are written from position ``start`` on.

    No phrase is found that ends before the character ``searched_from``: there is the replacement, and before
    it what was searched already. Where nothing is left to write after a deletion, the token ``banned`` can't
    come at ``start`` again.
    """

    start: int
    tokens: tuple[int, ...] = ()
    searched_from: int = 0
    banned: int | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


@helpful()
class ReplaceStrategy(Strategy):
    """Writes ``replace`` wherever the model writes one of the texts ``find``, and lets it go on from there.

    - ``provider``: the model
    - ``find``: a list of texts; the one that is complete first is replaced, of several the one that begins
      first, of those the longest
    - ``replace``: the text to write instead; it is not searched itself, so it may contain ``find``
    - ``max_replacements``: how many at most in one generation; None is no limit
    - ``max_new_tokens_for_replace``: only what is complete within that many tokens; None is no limit
    - ``skip_tokens``: only what begins after that many tokens
    - ``max_prob``: only where the model gave the token it begins in at most this probability, 0 to 1, before
      the sampler's steps
    - ``ignore_case``: find all case variants

    What stands in the same tokens before and after the phrase stays. An empty ``replace`` leaves the phrase
    out: it is taken back, and because the model would only write it again, the token it begins with is
    banned at that place; where a part of that token stays, the one that leads to the phrase a second time.
    Where something else bans the replacement (another strategy, a grammar, a logit of -inf), the phrase is
    let through: ``report`` says so. Raises SettingsError for an empty ``find`` or phrase, a ``replace`` that
    the tokens of the model can't spell, and options outside their range.
    """

    def __init__(
        self,
        provider: Provider,
        find: Iterable[str],
        replace: str,
        max_replacements: int | None = None,
        max_new_tokens_for_replace: int | None = None,
        skip_tokens: int = 0,
        max_prob: float = 1.0,
        *,
        ignore_case: bool = False,
    ) -> None:
        self.provider, self.replace, self.ignore_case = provider, replace, ignore_case
        self.find = _checked_find(find)
        if not isinstance(replace, str) or spell(provider.tokenizer, replace) is None:
            raise SettingsError(f"replace must be a text that the model's tokens can spell; got {replace!r}")
        self.max_replacements = _or_unlimited("max_replacements", max_replacements)
        self.max_new_tokens_for_replace = _or_unlimited(
            "max_new_tokens_for_replace", max_new_tokens_for_replace
        )
        self.skip_tokens = check_integer("skip_tokens", skip_tokens, 0)
        self.max_prob = check_number("max_prob", max_prob, 0, 1)
        self._matcher = PhraseMatcher(self.find, ignore_case=ignore_case)
        self._hold_chars = self._matcher.longest - 1

    # --- one generation --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget the last generation."""
        self._track = TextTrack(self.provider.tokenizer.piece, self.around.end_tokens)
        self._states = [0]  # of the matcher, before each character
        self._chances: list[float] = []  # the probability that the model gave each token
        self._given: Logits | None = None  # the logits of the coming choice, where they are needed
        self._edits: list[_Edit] = []  # those that the text contains, in order
        self._open: set[int] = set()  # positions where a phrase is let through
        self._shown = 0  # tokens that can't be taken back any more
        self._back: int | None = None  # where to go back to in the coming ``keep``

    @property
    def hold(self) -> int:
        """The tokens that a phrase in progress may begin in, or all of a replacement in progress."""
        return max(0, len(self._track) - self._shown)

    def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
        """Write the replacement that is due, and keep deleted phrases from coming again."""
        n = len(new)
        self._forget_after(n)
        self._back = None
        if self.max_prob < 1:
            self._given = logits.copy()
        edit = self._running(n)
        if edit is None:
            for old in reversed(self._edits):
                if old.start < n:
                    break
                if old.banned is not None:
                    logits[old.banned] = -math.inf
            return logits
        if tuple(new[edit.start :]) != edit.tokens[: n - edit.start]:
            self._edits.pop()  # another strategy wanted something else
            return logits
        token = edit.tokens[n - edit.start]
        if logits[token] == -math.inf:
            back = self._give_up(edit)
            self._back = back if back < n else None
            return logits
        return force(token, logits)

    def keep(self, new: Sequence[int]) -> int:
        """Take a phrase back when it is complete."""
        if self._back is not None:
            return self._back
        before = self._track.push(new)
        self._note_chance(new)
        match = min(self._matches(new, before), key=lambda match: (match.start, -match.end), default=None)
        if match is not None and (keep := self._replace(new, match)) < len(new):
            return keep
        self._show(len(new))
        return len(new)

    def stuck(self, new: Sequence[int]) -> int:
        """Give up a replacement that can't be written, or a deletion that leaves nothing."""
        n = len(new)
        if self._back is not None:
            return self._back
        edit = self._running(n) or (self._edits[-1] if self._edits and self._edits[-1].start == n else None)
        if edit is None:
            return n
        return self._give_up(edit)

    def _show(self, n: int) -> None:
        """Let go of the tokens that neither a phrase nor a replacement in progress needs."""
        first = self._border(n - self._track.n_tokens_of(self._hold_chars))
        edit = self._running(n)
        self._shown = max(self._shown, first if edit is None else min(first, edit.start))

    def _forget_after(self, n: int) -> None:
        """Forget what belonged to tokens that were taken back."""
        while self._edits and self._edits[-1].start > n:
            self._edits.pop()
        self._open = {at for at in self._open if at <= n}
        self._shown = min(self._shown, n)

    def _running(self, n: int) -> _Edit | None:
        """The replacement that is not written to its end after ``n`` tokens."""
        edit = self._edits[-1] if self._edits else None
        return edit if edit is not None and n < edit.end else None

    def _give_up(self, edit: _Edit) -> int:
        """Let the phrase through at this place, with all that was tried there; return where to go on."""
        while self._edits and self._edits[-1].start == edit.start:
            self._edits.pop()
        self._open.add(edit.start)
        self.note(Rewind(edit.start, "", f"{self.replace!r} can't be written", passed=True))
        return max(edit.start, self._shown)

    def _note_chance(self, new: Sequence[int]) -> None:
        if self._given is not None:
            del self._chances[len(new) - 1 :]
            is_empty = not self._given.max() > -math.inf
            self._chances.append(1.0 if is_empty else float(probabilities(self._given)[new[-1]]))

    # --- finding ---------------------------------------------------------------------------------------

    def _matches(self, new: Sequence[int], before: int) -> Iterator[Match]:
        """Yield the phrases that the newest token completed and that are to be replaced."""
        del self._states[before + 1 :]
        searched_from = self._edits[-1].searched_from if self._edits else 0
        track, state = self._track, self._states[-1]
        for i in range(before, len(track.chars)):
            if i < searched_from and self.replace:
                state = 0  # nothing that is found reaches into a replacement
            else:
                state, endings = self._matcher.step(state, track.chars[i])
                for match in self._matcher.matches(track, i, endings):
                    if i >= searched_from and self._counts(new, match):
                        yield match
            self._states.append(state)

    def _counts(self, new: Sequence[int], match: Match) -> bool:
        """Whether the options allow the match to be replaced."""
        token, start = self._track.owners[match.start], self._start(new, match)
        # a deletion may need several bans at one place, and counts once
        places = {edit.start for edit in self._edits}
        is_new = not any(edit.start == start and edit.banned is not None for edit in self._edits)
        return (
            not (is_new and len(places) >= self.max_replacements)
            and len(new) <= self.max_new_tokens_for_replace
            and token >= self.skip_tokens
            and (self._given is None or self._chances[token] <= self.max_prob)
            and start not in self._open
            and not is_behind_stop(self._track, self.around.stops, match.start, match.end)
        )

    def _start(self, new: Sequence[int], match: Match) -> int:
        """Where to go back to: the border before the match, or the last one if that was shown already."""
        start = self._border(self._track.owners[match.start])
        return start if start >= self._shown else len(new) - 1

    def _border(self, n: int) -> int:
        """The newest border between tokens, at ``n`` or before, that cuts no character."""
        owners = self._track.owners
        while (after := self._track.since(n)) and after[0] != _BROKEN and owners[-len(after)] < n:
            n = owners[-len(after)]
        return n

    # --- replacing -------------------------------------------------------------------------------------

    def _replace(self, new: Sequence[int], match: Match) -> int:
        """Plan what stands in the phrase's tokens from now on, and go back to the first of them."""
        phrase, track = self.find[match.phrase], self._track
        start = self._border(track.owners[match.start])
        text = track.since(max(start, self._shown))
        n_before = len(track.chars) - len(text)
        if start < self._shown:  # a cut has brought what was shown together with another ending
            start = len(new) - 1
            self._edits.append(_Edit(start, banned=new[start]))
            self.note(Rewind(start, text, f"{phrase!r} was begun in what can't be taken back"))
            return start
        if track.owners[n_before] < start:  # bytes before ``start`` that became no character
            text, n_before = text[1:], n_before + 1
        written = text[: match.start - n_before] + self.replace
        whole = written + text[match.end - n_before :]
        tokens = spell(self.provider.tokenizer, whole)
        if tokens is None:
            self._open.add(start)
            self.note(Rewind(start, "", f"{whole!r} can't be written with the model's tokens", passed=True))
            return len(new)
        banned = None if self.replace else new[start]
        if banned is not None and any(e.start == start and e.tokens == tokens for e in self._edits):
            # the model goes round in a circle: what led from here to the phrase again is banned
            if len(new) > start + len(tokens) and tuple(new[start : start + len(tokens)]) == tokens:
                start += len(tokens)
            tokens, banned = (), new[start]
        self._edits.append(_Edit(start, tokens, n_before + len(written) if tokens else 0, banned))
        self.note(Rewind(start, text, f"{phrase!r} becomes {self.replace!r}"))
        return start


def spell(tokenizer: Tokenizer, text: str) -> tuple[int, ...] | None:
    """Return tokens whose bytes are exactly ``text``, or None where there are none.

    Some tokenizers put a space before every text. There the text is tokenised behind an anchor, whose
    tokens are taken off again.
    """
    data = text.encode("utf-8", "replace")
    if not data:
        return ()
    for anchor in ("", *_ANCHORS):
        tokens = tokenizer.encode(anchor + text, bos=False, special=False)
        pieces = [tokenizer.piece(token) for token in tokens]
        n_left = len(data)
        first = len(tokens)
        while n_left > 0 and first > 0:
            first -= 1
            n_left -= len(pieces[first])
        if n_left == 0 and b"".join(pieces[first:]) == data:
            return tuple(tokens[first:])
    return None


def _checked_find(find: Iterable[str]) -> list[str]:
    if isinstance(find, str) or not isinstance(find, Iterable):
        raise SettingsError(f"find must be a list of texts; got {find!r}")
    phrases = list(dict.fromkeys(find))
    if not phrases or not all(isinstance(phrase, str) and phrase for phrase in phrases):
        raise SettingsError(f"find must hold at least one text, and none that is empty; got {phrases!r}")
    return phrases


def _or_unlimited(name: str, value: int | None) -> float:
    return math.inf if value is None else check_integer(name, value, 0)
