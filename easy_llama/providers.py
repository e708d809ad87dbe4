"""Providers: an engine and a tokenizer for a model that somebody else has loaded.

A ``Model`` is a provider itself. Nothing is imported before a provider is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import ModelUnloadedException, SettingsError

if TYPE_CHECKING:
    import llama_cpp

__all__ = ["LlamacppProvider"]


class LlamacppProvider:
    """A bare ``llama_cpp.Llama`` as a provider.

    - ``llama``: the loaded model; calling it by hand between generations is harmless. A context that Llama
      makes has one sequence only, so beam search and contrastive search need an ``ez.Model``
    - ``cache``, ``device``: accepted so that code written for backtrack_sampler runs; neither is needed.
      What the context holds is reused without a cache, and the device is llama.cpp's own choice
    """

    def __init__(self, llama: llama_cpp.Llama, cache: Any = None, device: Any = None) -> None:
        from llama_cpp import Llama

        from .engines.llama import LlamaEngine
        from .engines.llama_vocab import LlamaTokenizer

        if not isinstance(llama, Llama):
            raise SettingsError(f"llama must be a llama_cpp.Llama; got {type(llama).__name__}")
        if llama.model_params.vocab_only:
            raise SettingsError("this Llama was loaded with vocab_only=True and has no weights; leave it out")
        if llama._ctx.ctx is None:
            raise ModelUnloadedException("this Llama is closed; load it again")
        self.engine = LlamaEngine(llama)
        self.tokenizer = LlamaTokenizer(llama, self.engine.lock)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of ``text``; with ``add_special_tokens`` BOS is added and markup is read."""
        return self.tokenizer.encode(text, bos=add_special_tokens, special=add_special_tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of ``tokens``; bytes that are no whole character become U+FFFD."""
        return self.tokenizer.decode(tokens).decode("utf-8", "replace")
