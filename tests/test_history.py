"""History: threads that survive undo, a second process and SIGKILL, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.chat import history as history_module
from easy_llama.chat.conversation import Conversation
from easy_llama.chat.history import History, Summary
from easy_llama.chat.message import Message
from easy_llama.errors import HistoryError
from easy_llama.samplers import DefaultSampling, GreedyDecoding
from easy_llama.thread import Thread

KILLS, AT_ONCE = 50, 5


class Clock:
    """Time that passes when a test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.sqlite3"


@pytest.fixture
def history(path: Path, clock: Clock) -> Iterator[History]:
    with History(path, clock=clock) as opened:
        yield opened


@pytest.fixture
def thread(model: ez.Model) -> Thread:
    return Thread(model, sampler=replace(GreedyDecoding, max_len_tokens=12))


def contents(thread: Conversation) -> list[str]:
    return [message["content"] for message in thread.messages]


def everything(thread: Conversation) -> list[dict[str, Any]]:
    return [dict(m, generated=m.generated, **vars(m)) for m in thread.messages]


# --- what comes back -----------------------------------------------------------------------------------


def test_a_resumed_thread_goes_on_where_it_was(history: History, path: Path, thread: Thread) -> None:
    thread_id = history.begin(thread)
    thread.send("My name is Anna.")
    thread.send("Hello")
    thread.reroll()
    thread.messages[0].pinned = True
    history.record(thread_id, thread)
    held = thread.model.engine.tokens
    with History(path) as again:
        loaded = again.load(thread_id, thread.model)
    assert everything(loaded) == everything(thread)
    assert (loaded.sampler, loaded.overflow, loaded.format) == (
        thread.sampler, thread.overflow, thread.format,
    )  # fmt: skip
    loaded.send("What is my name?")
    assert loaded.last.stats.reused == len(held)


def test_format_sampler_overflow_and_beginning_come_back(history: History, model: ez.Model) -> None:
    beginning = [Message("system", "<|im_start|>system\n", "Be brief.", "<|im_end|>\n")]
    numbers: dict[str, Any] = {"seed": np.int64(7), "temp": np.float32(0.5)}  # allowed, and no JSON
    sampler = replace(DefaultSampling, max_len_tokens=4, **numbers)
    thread = Thread(model, ez.formats.chatml, sampler, beginning, overflow="shift")
    thread_id = history.begin(thread)
    thread.add_message("user", "Hello")
    thread.sampler = replace(sampler, temp=0.25)  # as the console's /set does, in the middle of a thread
    history.record(thread_id, thread)
    loaded = history.load(thread_id, model)
    assert loaded.format == ez.formats.chatml
    assert loaded.overflow == "shift"
    assert loaded.sampler == thread.sampler
    assert contents(loaded) == ["Be brief.", "Hello"]
    loaded.reset()
    assert contents(loaded) == ["Be brief."]


def test_token_ids_are_those_of_one_model_only(history: History, thread: Thread, model: ez.Model) -> None:
    thread.send("Hello")
    thread_id = history.begin(thread)
    name = model.filename
    try:
        model.filename = "other.gguf"
        other = history.load(thread_id, thread.model)
        assert contents(other) == contents(thread)
        assert other.messages[1].generated is None
        history.record(
            thread_id, other
        )  # it goes on with the other model; the ids are gone from the file too
    finally:
        model.filename = name
    assert history.threads()[0].model == "other.gguf"
    assert history.load(thread_id, thread.model).messages[1].generated is None


@pytest.mark.parametrize(
    "text", ["naïve 🦙", "a\0b", "\udcff from a terminal", "x' OR 1=1; --", "\x1b[31mred"]
)
def test_any_text_comes_back(history: History, thread: Thread, text: str) -> None:
    thread.add_message("user", text)
    thread_id = history.begin(thread)
    history.partial(thread_id, text)
    assert contents(history.load(thread_id, thread.model)) == [text, text]
    assert history.threads()[0].title.isprintable()


def test_reading_a_conversation_leaves_the_messages_alone_it_is_read_from(thread: Thread) -> None:
    thread.send("Hello")
    thread.messages[1].pinned = True
    before = everything(thread)
    data = {**thread.to_dict(), "messages": thread.messages}
    twin = Conversation.from_dict(data, thread.model)
    assert everything(thread) == before
    assert not any(one is other for one, other in zip(thread.messages, twin.messages, strict=True))


# --- only what changed ---------------------------------------------------------------------------------


def test_only_changed_rows_are_written(history: History, thread: Thread) -> None:
    def written() -> int:
        before = history._db.total_changes
        history.record(thread_id, thread)
        return history._db.total_changes - before

    head = 1  # the thread's own row, for the time of the change
    thread_id = history.begin(thread)
    assert written() == 0
    for _ in range(3):
        thread.send("Hello")
        assert written() == 2 + head
    assert written() == 0
    thread.reroll()
    assert written() == 1 + head
    thread.edit(2, "Good morning")
    assert written() == 1 + head
    thread.undo()
    assert written() == 2 + head
    thread.reset()
    assert written() == 4 + head
    assert history.load(thread_id, thread.model).messages == []


