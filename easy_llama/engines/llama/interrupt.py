"""Ctrl-C inside a long llama.cpp call.

Python runs signal handlers only between its own instructions, and an exception raised inside a callback
from C is lost. So for the length of a guarded call SIGINT only sets a flag, llama.cpp's abort callback
reports it, and the handler that was installed before gets its turn when the call has returned.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import llama_cpp

__all__ = ["GUARD_ABOVE", "interruptible"]

GUARD_ABOVE = 0.05  # seconds; a decode of one token, or of one in each sequence, as slow as this is guarded

_NO_CALLBACK: Any = ctypes.cast(0, llama_cpp.ggml_abort_callback)


@contextmanager
def interruptible(context: Any) -> Iterator[None]:
    """Make SIGINT end a ``llama_decode`` on ``context`` early (it returns 2), then handle the signal.

    With Python's own handler the block raises KeyboardInterrupt when it is left. Outside the main thread,
    or where SIGINT is ignored or not Python's, nothing is changed.
    """
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    requested: list[tuple[int, FrameType | None]] = []
    callback = llama_cpp.ggml_abort_callback(lambda _data: bool(requested))
    signal.signal(signal.SIGINT, lambda number, frame: requested.append((number, frame)))
    llama_cpp.llama_set_abort_callback(context, callback, None)
    try:
        yield
    finally:
        llama_cpp.llama_set_abort_callback(context, _NO_CALLBACK, None)
        _restore(handler)
        if requested:
            handler(*requested[0])


def _restore(handler: Callable[[int, FrameType | None], Any]) -> None:
    signal.signal(signal.SIGINT, handler)
