"""Providers: an engine and a tokenizer for a model that somebody else has loaded.

A ``Model`` is a provider itself. Nothing heavy is imported before a provider is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..caller import helpful
from ..engine import ChatProvider, Engine, Tokenizer
from ..engines.pytorch.engine import TorchEngine
from ..engines.pytorch.model import end_tokens_of
from ..engines.pytorch.tokenizer import TransformersTokenizer
from ..errors import ModelUnloadedException, PromptError, SettingsError
from .speaker import Speaker

if TYPE_CHECKING:
    import llama_cpp

__all__ = ["EngineProvider", "LlamacppProvider", "TransformersProvider", "speaker_of"]


class EngineProvider(Speaker):
    """Any engine with a tokenizer: what a Model does with text, on an engine of your own.

    - ``engine``: what keeps the protocol in ``easy_llama.engine``
    - ``tokenizer``: an object of a class derived from ``easy_llama.engine.Tokenizer``
    - ``name``: what the model is called
    - ``chat_template``: its Jinja template, for ``ez.Thread``; None where it has none
    """

    @helpful()
    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, name: str = "model", chat_template: str | None = None
    ) -> None:
        self._engine, self._tokenizer = engine, tokenizer
        self._name, self._chat_template = name, chat_template

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._name

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with the model, or None."""
        return self._chat_template

    @property
    def engine(self) -> Engine:
        """Evaluates tokens."""
        return self._engine

    @property
    def tokenizer(self) -> Tokenizer:
        """Turns text into tokens and back."""
        return self._tokenizer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class LlamacppProvider(EngineProvider):
    """A bare ``llama_cpp.Llama`` as a provider.

    - ``llama``: the loaded model; calling it by hand between generations is harmless. A context that Llama
      makes has one sequence only, so beam search and contrastive search need an ``ez.Model``
    - ``cache``, ``device``: accepted so that code written for backtrack_sampler runs; neither is needed.
      What the context holds is reused without a cache, and the device is llama.cpp's own choice
    """

    @helpful()
    def __init__(self, llama: llama_cpp.Llama, cache: Any = None, device: Any = None) -> None:
        from llama_cpp import Llama

        from ..engines.llama.engine import LlamaEngine
        from ..engines.llama.handles import context_handle
        from ..engines.llama.vocab import LlamaTokenizer

        if not isinstance(llama, Llama):
            raise SettingsError(f"llama must be a llama_cpp.Llama; got {type(llama).__name__}")
        if llama.model_params.vocab_only:
            raise SettingsError("this Llama was loaded with vocab_only=True and has no weights; leave it out")
        if context_handle(llama) is None:
            raise ModelUnloadedException("this Llama is closed; load it again")
        engine, self._path = LlamaEngine(llama), Path(llama.model_path)
        template = llama.metadata.get("tokenizer.chat_template")
        super().__init__(engine, LlamaTokenizer(llama, engine.lock), self._path.name, template)

    @property
    def path(self) -> Path:
        """The file that the model was loaded from."""
        return self._path


class TransformersProvider(EngineProvider):
    """A Hugging Face model and its tokenizer as a provider.

    - ``model``: a causal language model that is loaded already, or what else TorchEngine takes
    - ``tokenizer``: fast (Rust) or slow (Python)
    - ``device``: where to move the model, such as ``torch.device("cuda")``; None leaves it where it is

    Raises SettingsError for a tokenizer without ``encode`` and the errors of TorchEngine.
    """

    @helpful()
    def __init__(self, model: Any, tokenizer: Any, device: Any = None) -> None:
        if not hasattr(tokenizer, "convert_ids_to_tokens") or not hasattr(tokenizer, "encode"):
            raise SettingsError(f"tokenizer must be one of transformers; got {type(tokenizer).__name__}")
        engine = TorchEngine(model, device=device)
        adapted = TransformersTokenizer(tokenizer, n_vocab=engine.n_vocab, end_tokens=end_tokens_of(model))
        name = getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__
        template = getattr(tokenizer, "chat_template", None)
        if isinstance(template, dict):  # several, for chats and for tools
            template = template.get("default")
        super().__init__(engine, adapted, name, template)


def speaker_of(model: object) -> Speaker:
    """Return what generates for ``model``, a provider that can chat; PromptError where it is none."""
    if isinstance(model, Speaker):
        return model
    if isinstance(model, ChatProvider):
        return EngineProvider(model.engine, model.tokenizer, model.name, model.chat_template)
    raise PromptError(
        "model must be a provider with a name and a chat_template, such as an ez.Model; "
        f"got {type(model).__name__}"
    )
