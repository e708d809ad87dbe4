"""Model: a GGUF file, loaded, with everything one does to text with it.

The only place where the layers meet: prompt -> tokens -> decoder -> pieces of text. The model keeps what
it has evaluated; a prompt that begins like the previous one costs only what is new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from .decoding import Alignment, QAlign, Strategy, beam_search_of, decoder_for, room_for
from .engine import common_prefix, prefill, prompt_tokens
from .errors import (
    ExceededContextLengthException,
    ModelUnloadedException,
    PromptError,
    SettingsError,
)
from .explain import StepReport, explain_steps, first_draw
from .generation import Generation
from .loaded import BUNDLED_MODEL, LoadedModel
from .samplers import DefaultSampling, SamplerSettings, SimpleSampling
from .stats import Stats
from .steps import probabilities
from .text import StopFinder

__all__ = [
    "BUNDLED_MODEL",
    "Beam",
    "ExceededContextLengthException",
    "Model",
    "ModelUnloadedException",
    "Stats",
]

Prompt: TypeAlias = "str | Sequence[int]"
Stops: TypeAlias = "Sequence[str | int]"
Chunk: TypeAlias = dict[str, Any]


class Writable(Protocol):
    """What a file must offer to be printed to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class Beam(NamedTuple):
    """A text that beam search found.

    ``score`` is ``logprob``, the sum of the log-probabilities, divided by ``length**length_penalty``, where
    the length counts the end token.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    logprob: float


class Model(LoadedModel):
    """A llama.cpp model with its context.

    >>> import easy_llama as ez
    >>> model = ez.Model()              # the bundled toy; ez.Model("some.gguf") for a real one
    >>> model.generate("The sky is blue, and", sampler=ez.samplers.GreedyDecoding)
    ' the birds are singing...'

    - ``model_path``: a GGUF file, any part of a split one; None is the bundled model
    - ``context_length``: tokens the context holds, 1 to 16,777,216; None is the native length, or what fits
      into memory. Above the native length the RoPE base is raised, with a warning about the loss
    - ``n_gpu_layers``: layers on the GPU, -1 for all; ``offload_kqv``: the cache too
    - ``flash_attn``: Flash Attention; on a CPU prompts are faster with it and long generations slower
    - ``verbose``: show llama.cpp's log through ``logging``
    - ``quantize_kv_cache``: keep keys (and with ``flash_attn`` values) as q8_0: half the memory
    - ``n_threads``: None is one for each physical core
    - ``rope_freq_base``: use this base as it is, instead of the file's or a raised one

    Raises ModelFileError (also a FileNotFoundError or IsADirectoryError where that is the fault) and
    SettingsError. Leaving a ``with`` block unloads the model.
    """

    # --- tokens ----------------------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of ``text``, with BOS where the model wants one; markup becomes tokens."""
        if not isinstance(text, str):
            raise PromptError(f"text must be a str; got {type(text).__name__}")
        return self.tokenizer.encode(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``; control tokens add none, bytes that are not UTF-8 become U+FFFD."""
        return self.tokenizer.decode(tokens).decode("utf-8", "replace")

    def get_length(self, text: str) -> int:
        """Return the length of ``text`` in tokens, including BOS."""
        return len(self.tokenize(text))

    # --- generating ------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: Prompt,
        stops: Stops = (),
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
    ) -> str:
        """Return the text that follows ``prompt``, without the stop that ended it.

        - ``prompt``: text or token ids
        - ``stops``: texts and token ids that end the generation; the model's own end tokens always do
        - ``sampler``: how tokens are chosen
        - ``strategy``: what may take tokens back again, such as ``ez.AntiSlopStrategy(model, [...])``

        Raises PromptError, ExceededContextLengthException with both counts, EngineBusyError inside an
        unfinished stream, SettingsError for settings that don't go together, KeyboardInterrupt within 0.2 s
        of Ctrl-C.
        """
        return "".join(self.generation(prompt, stops, sampler, strategy=strategy).pieces())

    def stream(
        self,
        prompt: Prompt,
        stops: Stops = (),
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
    ) -> Generator[Chunk, None, None]:
        """Return a generator of dicts; ``chunk['choices'][0]['text']`` is the next piece of text.

        The last dict has no text and a ``finish_reason``: ``"stop"`` or ``"length"``. Pieces hold whole
        characters. Arguments are those of ``generate``. The context belongs to the stream until it is
        read to its end or closed.
        """
        return self._chunks(self.generation(prompt, stops, sampler, strategy=strategy))

    def _chunks(self, generation: Generation) -> Generator[Chunk, None, None]:
        pieces = generation.pieces()
        try:
            for text in pieces:
                yield {"choices": [{"text": text, "index": 0, "finish_reason": None}]}
            reason = generation.stats.finish_reason
            yield {"choices": [{"text": "", "index": 0, "finish_reason": reason}]}
        finally:
            pieces.close()

    def stream_print(
        self,
        prompt: Prompt,
        stops: Stops = (),
        sampler: SamplerSettings = DefaultSampling,
        end: str = "\n",
        file: Writable | None = None,
        flush: bool = True,
        *,
        strategy: Strategy | None = None,
    ) -> str:
        """Print the text to ``file`` (standard output) as it is generated, then ``end``; return the text.

        ``flush`` after each piece; at the end it is flushed in any case.
        """
        out = sys.stdout if file is None else file
        generation, pieces = self.generation(prompt, stops, sampler, strategy=strategy), []
        try:
            for text in generation.pieces():
                pieces.append(text)
                out.write(text)
                if flush:
                    out.flush()
        finally:
            out.write(end)
            out.flush()
        return "".join(pieces)

    def generation(
        self,
        prompt: Prompt,
        stops: Stops = (),
        sampler: SamplerSettings = DefaultSampling,
        *,
        strategy: Strategy | None = None,
    ) -> Generation:
        """Return the generation that the three methods above read: its pieces, its tokens, its statistics."""
        tokens, limit = self._prompt_and_limit(prompt, sampler)
        end_tokens, texts = self.tokenizer.resolve_stops(stops)
        seed = sampler.real_seed()
        return Generation(
            self.engine,
            self.tokenizer.piece,
            decoder_for(sampler, seed, self.tokenizer, strategy, texts),
            tokens,
            end_tokens,
            limit,
            StopFinder(texts) if texts else None,
            seed,
            self._note,
        )

    def _prompt_and_limit(self, prompt: Prompt, sampler: SamplerSettings) -> tuple[list[int], int]:
        """Return the prompt's tokens and how many may follow."""
        if not isinstance(sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(sampler).__name__}")
        tokens = prompt_tokens(self, prompt)
        room = room_for(sampler, self.context_length, len(tokens))
        if room < 1:
            needed = self.context_length - len(tokens) - room + 1
            raise ExceededContextLengthException(len(tokens), self.context_length, needed)
        return tokens, sampler.limit(room)

    def _note(self, stats: Stats) -> None:
        self.stats = stats

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
        if not isinstance(sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(sampler).__name__}")
        settings = replace(
            sampler, num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping
        )
        n = num_beams if num_return_sequences is None else num_return_sequences
        decoder = replace(beam_search_of(settings, self.tokenizer), num_return_sequences=n)
        decoder_for(settings, 0, self.tokenizer)  # refuses what does not go together with a search
        tokens, limit = self._prompt_and_limit(prompt, settings)
        engine, end_tokens = self.engine, self.tokenizer.end_tokens
        with self._counted(tokens):
            found = decoder.search(engine, tokens, end_tokens, limit)
        return [Beam(self.detokenize(one.tokens), one.tokens, one.score, one.logprob) for one in found]

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
        chain = QAlign(reward, self.detokenize, steps, beta, chosen, sampler, self.tokenizer)
        with self._counted(tokens):
            return chain.align(self.engine, tokens, self.tokenizer.end_tokens, limit)

    def ingest(self, text: Prompt) -> None:
        """Evaluate ``text`` now, so that generations that begin with it start at once."""
        self._logits(text)

    def candidates(self, prompt: Prompt, k: int) -> list[tuple[str, np.floating[Any]]]:
        """Return the ``k`` most likely next tokens with their probabilities, the likeliest first.

        Tokens are raw vocabulary text (``'Ġmeow'``, ``'▁me'``); probabilities are the model's own, over the
        whole vocabulary, before any sampler setting.
        """
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= self.n_vocab:
            raise SettingsError(f"k must be an integer from 1 to {self.n_vocab}; got {k!r}")
        chances = self._logits(prompt, probabilities)
        top = np.argpartition(chances, -k)[-k:]
        top = top[np.argsort(-chances[top], kind="stable")]
        return [(self.vocab[token], chances[token]) for token in top]

    def explain(self, prompt: Prompt, sampler: SamplerSettings = DefaultSampling) -> list[StepReport]:
        """Return what each step of ``sampler`` does to the distribution of the next token.

        The first report is the model's own distribution, the last one what is drawn from; for mirostat and
        adaptive-p as at the beginning of a text. NoTokenLeft where a step removes every token.
        """
        if not isinstance(sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(sampler).__name__}")
        from .engines.llama_picker import grammar_step

        tokens, named = prompt_tokens(self, prompt), sampler.named_steps(self.tokenizer)
        if sampler.is_constrained:
            named.insert(0, ("grammar", grammar_step(self.engine, sampler)))
        rule, text_of = sampler.draw_rule(), self.vocab.__getitem__
        if rule is not None:
            named.append(("mirostat" if sampler.mirostat else "adaptive_p", first_draw(rule)))
        return list(self._logits(tokens, lambda logits: explain_steps(tokens, logits, named, text_of)))

    def _logits(self, prompt: Prompt, use: Any = lambda logits: None) -> Any:
        """Evaluate ``prompt`` and return ``use(logits)``; the view itself must not leave the session."""
        tokens = prompt_tokens(self, prompt)
        with self._counted(tokens):
            return use(prefill(self.engine, tokens))

    @contextmanager
    def _counted(self, tokens: list[int]) -> Iterator[None]:
        """Reserve the engine and note in ``stats`` what was evaluated and reused."""
        engine = self.engine
        with engine.session():
            before, start = engine.n_evaluated, perf_counter()
            reused = min(common_prefix(engine.tokens, tokens), len(tokens) - 1)
            try:
                yield
            finally:
                evaluated, seconds = engine.n_evaluated - before, perf_counter() - start
                self.stats = Stats(evaluated=evaluated, reused=reused, prompt_seconds=seconds)

    def print_candidates(self, prompt: Prompt, k: int, file: Writable | None = None) -> None:
        """Print ``candidates`` to ``file`` (standard output), a line each."""
        out = sys.stdout if file is None else file
        for token, chance in self.candidates(prompt, k):
            out.write(f"token {token!r} has probability {float(chance)}\n")
        out.flush()
