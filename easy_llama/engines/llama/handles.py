"""The C handles behind a ``llama_cpp.Llama``, and its context exchanged for another one.

Everything that Llama keeps private and that is needed here is touched in this file. Known to work from
llama-cpp-python 0.3.36 on: Llama reaches its context through ``_ctx`` only, and its exit stack frees what was
entered last first, so an exchanged context goes before the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from llama_cpp import Llama, _internals
from llama_cpp import llama as llama_module

__all__ = [
    "LlamaWithoutTemplates",
    "context_handle",
    "exchange_context",
    "mark_stale",
    "model_handle",
    "n_cells",
    "vocab_handle",
    "without_redirection",
]


def context_handle(llama: Llama) -> Any:
    """The ``llama_context``, None when the Llama is closed."""
    return llama._ctx.ctx


def model_handle(llama: Llama) -> Any:
    """The ``llama_model``, None when the Llama is closed."""
    return llama._model.model


def vocab_handle(llama: Llama) -> Any:
    """The ``llama_vocab``; read it only while ``model_handle`` is not None."""
    return llama._model.vocab


def n_cells(llama: Llama) -> int:
    """How many tokens the context of an open Llama holds."""
    return int(llama._ctx.n_ctx())


def mark_stale(llama: Llama, stale: bool) -> None:
    """Tell Llama whether the newest logits belong to something else than the tokens it holds."""
    llama._requires_eval = stale


def exchange_context(llama: Llama, params: Any) -> None:
    """Close the context of ``llama`` and give it another; ValueError where llama.cpp makes none."""
    llama._ctx.close()
    llama._ctx = _internals.LlamaContext(model=llama._model, params=params, verbose=False)
    llama._stack.callback(llama._ctx.close)
    llama._n_ctx = n_cells(llama)  # llama.cpp rounds up
    llama.n_batch = params.n_batch
    llama.input_ids = np.zeros(n_cells(llama), dtype=np.intc)
    llama.n_tokens = 0


class LlamaWithoutTemplates(Llama):
    """A Llama that does not see the chat templates in its file: with a broken one it would not load."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the file's header says, less the templates."""
        return self._metadata

    @metadata.setter
    def metadata(self, values: dict[str, str]) -> None:
        self._metadata = {k: v for k, v in values.items() if not k.startswith("tokenizer.chat_template")}


@contextmanager
def without_redirection() -> Iterator[None]:
    """Keep llama-cpp-python from pointing the process's stdout and stderr to nowhere while it loads.

    It does that to hide llama.cpp's log, which is silent here anyway, and what other threads print in the
    meantime would be lost.
    """
    modules = (llama_module, _internals)
    redirection = _internals.suppress_stdout_stderr
    for module in modules:
        module.suppress_stdout_stderr = lambda disable=True: nullcontext()
    try:
        yield
    finally:
        for module in modules:
            module.suppress_stdout_stderr = redirection
