"""Reply: a bot message while it is being written. Tells what is thought from what is answered, and keeps how
it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..decoding.backtracking import Strategy
from ..engine import Tokenizer
from ..formats.thinking import Splitter, begins_thinking, hidden_tokens, thinking_of, tokens_behind
from ..generation.run import Generation
from ..samplers.settings import SamplerSettings
from .encoder import MessageEncoder
from .message import Made, Prompt

__all__ = ["Begun", "Part", "Reply", "ThinkingMarkers", "answers"]


_OPENING = 64  # tokens; more than a marker and the white space around it have


class Part(NamedTuple):
    """A piece of a reply: of the answer, or of what the model thinks before it."""

    text: str
    is_thinking: bool = False


@dataclass(frozen=True)
class Begun:
    """How a reply begins: ``text`` and its ``tokens``; ``is_shown`` where a reader has not seen it yet."""

    text: str = ""
    tokens: tuple[int, ...] = ()
    is_shown: bool = True


class ThinkingMarkers:
    """What stands around a model's thinking, by its chat ``template``: nothing where that knows of none.

    ``tokenizer`` returns that of the loaded model, which is another one after a reload. ``shown`` holds the
    texts of markers that are control tokens, which llama.cpp's text leaves out.
    """

    def __init__(self, template: str | None, tokenizer: Callable[[], Tokenizer]) -> None:
        self._thinking, self._get_tokenizer = thinking_of(template), tokenizer
        self.shown = hidden_tokens(self._thinking, tokenizer()) if self._thinking else {}

    def __bool__(self) -> bool:
        return self._thinking is not None

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token, markers written out."""
        return self.shown.get(token) or self._get_tokenizer().piece(token)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, markers written out."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def splitter(self, prompt: Sequence[int]) -> Splitter | None:
        """Return what divides the reply to ``prompt``, whose end may have opened the thinking already."""
        if self._thinking is None:
            return None
        return Splitter(self._thinking, begins_thinking(self.text(prompt[-_OPENING:]), self._thinking))


class Reply:
    """What ``generation`` writes behind ``begun``; ``splitter`` finds the thinking, None where there is none.

    ``answer`` and ``thinking`` are what was written so far.
    """

    def __init__(self, generation: Generation, begun: Begun, splitter: Splitter | None) -> None:
        self.generation, self.begun, self._splitter = generation, begun, splitter
        self.answer = self.thinking = self._raw = ""

    @property
    def is_something(self) -> bool:
        """Whether there is a reply: a beginning that was shown, a token, or an end at once.

        A reply that was to go on and ended at once stays as it is.
        """
        generation = self.generation
        if not self.begun.is_shown:
            return bool(generation.tokens)
        return bool(self._raw or generation.tokens or generation.stats.finish_reason is not None)

    def parts(self) -> Generator[Part, None, None]:
        """Yield the reply as it comes. A reader that stops early keeps what was written until then."""
        is_over = False
        try:
            if self.begun.text:
                begun = self._split(self.begun.text)
                if self.begun.is_shown:
                    yield from begun
            for piece in self.generation.pieces():
                yield from self._split(piece)
            is_over = True
        finally:
            held = self._note(self._splitter.finish()) if self._splitter is not None else []
        if is_over:
            yield from held

    def _split(self, piece: str) -> list[Part]:
        self._raw += piece
        return self._note([(False, piece)] if self._splitter is None else self._splitter.push(piece))

    def _note(self, found: Sequence[tuple[bool, str]]) -> list[Part]:
        for is_thinking, text in found:
            if is_thinking:
                self.thinking += text
            else:
                self.answer += text
        return [Part(text, is_thinking) for is_thinking, text in found if text]

    def made(
        self,
        prompt: Prompt,
        sampler: SamplerSettings,
        strategy: Strategy | None,
        encoder: MessageEncoder,
        piece: Callable[[int], bytes],
    ) -> Made:
        """Return how the reply was made; ``piece`` gives the bytes of a token."""
        stats = self.generation.stats
        kept, rest = self.generation.tokens_of(self._raw[len(self.begun.text) :])
        rest_tokens = encoder.text(rest, special=False)
        tokens = (*self.begun.tokens, *kept, *rest_tokens)
        return Made(
            tokens,
            self._answer_begins(tokens, piece) if self._splitter is not None else 0,
            len(self.begun.tokens),
            len(rest_tokens),
            self.thinking,
            stats.seed,
            sampler,
            type(strategy).__name__ if strategy is not None else "",
            stats.finish_reason,
            replace(prompt, n_reused=stats.reused),
        )

    def _answer_begins(self, tokens: Sequence[int], piece: Callable[[int], bytes]) -> int | None:
        """Return the place of the first token of the answer; None where the answer begins inside a token."""
        at = self._splitter.answer_at if self._splitter is not None else 0
        if at is None:  # it was stopped while the model thought
            return len(tokens)
        behind = tokens_behind(tokens, self._raw[:at], piece)
        return None if behind is None else len(tokens) - len(behind)


def answers(parts: Generator[Part, None, None]) -> Generator[str, None, None]:
    """Yield the texts of the answer; closing it closes ``parts``, which keeps what was said."""
    with closing(parts):
        for text, is_thinking in parts:
            if not is_thinking:
                yield text
