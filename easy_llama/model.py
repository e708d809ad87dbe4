"""Model: a GGUF file, loaded, with everything one does to text with it.

The only place where the layers meet: prompt -> tokens -> decoder -> pieces of text. The model keeps what
it has evaluated; a prompt that begins like the previous one costs only what is new.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any, Protocol, TypeAlias

import numpy as np

from .decoding import Sampling
from .engine import common_prefix, prefill, prompt_tokens
from .errors import (
    ExceededContextLengthException,
    ModelUnloadedException,
    PromptError,
    SettingsError,
)
from .generation import Generation
from .loaded import BUNDLED_MODEL, LoadedModel
from .samplers import DefaultSampling, SamplerSettings
from .stats import Stats
from .steps import probabilities
from .text import StopFinder

__all__ = [
    "BUNDLED_MODEL",
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

    def generate(self, prompt: Prompt, stops: Stops = (), sampler: SamplerSettings = DefaultSampling) -> str:
        """Return the text that follows ``prompt``, without the stop that ended it.

        - ``prompt``: text or token ids
        - ``stops``: texts and token ids that end the generation; the model's own end tokens always do
        - ``sampler``: how tokens are chosen

        Raises PromptError, ExceededContextLengthException with both counts, EngineBusyError inside an
        unfinished stream, KeyboardInterrupt within 0.2 s of Ctrl-C.
        """
        return "".join(self.generation(prompt, stops, sampler).pieces())

    def stream(
        self, prompt: Prompt, stops: Stops = (), sampler: SamplerSettings = DefaultSampling
    ) -> Generator[Chunk, None, None]:
        """Return a generator of dicts; ``chunk['choices'][0]['text']`` is the next piece of text.

        The last dict has no text and a ``finish_reason``: ``"stop"`` or ``"length"``. Pieces hold whole
        characters. Arguments are those of ``generate``. The context belongs to the stream until it is
        read to its end or closed.
        """
        return self._chunks(self.generation(prompt, stops, sampler))

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
    ) -> str:
        """Print the text to ``file`` (standard output) as it is generated, then ``end``; return the text.

        ``flush`` after each piece; at the end it is flushed in any case.
        """
        out = sys.stdout if file is None else file
        generation, pieces = self.generation(prompt, stops, sampler), []
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
        self, prompt: Prompt, stops: Stops = (), sampler: SamplerSettings = DefaultSampling
    ) -> Generation:
        """Return the generation that the three methods above read: its pieces, its tokens, its statistics."""
        if not isinstance(sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(sampler).__name__}")
        tokens = prompt_tokens(self, prompt)
        end_tokens, texts = self.tokenizer.resolve_stops(stops)
        seed = sampler.real_seed()
        return Generation(
            self.engine,
            self.tokenizer.piece,
            Sampling(sampler, seed),
            tokens,
            end_tokens,
            sampler.limit(self.context_length - len(tokens)),
            StopFinder(texts) if texts else None,
            seed,
            self._note,
        )

    def _note(self, stats: Stats) -> None:
        self.stats = stats

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

    def _logits(self, prompt: Prompt, use: Any = lambda logits: None) -> Any:
        """Evaluate ``prompt`` and return ``use(logits)``; the view itself must not leave the session."""
        tokens, engine = prompt_tokens(self, prompt), self.engine
        with engine.session():
            before, start = engine.n_evaluated, perf_counter()
            reused = min(common_prefix(engine.tokens, tokens), len(tokens) - 1)
            try:
                return use(prefill(engine, tokens))
            finally:
                evaluated, seconds = engine.n_evaluated - before, perf_counter() - start
                self.stats = Stats(evaluated=evaluated, reused=reused, prompt_seconds=seconds)

    def print_candidates(self, prompt: Prompt, k: int, file: Writable | None = None) -> None:
        """Print ``candidates`` to ``file`` (standard output), a line each."""
        out = sys.stdout if file is None else file
        for token, chance in self.candidates(prompt, k):
            out.write(f"token {token!r} has probability {float(chance)}\n")
        out.flush()
