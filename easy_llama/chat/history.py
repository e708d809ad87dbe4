"""History: threads kept in one SQLite file, so that they survive the process.

Every message is a row of JSON; ``record`` writes the rows that changed, ``partial`` keeps a running reply.
What a call stored survives a kill of the process. Any number of processes may use the file at once.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from ..engine import ChatProvider
from ..errors import HistoryError, PromptError
from ..folders import data_folder
from ..terminal.escape import one_line
from .conversation import Conversation
from .message import Message
from .origin import Origin
from .storage import message_to_dict

__all__ = ["History", "Match", "Summary"]

VERSION = 1
APPLICATION = 0x657A6C6D  # in the file's header: tells our files from other programs' databases
BUSY_SECONDS = 10.0  # how long a call waits for others, which need milliseconds
PARTIAL_SECONDS = 1.0
Clock = Callable[[], float]
C = TypeVar("C", bound=Conversation)
_ELSEWHERE = "move it away, or set EASY_LLAMA_DATA to another folder"

# AUTOINCREMENT: the id of a deleted thread is never given to another one
_SCHEMA = f"""CREATE TABLE threads (
    id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL, changed REAL, model TEXT, title TEXT, settings TEXT,
    partial TEXT);
CREATE TABLE messages (thread_id INTEGER, position INTEGER, data TEXT, PRIMARY KEY (thread_id, position));
PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}"""

# the titles that people gave; a table of its own, so that older files and programs need not change
_TITLES = "CREATE TABLE IF NOT EXISTS titles (thread_id INTEGER PRIMARY KEY, title TEXT)"


@dataclass(frozen=True)
class Summary:
    """What a list shows of a stored thread; the times are in UTC."""

    id: int
    title: str
    model: str
    n_messages: int
    created: datetime
    changed: datetime


@dataclass(frozen=True)
class Match:
    """A stored thread in which a text was found.

    ``position`` is that of the first message that has it, from 0, and ``excerpt`` what stands around it
    there; None and the title where only that has it.
    """

    thread: Summary
    position: int | None
    excerpt: str


class _Written(NamedTuple):
    """What this object wrote of a thread: the messages' states, and SQLite's version of the data then."""

    version: int
    states: list[tuple[object, ...]]


def _default_path() -> Path:
    """Return the file in the user's data folder, which is made readable for its owner only."""
    folder = data_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # it may have been there before, with another mode
    return folder / "threads.sqlite3"


