"""Speaker: everything one does to text with an engine and a tokenizer.

prompt -> tokens -> decoder -> pieces of text. What the engine holds stays; a prompt that begins like the
previous one costs only what is new.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import IOBase
from time import perf_counter
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from ..caller import helpful
from ..checks import check_callable, check_integer
from ..decoding.backtracking import Strategy
from ..decoding.qalign import Alignment, QAlign
from ..decoding.selection import beam_search_of, decoder_for, room_for
from ..engine import (
    ConstrainingEngine,
    Decoder,
    Engine,
    Logits,
    Tokenizer,
    common_prefix,
    n_evaluated,
    prefill,
    reserved,
    room_for_forks,
)
from ..errors import ExceededContextLengthException, PromptError, SettingsError
from ..prompt import prompt_tokens
from ..samplers.explain import StepReport, explain_steps, first_draw
from ..samplers.fields import FIELDS
from ..samplers.presets import DefaultSampling, SimpleSampling
from ..samplers.settings import SamplerSettings
from ..steps import likeliest, probabilities
from ..terminal.escape import harmless
from ..text.pieces import StopFinder, added_space, text_after
from .given import Stops, Writable, check_sampler, stops_of
from .run import Chunk, Generation
from .stats import Stats

__all__ = ["Beam", "Probability", "Prompt", "Speaker", "Stops", "Writable"]

Prompt: TypeAlias = "str | Sequence[int]"

T = TypeVar("T")


class Beam(NamedTuple):
    """A text that beam search found.

    ``score`` is ``logprob``, the sum of the log-probabilities, divided by ``length**length_penalty``, where
    the length counts the end token.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    logprob: float


class Probability(np.float64):
    """A float, also to numpy, that shows as a bare number, with the digits that float32 has."""

    def __repr__(self) -> str:
        return str(np.float32(self))

    __str__ = __repr__


