"""What this build of llama.cpp computes on: the backends compiled into it, and the devices that they found.

llama-cpp-python declares none of these functions of ggml, so they are declared here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llama_cpp
from llama_cpp import _ctypes_extensions, _ggml

from .log import install_log

__all__ = ["Build", "Device", "build"]

_KINDS = {0: "CPU", 1: "GPU", 2: "integrated GPU", 3: "accelerator"}  # ggml_backend_dev_type
_NOT_GPUS = ("CPU", "BLAS", "RPC")


@dataclass(frozen=True)
class Device:
    """One device: ``"CUDA0"``, what its driver calls it, its kind, its memory in bytes (or 0)."""

    name: str
    description: str
    kind: str
    total_bytes: int

    def __str__(self) -> str:
        memory = f", {self.total_bytes / 2**30:.1f} GiB" if self.total_bytes else ""
        return f"{self.name}: {self.description} ({self.kind}{memory})"


@dataclass(frozen=True)
class Build:
    """The installed llama-cpp-python: its version, ``("CUDA", "CPU")``, and the devices that it can use.

    ``backends`` and ``devices`` are empty where a library doesn't tell.
    """

    version: str
    backends: tuple[str, ...]
    devices: tuple[Device, ...]

    @property
    def gpu_backends(self) -> tuple[str, ...]:
        """The backends for GPUs, whether or not there is one."""
        return tuple(name for name in self.backends if name not in _NOT_GPUS)


def build() -> Build:
    """Look; the first look starts the backends, which takes a moment with a GPU."""
    install_log()  # they write what they find
    llama_cpp.llama_supports_gpu_offload()  # loads backends that are files of their own
    try:
        return Build(llama_cpp.__version__, _backends(), _devices())
    except (AttributeError, FileNotFoundError):
        return Build(llama_cpp.__version__, (), ())


def _backends() -> tuple[str, ...]:
    count = _function("ggml_backend_reg_count", ctypes.c_size_t)
    get = _function("ggml_backend_reg_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _function("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
    return tuple(_text(name(get(i))) for i in range(count()))


def _devices() -> tuple[Device, ...]:
    count = _function("ggml_backend_dev_count", ctypes.c_size_t)
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _function("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    sizes = ctypes.POINTER(ctypes.c_size_t)
    memory = _function("ggml_backend_dev_memory", None, ctypes.c_void_p, sizes, sizes)

    def device(handle: int) -> Device:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(handle, free, total)
        return Device(
            _text(name(handle)),
            _text(description(handle)),
            _KINDS.get(kind(handle), "device"),
            total.value,
        )

    return tuple(device(get(i)) for i in range(count()))


def _text(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace")


def _function(name: str, result: Any, *kinds: Any) -> Callable[..., Any]:
    prototype = ctypes.CFUNCTYPE(result, *kinds)
    try:
        return prototype((name, _ggml.libggml))
    except AttributeError:  # on Windows a library has its own functions only
        base = _ctypes_extensions.load_shared_library("ggml-base", _ggml.libggml_base_path)
        return prototype((name, base))
