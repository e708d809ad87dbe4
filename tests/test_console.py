"""The console as a person drives it: a real pseudo-terminal for what needs one, pipes for the rest."""

from __future__ import annotations

import io
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import easy_llama as ez
from easy_llama.chat.conversation import Conversation
from easy_llama.chat.history import History
from easy_llama.chat.recorder import Recorder
from easy_llama.console.commands import COMMANDS
from easy_llama.console.loop import Console
from easy_llama.generation.run import Generation
from easy_llama.samplers import GreedyDecoding, SamplerSettings
from easy_llama.terminal.reader import PlainReader
from easy_llama.terminal.screen import Screen
from easy_llama.thread import Thread
from tests.command import run, spawn

READY = re.escape("\x1b[?2004h")  # the editor asks the terminal to mark pastes: it waits for a line
TYPED = re.escape("\x1b[?2004l")  # the line is complete
needs_terminal = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")


def talk(model: ez.Model, *lines: str, **options: Any) -> tuple[str, Conversation]:
    """Type ``lines`` into a console and return what it wrote and its thread."""
    out = io.StringIO()
    reader = PlainReader(io.StringIO("\n".join(lines) + "\n"), out)
    console = Console(Thread(model, sampler=GreedyDecoding), reader=reader, out=out, **options)
    console.run()
    return out.getvalue(), console.thread


def test_a_reply_can_not_steer_the_terminal(model: ez.Model) -> None:
    out = io.StringIO()
    thread = Thread(
        model, sampler=SamplerSettings(temp=0.0, grammar='root ::= "\\x1b[31mred\\x1b[2J\\x07\\n\\tgone"')
    )
    console = Console(thread, reader=PlainReader(io.StringIO("Hi\n!last\n!messages\n"), out), out=out)
    console.run()
    assert thread.messages[-1]["content"] == "\x1b[31mred\x1b[2J\x07\n\tgone", (
        "what was said is kept as it was"
    )
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("\\x1b[31mred\\x1b[2J\\x07\n\tgone") == 2


# --- every command -------------------------------------------------------------------------------------


def test_every_command_of_the_documentation_is_there(model: ez.Model) -> None:
    names = (
        "help reset clear context stats sampler string messages save load export remove last reprint "
        "inference reroll edit fork alternatives summary system candidates exit"
    )
    expected = names.split()
    assert set(expected) <= set(COMMANDS)
    out, _ = talk(model, "!help")
    for name in expected:
        assert re.search(rf"^  !{name} +[A-Z].*\.$", out, re.MULTILINE), name


def test_a_conversation_and_its_commands(model: ez.Model, tmp_path: Path) -> None:
    file, markdown = tmp_path / "talk.json", tmp_path / "talk.md"
    out, thread = talk(
        model, "My name is Anna.", "What is my name?", "!context", "!messages", "!stats",
        f"!save {file}", f"!export {markdown}", "!string", "!inference", "!last", "!reset",
        f"!load {file}", "What is my name?",
    )  # fmt: skip
    assert out.count("Anna") >= 8
    assert "/ 512 tokens" in out
    assert "   0  user   My name is Anna." in out
    assert "finish_reason     stop" in out
    assert "<|im_start|>user\nMy name is Anna.<|im_end|>\n" in out
    assert markdown.read_text().startswith("**user**\n\nMy name is Anna.\n")
    assert len(thread.messages) == 6


def test_editing_the_past(model: ez.Model) -> None:
    out, thread = talk(
        model, "My name is Anna.", "!edit 0 My name is Tom.", "What is my name?", "!remove", "!fork",
        "!system Answer with one word.", "What is the capital of France?", "!reroll", "!alternatives",
        "!alternatives 0",
    )  # fmt: skip
    assert "2 messages removed" in out
    assert "this is a copy now" in out
    assert [m["role"] for m in thread.messages] == ["user", "bot", "system", "user", "bot"]
    assert thread.messages[0]["content"] == "My name is Tom."
    assert thread.messages[-1].alternatives == ["Paris"], "greedy decoding: the same again"
    assert "the same reply again" in out
    assert "   0* " in out


