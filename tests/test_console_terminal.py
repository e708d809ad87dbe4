"""What only a real terminal shows: widths, keys, job control, editors, questions, and resumed chats."""

from __future__ import annotations

import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from easy_llama.model import BUNDLED_MODEL
from tests import command
from tests.command import COMMAND, run
from tests.test_console import READY, TYPED, needs_terminal, say, terminal_environment

pytestmark = needs_terminal

Spawn = Callable[..., Any]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start ``easy-llama chat`` with more flags in a pseudo-terminal of ``columns``."""
    pytest.importorskip("pexpect")
    started = []

    def start(*flags: str, columns: int = 80, **env: str) -> Any:
        variables = {**terminal_environment(tmp_path), **env}
        child = command.spawn("chat", "--temp", "0", *flags, env=variables, columns=columns)
        started.append(child)
        child.expect(READY)
        return child

    yield start
    for child in started:
        child.close(force=True)


def written(child: Any) -> list[str]:
    """The lines before the last thing that was waited for."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]  # a progress line is gone
    return [line for line in lines if line]


def end(child: Any) -> None:
    child.sendline("!exit")
    child.expect(sys.modules["pexpect"].EOF)


def test_replies_and_lists_break_at_words(spawn: Spawn) -> None:
    child = spawn(columns=40)
    child.sendline("Tell me a story about a brave fox named Ruby.")
    child.expect(TYPED)
    child.expect(READY)
    lines = written(child)
    assert len(lines) > 3
    assert [line for line in lines if len(line) > 40] == []
    end(child)
    child = spawn("--resume", columns=200)
    assert re.search(r"!help: commands.*> Tell me a story", child.before, re.DOTALL), "the header comes first"
    child.sendline("!last")
    child.expect(TYPED)
    child.expect(READY)
    assert " ".join(lines).split() == " ".join(written(child)).split(), "no word is cut"


def test_what_is_typed_while_the_bot_writes_waits_for_the_prompt(spawn: Spawn) -> None:
    child = spawn()
    child.sendline("Tell me a story about a brave fox named Ruby.")
    child.expect(TYPED)
    child.expect("Ruby")
    child.send("What is 7 + 5?")
    child.expect(READY)
    assert "7 + 5" not in child.before
    child.expect(r"What is 7 \+ 5\?")  # it stands at the prompt now
    child.send("\r")
    child.expect("12")