class Speaker(ABC):
    """A provider that generates; a class that derives from it says which ``engine`` and which ``tokenizer``.

    ``stats`` is what the newest call has cost.
    """

    stats: Stats = Stats()

    @property
    def name(self) -> str:
        """What the model is called."""
        return type(self).__name__

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with the model, or None."""
        return None

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """Evaluates tokens."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Turns text into tokens and back."""

    # --- tokens ----------------------------------------------------------------------------------------

    @helpful()
    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of ``text``, with BOS where the model wants one; markup becomes tokens."""
        return self.encode(text)

    @helpful()
    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``; control tokens add none, bytes that are not UTF-8 become U+FFFD.

        ``detokenize(tokenize(text))`` is ``text`` again. A space that the vocabulary adds goes only after the
        beginning-of-sequence token, so pieces of a text keep theirs.
        """
        return self.tokenizer.decode(tokens).decode("utf-8", "replace")

    @helpful()
    def get_length(self, text: str) -> int:
        """Return the length of ``text`` in tokens, including BOS."""
        return len(self.tokenize(text))

    @helpful()
    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of ``text``; with ``add_special_tokens`` BOS is added and markup is read."""
        if not isinstance(text, str):
            raise PromptError(f"text must be a str; got {type(text).__name__}")
        return self.tokenizer.encode(text, bos=add_special_tokens, special=add_special_tokens)

    @helpful()
    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``; another name for ``detokenize``."""
        return self.detokenize(tokens)

    # --- generating ------------------------------------------------------------------------------------

    @helpful(sampler=FIELDS)
    def generate(
        self,
        prompt: Prompt,
        stops: Stops | None = None,
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
        decoder: Decoder | None = None,
    ) -> str:
        """Return the text that follows ``prompt``, without the stop that ended it.

        - ``prompt``: text or token ids
        - ``stops``: a list of texts and token ids that end the generation; None is none (``[]``). The model's
          own end tokens always do
        - ``sampler``: how tokens are chosen
        - ``strategy``: what may take tokens back again, such as ``ez.AntiSlopStrategy(model, [...])``
        - ``decoder``: a function ``(engine, prompt, end tokens, limit) -> tokens`` that chooses them instead,
          such as ``ez.decoding.BeamSearch(4)``; of ``sampler`` only ``max_len_tokens`` counts then

        Raises PromptError, ExceededContextLengthException with both counts, EngineBusyError inside an
        unfinished stream, SettingsError for settings that don't go together, KeyboardInterrupt within 0.2 s
        of Ctrl-C.
        """
        generation = self.generation(prompt, stops, sampler, strategy=strategy, decoder=decoder)
        return "".join(generation.pieces())

    @helpful(sampler=FIELDS)
    def stream(
        self,
        prompt: Prompt,
        stops: Stops | None = None,
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
        decoder: Decoder | None = None,
    ) -> Generator[Chunk, None, None]:
        """Return a generator of dicts; ``chunk['choices'][0]['text']`` is the next piece of text.

        The last dict has no text and a ``finish_reason``: ``"stop"`` or ``"length"``. Pieces hold whole
        characters. Arguments are those of ``generate``. The context belongs to the stream until it is
        read to its end or closed.
        """
        return self.generation(prompt, stops, sampler, strategy=strategy, decoder=decoder).chunks()

    @helpful(sampler=FIELDS)
    def stream_print(
        self,
        prompt: Prompt,
        stops: Stops | None = None,
        sampler: SamplerSettings = DefaultSampling,
        end: str = "\n",
        file: Writable | None = None,
        flush: bool = True,
        *,
        strategy: Strategy | None = None,
        decoder: Decoder | None = None,
    ) -> str:
        """Print the text to ``file`` (standard output) as it is generated, then ``end``; return the text.

        ``flush`` after each piece; at the end it is flushed in any case. On a terminal, what it could obey is
        shown instead: a model's text is data.
        """
        out, pieces = sys.stdout if file is None else file, []
        shown = harmless if isinstance(out, IOBase) and out.isatty() else str
        generation = self.generation(prompt, stops, sampler, strategy=strategy, decoder=decoder)
        try:
            for text in generation.pieces():
                pieces.append(text)
                out.write(shown(text))
                if flush:
                    out.flush()
        finally:
            out.write(end)
            out.flush()
        return "".join(pieces)

    @helpful(sampler=FIELDS)
    def generation(
        self,
        prompt: Prompt,
        stops: Stops | None = None,
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
        decoder: Decoder | None = None,
        shown: Mapping[int, bytes] | None = None,
    ) -> Generation:
        """Return the generation that the three methods above read: its pieces, its tokens, its statistics.

        ``shown`` holds texts for tokens that add none, such as markers that are control tokens.
        """
        tokens, limit = self._prompt_and_limit(prompt, sampler)
        end_tokens, texts = stops_of(self.tokenizer, stops)
        seed = sampler.real_seed()
        if decoder is None:
            decoder = decoder_for(sampler, seed, self.tokenizer, strategy, texts)
        elif strategy is not None:
            raise SettingsError("strategy and decoder can't be used together: give the decoder the strategy")
        piece = self.tokenizer.piece
        return Generation(
            self.engine,
            (lambda token: shown.get(token) or piece(token)) if shown else piece,
            check_callable("decoder", decoder),
            tokens,
            end_tokens,
            limit,
            StopFinder(texts) if texts else None,
            seed,
            self._note,
            added_space(self.tokenizer, tokens),
        )

    def _prompt_and_limit(self, prompt: Prompt, sampler: SamplerSettings) -> tuple[list[int], int]:
        """Return the prompt's tokens and how many may follow."""
        check_sampler(sampler)
        tokens, n_ctx = prompt_tokens(self, prompt), self.engine.n_ctx
        room = room_for(sampler, n_ctx, len(tokens), room_for_forks(self.engine))
        if room < 1:
            raise ExceededContextLengthException(len(tokens), n_ctx, n_ctx - len(tokens) - room + 1)
        return tokens, sampler.limit(room)

    def _note(self, stats: Stats) -> None:
        self.stats = stats

    # --- searching -------------------------------------------------------------------------------------

    @helpful(sampler=FIELDS)
    def beams(
        self,
        prompt: Prompt,
        num_beams: int = 5,
        *,
        num_return_sequences: int | None = None,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
        sampler: SamplerSettings = DefaultSampling,
    ) -> list[Beam]:
        """Return what beam search finds after ``prompt``, the best first: texts with their scores.

        Arguments and scores are those of Hugging Face's ``generate``; ``num_return_sequences`` is all of them
        by default. Of ``sampler`` the logit bias, the penalties and ``max_len_tokens`` count. The beams share
        the context, which holds once what they have in common; where it is full the search ends.
        """
        check_sampler(sampler)
        settings = replace(
            sampler, num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping
        )
        n = num_beams if num_return_sequences is None else num_return_sequences
        search = replace(beam_search_of(settings, self.tokenizer), num_return_sequences=n)
        decoder_for(settings, 0, self.tokenizer)  # refuses what does not go together with a search
        tokens, limit = self._prompt_and_limit(prompt, settings)
        engine, end_tokens = self.engine, self.tokenizer.end_tokens
        with self._counted(tokens):
            found = search.search(engine, tokens, end_tokens, limit)
        text = partial(text_after, self.tokenizer, tokens)
        return [Beam(text(one.tokens), one.tokens, one.score, one.logprob) for one in found]

    @helpful(sampler=FIELDS)
    def align(
        self,
        prompt: Prompt,
        reward: Callable[[str], float],
        steps: int = 16,
        beta: float = 1.0,
        seed: int | None = None,
        *,
        sampler: SamplerSettings = SimpleSampling,
    ) -> Alignment:
        """Sample answers in proportion to p(answer) * exp(reward(answer) / beta): QAlign.

        - ``reward``: any function of the text; more is better, -inf forbids it
        - ``steps``: how many changes are proposed, 16 to 1000 is usual
        - ``beta``: the smaller, the more the reward counts
        - ``sampler``: p is what it samples from, the model's own by default; its ``max_len_tokens``
          is the longest answer

        Returns the whole chain, the acceptance rate and the best answer. Source:
        https://arxiv.org/abs/2504.03790. Raises SettingsError when the reward raises or is no number.
        """
        tokens, limit = self._prompt_and_limit(prompt, sampler)
        chosen = replace(sampler, seed=seed).real_seed()
        text = partial(text_after, self.tokenizer, tokens)
        chain = QAlign(reward, text, steps, beta, chosen, sampler, self.tokenizer)
        with self._counted(tokens):
            return chain.align(self.engine, tokens, self.tokenizer.end_tokens, limit)

    # --- looking inside --------------------------------------------------------------------------------

    @helpful()
    def ingest(self, text: Prompt) -> None:
        """Evaluate ``text`` now, so that generations that begin with it start at once."""
        self._after(prompt_tokens(self, text), lambda logits: None)

    @helpful()
    def candidates(self, prompt: Prompt, k: int) -> list[tuple[str, np.floating[Any]]]:
        """Return the ``k`` most likely next tokens with their probabilities, the likeliest first.

        Tokens are raw vocabulary text (``'Ġmeow'``, ``'▁me'``); probabilities are the model's own, over the
        whole vocabulary, before any sampler setting. They are numbers of Python and of numpy at once.
        """
        check_integer("k", k, 1, self.engine.n_vocab)
        chances = self._after(prompt_tokens(self, prompt), probabilities)
        best, text_of = likeliest(chances, k).tolist(), self.tokenizer.raw_text
        return [(text_of(token), Probability(chances[token])) for token in best]

    @helpful()
    def print_candidates(self, prompt: Prompt, k: int, file: Writable | None = None) -> None:
        """Print ``candidates`` to ``file`` (standard output), a line each."""
        out = sys.stdout if file is None else file
        for token, chance in self.candidates(prompt, k):
            out.write(f"token {token!r} has probability {float(chance)}\n")
        out.flush()

    @helpful(sampler=FIELDS)
    def explain(self, prompt: Prompt, sampler: SamplerSettings = DefaultSampling) -> list[StepReport]:
        """Return what each step of ``sampler`` does to the distribution of the next token.

        The first report is the model's own distribution, the last one what is drawn from; for mirostat and
        adaptive-p as at the beginning of a text. NoTokenLeft where a step removes every token.
        """
        check_sampler(sampler)
        tokens, named = prompt_tokens(self, prompt), sampler.named_steps(self.tokenizer)
        if sampler.is_constrained:
            engine = self.engine
            if not isinstance(engine, ConstrainingEngine):
                raise SettingsError("a grammar or JSON schema needs a llama.cpp engine; set it to None here")
            named.insert(0, ("grammar", engine.constraint_step(sampler)))
        rule, text_of = sampler.draw_rule(), self.tokenizer.raw_text
        if rule is not None:
            named.append(("mirostat" if sampler.mirostat else "adaptive_p", first_draw(rule)))
        return self._after(tokens, lambda logits: explain_steps(tokens, logits, named, text_of))

    def _after(self, tokens: list[int], use: Callable[[Logits], T]) -> T:
        """Evaluate ``tokens`` and return ``use(logits)``; the view itself must not leave the session."""
        with self._counted(tokens):
            return use(prefill(self.engine, tokens))

    @contextmanager
    def _counted(self, tokens: list[int]) -> Iterator[None]:
        """Reserve the engine and note in ``stats`` what was evaluated and reused."""
        engine = self.engine
        with reserved(engine):
            before, start = n_evaluated(engine), perf_counter()
            reused = min(common_prefix(engine.tokens, tokens), len(tokens) - 1)
            try:
                yield
            finally:
                evaluated, seconds = n_evaluated(engine) - before, perf_counter() - start
                self.stats = Stats(evaluated=evaluated, reused=reused, prompt_seconds=seconds)