def test_the_sampler_is_shown_and_changed(model: ez.Model) -> None:
    out, thread = talk(
        model, "!sampler temp 0.5", "!sampler top_k off", "!sampler MinPSampling", "!sampler seed 7",
        "!sampler tempo 1", "!sampler temp hot", "!sampler temp -1", "!sampler greedydecodin",
        "!sampler temperature 1", "!sampler temp=0.25", "!sampler temp", "!sampler", "!sampler nonsense 1",
        "!sampler temp 0.25",
    )  # fmt: skip
    assert re.search(r"^  temp +0\.5 \(was 0\.0\)$", out, re.MULTILINE)
    assert re.search(r"^  top_k +off \(was 40\)$", out, re.MULTILINE)
    assert re.search(r"^  temp +0\.25 +Temperature", out, re.MULTILINE), "one field with what it does"
    assert "that changes nothing" in out
    assert out.count("penalty_last_n") == 0, "what was not asked for is not shown"
    assert "nonsense'; !sampler all lists" in out
    assert thread.sampler.seed == 7
    assert thread.sampler.min_p == 0.05
    assert out.count("did you mean temp?") == 2
    assert "temp must be a number or off; got 'hot'" in out
    assert "temp must be a number of at least 0" in out
    assert "did you mean GreedyDecoding?" in out


def test_signs_at_the_beginning_of_a_line(model: ez.Model) -> None:
    out, thread = talk(
        model, "!!", "Answer with one word.", "!! Be kind.", "<", "The city of",
        "What is the capital of Italy?", "!", "messages", "Tell me\\", "a story.", "!exit", "never",
    )  # fmt: skip
    contents = [m["content"] for m in thread.messages]
    assert contents[:2] == ["Answer with one word.", "Be kind."]
    assert contents[3].startswith("The city of")
    assert contents[4] == "Tell me\na story."
    assert "never" not in contents
    assert "   0  system Answer with one word." in out


def test_candidates_summary_speed_and_markdown(model: ez.Model) -> None:
    out, _ = talk(
        model, "!stats on", "Hello", "!stats off", "!candidates 3", "!markdown on", "Hello", "!markdown off",
        "!summary", "!reprint", "!clear",
    )  # fmt: skip
    assert len(re.findall(r"tokens, [\d,]+ a second; prompt: \d+ evaluated", out)) == 1
    assert len(re.findall(r"^  +0\.\d{4}  ", out, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("!save", "save needs a file name"),
        ("!load", "load needs a file name"),
        ("!load /nowhere/x.json", "there is no file /nowhere/x.json\n"),
        ("!save /nowhere/x.json", "/nowhere/x.json can't be written: No such file"),
        ("!export /nowhere/x.md", "No such file"),
        ("!edit", "!edit needs a number"),
        ("!edit -1 x", "a number from 0 is needed here; got '-1'"),
        ("!edit 1", "there is no message 1"),
        ("!edit one x", "a number from 0 is needed here; got 'one'"),
        ("!alternatives 5", "no alternative 5"),
        ("!remove", "no exchange to undo"),
        ("!reroll", "not the bot's"),
        ("!candidates 0", "from 1 to 1024"),
        ("!helpp", "did you mean !help?"),
        ("word " * 600, "512"),
    ],
)
def test_wrong_lines_are_answered_and_the_chat_goes_on(model: ez.Model, line: str, words: str) -> None:
    out, thread = talk(model, line, "Hello")
    assert words in out
    assert thread.messages[-1]["role"] == "bot"


def test_what_was_dropped_is_said(model: ez.Model) -> None:
    out, _ = talk(model, *["Tell me a story."] * 4)
    assert "the context was full: the 2 oldest messages are out of it" in out


def test_without_stream_replies_come_whole_and_the_header_first(model: ez.Model) -> None:
    out, _ = talk(model, "What is 7 + 5?", header="Welcome.", stream=False)
    assert out.startswith("Welcome.\n")
    assert "12" in out