class History:
    """The threads stored in the file ``path``.

    None takes threads.sqlite3 in the user's data folder for easy_llama, or in the folder that the
    environment variable EASY_LLAMA_DATA names. One object is for one Python thread; several on one file are
    fine. ``clock`` returns seconds since 1970. Raises HistoryError where the file can't be used.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._written: dict[int, _Written] = {}
        self._kept: dict[int, float] = {}  # thread -> when its running reply was stored last
        try:
            self.path = _default_path() if path is None else Path(path)
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(f"stored threads: {path or ''} {error}; {_ELSEWHERE}") from error
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        self._db.close()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, thread: Conversation) -> int:
        """Store ``thread`` as a new one and return its id."""
        with self._transaction() as db:
            new = db.execute("INSERT INTO threads (created) VALUES (?)", (self._clock(),))
            thread_id = new.lastrowid or 0  # None is for statements that insert nothing
            written = self._store(db, thread_id, thread)
        self._written[thread_id] = written
        return thread_id

    def record(self, thread_id: int, thread: Conversation) -> None:
        """Make what is stored equal to ``thread``; the running reply's text is dropped.

        What did not change is neither serialised nor written. An unknown id is a HistoryError, also below.
        """
        with self._transaction() as db:
            written = self._store(db, thread_id, thread)
        self._written[thread_id] = written

    def partial(self, thread_id: int, text: str, *, flush: bool = False) -> None:
        """Store the ``text`` of a running reply, unless that was done within the last second.

        Cheap enough to be called for every piece; ``flush`` stores it in any case. The message that it
        replies to must have been recorded.
        """
        now = self._clock()
        # 0 <=: a clock that was set back must not stop the storing
        if not flush and 0 <= now - self._kept.get(thread_id, -PARTIAL_SECONDS) < PARTIAL_SECONDS:
            return
        with self._transaction() as db:
            self._find(db, thread_id)
            update = "UPDATE threads SET partial = ?, changed = ? WHERE id = ?"
            db.execute(update, (_json(text), now, thread_id))
        self._kept[thread_id] = now

    def delete(self, thread_id: int) -> None:
        """Delete a thread; its text is overwritten in the file, not only unlinked."""
        with self._transaction() as db:
            self._find(db, thread_id)
            db.execute("DELETE FROM messages WHERE thread_id = ?", (thread_id,))
            db.execute("DELETE FROM titles WHERE thread_id = ?", (thread_id,))
            db.execute("DELETE FROM threads WHERE id = ?", (thread_id,))
        with suppress(sqlite3.Error):  # the log still has the text; it can't be cut while others read
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def threads(self, limit: int = 50) -> list[Summary]:
        """Return what is stored, the thread that changed last first, at most ``limit`` of them."""
        query = """SELECT id, coalesce((SELECT title FROM titles WHERE thread_id = id), title), model,
                   (SELECT count(*) FROM messages WHERE thread_id = id), created, changed
                   FROM threads ORDER BY changed DESC, id DESC LIMIT ?"""
        with self._transaction("DEFERRED") as db:
            rows = db.execute(query, (limit,)).fetchall()
        utc = partial(datetime.fromtimestamp, tz=timezone.utc)
        return [Summary(*row[:4], *map(utc, row[4:])) for row in rows]

    def latest(self) -> int | None:
        """Return the id of the thread that changed last, None where there is none."""
        return next((summary.id for summary in self.threads(limit=1)), None)

    @overload
    def load(self, thread_id: int, model: ChatProvider) -> Conversation: ...
    @overload
    def load(self, thread_id: int, model: ChatProvider, kind: type[C]) -> C: ...
    def load(
        self, thread_id: int, model: ChatProvider, kind: type[Conversation] = Conversation
    ) -> Conversation:
        """Return a stored thread on ``model`` as a ``kind``, such as Thread; nothing is written.

        The text of a reply that was running when its process was killed becomes a bot message; where the
        last message is the bot's, which that reply was to replace, the old one is among its alternatives.
        """
        data, running = self._read(thread_id)
        thread = kind.from_dict(data, model)
        if running:
            messages = thread.messages
            old = messages.pop() if messages and messages[-1]["role"] == "bot" else None
            thread.add_message("bot", running)
            thread.messages[-1].take_place(old)
        return thread

    def _read(self, thread_id: int) -> tuple[dict[str, Any], str]:
        """Return what is stored of a thread, as ``to_dict`` tells it, and the text of a running reply."""
        with self._transaction("DEFERRED") as db:
            name, _, settings, text = self._find(db, thread_id)
            messages = [json.loads(row) for row in self._rows(db, thread_id)]
            return {**json.loads(settings), "model": name, "messages": messages}, json.loads(text or '""')

    def origin(self, thread_id: int) -> tuple[str, Origin | None]:
        """Return the name of the model that a thread was held with last, and its file where that is known."""
        with self._transaction("DEFERRED") as db:
            name, _, settings, _ = self._find(db, thread_id)
            return name, Origin.from_dict(json.loads(settings).get("file"))

    def _store(self, db: sqlite3.Connection, thread_id: int, thread: Conversation) -> _Written:
        """Write what differs from what is stored, and return what is there then."""
        held = self._find(db, thread_id)
        kept, states = thread.stored(), [message.state() for message in thread.messages]
        # the model too: a thread that was resumed on another model has that one's tokens from now on
        settings = {key: value for key, value in kept.head().items() if key != "model"}
        head = (kept.model, _title(thread), _json(settings), None)
        version = db.execute("PRAGMA data_version").fetchone()[0]  # another one after others have written
        before = self._written.pop(thread_id, None)  # an interrupt must not leave what is not true any more
        if before is not None and before.version == version:
            n_stored = len(before.states)
            changed = [i for i, state in enumerate(states) if before.states[i : i + 1] != [state]]
            rows = {i: _row(thread.messages[i]) for i in changed}
        else:
            stored, all_rows = self._rows(db, thread_id), list(map(_row, thread.messages))
            n_stored = len(stored)
            rows = {i: row for i, row in enumerate(all_rows) if stored[i : i + 1] != [row]}
        new = [(thread_id, i, row) for i, row in rows.items()]
        db.executemany("INSERT OR REPLACE INTO messages VALUES (?, ?, ?)", new)
        db.execute("DELETE FROM messages WHERE thread_id = ? AND position >= ?", (thread_id, len(states)))
        if new or head != held or n_stored > len(states):
            update = "UPDATE threads SET model = ?, title = ?, settings = ?, partial = ?, changed = ?"
            db.execute(f"{update} WHERE id = ?", (*head, self._clock(), thread_id))
        return _Written(version, states)

    def _find(self, db: sqlite3.Connection, thread_id: int) -> tuple[Any, ...]:
        """Return model, title, settings and running reply; HistoryError where there is no such thread."""
        query = "SELECT model, title, settings, partial FROM threads WHERE id = ?"
        # as text, which SQLite compares as the number it is: an int beyond its range is just not found
        row: tuple[Any, ...] | None = db.execute(query, (str(thread_id),)).fetchone()
        if row is None:
            raise HistoryError(f"no thread {thread_id!r} in {self.path}; `easy-llama threads` lists all")
        return row

    def _rows(self, db: sqlite3.Connection, thread_id: int) -> list[str]:
        query = "SELECT data FROM messages WHERE thread_id = ? ORDER BY position"
        return [data for (data,) in db.execute(query, (thread_id,))]

    def _prepare(self) -> None:
        """Check whose file it is, make the tables in a new one, and set the connection up."""
        with self._transaction() as db:
            if not self._is_ours(db):
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
            db.execute(_TITLES)
        # A commit has handed its pages to the operating system, which writes them whatever becomes of the
        # process: a SIGKILL loses nothing committed. FULL would wait for the disk at every commit and help
        # only when the power fails; then NORMAL may lose the last commits, never the file.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA secure_delete = ON")
        # fails where another process opens the new file too; it stays in the file, so one success is enough
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = WAL").fetchall()

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """Whether the tables are there; False for an empty file, HistoryError for anything else."""
        facts = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (db.execute(query).fetchone()[0] for query in facts)
        if application == APPLICATION and version > VERSION:
            newer = f"was written by a newer easy_llama (version {version}, this one reads {VERSION})"
            raise HistoryError(f"{self.path} {newer}; upgrade easy_llama, or {_ELSEWHERE}")
        if application != APPLICATION and (application or version or tables):
            raise HistoryError(f"{self.path} is another program's database; {_ELSEWHERE}")
        return bool(application == APPLICATION)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Commit at the end, roll back on any error; a writer waits for its turn before it reads."""
        try:
            try:
                self._db.execute(f"BEGIN {kind}")
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except (sqlite3.Error, json.JSONDecodeError) as error:
            raise HistoryError(f"{self.path}: {error}; if the file is damaged, {_ELSEWHERE}") from error

    # --- looking things up -----------------------------------------------------------------------------

    def rename(self, thread_id: int, title: str) -> None:
        """Give a thread another title, on one line; an empty one brings back the first user message."""
        with self._transaction() as db:
            self._find(db, thread_id)
            db.execute("DELETE FROM titles WHERE thread_id = ?", (thread_id,))
            if line := one_line(title):
                db.execute("INSERT INTO titles VALUES (?, ?)", (thread_id, line))

    def search(self, text: str, limit: int = 50) -> list[Match]:
        """Return the threads that have ``text`` in a message or in the title, the last changed first.

        Capitals count as small letters. PromptError for an empty text.
        """
        if not text:
            raise PromptError("there is nothing to search for; give a text")
        wanted, found = re.compile(re.escape(text), re.IGNORECASE), list[Match]()
        for thread in self.threads(limit=-1):  # SQLite takes it as all
            if len(found) == limit:
                break
            with self._transaction("DEFERRED") as db:
                contents = map(_content, self._rows(db, thread.id))
                hits = ((i, hit) for i, content in enumerate(contents) if (hit := wanted.search(content)))
                position, hit = next(hits, (None, None))
            if hit is not None:
                found.append(Match(thread, position, _around(hit)))
            elif wanted.search(thread.title):
                found.append(Match(thread, None, thread.title))
        return found

    def exported(self, thread_id: int) -> dict[str, Any]:
        """Return what ``Thread.to_dict`` would tell of a stored thread, without a model."""
        data, running = self._read(thread_id)
        if running:
            data["messages"].append({"role": "bot", "prefix": "", "content": running, "postfix": ""})
        return data


def _content(row: str) -> str:
    return str(json.loads(row).get("content", ""))


def _around(hit: re.Match[str], width: int = 30) -> str:
    """What was found, on one line, with ``width`` characters before and after it."""
    start, end = max(0, hit.start() - width), hit.end() + width
    text = hit.string
    line = one_line(text[start:end], end - start)
    return f"{'…' * (start > 0)}{line}{'…' * (end < len(text))}"


def _json(value: object) -> str:
    # ASCII keeps lone surrogates from a terminal too; a sampler's numbers may be numpy's
    return json.dumps(value, default=methodcaller("item"))


def _row(message: Message) -> str:
    return _json(message_to_dict(message))


def _title(thread: Conversation) -> str:
    """The first user message on one line; escape sequences and the like must not reach a terminal."""
    first = next((m["content"] for m in thread.messages if m["role"] == "user"), "").strip()
    return one_line(first[:1000])
