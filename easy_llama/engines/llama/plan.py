"""Which context to ask llama.cpp for: its length, its RoPE base, the type and size of its cache.

Pure functions of the header, the options and the free memory; every surprise is an error or one warning.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import psutil

from ...caller import warn
from ...checks import check_flag, check_integer, check_number, check_optional_integer
from ...errors import SettingsError
from .devices import build
from .gguf import GGUFHeader
from .open import F16, Q8_0, ContextPlan, head_size, kv_cache_bytes

__all__ = ["LoadOptions", "native_context", "plan_context", "scaled_rope_base"]

MAX_CONTEXT_LENGTH = 1 << 24
_LOSS = (
    "the bundled model's perplexity rose by 0.2 % at 2 times its native length and by 13 % at 4 times, and "
    "nothing is known beyond"
)
_ROOM = 0.9  # share of the free memory that a cache may take
_GPU_ADVICE = (
    'install one with: CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir '
    "llama-cpp-python (-DGGML_METAL=on on macOS, -DGGML_VULKAN=on or -DGGML_HIP=on for other cards)"
)
_DRIVER_ADVICE = "check the card's driver; easy-llama info lists the devices that are found"


@dataclass(frozen=True)
class LoadOptions:
    """What the caller of Model asked for; None is "you choose"."""

    context_length: int | None = None
    n_gpu_layers: int = 0
    offload_kqv: bool = True
    flash_attn: bool = False
    quantize_kv_cache: bool = False
    rope_freq_base: float | None = None
    n_threads: int | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        most_threads = min(512, os.cpu_count() or 1)
        checked = {
            "context_length": check_optional_integer(
                "context_length", self.context_length, 1, MAX_CONTEXT_LENGTH
            ),
            "n_gpu_layers": check_integer("n_gpu_layers", self.n_gpu_layers, -1, 100_000),
            "n_threads": check_optional_integer("n_threads", self.n_threads, 1, most_threads),
        }
        checked |= {
            "offload_kqv": check_flag("offload_kqv", self.offload_kqv),
            "flash_attn": check_flag("flash_attn", self.flash_attn),
            "quantize_kv_cache": check_flag("quantize_kv_cache", self.quantize_kv_cache),
            "verbose": check_flag("verbose", self.verbose),
        }
        for name, value in checked.items():  # numpy's become Python's
            object.__setattr__(self, name, value)
        if self.rope_freq_base is not None:
            check_number("rope_freq_base", self.rope_freq_base, 1, 1e15, also=", or None")


def plan_context(header: GGUFHeader, options: LoadOptions, free_bytes: int | None = None) -> ContextPlan:
    """Return the context to open; ``free_bytes`` is the free memory, None to ask the system.

    Raises SettingsError where the options can't be met: no memory for the cache, no RoPE base to scale,
    heads that can't be quantised. Warns once for each loss: quality, length, a missing GPU.
    """
    type_k, type_v = _cache_types(header, options)
    on_gpu = _check_gpu(options) and options.offload_kqv
    native = native_context(header)
    n_ctx = options.context_length or native
    if not on_gpu:  # how much a GPU has free is llama.cpp's to know
        room = int((free_bytes or psutil.virtual_memory().available) * _ROOM)
        n_ctx = _fit(header, options, n_ctx, room, (type_k, type_v))
    return ContextPlan(
        n_ctx=n_ctx,
        n_gpu_layers=options.n_gpu_layers,
        offload_kqv=options.offload_kqv,
        flash_attn=options.flash_attn,
        type_k=type_k,
        type_v=type_v,
        rope_freq_base=_rope_base(header, options, n_ctx, native),
        n_threads=options.n_threads or 0,
        verbose=options.verbose,
    )


def scaled_rope_base(base: float, ratio: float) -> float:
    """Return the RoPE frequency base for a context ``ratio`` times the native one.

    Of the ways to raise the base this one kept the bundled model best at 2 and 4 times its native length;
    DOCS.md has the table, ``benchmarks/context_scaling.py`` prints it.
    """
    scaled: float = base * max(1.0, ratio) ** 1.5
    return scaled


def native_context(header: GGUFHeader) -> int:
    """Return the context length that the model was trained with."""
    n_ctx = header.get("context_length")
    assert isinstance(n_ctx, int)  # checked when the header was read
    return n_ctx


def _rope_base(header: GGUFHeader, options: LoadOptions, n_ctx: int, native: int) -> float:
    """Return the base to load with, 0 for the file's own."""
    if options.rope_freq_base is not None:
        return float(options.rope_freq_base)
    ratio = n_ctx / native
    if ratio <= 1 or not head_size(header):
        return 0.0  # nothing to stretch, or a recurrent model, which has no positions
    base = header.get("rope.freq_base")
    if not isinstance(base, (int, float)):
        raise SettingsError(
            f"{header.path.name} names no RoPE frequency base, so its native context of {native} tokens "
            f"can't be stretched to {n_ctx}; load it with context_length={native} or less, or say what the "
            "model was trained with, for example rope_freq_base=10000.0"
        )
    scaled = scaled_rope_base(base, ratio)
    warn(
        f"context_length={n_ctx} is {ratio:.3g} times the native {native} of {header.path.name}; the RoPE "
        f"base is raised from {base:g} to {scaled:g}, and quality falls: {_LOSS}"
    )
    return scaled


def _cache_types(header: GGUFHeader, options: LoadOptions) -> tuple[int, int]:
    """K is quantised on request, V only together with Flash Attention: llama.cpp can't do it without."""
    if not options.quantize_kv_cache:
        return F16, F16
    head = head_size(header)
    if head % 32:
        raise SettingsError(
            f"quantize_kv_cache=True needs attention heads of a multiple of 32; {header.path.name} has {head}"
        )
    return Q8_0, Q8_0 if options.flash_attn else F16


def _check_gpu(options: LoadOptions) -> bool:
    """Return whether layers go to a GPU; warn when they can't."""
    if not options.n_gpu_layers:
        return False
    if llama_cpp.llama_supports_gpu_offload():
        return True
    names = " and ".join(build().gpu_backends)
    problem = (
        f"llama-cpp-python was built for {names}, and no such GPU was found; {_DRIVER_ADVICE}"
        if names
        else f"this build of llama-cpp-python has no GPU support; {_GPU_ADVICE}"
    )
    warn(f"n_gpu_layers={options.n_gpu_layers} has no effect: {problem}")
    return False


def _fit(header: GGUFHeader, options: LoadOptions, n_ctx: int, free: int, types: tuple[int, int]) -> int:
    """Return ``n_ctx``, or less where its cache doesn't fit; an explicit wish that doesn't is an error."""
    if kv_cache_bytes(header, n_ctx, *types) <= free:
        return n_ctx
    a_block = max(1, kv_cache_bytes(header, 256, *types))
    fits = free // a_block * 256
    name, gib = Path(header.path).name, kv_cache_bytes(header, n_ctx, *types) / 2**30
    problem = (
        f"the cache for {n_ctx} tokens of {name} takes {gib:.1f} GiB, and {free / 2**30:.1f} GiB of memory "
        "are free for it"
    )
    if options.context_length is not None or fits < 256:
        raise SettingsError(
            f"{problem}; context_length={max(fits, 256)} or quantize_kv_cache=True needs less"
        )
    warn(f"{problem}; context_length is {fits} instead")
    return fits
