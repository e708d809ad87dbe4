"""Model: a GGUF file, loaded, with everything one does to text with it.

What it does to text is in ``generation/speaker.py``; here a file comes and goes, and tells what it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .caller import helpful
from .errors import ExceededContextLengthException, ModelFileError, ModelUnloadedException, SettingsError
from .generation.speaker import Beam, Speaker
from .generation.stats import Stats

if TYPE_CHECKING:
    import llama_cpp

    from .engines.llama.engine import LlamaEngine
    from .engines.llama.load import LoadedModel, ModelFacts
    from .engines.llama.plan import LoadOptions
    from .engines.llama.vocab import LlamaTokenizer

__all__ = [
    "BUNDLED_MODEL",
    "Beam",
    "ExceededContextLengthException",
    "Model",
    "ModelUnloadedException",
    "Stats",
]

BUNDLED_MODEL = Path(__file__).parent / "data" / "tiny.gguf"

T = TypeVar("T")
M = TypeVar("M", bound="Model")


class _Fact(Generic[T]):
    """An attribute of Model that was learned when the file was loaded; it stays when that is unloaded."""

    def __init__(self, of: Callable[[ModelFacts], T], doc: str) -> None:
        self._of = of
        self.__doc__ = doc

    @overload
    def __get__(self, model: None, owner: type[Model]) -> _Fact[T]: ...
    @overload
    def __get__(self, model: Model, owner: type[Model]) -> T: ...
    def __get__(self, model: Model | None, owner: type[Model]) -> T | _Fact[T]:
        return self if model is None else self._of(model.facts)


class Model(Speaker):
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

    @helpful()
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
        from .engines.llama.plan import LoadOptions

        self._path = _path_of(model_path)
        self.filename = self._path.name
        self._options: LoadOptions = LoadOptions(
            context_length=context_length,
            n_gpu_layers=n_gpu_layers,
            offload_kqv=offload_kqv,
            flash_attn=flash_attn,
            quantize_kv_cache=quantize_kv_cache,
            rope_freq_base=rope_freq_base,
            n_threads=n_threads,
            verbose=verbose,
        )
        self._loaded: LoadedModel | None
        self.facts: ModelFacts
        self._take(self._load())
        self.stats = Stats()

    # --- loading ---------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model; do nothing if it is loaded."""
        if self._loaded is None or not self._loaded.engine.alive:
            self._take(self._load())

    def _take(self, loaded: LoadedModel) -> None:
        self._loaded, self.facts = loaded, loaded.facts

    def _load(self) -> LoadedModel:
        """Open the file and return what was loaded."""
        from .engines.llama.load import load_model

        return load_model(self._path, self._options)

    def unload(self) -> None:
        """Free the memory; do nothing if the model is unloaded."""
        if self._loaded is not None:
            self._loaded.engine.close()
        self._loaded = None

    def reload(self) -> None:
        """Unload and load again: an empty context."""
        self.unload()
        self._take(self._load())

    def __enter__(self: M) -> M:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()

    def __repr__(self) -> str:
        state = "" if self._loaded is not None else ", unloaded"
        return f"<Model {self.filename}, {self.context_length} tokens of context{state}>"

    # --- parts -----------------------------------------------------------------------------------------

    def _parts(self) -> LoadedModel:
        if self._loaded is None:
            raise ModelUnloadedException(f"{self._path.name} is unloaded; call load() before using it again")
        return self._loaded

    @property
    def engine(self) -> LlamaEngine:
        """The engine that evaluates tokens; with ``tokenizer`` it makes the model a provider."""
        return self._parts().engine

    @property
    def tokenizer(self) -> LlamaTokenizer:
        """The tokenizer of the loaded vocabulary."""
        return self._parts().tokenizer

    @property
    def llama(self) -> llama_cpp.Llama:
        """The underlying ``llama_cpp.Llama``; calling it by hand between generations is harmless."""
        return self.engine.llama

    @property
    def vocab(self) -> list[str]:
        """The raw text of every token, by id."""
        return self.tokenizer.texts

    # --- facts -----------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file that the model was loaded from."""
        return self._path

    @property
    def name(self) -> str:
        """What the model is called: the name of the file."""
        return self.filename

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in the file, or None."""
        template = self.facts.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    metadata = _Fact(lambda facts: facts.metadata, "GGUF metadata: numbers, flags, texts, short arrays")
    verbose = _Fact(lambda facts: facts.verbose, "whether llama.cpp's log is shown")
    context_length = _Fact(lambda facts: facts.context_length, "tokens the context holds")
    n_ctx = _Fact(lambda facts: facts.context_length, "another name for ``context_length``")
    n_ctx_train = _Fact(lambda facts: facts.n_ctx_train, "the native context length")
    ctx_scale = _Fact(
        lambda facts: facts.context_length / facts.n_ctx_train, "``context_length / n_ctx_train``"
    )
    rope_freq_base_train = _Fact(lambda facts: facts.rope_freq_base_train, "the RoPE base in the file")
    rope_freq_base = _Fact(lambda facts: facts.rope_freq_base, "the RoPE base in use")
    flash_attn = _Fact(lambda facts: facts.flash_attn, "whether Flash Attention is on")
    n_gpu_layers = _Fact(lambda facts: facts.n_gpu_layers, "layers on the GPU as asked for")
    type_k = _Fact(lambda facts: facts.type_k, "type of the keys in the cache: 1 is f16, 8 is q8_0")
    type_v = _Fact(lambda facts: facts.type_v, "type of the values in the cache")
    n_vocab = _Fact(lambda facts: facts.n_vocab, "tokens in the vocabulary")
    n_layer = _Fact(lambda facts: facts.n_layer, "layers")
    n_gqa = _Fact(lambda facts: facts.n_gqa, "query heads per key-value head")
    bos_token = _Fact(lambda facts: facts.bos_token, "beginning of sequence, or None")
    eos_token = _Fact(lambda facts: facts.eos_token, "end of sequence, or None")
    eot_token = _Fact(lambda facts: facts.eot_token, "end of turn, or None")
    nl_token = _Fact(lambda facts: facts.nl_token, "newline, or None")
    sep_token = _Fact(lambda facts: facts.sep_token, "separator, or None")
    prefix_token = _Fact(lambda facts: facts.prefix_token, "before the text in front of a gap, or None")
    middle_token = _Fact(lambda facts: facts.middle_token, "before the text that fills a gap, or None")
    suffix_token = _Fact(lambda facts: facts.suffix_token, "before the text behind a gap, or None")
    cls_token = _Fact(lambda facts: facts.cls_token, "classifier token, or None")


def _path_of(model_path: Any) -> Path:
    """Return the path to load from; SettingsError and ModelFileError for what can't be one."""
    if model_path is not None and not isinstance(model_path, (str, os.PathLike)):
        raise SettingsError(
            f"model_path must be a str or a Path, or None for the bundled model; got {model_path!r:.80}"
        )
    try:
        return Path(BUNDLED_MODEL if model_path is None else model_path).expanduser()
    except (TypeError, RuntimeError) as error:  # a path of bytes, or the home of an unknown user
        raise ModelFileError(
            f"model_path must be the path of a GGUF file; got {model_path!r} ({error})"
        ) from None