def test_on_change_sees_every_piece_and_every_turn(model: ez.Model) -> None:
    seen: list[str | None] = []
    talk(model, "What is 7 + 5?", "!system Hi", on_change=lambda thread, reply: seen.append(reply))
    assert seen[-2:] == [None, None]
    pieces = [reply for reply in seen if reply is not None]
    assert all(b.startswith(a) for a, b in itertools.pairwise(pieces))


def test_wide_characters_arrive_whole(model: ez.Model) -> None:
    for text in ("zwölf ☃ 👩‍👩‍👧 日本語", "a\u0301"):
        _, thread = talk(model, text)
        assert thread.messages[0]["content"] == text


class Terminal(io.StringIO):
    """Text that says of itself that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal_and_never_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for out, color, env, term, coloured in [
        (Terminal(), True, "", "xterm", True), (io.StringIO(), True, "", "xterm", False),
        (Terminal(), False, "", "xterm", False), (Terminal(), True, "1", "xterm", False),
        (Terminal(), True, "", "dumb", False),
    ]:  # fmt: skip
        monkeypatch.setenv("NO_COLOR", env)
        monkeypatch.setenv("TERM", term)
        Screen(out, color=color).line("x", "bot")
        assert ("\x1b" in out.getvalue()) is coloured


# --- a real terminal -----------------------------------------------------------------------------------


def terminal_environment(folder: Path) -> dict[str, str]:
    quiet = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "NO_COLOR": "1"}
    return {**os.environ, **quiet, "EASY_LLAMA_DATA": str(folder)}


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Any]:
    """``easy-llama chat`` in a pseudo-terminal."""
    pytest.importorskip("pexpect")
    child = spawn("chat", "--temp", "0", env=terminal_environment(tmp_path), columns=120)
    child.expect("!help")
    child.expect(READY)
    yield child
    child.close(force=True)


def say(chat: Any, text: str, answer: str) -> None:
    chat.sendline(text)
    chat.expect(answer)
    chat.expect(READY)


@needs_terminal
def test_a_chat_in_a_terminal(chat: Any) -> None:
    say(chat, "My name is Anna.", "Anna")
    say(chat, "What is my name?", r"Your name is Anna|You are Anna")
    say(chat, "!context", "tokens")
    chat.setwinsize(24, 60)
    say(chat, "What is 7 + 5?", "12")
    chat.sendline("!exit")
    chat.expect(sys.modules["pexpect"].EOF)
    chat.close()
    assert chat.exitstatus == 0


@needs_terminal
def test_several_lines_and_signs_in_a_terminal(chat: Any) -> None:
    chat.sendline("What is the capital\\")
    chat.expect("…")
    say(chat, "of Italy?", "capital")
    say(chat, "!messages", "What is the capital of Italy")
    chat.sendline("!!")
    chat.expect("system:")
    chat.sendline("Answer with one word.")
    chat.expect(READY)
    chat.sendline("<")
    chat.expect("with:")
    chat.sendline("The city")
    chat.expect(READY)
    say(chat, "What is the capital of Peru?", "The city")
    chat.sendline("!")
    chat.expect("command:")
    say(chat, "messages", "Answer with one word")


@needs_terminal
def test_ctrl_c_while_the_bot_writes_stops_it_and_enter_rerolls(chat: Any) -> None:
    chat.sendline("Tell me a story about a brave fox named Ruby.")
    chat.expect(TYPED)
    chat.expect("Ruby")
    chat.sendintr()
    index = chat.expect(["stopped; ENTER generates another reply", READY])
    if index == 0:  # the toy may have ended its story just before
        chat.expect(READY)
        chat.sendline("")
        chat.expect(TYPED)
        chat.expect("Ruby")
        chat.expect(READY)
    say(chat, "!messages", "   1  bot ")


@needs_terminal
def test_ctrl_c_at_the_prompt_ends_the_chat(chat: Any) -> None:
    chat.sendintr()
    chat.expect(sys.modules["pexpect"].EOF)
    chat.close()
    assert chat.exitstatus == 0


@needs_terminal
def test_the_end_of_the_input_ends_the_chat(chat: Any) -> None:
    chat.sendeof()
    chat.expect(sys.modules["pexpect"].EOF)


EVERY_COMMAND = [
    ("!help", "List the commands"), ("!context", "tokens"), ("!stats", "finish_reason"),
    ("!sampler all", "penalty_last_n"), ("!string", "im_start"), ("!messages", "0  user"),
    ("!last", "12"), ("!reprint", "12"), ("!inference", "assistant"), ("!reroll", "12"),
    ("!alternatives", r"0\*"), ("!continue", "ended its reply at once"), ("!replay", "the same: "),
    ("!edit 0 What is 1 [+] 1[?]", "message 0 is changed"), ("!candidates 3", r"0\.\d{4}"),
    ("!system Be kind.", "is added"), ("!summary", ""), ("!fork", "copy"), ("!save {}/talk.json", "saved"),
    ("!export {}/talk.md", "written"), ("!reset", "anew"), ("!load {}/talk.json", "12"),
    ("!delete 1", "message 1 of the bot is deleted"), ("!remove", "removed"),
    ("!markdown off", "as they come"), ("!clear", ""),
]  # fmt: skip


@needs_terminal
def test_every_command_in_a_terminal(chat: Any, tmp_path: Path) -> None:
    say(chat, "What is 7 + 5?", "12")
    for line, answer in EVERY_COMMAND:
        chat.sendline(re.sub(r"\[(.)\]", r"\1", line.format(tmp_path)))
        chat.expect(TYPED)
        chat.expect(answer)
        chat.expect(READY)
    assert {line[1:].split()[0] for line, _ in EVERY_COMMAND} | {"exit"} == set(COMMANDS)
    assert (tmp_path / "talk.md").read_text(encoding="utf-8").count("**user**") == 1


@needs_terminal
def test_a_paste_of_several_lines_is_one_message(chat: Any) -> None:
    chat.send("\x1b[200~My name is Anna.\nWhat is my name?\x1b[201~\r")
    chat.expect(TYPED)
    chat.expect(READY)
    say(chat, "!messages", "0  user   My name is Anna. What is my name")


@needs_terminal
def test_the_arrow_key_brings_back_lines_of_an_earlier_chat(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    env = terminal_environment(tmp_path)
    for keys in ("What is 7 + 5?\r", "\x1b[A\r"):
        child = spawn("chat", "--temp", "0", env=env)
        child.expect(READY)
        child.send(keys)
        child.expect(TYPED)
        child.expect("12")
        child.expect(READY)
        child.sendintr()
        child.expect(pexpect.EOF)
    listed = run("threads", env={"EASY_LLAMA_DATA": str(tmp_path)}).stdout
    assert listed.count("What is 7 + 5?") == 2


@needs_terminal
def test_a_kept_chat_is_resumed_and_deleted(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    env = terminal_environment(tmp_path)

    def begin(*options: str) -> Any:
        child = spawn("chat", "--temp", "0", *options, env=env)
        child.expect(READY)
        return child

    def end(child: Any) -> None:
        child.sendline("!exit")
        child.expect(pexpect.EOF)

    child = begin()
    say(child, "My name is Anna.", "Anna")
    end(child)
    child = begin("--resume")
    say(child, "What is my name?", "Anna")
    end(child)
    child = begin("--no-history")
    say(child, "What is 7 + 5?", "12")
    end(child)
    data = {"EASY_LLAMA_DATA": str(tmp_path)}
    assert re.search(r"1 .* 4 +tiny\.gguf +My name is Anna", run("threads", env=data).stdout)
    assert "7 + 5" not in run("threads", env=data).stdout  # the title; a time may hold any number
    assert run("threads", "delete", "1", env=data).returncode == 0
    assert "Anna" not in run("threads", env=data).stdout
    gone = run("chat", "--resume", "1", stdin="Hi\n", env=data)
    assert gone.returncode == 1
    assert "no thread 1" in gone.stderr


# --- the command ---------------------------------------------------------------------------------------


def test_piped_input_is_a_chat_too() -> None:
    done = run("chat", "--temp", "0", stdin="My name is Anna.\nWhat is my name?\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Anna") == 2
    assert "\x1b" not in done.stdout
    assert "12" in run(stdin="What is 7 + 5?\n").stdout


def test_formats_and_system_messages_from_the_command_line() -> None:
    done = run(
        "chat", "--temp", "0", "--system", "Answer with one word.", stdin="What is the capital of France?\n"
    )
    assert done.stdout == "Paris\n"
    done = run("chat", "--format", "llma3", stdin="Hi\n")
    assert done.returncode == 1
    assert "did you mean 'llama3'" in done.stderr


# --- what a second hard review found -------------------------------------------------------------------


def test_loading_resetting_and_forking_begin_another_kept_chat(model: ez.Model, tmp_path: Path) -> None:
    other = Thread(model, sampler=GreedyDecoding)
    other.send("Another talk")
    other.save(tmp_path / "other.json")
    with History(tmp_path / "threads.sqlite3") as history:
        failures: list[str] = []
        lines = ("Precious", f"!load {tmp_path}/other.json", "On", "!reset", "New", "!fork", "Copy")
        talk(model, *lines, on_change=Recorder(history, failures.append))
        titles = {kept.title: kept.n_messages for kept in history.threads()}
    assert titles["Precious"] == 2
    assert {"Another talk", "New"} <= set(titles)
    assert failures == []


def test_a_history_that_fails_is_said_once_and_costs_no_reply(model: ez.Model, tmp_path: Path) -> None:
    failures: list[str] = []
    with History(tmp_path / "threads.sqlite3") as history:
        recorder = Recorder(history, failures.append)

        def on_change(thread: Thread, reply: str | None) -> None:
            recorder(thread, reply)
            if reply is None and history.latest() is not None:
                history.delete(history.latest() or 0)  # as another terminal may

        out, thread = talk(model, "What is 7 + 5?", "What is 3 + 4?", "What is 7 + 5?", on_change=on_change)
    assert out.count("7 + 5 = 12.") == 2
    assert len(thread.messages) == 6
    assert len(failures) == 1


@pytest.mark.parametrize(
    "line", ["!save /", "!save a\0b", "!save ~nobody_here/x", "!load ~nobody_here/x", "!export a\0"]
)
def test_paths_that_are_none_do_not_end_the_chat(model: ez.Model, line: str) -> None:
    _, thread = talk(model, line, "Hello")
    assert thread.messages[-1]["role"] == "bot"


def test_ctrl_c_in_a_command_does_not_end_the_chat(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Thread, messages: object = None) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Thread, "summarize", interrupted)
    out, thread = talk(model, "Hello", "!summary", "Hello")
    assert "[stopped]" in out
    assert len(thread.messages) == 4


def test_ctrl_c_before_the_reply_begins_leaves_the_reply_before_alone(
    model: ez.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Generation) -> Iterator[str]:
        yield from ()
        raise KeyboardInterrupt

    out = io.StringIO()
    thread = Thread(model, sampler=GreedyDecoding)
    thread.send("Hello")
    before, made = [dict(message) for message in thread.messages], thread.messages[-1].made
    monkeypatch.setattr(Generation, "pieces", interrupted)
    lines = "What is 2 + 3?\n\n!reroll\n!continue\n\n"
    Console(thread, reader=PlainReader(io.StringIO(lines), out), out=out).run()
    assert [dict(message) for message in thread.messages] == before
    assert thread.messages[-1].made == made
    assert out.getvalue().count("stopped before the reply began") == 3, "an empty line does nothing"
    assert "ENTER generates" not in out.getvalue()
    assert "the same reply" not in out.getvalue()


def test_replay_is_of_the_last_reply_and_alternatives_are_those_of_a_reply(model: ez.Model) -> None:
    out, _ = talk(model, "!replay", "!alternatives", "Hello", "!system Be kind.", "!replay", "!alternatives")
    assert "there is no reply yet" in out
    assert "[the same: " in out
    assert out.count("has no alternatives") == 2
