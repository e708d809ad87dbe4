"""A real model at the terminal: the console in a pseudo-terminal, and the commands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import run, spawn
from tests.test_console import READY, TYPED, needs_terminal, say, terminal_environment

SHORT = ("--threads", "1", "--context-length", "1024", "--temp", "0")


@pytest.fixture
def chat(path: Path, tmp_path: Path) -> Iterator[Any]:
    """A chat with the real model in a terminal."""
    pytest.importorskip("pexpect")
    child = spawn("chat", str(path), *SHORT, env=terminal_environment(tmp_path), timeout=120)
    child.expect(READY)
    yield child
    child.close(force=True)


@needs_terminal
def test_a_conversation(chat: Any) -> None:
    say(chat, "Name three animals.", "cat")
    say(chat, "What color is the sky?", "blue")
    say(chat, "!messages", "Name three animals")
    say(chat, "!stats", "finish_reason")
    chat.sendline("!exit")
    chat.expect(sys.modules["pexpect"].EOF)
    chat.close()
    assert chat.exitstatus == 0


@needs_terminal
def test_ctrl_c_stops_a_long_reply_and_the_chat_goes_on(chat: Any) -> None:
    chat.sendline("Write a long story about a fox and a river.")
    chat.expect(TYPED)
    chat.expect(r"\w+ \w+ \w+")
    chat.sendintr()
    chat.expect("stopped; ENTER generates another reply")
    chat.expect(READY)
    say(chat, "What is 2 + 2?", r"\d")


def test_generate(path: Path) -> None:
    done = run("generate", "The capital of France is", "-m", str(path), *SHORT, "--max-len-tokens", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert " Paris" in done.stdout


def test_piped_messages(path: Path) -> None:
    asked = "Name three animals.\nWhat color is the sky?\n"
    done = run("chat", str(path), *SHORT, "--no-history", stdin=asked)
    assert done.returncode == 0
    assert re.search(r"cat.*blue", done.stdout, re.DOTALL)


def test_info(path: Path) -> None:
    done = run("info", str(path))
    assert done.returncode == 0
    for words in (path.name, "98.4 MB", "134.5 million", "apache-2.0", "8192", "49,152 values"):
        assert words in done.stdout


def test_candidates(path: Path) -> None:
    done = run("candidates", "The capital of France is", "-m", str(path), "-k", "3", *SHORT[:4])
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r"\s*\d ", line)]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][1] == "ĠParis"
    assert 0 < float(rows[0][2]) < 1