def test_undo_reroll_and_edit_are_stored(history: History, thread: Thread) -> None:
    thread.sampler = replace(DefaultSampling, temp=1.5, max_len_tokens=8)
    thread_id = history.begin(thread)
    for change in (
        lambda: thread.send("Tell me a story."),
        lambda: thread.reroll(),
        lambda: thread.send("And another."),
        lambda: thread.edit(0, "Tell me a joke."),
        lambda: thread.alternative(0),
        lambda: thread.undo(),
        lambda: thread.send("Hello"),
    ):
        change()
        history.record(thread_id, thread)
        assert everything(history.load(thread_id, thread.model)) == everything(thread)


def test_a_transaction_that_fails_changes_nothing(history: History, thread: Thread) -> None:
    thread.add_message("user", "kept")
    thread_id = history.begin(thread)
    thread.edit(0, "changed")
    thread.add_message("bot", "new")
    history._db.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON threads BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(HistoryError, match="disk full"):
        history.record(thread_id, thread)
    history._db.execute("DROP TRIGGER full")
    assert contents(history.load(thread_id, thread.model)) == ["kept"]
    history.record(thread_id, thread)
    assert contents(history.load(thread_id, thread.model)) == ["changed", "new"]


def test_only_what_is_new_is_serialised(
    history: History, path: Path, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long chat must not cost more at every turn."""
    rows: list[str] = []
    write = history_module._row

    def counted(message: Message) -> str:
        rows.append(message["content"])
        return write(message)

    monkeypatch.setattr(history_module, "_row", counted)
    for i in range(40):
        thread.add_message("user" if i % 2 == 0 else "bot", f"{i}")
    thread_id = history.begin(thread)
    assert len(rows) == 40
    rows.clear()
    history.record(thread_id, thread)
    assert rows == []
    thread.add_message("user", "new")
    thread.messages[7].pinned = True
    thread.messages[8].generated = [1, 2, 3]
    thread.messages[9].alternatives.append("another")
    history.record(thread_id, thread)
    assert rows == ["7", "8", "9", "new"]
    assert everything(history.load(thread_id, thread.model)) == everything(thread)
    with History(path) as other:  # what somebody else has written is compared with what is there
        resumed = other.load(thread_id, thread.model)
        resumed.edit(0, "changed")
        other.record(thread_id, resumed)
    rows.clear()
    history.record(thread_id, thread)
    assert len(rows) == 41
    assert contents(history.load(thread_id, thread.model)) == contents(thread)


def test_an_interrupt_after_the_commit_leaves_no_wrong_idea_of_what_is_stored(
    history: History, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread.add_message("user", "one")
    thread_id = history.begin(thread)
    transaction = History._transaction

    @contextmanager
    def interrupted(self: History, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with transaction(self, kind) as db:
            yield db
        raise KeyboardInterrupt

    thread.edit(0, "two")
    with monkeypatch.context() as patch:
        patch.setattr(History, "_transaction", interrupted)
        with pytest.raises(KeyboardInterrupt):
            history.record(thread_id, thread)
    assert contents(history.load(thread_id, thread.model)) == ["two"]
    thread.edit(0, "one")
    thread.messages[0].alternatives = []
    history.record(thread_id, thread)
    assert contents(history.load(thread_id, thread.model)) == ["one"]


def test_the_tokens_of_an_edited_reply_are_no_change(history: History, thread: Thread) -> None:
    thread.send("Hello")
    thread.messages[1]["content"] = "Good morning"  # the tokens are those of another text now
    thread_id = history.begin(thread)
    resumed = history.load(thread_id, thread.model)
    assert [m.state() for m in resumed.messages] == [m.state() for m in thread.messages]
    before = history._db.total_changes
    history.record(thread_id, resumed)
    assert history._db.total_changes == before


# --- a running reply -----------------------------------------------------------------------------------


def test_a_running_reply_is_stored_once_a_second(history: History, thread: Thread, clock: Clock) -> None:
    thread.add_message("user", "Hello")
    thread_id = history.begin(thread)
    before = history._db.total_changes
    text = ""
    for i in range(40):
        text += f"{i} "
        history.partial(thread_id, text)
        clock.now += 0.125
    assert history._db.total_changes - before == 5
    assert contents(history.load(thread_id, thread.model))[1].endswith(" 32 ")
    history.partial(thread_id, text, flush=True)
    assert contents(history.load(thread_id, thread.model)) == ["Hello", text]
    clock.now -= 3600  # the computer's clock was set back
    history.partial(thread_id, "later")
    assert contents(history.load(thread_id, thread.model)) == ["Hello", "later"]
    history.record(thread_id, thread)
    assert contents(history.load(thread_id, thread.model)) == ["Hello"]


def test_a_reply_left_over_becomes_a_message(history: History, thread: Thread) -> None:
    thread.send("Hello")
    thread_id = history.begin(thread)
    old = thread.messages[1]["content"]
    history.partial(thread_id, "instead", flush=True)  # of a reroll: the last message is the bot's
    rerolled = history.load(thread_id, thread.model)
    assert contents(rerolled) == ["Hello", "instead"]
    assert rerolled.messages[1].alternatives == [old, "instead"]
    thread.add_message("user", "Go on")
    history.record(thread_id, thread)
    history.partial(thread_id, "Once upon a", flush=True)
    loaded = history.load(thread_id, thread.model)
    assert contents(loaded) == ["Hello", old, "Go on", "Once upon a"]
    twin = Thread(thread.model, messages=thread.messages)
    twin.add_message("bot", "Once upon a")
    assert loaded.as_string() == twin.as_string()
    assert loaded.send("And then?")


# --- lists ---------------------------------------------------------------------------------------------


def test_the_list_shows_the_newest_change_first(
    history: History, thread: Thread, clock: Clock, model: ez.Model
) -> None:
    assert history.threads() == []
    assert history.latest() is None
    first = history.begin(thread)
    clock.now += 60
    thread.add_message("user", "  Tell me\n\x1b[2Jabout the " + "very " * 20 + "long road  ")
    second = history.begin(thread)
    assert [summary.id for summary in history.threads()] == [second, first]
    clock.now += 60
    thread.edit(0, "Hi")
    history.record(first, thread)
    at = [datetime.fromtimestamp(1_000_000 + seconds, timezone.utc) for seconds in (0, 60, 120)]
    title = "Tell me [2Jabout the very very very very very very very ver…"
    assert history.threads() == [
        Summary(first, "Hi", model.filename, 1, at[0], at[2]),
        Summary(second, title, model.filename, 1, at[1], at[1]),
    ]
    assert len(title) == 60
    assert history.latest() == first
    assert len(history.threads(limit=1)) == 1


def test_deleted_text_is_gone_from_the_file(history: History, path: Path, thread: Thread) -> None:
    thread.add_message("user", "kept words")
    kept = history.begin(thread)
    thread.edit(0, "secret words " * 1000)
    gone = history.begin(thread)
    history.delete(gone)
    assert [summary.id for summary in history.threads()] == [kept]
    assert b"secret" not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert history.begin(thread) > gone, "an id is never used again"


@pytest.mark.parametrize("unknown", [0, -1, 5, 10**30, "x", None])
def test_unknown_ids(history: History, thread: Thread, unknown: Any) -> None:
    history.begin(thread)
    for call in (
        lambda: history.load(unknown, thread.model),
        lambda: history.record(unknown, thread),
        lambda: history.partial(unknown, "text"),
        lambda: history.delete(unknown),
    ):
        with pytest.raises(HistoryError, match=f"no thread {unknown!r} in .*`easy-llama threads` lists"):
            call()
    assert len(history.threads()) == 1


# --- the file ------------------------------------------------------------------------------------------


def test_the_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "data"
    monkeypatch.setenv("EASY_LLAMA_DATA", str(folder))
    for _ in range(2):
        with History() as history:
            assert history.path == folder / "threads.sqlite3"
            assert history._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        if os.name == "posix":
            assert folder.stat().st_mode & 0o777 == 0o700
            folder.chmod(0o755)
    monkeypatch.delenv("EASY_LLAMA_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    if sys.platform == "linux":
        with History() as history:
            assert history.path == tmp_path / "home" / "easy_llama" / "threads.sqlite3"


def test_files_that_are_no_history(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("a shopping list, long enough to be no header of a database " * 20)
    with pytest.raises(HistoryError, match=r"not a database.*EASY_LLAMA_DATA"):
        History(path)
    assert path.read_text().startswith("a shopping list")
    with pytest.raises(HistoryError, match=r"stored threads: .*unable to open"):
        History(tmp_path)
    other = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    other.execute("CREATE TABLE recipes (name)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(HistoryError, match="another program's database"):
        History(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before
    monkeypatch.setenv("EASY_LLAMA_DATA", str(path))
    with pytest.raises(HistoryError, match=r"exists.*EASY_LLAMA_DATA"):
        History()


def test_a_file_of_a_newer_version_is_left_alone(history: History, path: Path) -> None:
    history._db.execute("PRAGMA user_version = 2")
    with pytest.raises(HistoryError, match=r"newer easy_llama .version 2, this one reads 1.; upgrade"):
        History(path)


def test_damage_inside_is_reported(history: History, path: Path, thread: Thread) -> None:
    thread.add_message("user", "Hello")
    thread_id = history.begin(thread)
    history._db.execute("UPDATE messages SET data = substr(data, 1, 9)")
    with pytest.raises(HistoryError, match="damaged, move it away"):
        history.load(thread_id, thread.model)
    history.close()
    history.close()
    with pytest.raises(HistoryError, match="closed"):
        history.threads()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(HistoryError, match="malformed"), History(path) as broken:
        broken.threads()


# --- several processes, and their ends -----------------------------------------------------------------

WRITER = """
import sys, easy_llama as ez
from easy_llama.chat.history import History
with ez.Model(n_threads=1) as model:
    thread = ez.Thread(model)
    print("ready", flush=True)
    sys.stdin.readline()
    with History(sys.argv[1]) as history:
        thread_id = history.begin(thread)
        for i in range(100):
            thread.add_message("user", f"{sys.argv[2]} {i}")
            history.record(thread_id, thread)
            history.partial(thread_id, "...", flush=True)
        history.record(thread_id, thread)
"""

CHAT = """
import json, sys, easy_llama as ez
from easy_llama.chat.history import History
with ez.Model(n_threads=1) as model, History(sys.argv[1]) as history:
    def record():
        history.record(thread_id, thread)
        print(json.dumps([m["content"] for m in thread.messages]), flush=True)

    thread_id = int(sys.argv[2])
    if thread_id:
        thread = history.load(thread_id, model)
    else:
        thread = ez.Thread(model, sampler=ez.SamplerSettings(max_len_tokens=4))
        thread_id = history.begin(thread)
    print(thread_id, flush=True)
    while True:
        text = ""
        for piece in thread.stream(f"Message {len(thread.messages)}"):
            if not text:
                record()  # the message is in the thread from the first piece of its answer on
            text += piece
            history.partial(thread_id, text, flush=True)
        record()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_write_to_one_new_file_at_once(path: Path, model: ez.Model) -> None:
    processes = [start(WRITER, path, name) for name in ("a", "b", "c")]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    with History(path) as history:
        stored = [contents(history.load(summary.id, model)) for summary in history.threads()]
    assert sorted(stored) == [[f"{name} {i}" for i in range(100)] for name in ("a", "b", "c")]


def test_objects_in_one_process_share_a_file(path: Path, thread: Thread) -> None:
    with History(path) as one, History(path) as two:
        thread.add_message("user", "Hello")
        thread_id = one.begin(thread)
        thread.edit(0, "Good morning")
        two.record(thread_id, thread)
        assert contents(one.load(thread_id, thread.model)) == ["Good morning"]
        one.delete(thread_id)
        with pytest.raises(HistoryError, match="no thread"):
            two.record(thread_id, thread)


def test_a_call_waits_for_another_writer(history: History, path: Path, thread: Thread) -> None:
    thread_id = history.begin(thread)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.execute, ["COMMIT"])
    timer.start()
    thread.add_message("user", "Hello")
    history.record(thread_id, thread)
    timer.join()
    other.close()
    assert contents(history.load(thread_id, thread.model)) == ["Hello"]


