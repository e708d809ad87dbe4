"""Model: a GGUF file, loaded, with everything one does to text with it.

The only place where the layers meet: prompt -> tokens -> decoder -> pieces of text. The model keeps what
it has evaluated; a prompt that begins like the previous one costs only what is new.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from .decoding import Sampling
from .engine import common_prefix, prefill
from .errors import (
    ExceededContextLengthException,
    ModelFileError,
    ModelUnloadedException,
    PromptError,
    SettingsError,
)
from .generation import Generation
from .samplers import DefaultSampling, SamplerSettings
from .stats import Stats
from .steps import probabilities
from .text import StopFinder

if TYPE_CHECKING:
    import llama_cpp

    from .engines.llama import LlamaEngine
    from .engines.llama_vocab import LlamaTokenizer

__all__ = [
    "BUNDLED_MODEL",
    "ExceededContextLengthException",
    "Model",
    "ModelUnloadedException",
    "Stats",
]

BUNDLED_MODEL = Path(__file__).parent / "data" / "tiny.gguf"

Prompt: TypeAlias = "str | Sequence[int]"
Stops: TypeAlias = "Sequence[str | int]"
Chunk: TypeAlias = dict[str, Any]


_BYTES = (bytes, bytearray, memoryview)


class Writable(Protocol):
    """What a file must offer to be printed to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class Model:
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

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        context_length: int | None = None,
        n_gpu_layers: int = 0,
        offload_kqv: bool = True,
        flash_attn: bool = False,
        verbose: bool = False,
        *,
        quantize_kv_cache: bool = False,
        n_threads: int | None = None,
        rope_freq_base: float | None = None,
    ) -> None:
        from .engines.llama_context import Wishes

        self._path = _path_of(model_path)
        self._wishes = Wishes(
            context_length=context_length,
            n_gpu_layers=n_gpu_layers,
            offload_kqv=offload_kqv,
            flash_attn=flash_attn,
            quantize_kv_cache=quantize_kv_cache,
            rope_freq_base=rope_freq_base,
            n_threads=n_threads,
            verbose=verbose,
        )
        self._engine: LlamaEngine | None = None
        self._tokenizer: LlamaTokenizer | None = None
        self.stats = Stats()
        self.load()

    # --- loading ---------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model; do nothing if it is loaded."""
        if self._engine is not None and self._engine.alive:
            return
        from .engines.gguf import read_gguf, shard_paths
        from .engines.llama import LlamaEngine
        from .engines.llama_context import plan_context
        from .engines.llama_open import open_llama
        from .engines.llama_vocab import LlamaTokenizer

        paths = shard_paths(self._path)
        header = read_gguf(paths[0])
        for shard in paths[1:]:
            read_gguf(shard)
        options = plan_context(header, self._wishes)
        llama = open_llama(header, options)
        self._engine = LlamaEngine(llama, n_ctx=options.n_ctx)
        self._tokenizer = LlamaTokenizer(llama, self._engine.lock)
        self._describe(header, options)

    def _describe(self, header: Any, options: Any) -> None:
        """Set the attributes that the documentation lists."""
        import llama_cpp

        tokenizer, model = self.tokenizer, self.llama._model.model
        special = tokenizer.special_token
        self.verbose: bool = options.verbose
        self.metadata: dict[str, Any] = dict(header.metadata)
        self.filename: str = self._path.name
        self.context_length: int = options.n_ctx
        self.n_ctx_train: int = header.get("context_length")
        self.ctx_scale: float = self.context_length / self.n_ctx_train
        self.rope_freq_base_train: float | None = header.get("rope.freq_base")
        self.rope_freq_base: float | None = options.rope_freq_base or self.rope_freq_base_train
        self.flash_attn: bool = options.flash_attn
        self.n_gpu_layers: int = options.n_gpu_layers
        self.type_k: int = options.type_k
        self.type_v: int = options.type_v
        self.n_vocab: int = tokenizer.n_vocab
        self.n_layer: int = llama_cpp.llama_model_n_layer(model)
        n_head, n_head_kv = (
            llama_cpp.llama_model_n_head(model),
            llama_cpp.llama_model_n_head_kv(model),
        )
        self.n_gqa: int = n_head // n_head_kv if n_head_kv else 1
        self.bos_token: int | None = special("bos")
        self.eos_token: int | None = special("eos")
        self.eot_token: int | None = special("eot")
        self.nl_token: int | None = special("nl")
        self.sep_token: int | None = special("sep")
        self.prefix_token: int | None = special("fim_pre")
        self.middle_token: int | None = special("fim_mid")
        self.suffix_token: int | None = special("fim_suf")
        # llama.cpp answers with BOS where a model has no classifier token; the file tells the truth
        self.cls_token: int | None = header.metadata.get("tokenizer.ggml.cls_token_id")

    def unload(self) -> None:
        """Free the memory; do nothing if the model is unloaded."""
        if self._engine is not None:
            self._engine.close()
        self._engine = self._tokenizer = None

    def reload(self) -> None:
        """Unload and load again: an empty context."""
        self.unload()
        self.load()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()

    def __repr__(self) -> str:
        state = "" if self._engine is not None else ", unloaded"
        return f"<Model {self.filename}, {self.context_length} tokens of context{state}>"

    # --- parts -----------------------------------------------------------------------------------------

    @property
    def engine(self) -> LlamaEngine:
        """The engine that evaluates tokens; with ``tokenizer`` it makes the model a provider."""
        if self._engine is None:
            raise ModelUnloadedException(f"{self._path.name} is unloaded; call load() before using it again")
        return self._engine

    @property
    def tokenizer(self) -> LlamaTokenizer:
        """The tokenizer of the loaded vocabulary."""
        if self._tokenizer is None:
            raise ModelUnloadedException(f"{self._path.name} is unloaded; call load() before using it again")
        return self._tokenizer

    @property
    def llama(self) -> llama_cpp.Llama:
        """The underlying ``llama_cpp.Llama``; calling it by hand between generations is harmless."""
        return self.engine.llama

    @property
    def vocab(self) -> list[str]:
        """The raw text of every token, by id."""
        return self.tokenizer.texts

    @property
    def n_ctx(self) -> int:
        """Another name for ``context_length``."""
        return self.context_length

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

    def _prompt_tokens(self, prompt: Prompt) -> list[int]:
        """Return the ids of a prompt that leaves room for one more token."""
        if isinstance(prompt, str):
            tokens = self.tokenize(prompt)
        elif isinstance(prompt, (Sequence, np.ndarray)) and not isinstance(prompt, _BYTES):
            from .engines.llama_vocab import check_token

            tokens = [check_token(token, self.n_vocab) for token in prompt]
        else:
            raise PromptError(f"prompt must be a str or token ids; got {type(prompt).__name__}")
        if not tokens:
            raise PromptError("the prompt is empty; give at least one token")
        if len(tokens) >= self.context_length:
            raise ExceededContextLengthException(len(tokens), self.context_length)
        return tokens

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
        tokens = self._prompt_tokens(prompt)
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
        tokens, engine = self._prompt_tokens(prompt), self.engine
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


def _path_of(model_path: object) -> Path:
    """Return the path to load from; ModelFileError for what can't be one."""
    try:
        return Path(BUNDLED_MODEL if model_path is None else model_path).expanduser()  # type: ignore[arg-type]
    except (TypeError, RuntimeError) as error:  # no path at all, or the home of an unknown user
        raise ModelFileError(
            f"model_path must be the path of a GGUF file; got {model_path!r} ({error})"
        ) from None
