"""What Ctrl-C does: raise KeyboardInterrupt while a command works, or end the process at once.

The latter is for starting, loading and ending, where there is nothing to keep: libraries that are interrupted
in the middle of their import print tracebacks, and llama.cpp doesn't notice the exception while it loads.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # ``typing`` is not needed to run, and Ctrl-C may come meanwhile
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Handler = Callable[[int, Any], Any] | int | None

__all__ = ["interrupts_end", "interrupts_raise"]


class _Handling:
    """While this lasts, Ctrl-C is handled by ``handler``.

    Nothing is changed where Ctrl-C is ignored, as in a shell's background, nor outside the main thread.
    """

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self._before: _Handler = None

    def begin(self) -> None:
        """Set the handler, until ``__exit__`` or for good."""
        self._before = self._set(self._handler)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    @staticmethod
    def _set(handler: _Handler) -> _Handler:
        before = signal.getsignal(signal.SIGINT)
        if handler is None or before in (signal.SIG_IGN, None):
            return None
        try:
            return signal.signal(signal.SIGINT, handler)
        except ValueError:  # only the main thread may
            return None


def interrupts_end() -> _Handling:
    """Return a context in which Ctrl-C ends the process, without a word."""
    return _Handling(signal.SIG_DFL)


def interrupts_raise() -> _Handling:
    """Return a context in which Ctrl-C raises KeyboardInterrupt."""
    return _Handling(signal.default_int_handler)
