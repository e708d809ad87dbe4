"""Generation: one run of a decoder on an engine, with its tokens, its text and its statistics."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter
from typing import Protocol

from .engine import Decoder, Engine, common_prefix
from .stats import Stats
from .text import StopFinder, text_pieces

__all__ = ["Generation", "SharedEngine"]


class SharedEngine(Engine, Protocol):
    """An engine that counts what it evaluates and can be reserved for one generation."""

    @property
    def n_evaluated(self) -> int:
        """How many tokens were evaluated so far."""
        ...

    def session(self) -> AbstractContextManager[Callable[[], None]]:
        """Reserve the engine; call what is yielded each time a generator is resumed."""
        ...


class Generation:
    """What follows ``prompt`` by ``decoder``, up to ``limit`` tokens, an end token or a stop string.

    Nothing happens until ``pieces`` is read. ``tokens`` are the tokens generated so far, ``stats`` is
    complete when ``pieces`` has ended or was closed. ``piece`` gives the bytes of a token.
    """

    def __init__(
        self,
        engine: SharedEngine,
        piece: Callable[[int], bytes],
        decoder: Decoder,
        prompt: list[int],
        end_tokens: frozenset[int],
        limit: int,
        finder: StopFinder | None,
        seed: int,
    ) -> None:
        self._engine, self._piece, self._decoder, self._finder = engine, piece, decoder, finder
        self._prompt, self._end_tokens, self._limit = prompt, end_tokens, limit
        self.tokens: list[int] = []
        self.stats = Stats(seed=seed)

    def pieces(self) -> Generator[str, None, None]:
        """Yield the text in pieces of whole characters; the context is reserved meanwhile."""
        engine, finder = self._engine, self._finder
        with engine.session() as claim:
            held = min(common_prefix(engine.tokens, self._prompt), len(self._prompt) - 1)
            self.stats = replace(self.stats, reused=held)
            tokens = self._counted(
                self._decoder(engine, self._prompt, self._end_tokens, self._limit), engine.n_evaluated
            )
            try:
                for text in text_pieces(tokens, self._piece, finder):
                    yield text
                    claim()
                stopped = (finder is not None and finder.found) or len(self.tokens) < self._limit
                self.stats = replace(self.stats, finish_reason="stop" if stopped else "length")
            finally:
                tokens.close()

    def _counted(self, tokens: Iterator[int], before: int) -> Generator[int, None, None]:
        """Pass tokens on, keep them, and measure; the consumer's time between them is not counted."""
        clock, keep = perf_counter, self.tokens.append
        start, seconds = clock(), 0.0
        try:
            first = next(tokens, None)
        finally:
            self.stats = replace(
                self.stats, evaluated=self._engine.n_evaluated - before, prompt_seconds=clock() - start
            )
        if first is None:
            return
        keep(first)
        try:
            yield first
            start = clock()
            for token in tokens:
                keep(token)
                seconds += clock() - start
                yield token
                start = clock()
            seconds += clock() - start
        finally:
            self.stats = replace(self.stats, generated=len(self.tokens), generate_seconds=seconds)

    def tokens_of(self, text: str) -> tuple[list[int], str]:
        """Return the generated tokens that ``text`` begins with, and the rest of it that they don't cover.

        There is a rest where a stop string cut the text inside a token.
        """
        wanted, at = text.encode(), 0
        for n, token in enumerate(self.tokens):
            data = self._piece(token)
            if not wanted.startswith(data, at):
                return self.tokens[:n], wanted[at:].decode("utf-8", "replace")
            at += len(data)
            if at == len(wanted):
                return self.tokens[: n + 1], ""
        return list(self.tokens), wanted[at:].decode("utf-8", "replace")
