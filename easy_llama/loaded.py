"""LoadedModel: a GGUF file in memory, with its attributes, its engine and its tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ModelFileError, ModelUnloadedException
from .stats import Stats

if TYPE_CHECKING:
    import llama_cpp

    from .engines.llama import LlamaEngine
    from .engines.llama_vocab import LlamaTokenizer

__all__ = ["BUNDLED_MODEL", "LoadedModel"]

BUNDLED_MODEL = Path(__file__).parent / "data" / "tiny.gguf"

M = TypeVar("M", bound="LoadedModel")


class LoadedModel:
    """What ``Model`` generates with; its arguments and errors are explained there."""

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

    def __enter__(self: M) -> M:
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


def _path_of(model_path: object) -> Path:
    """Return the path to load from; ModelFileError for what can't be one."""
    try:
        return Path(BUNDLED_MODEL if model_path is None else model_path).expanduser()  # type: ignore[arg-type]
    except (TypeError, RuntimeError) as error:  # no path at all, or the home of an unknown user
        raise ModelFileError(
            f"model_path must be the path of a GGUF file; got {model_path!r} ({error})"
        ) from None
