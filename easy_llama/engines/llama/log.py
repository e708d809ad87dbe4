"""llama.cpp's log: silent by default, sent to ``logging`` on request, quoted in error messages.

One callback is installed for the process the first time a model is opened. Lines are collected while
llama-cpp-python has the standard streams redirected, and handed to ``logging`` afterwards.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import llama_cpp
from llama_cpp import _logger as llama_cpp_logger

__all__ = ["collected_log", "install_log", "logger", "show_log"]

logger = logging.getLogger("easy_llama.llama_cpp")

_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}  # ggml_log_level
_CONTINUED = 5
_lock = threading.RLock()
_pending: deque[tuple[int, str]] = deque(maxlen=10_000)
_state = {"verbose": False, "collecting": 0, "level": logging.DEBUG, "installed": False}


@llama_cpp.llama_log_callback
def _callback(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    with _lock:
        if level != _CONTINUED:
            _state["level"] = _LEVELS.get(level, logging.INFO)
        _pending.append((_state["level"], text.decode("utf-8", "replace")))
        if not _state["collecting"]:
            _emit()
    if llama_cpp_logger.logger.level == logging.DEBUG:
        # a llama_cpp.Llama(verbose=True) beside ours still gets its lines
        llama_cpp_logger.llama_log_callback(level, text, user_data)


def _emit() -> None:
    """Hand complete lines to ``logging`` if asked to, else drop them."""
    lines, level = "", logging.DEBUG
    while _pending:
        level, text = _pending.popleft()
        lines += text
    if _state["verbose"]:
        for line in lines.splitlines():
            if line.strip():
                logger.log(level, line)


def install_log() -> None:
    """Take over llama.cpp's log for this process; later calls do nothing."""
    with _lock:
        if not _state["installed"]:
            llama_cpp.llama_log_set(_callback, ctypes.c_void_p(0))
            _state["installed"] = True


def show_log(verbose: bool) -> None:
    """Send llama.cpp's lines to ``logging`` (logger ``easy_llama.llama_cpp``) or drop them.

    Where no logging is set up at all, lines go to stderr, because ``verbose=True`` asks to see them.
    """
    with _lock:
        _state["verbose"] = verbose
        if verbose:
            logger.setLevel(logging.DEBUG)
            if not logger.hasHandlers():
                logger.addHandler(logging.StreamHandler())


@contextmanager
def collected_log() -> Iterator[Callable[[], list[str]]]:
    """Collect lines inside the block; call the yielded function for the errors among them."""

    def errors() -> list[str]:
        with _lock:
            return [text.strip() for level, text in _pending if level == logging.ERROR]

    with _lock:
        _state["collecting"] += 1
    try:
        yield errors
    finally:
        with _lock:
            _state["collecting"] -= 1
            if not _state["collecting"]:
                _emit()
