"""The text of a generation with the token that each character begins in, grown and cut with the tokens.

Characters that are spread over several tokens belong to the first of them. Nothing here looks at more than
the newest token, whatever the length of the text.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

__all__ = ["TextTrack"]


class TextTrack:
    """``chars`` are the characters of the tokens so far, ``owners`` the index of the token each begins in.

    ``piece`` gives the bytes of a token, ``silent`` are tokens without a text, such as those that end one.
    Bytes that are not UTF-8 become U+FFFD. ``newest`` is what the last ``push`` added.
    """

    def __init__(self, piece: Callable[[int], bytes], silent: frozenset[int] = frozenset()) -> None:
        self._piece, self._silent = piece, silent
        self.newest = ""
        self.chars: list[str] = []
        self.owners: list[int] = []
        # before each token: the number of characters, bytes of an incomplete one and the token it begins in
        self._marks: list[tuple[int, bytes, int]] = [(0, b"", 0)]
        self._border = 0  # of the last ``n_tokens_of``

    def __len__(self) -> int:
        return len(self._marks) - 1

    def push(self, new: Sequence[int]) -> int:
        """Take the newest of the tokens ``new`` in, whatever was taken back before it; return the number
        of characters before it."""
        n = len(new) - 1
        if len(self) > n:
            self.cut(n)
        before, pending, first = self._marks[n]
        data = pending if new[n] in self._silent else pending + self._piece(new[n])
        text, n_used = codecs.utf_8_decode(data, "replace", False)
        self.newest = text
        rest = data[n_used:]
        self.chars += text
        self.owners += [n] * len(text)
        if pending and text:
            self.owners[before] = first
        self._marks.append((len(self.chars), rest, first if rest and pending and not text else n))
        return before

    def cut(self, n: int) -> None:
        """Forget all but the first ``n`` tokens."""
        del self._marks[n + 1 :]
        n_chars = self._marks[n][0]
        del self.chars[n_chars:], self.owners[n_chars:]

    def tail(self, n: int) -> str:
        """The newest ``n`` characters."""
        return "".join(self.chars[-n:]) if n > 0 else ""

    def since(self, n: int) -> str:
        """The characters that were complete after the first ``n`` tokens only."""
        return "".join(self.chars[self._marks[n][0] :])

    def n_tokens_of(self, n_chars: int) -> int:
        """How many of the newest tokens it takes to cover the newest ``n_chars`` characters, counting the
        tokens of a character that is not complete yet."""
        marks = self._marks
        total, pending, first = marks[-1]
        until = total - n_chars
        # most times it is the border of the last call, or the next one
        n = min(self._border, len(marks) - 1)
        while n > 0 and marks[n][0] > until:
            n -= 1
        while n + 1 < len(marks) and marks[n + 1][0] <= until:
            n += 1
        self._border = n
        return len(marks) - 1 - (min(n, first) if pending else n)