def chat_until_killed(path: Path, thread_id: int, seconds: float) -> tuple[int, list[str]]:
    """Return the id of the thread, and the contents that the process said were stored."""
    with start(CHAT, path, thread_id) as process:
        assert process.stdout is not None
        thread_id = int(process.stdout.readline())
        time.sleep(seconds)
        assert process.poll() is None, "it ended before it was killed"
        process.kill()
        reports = process.stdout.read().splitlines(keepends=True)
    whole = [line for line in reports if line.endswith("\n")]
    return thread_id, json.loads(whole[-1]) if whole else []


def test_fifty_kills_lose_nothing_that_was_recorded(path: Path, model: ez.Model) -> None:
    moments = random.Random(7)
    seconds = [[moments.uniform(0, 0.6) for _ in range(KILLS // AT_ONCE)] for _ in range(AT_ONCE)]
    reported = {}

    def one_user(kills: list[float]) -> None:
        thread_id, known = 0, list[str]()
        for wait in kills:
            thread_id, stored = chat_until_killed(path, thread_id, wait)
            with sqlite3.connect(path, timeout=10) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            db.close()
            assert stored[: len(known)] == known or not stored
            known = stored or known
        reported[thread_id] = known

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(one_user, seconds):
            pass
    assert len(reported) == AT_ONCE
    with History(path) as history:
        for thread_id, known in reported.items():
            stored = contents(history.load(thread_id, model))
            assert stored[: len(known)] == known
            assert len(stored) >= len(known) > KILLS // AT_ONCE
            assert len(stored) <= len(known) + 2, "at most one message and a running reply were not reported"
