"""Generation: one run of a decoder on an engine, with its tokens, its text and its statistics."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import chain, islice
from time import perf_counter
from typing import Any, TypeAlias

from ..decoding.sampling import Sampling
from ..engine import Decoder, Engine, common_prefix, n_evaluated, reserved
from ..text.pieces import StopFinder, text_pieces
from .stats import Stats

__all__ = ["Chunk", "Generation"]

Chunk: TypeAlias = dict[str, Any]


class Generation:
    """What follows ``prompt`` by ``decoder``, up to ``limit`` tokens, an end token or a stop string.

    Nothing happens until ``pieces`` is read. ``tokens`` are the tokens generated so far, ``stats`` is
    complete when ``pieces`` has ended or was closed, which ``on_end`` is told. ``piece`` gives the bytes of
    a token; ``added`` is what the first one begins with and is no part of the text.
    """

    def __init__(
        self,
        engine: Engine,
        piece: Callable[[int], bytes],
        decoder: Decoder,
        prompt: list[int],
        end_tokens: frozenset[int],
        limit: int,
        finder: StopFinder | None,
        seed: int,
        on_end: Callable[[Stats], None] = lambda stats: None,
        added: bytes = b"",
    ) -> None:
        self._added = added
        self._engine, self._piece, self._decoder, self._finder = engine, piece, decoder, finder
        self._prompt, self._end_tokens, self._limit = prompt, end_tokens, limit
        self._on_end = on_end
        self.tokens: list[int] = []
        self.stats = Stats(seed=seed)

    def pieces(self) -> Generator[str, None, None]:
        """Yield the text in pieces of whole characters; the context is reserved meanwhile."""
        engine, finder, clock = self._engine, self._finder, perf_counter
        with reserved(engine) as claim:
            tokens = self._decoder(engine, self._prompt, self._end_tokens, self._limit)
            start = idle = 0.0
            try:
                first = self._first(tokens)
                start = clock()
                for text in self._texts(chain(first, tokens)):
                    away = clock()
                    yield text
                    claim()
                    idle += clock() - away
                stopped = (finder is not None and finder.found) or len(self.tokens) < self._limit
                self.stats = replace(self.stats, finish_reason="stop" if stopped else "length")
            finally:
                if isinstance(tokens, Generator):  # a decoder may return any iterator
                    tokens.close()
                seconds = clock() - start - idle if start else 0.0
                self.stats = replace(self.stats, generated=len(self.tokens), generate_seconds=seconds)
                self._on_end(self.stats)

    def _texts(self, tokens: Iterator[int]) -> Iterator[str]:
        return text_pieces(tokens, self._piece, self._finder, self.tokens, self._added)

    def chunks(self) -> Generator[Chunk, None, None]:
        """Yield the pieces as OpenAI's API has them; the last dict has no text and a ``finish_reason``."""
        pieces = self.pieces()
        try:
            for text in pieces:
                yield {"choices": [{"text": text, "index": 0, "finish_reason": None}]}
            reason = self.stats.finish_reason
            yield {"choices": [{"text": "", "index": 0, "finish_reason": reason}]}
        finally:
            pieces.close()

    def _first(self, tokens: Iterator[int]) -> list[int]:
        """Read the first token, which evaluates the prompt, and note what that cost."""
        before, start = n_evaluated(self._engine), perf_counter()
        held = min(common_prefix(self._engine.tokens, self._prompt), len(self._prompt) - 1)
        try:
            return list(islice(tokens, 1))
        finally:
            evaluated = n_evaluated(self._engine) - before
            if not isinstance(self._decoder, Sampling):  # others evaluate more before they show a token
                evaluated = min(evaluated, len(self._prompt) - held)
            self.stats = replace(
                self.stats,
                reused=held,
                evaluated=evaluated,
                prompt_seconds=perf_counter() - start,
            )

    def tokens_of(self, text: str) -> tuple[list[int], str]:
        """Return the generated tokens that ``text`` begins with, and the rest of it that they don't cover.

        There is a rest where a stop string cut the text inside a token.
        """
        wanted, at = text.encode(), 0
        for n, token in enumerate(self.tokens):
            data = self._piece(token) if n else self._piece(token).removeprefix(self._added)
            if not wanted.startswith(data, at):
                return self.tokens[:n], wanted[at:].decode("utf-8", "replace")
            at += len(data)
            if at == len(wanted):
                return self.tokens[: n + 1], ""
        return list(self.tokens), wanted[at:].decode("utf-8", "replace")
