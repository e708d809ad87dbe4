"""Opening a GGUF file as a ``llama_cpp.Llama`` whose context suits the engine.

``Llama`` can't be told ``n_seq_max`` and ``kv_unified``, which forks need. So it is made with a small
context, which is then exchanged for the one that was asked for.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import psutil
from jinja2 import TemplateError
from llama_cpp import Llama

from ...caller import warn
from ...errors import ModelFileError, SettingsError
from .gguf import GGUFHeader
from .handles import LlamaWithoutTemplates, exchange_context, without_redirection
from .log import collected_log, install_log, show_log

__all__ = ["F16", "Q8_0", "ContextPlan", "head_size", "kv_cache_bytes", "open_llama"]

F16, Q8_0 = 1, 8
_KV_BYTES = {F16: 2.0, Q8_0: 34 / 32}  # bytes of one number in the cache
N_SEQ_MAX = 16
MIN_CELLS = 256  # llama.cpp rounds up to multiples of this

_loading = threading.Lock()


@dataclass(frozen=True)
class ContextPlan:
    """Everything that shapes a context; ``n_ctx`` is in tokens, ``type_k`` and ``type_v`` are GGML types.

    ``rope_freq_base`` 0 keeps the file's value; ``n_threads`` 0 takes one for each physical core.
    """

    n_ctx: int
    n_gpu_layers: int = 0
    offload_kqv: bool = True
    flash_attn: bool = False
    type_k: int = F16
    type_v: int = F16
    rope_freq_base: float = 0.0
    n_threads: int = 0
    n_batch: int = 512
    verbose: bool = False


def kv_cache_bytes(header: GGUFHeader, n_ctx: int, type_k: int = F16, type_v: int = F16) -> int:
    """Return the size in bytes of a key-value cache for ``n_ctx`` tokens, an upper bound."""
    n_head = _number(header, "attention.head_count")
    n_head_kv = _number(header, "attention.head_count_kv") or n_head
    k = head_size(header)
    v = _number(header, "attention.value_length") or k
    a_token = n_head_kv * (k * _KV_BYTES[type_k] + v * _KV_BYTES[type_v])
    return math.ceil(n_ctx * _number(header, "block_count") * a_token)


def head_size(header: GGUFHeader) -> int:
    """Return how many numbers the key of one attention head has; 0 for models without attention."""
    n_head = _number(header, "attention.head_count")
    even = _number(header, "embedding_length") // n_head if n_head else 0
    return _number(header, "attention.key_length") or even


def _number(header: GGUFHeader, key: str) -> int:
    """A count from the header; of a list with one value per block, the largest."""
    value = header.get(key) or 0
    if isinstance(value, list):
        return max((v for v in value if isinstance(v, int)), default=0)
    return value if isinstance(value, int) else 0


def default_threads() -> int:
    """One thread for each physical core: more of them slow llama.cpp down."""
    return max(1, psutil.cpu_count(logical=False) or (os.cpu_count() or 2) // 2)


def open_llama(header: GGUFHeader, plan: ContextPlan) -> Llama:
    """Load the checked file with the given context.

    Raises ModelFileError with llama.cpp's own words when it refuses the file, and SettingsError when it
    refuses the context.
    """
    install_log()
    show_log(plan.verbose)
    with _loading, collected_log() as errors, without_redirection():
        try:
            llama = _load(header.path, plan)
        except Exception as error:  # Llama has no error type of its own
            raise ModelFileError(
                f"llama.cpp ({llama_cpp.__version__}) can't load {header.path}: "
                f"{'; '.join(errors()[-3:]) or error}"
            ) from error
        try:
            _replace_context(llama, plan)
        except ValueError as error:
            llama.close()
            raise SettingsError(
                f"llama.cpp made no context of {plan.n_ctx} tokens for {header.path.name}: "
                f"{'; '.join(errors()[-3:]) or error}; try a smaller context_length"
            ) from error
    return llama


def _load(path: Path, plan: ContextPlan) -> Llama:
    n_threads = plan.n_threads or default_threads()

    def load(kind: type[Llama]) -> Llama:
        return kind(
            str(path),
            n_gpu_layers=plan.n_gpu_layers,
            n_ctx=MIN_CELLS,
            n_batch=plan.n_batch,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            offload_kqv=plan.offload_kqv,
            flash_attn=plan.flash_attn,
            rope_freq_base=plan.rope_freq_base,
            verbose=False,
        )

    try:
        return load(Llama)
    except TemplateError as error:
        warn(f"the chat template in {path.name} is broken ({error}); the model is loaded without it")
        return load(LlamaWithoutTemplates)


def _replace_context(llama: Llama, plan: ContextPlan) -> None:
    """Give ``llama`` a context with several sequences over one shared cache."""
    params = llama.context_params
    params.n_ctx = max(plan.n_ctx, MIN_CELLS)  # below the number of sequences llama.cpp aborts
    params.n_batch = min(plan.n_batch, params.n_ctx)
    params.n_ubatch = min(params.n_batch, params.n_ubatch)
    params.n_seq_max = N_SEQ_MAX
    params.kv_unified = True
    params.type_k, params.type_v = plan.type_k, plan.type_v
    exchange_context(llama, params)
