"""Session: an engine reserved for one generation, while other threads wait for their turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import EngineBusyError

__all__ = ["Session"]

_BUSY = (
    "there is an unfinished stream on this model, and it would never end while this call waits for it; "
    "read it to its end or close() it"
)


class Session:
    """Who has reserved a context; calling it is the block for one generation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextmanager
    def __call__(self) -> Iterator[Callable[[], None]]:
        """Reserve the context for one generation; another thread waits for its turn.

        A generator must call the yielded function each time it is resumed, because another thread may
        have taken it over. Raises EngineBusyError where waiting would never end: the unfinished stream
        belongs to the calling thread, or to a thread that is gone.
        """
        if self._owner == threading.get_ident():
            raise EngineBusyError(_BUSY)
        while not self._lock.acquire(timeout=0.2):
            owner = self._owner  # None for a moment while one goes and the next comes
            if owner is not None and not any(thread.ident == owner for thread in threading.enumerate()):
                raise EngineBusyError(_BUSY)
        try:
            self._claim()
            yield self._claim
        finally:
            self._owner = None
            self._lock.release()

    def _claim(self) -> None:
        self._owner = threading.get_ident()
