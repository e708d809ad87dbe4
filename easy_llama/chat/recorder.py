"""Recorder: keeps a running chat in the history as the console reports its changes."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import HistoryError
from .conversation import Conversation
from .history import History

__all__ = ["Recorder"]


class Recorder:
    """Called with the thread after every turn or command, and with the running reply's text meanwhile.

    A thread is begun in the history with its first message, so that empty chats leave no trace.
    """

    def __init__(
        self,
        history: History,
        on_failure: Callable[[str], None],
        thread: Conversation | None = None,
        thread_id: int | None = None,
    ) -> None:
        self._history, self._on_failure = history, on_failure
        self._thread, self._id = thread, thread_id
        self._n_stored = len(thread.messages) if thread else 0
        self._copied: list[object] | None = None  # of a thread that was taken over, until it changes
        self._failed = False

    def __call__(self, thread: Conversation, reply: str | None) -> None:
        """Store what is new: finished messages at once, a running reply once a second.

        Another thread object, after ``!load`` for example, is another chat, kept from its first change on: a
        copy that nothing was said in is not listed beside the original. A history that fails is no
        reason to lose a reply: it is said once, and nothing more is stored.
        """
        if self._failed:
            return
        if thread is not self._thread:
            is_first = self._thread is None
            self._thread, self._id, self._n_stored = thread, None, 0
            self._copied = None if is_first else _states(thread)
        if self._copied is not None and self._copied == _states(thread):
            return
        self._copied = None
        try:
            self._store(thread, reply)
        except HistoryError as error:
            self._failed = True
            self._on_failure(f"this chat is not kept any more: {error}")

    def _store(self, thread: Conversation, reply: str | None) -> None:
        if not any(message["role"] != "system" for message in thread.messages) and self._id is None:
            return
        if self._id is None:
            self._id = self._history.begin(thread)
            self._n_stored = len(thread.messages)
        if reply is None:
            self._history.record(self._id, thread)
            self._n_stored = len(thread.messages)
        else:
            # a question that has just been asked is stored before its answer; while a reply is generated
            # anew the old one is missing from the thread, and must stay in the file
            if len(thread.messages) > self._n_stored:
                self._history.record(self._id, thread)
                self._n_stored = len(thread.messages)
            self._history.partial(self._id, reply)


def _states(thread: Conversation) -> list[object]:
    return [message.state() for message in thread.messages]
