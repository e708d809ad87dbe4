"""``formats`` and ``threads``: lists for people and for programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama.chat.history import History
from easy_llama.errors import HistoryError, PromptError
from easy_llama.formats import chatml, wrap

from .command import run, spawn

# --- formats -------------------------------------------------------------------------------------------


def test_formats_lists_every_format() -> None:
    done = run("formats")
    assert (done.returncode, done.stderr) == (0, "")
    first = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert set(ez.formats.names()) <= set(first)


def test_formats_show_is_the_dictionary_and_a_conversation() -> None:
    shown = run("formats", "show", "chatml").stdout
    assert json.loads(run("formats", "show", "chatml", "--json").stdout) == chatml
    assert shown.startswith(json.dumps(chatml, indent=2))
    assert shown.rstrip("\n").endswith(wrap("How are you?", chatml).rstrip("\n"))
    assert "did you mean 'llama3'" in run("formats", "show", "llma3").stderr


def test_formats_check_says_what_does_not_fit() -> None:
    fits = run("formats", "check", "chatml")
    assert (fits.returncode, fits.stdout) == (0, "tiny.gguf and the format chatml fit\n")
    own = run("formats", "check")
    assert (own.returncode, own.stdout) == (0, "tiny.gguf and its own chat template fit\n")
    wrong = run("formats", "check", "alpaca")
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("differs: ")
    assert "use --format chatml, or leave --format out" in wrong.stdout


# --- threads -------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, model: ez.Model) -> dict[str, str]:
    """An environment with two chats, the second of which tries to steer the terminal."""
    with History(tmp_path / "threads.sqlite3") as history:
        thread = ez.Thread(model)
        thread.add_message("user", "Wie heißt die Straße?")
        thread.add_message("bot", "Große Bergstraße.\nIn Hamburg.")
        history.begin(thread)
        thread = ez.Thread(model)
        thread.add_message("user", "Hello")
        thread.add_message("bot", "\x1b[31mred\x9b2J")
        history.begin(thread)
    return {"EASY_LLAMA_DATA": str(tmp_path)}


def test_threads_as_json(kept: dict[str, str]) -> None:
    listed = json.loads(run("threads", "--json", env=kept).stdout)
    assert [(one["id"], one["title"], one["messages"]) for one in listed] == [
        (2, "Hello", 2), (1, "Wie heißt die Straße?", 2)
    ]  # fmt: skip
    assert {"model": "tiny.gguf"}.items() <= listed[0].items()
    assert len(json.loads(run("threads", "--json", "-n", "1", env=kept).stdout)) == 1


def test_threads_search_looks_into_every_message(kept: dict[str, str]) -> None:
    found = json.loads(run("threads", "search", "große berg", "--json", env=kept).stdout)
    assert [(one["id"], one["message"]) for one in found] == [(1, 1)]
    assert found[0]["excerpt"] == "Große Bergstraße. In Hamburg."
    assert "Große" in run("threads", "search", "HAMBURG", env=kept).stdout
    assert run("threads", "search", "generated", "--json", env=kept).stdout == "[]\n"
    assert "give a text" in run("threads", "search", "", env=kept).stderr


def test_threads_rename_stays_when_the_chat_goes_on(kept: dict[str, str], model: ez.Model) -> None:
    assert run("threads", "rename", "2", "A \x1b[31mnew\nname", env=kept).returncode == 0
    path = Path(kept["EASY_LLAMA_DATA"]) / "threads.sqlite3"
    with History(path) as history:
        thread = history.load(2, model)
        thread.add_message("user", "Go on")
        history.record(2, thread)
        assert [one.title for one in history.threads()] == ["A [31mnew name", "Wie heißt die Straße?"]
        assert [one.thread.id for one in history.search("NEW NAME")] == [2]
        history.rename(2, "")
        assert history.threads()[0].title == "Hello"
        with pytest.raises(HistoryError, match="no thread 9"):
            history.rename(9, "x")
        with pytest.raises(PromptError):
            history.search("")
        history.rename(2, "x")
        history.delete(2)
        thread_id = history.begin(ez.Thread(model))
        assert thread_id == 3


def test_a_history_of_an_earlier_version_gets_titles(kept: dict[str, str]) -> None:
    import sqlite3

    path = Path(kept["EASY_LLAMA_DATA"]) / "threads.sqlite3"
    db = sqlite3.connect(path)
    db.execute("DROP TABLE titles")
    db.commit()
    db.close()
    assert run("threads", "rename", "1", "street", env=kept).returncode == 0
    assert "street" in run("threads", env=kept).stdout


def test_threads_export(kept: dict[str, str], tmp_path: Path, model: ez.Model) -> None:
    text = run("threads", "export", "2", env=kept).stdout
    assert text == "**user**\n\nHello\n\n**bot**\n\n\\x1b[31mred\\x9b2J\n"
    file = tmp_path / "out" / "talk.json"
    missing = run("threads", "export", "1", str(file), "--json", env=kept)
    assert missing.stderr == f"easy-llama: {file}: No such file or directory\n"
    file.parent.mkdir()
    assert run("threads", "export", "1", str(file), "--json", env=kept).returncode == 0
    loaded = ez.Thread.load(file, model)
    assert [m["content"] for m in loaded.messages] == [
        "Wie heißt die Straße?",
        "Große Bergstraße.\nIn Hamburg.",
    ]
    again = run("threads", "export", "1", str(file), env=kept)
    assert (again.returncode, "--force overwrites it" in again.stderr) == (1, True)
    assert run("threads", "export", "1", str(file), "--force", env=kept).returncode == 0
    assert file.read_text(encoding="utf-8").startswith("**user**")
    assert "no thread 7" in run("threads", "export", "7", env=kept).stderr


def test_a_reply_that_was_running_is_exported_too(kept: dict[str, str], model: ez.Model) -> None:
    with History(Path(kept["EASY_LLAMA_DATA"]) / "threads.sqlite3") as history:
        thread = history.load(1, model)
        thread.add_message("user", "More?")
        history.record(1, thread)
        history.partial(1, "It was", flush=True)
        exported = history.exported(1)
    loaded = ez.Thread.from_dict(exported, model)
    assert [m["content"] for m in loaded.messages][-2:] == ["More?", "It was"]


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_nothing_in_a_list_steers_the_terminal(kept: dict[str, str]) -> None:
    for args in (("search", "red"), ("export", "2"), ("export", "2", "--json"), ("search", "red", "--json")):
        shown = spawn("threads", *args, env={**kept, "NO_COLOR": "1"}).read()
        assert "\x1b[31m" not in shown
        assert "\x9b" not in shown
        assert "red" in shown
