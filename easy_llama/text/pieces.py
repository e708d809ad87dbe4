"""Tokens to pieces of text: whole characters only, and nothing of a stop string.

The pieces do not depend on where the token borders fall: joined, they are the text up to the stop string
that begins first.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..checks import check_token
from ..engine import Tokenizer
from ..errors import PromptError

__all__ = [
    "PieceCache",
    "StopFinder",
    "added_space",
    "decoded",
    "resolve_stops",
    "text_after",
    "text_pieces",
    "without_doubled",
]


class PieceCache(dict[int, bytes]):
    """token -> its bytes, which ``read`` is asked for once."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, token: int) -> bytes:
        piece = self[token] = self._read(token)
        return piece


def decoded(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return the text of ``tokens``; bytes that are no whole character become U+FFFD."""
    return b"".join(map(tokenizer.piece, tokens)).decode("utf-8", "replace")


def added_space(tokenizer: Tokenizer, prompt: Sequence[int]) -> bytes:
    """Return what a text after ``prompt`` may begin with and is no part of it: a first space."""
    return b" " if tokenizer.adds_space and list(prompt) == tokenizer.first_tokens() else b""


def text_after(tokenizer: Tokenizer, prompt: Sequence[int], tokens: Sequence[int]) -> str:
    """Return the text of ``tokens`` that follow ``prompt``."""
    return tokenizer.decode(tokens).removeprefix(added_space(tokenizer, prompt)).decode("utf-8", "replace")


def without_doubled(start: Sequence[int], tokens: list[int]) -> list[int]:
    """Return ``tokens`` with ``start``, such as a beginning-of-sequence token, once where it is twice."""
    n = len(start)
    return tokens[n:] if n and tokens[:n] == list(start) == tokens[n : 2 * n] else tokens


def resolve_stops(tokenizer: Tokenizer, stops: Sequence[str | int]) -> tuple[frozenset[int], list[str]]:
    """Return the tokens and the texts that end a generation.

    The model's own end tokens always do. A text that is one control token (``"<|im_end|>"``) stops by its id,
    because as text it is never seen. Raises PromptError for anything that is no stop.
    """
    if isinstance(stops, (str, int)) or not isinstance(stops, (Sequence, set, frozenset)):
        advice = f": write [{stops!r}]" if isinstance(stops, (str, int)) else ""
        raise PromptError(f"stops must be a list of texts and token ids; got {stops!r:.200}{advice}")
    ids, texts = set(tokenizer.end_tokens), list[str]()
    for stop in stops:
        if isinstance(stop, str):
            tokens = tokenizer.encode(stop, bos=False)
            if len(tokens) == 1 and tokenizer.is_control(tokens[0]):
                ids.add(tokens[0])
            else:
                texts.append(stop)
        else:
            ids.add(check_token(stop, tokenizer.n_vocab))
    return frozenset(ids), texts


class StopFinder:
    """Finds stop strings in text that arrives in pieces.

    ``push(piece)`` returns the text that is certain not to belong to a stop string; ``found`` tells
    whether one was completed. Of several, the one that begins first wins.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise PromptError("a stop string is empty; leave it out")
        self._stops = tuple(stops)
        firsts = "".join({re.escape(stop[0]) for stop in stops})
        self._first = re.compile(f"[{firsts}]")
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Take the next piece and return what may be shown now, perhaps nothing."""
        text = self._held + piece if self._held else piece
        if self._first.search(text) is None:  # no stop can begin here, which is nearly always so
            return text
        for match in self._first.finditer(text):
            at = match.start()
            if any(text.startswith(stop, at) for stop in self._stops):
                self.found, self._held = True, ""
                return text[:at]
            if any(stop.startswith(text[at:]) for stop in self._stops if len(stop) > len(text) - at):
                self._held = text[at:]
                return text[:at]
        self._held = ""
        return text

    def finish(self) -> str:
        """Return what was held back when the text ends without completing its first candidate."""
        shown = ""
        while self._held and not self.found:
            # the candidate at the front stays incomplete, but another stop may stand behind it
            front, rest = self._held[0], self._held[1:]
            self._held = ""
            shown += front + self.push(rest)
        return shown


def text_pieces(
    tokens: Iterable[int],
    piece: Callable[[int], bytes],
    finder: StopFinder | None = None,
    seen: list[int] | None = None,
    added: bytes = b"",
) -> Iterator[str]:
    """Yield the text of ``tokens`` in pieces that stay, ending before the first stop string.

    ``piece`` returns the bytes of a token; ``seen`` collects the tokens as they are read; ``added`` is left
    out where the first token begins with it. Bytes that are
    not UTF-8 become U+FFFD; a character that is not complete when the tokens end is left out. When
    ``finder`` has found a stop string, ``tokens`` is not asked for more.
    """
    see = (seen if seen is not None else list[int]()).append
    decode, pending = codecs.utf_8_decode, b""
    for token in tokens:
        see(token)
        data = pending + piece(token) if pending else piece(token)
        if added:
            data, added = data.removeprefix(added), b""
        text, n_used = decode(data, "replace", False)
        pending = data[n_used:]
        if finder is not None:
            text = finder.push(text)
        if text:
            yield text
        if finder is not None and finder.found:
            return
    if finder is not None and (text := finder.finish()):
        yield text