def test_ctrl_z_stops_the_chat_and_fg_brings_it_back(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    env = {**terminal_environment(tmp_path), "PS1": "shell> "}
    shell = pexpect.spawn("bash", ["--norc", "-i"], encoding="utf-8", timeout=60, env=env)
    shell.expect("shell> ")
    shell.sendline(" ".join([*COMMAND, "chat", "--temp", "0"]))
    shell.expect(READY)
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect("shell> ")
    shell.sendline("echo out''side")
    shell.expect("outside")
    shell.expect("shell> ")
    shell.sendline("fg")
    shell.expect("chat --temp 0")
    shell.expect(">")
    shell.sendline("What is 7 + 5?")
    shell.expect("12")
    shell.sendline("!exit")
    shell.expect("shell> ")
    shell.close(force=True)


def test_a_message_is_changed_in_the_editor(spawn: Spawn, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/Anna/Ben/ "$1"\n', encoding="utf-8")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    child = spawn(EDITOR=str(editor), VISUAL="")
    say(child, "My name is Anna.", "Anna")
    say(child, "!edit 0", "message 0 is changed")
    say(child, "!edit 0", "nothing is changed")
    say(child, "!messages", "My name is Ben.")
    child = spawn(EDITOR=str(tmp_path / "none"), VISUAL="")
    say(child, "My name is Anna.", "Anna")
    say(child, "!edit 0", r"set\s+EDITOR")


def test_a_file_is_overwritten_only_after_a_yes(spawn: Spawn, tmp_path: Path) -> None:
    child = spawn()
    say(child, "My name is Anna.", "Anna")
    for typed in ("!save", "!export", "!fork"):
        file = tmp_path / "talk"
        file.write_text("precious", encoding="utf-8")
        for answer, expected in (("n", "stays as it is"), ("", "stays as it is"), ("y", "talk")):
            child.sendline(f"{typed} {file}")
            child.expect("overwrite it")
            say(child, answer, expected)
            assert (file.read_text(encoding="utf-8") == "precious") is (answer != "y")


def test_tab_completes_what_a_command_takes(spawn: Spawn) -> None:
    child = spawn()
    child.send("!sampler top_n\t")
    child.expect("_sigma")  # what is there already may not be drawn again
    child.sendline(" 1.5")
    child.expect(r"top_n_sigma +1\.5 \(was off\)")


def test_tab_and_colours_are_quiet_in_a_dumb_terminal() -> None:
    pexpect = pytest.importorskip("pexpect")
    dumb = {**terminal_environment(Path("unused")), "TERM": "dumb", "NO_COLOR": ""}
    child = command.spawn("chat", "--temp", "0", "--no-history", env=dumb)
    child.expect("> ")
    child.sendline("What is 7 + 5?")
    child.expect("12")
    child.sendline("!exit")
    child.expect(pexpect.EOF)
    assert "\x1b[3" not in child.before


# --- the model of a chat that goes on ------------------------------------------------------------------


def test_a_chat_goes_on_with_its_own_model(spawn: Spawn, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    shutil.copy(BUNDLED_MODEL, other)
    child = spawn(str(other))
    say(child, "My name is Anna.", "Anna")
    end(child)
    data = {"EASY_LLAMA_DATA": str(tmp_path)}
    done = run("chat", "--resume", stdin="What is my name?\n", env=data)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Anna" in done.stdout
    assert "other.gguf" in run("threads", env=data).stdout, "it is still that model's chat"
    with other.open("ab") as file:
        file.write(b"\0" * 64)
    assert "has changed since" in run("chat", "--resume", stdin="Hi\n", env=data).stderr
    moved = run("chat", str(BUNDLED_MODEL), "--resume", "--no-history", stdin="Hi\n", env=data)
    assert "this chat was with other.gguf; it goes on with tiny.gguf" in moved.stderr
    other.unlink()
    gone = run("chat", "--resume", stdin="Hi\n", env=data)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert f"was with other.gguf, which was at {other}; say where it is" in gone.stderr
    for wrong in ("²", "x", "1x"):
        refused = run("chat", f"--resume={wrong}", stdin="Hi\n", env=data)
        assert refused.returncode == 1
        assert "is no id of a chat" in refused.stderr


def test_a_copy_that_nothing_was_said_in_is_not_listed(spawn: Spawn, tmp_path: Path) -> None:
    child = spawn()
    say(child, "My name is Anna.", "Anna")
    say(child, f"!save {tmp_path}/talk.json", "saved")
    for line in ("!fork", "!fork", f"!load {tmp_path}/talk.json"):
        say(child, line, "")
    end(child)
    listed = run("threads", env={"EASY_LLAMA_DATA": str(tmp_path)}).stdout
    assert listed.count("My name is Anna") == 1


def test_in_a_pipe_errors_and_remarks_are_no_replies(tmp_path: Path) -> None:
    lines = "!nonsense\nWhat is 7 + 5?\n!system Be kind.\n!save /nowhere/x.json\n"
    done = run("chat", "--temp", "0", stdin=lines, env={"EASY_LLAMA_DATA": str(tmp_path)})
    assert done.stdout == "7 + 5 = 12.\n"
    assert done.returncode == 1
    assert re.fullmatch(
        r"there is no command 'nonsense'; !help lists all\n\[a system message is added\]\n"
        r"/nowhere/x\.json can't be written: .*\n",
        done.stderr,
    )
    assert run("chat", stdin="Hello\n").returncode == 0
