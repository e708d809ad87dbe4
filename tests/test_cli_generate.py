"""``generate`` and ``ask``: what goes into a pipe, what a terminal shows, where texts come from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .command import COMMAND, run, spawn, written

needs_terminal = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
READY = re.escape("\x1b[?2004h")  # the editor waits for a line
SKY = "The sky is blue, and"
SCHEMA = {"type": "object", "properties": {"name": {"enum": ["Ann", "Bo"]}}, "required": ["name"]}
RED = r'root ::= "\x1b[31mred\x9b2Jgone"'  # what a model could write to steer a terminal


# --- generate in a pipe --------------------------------------------------------------------------------


def test_into_a_pipe_goes_the_new_text_only() -> None:
    piped = run("generate", "--temp", "0", stdin=f"{SKY}\n")
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.startswith(" the ")
    assert piped.stdout.count("\n") == 1
    assert run("generate", SKY, "--temp", "0").stdout == piped.stdout
    assert run("generate", "-", "--temp", "0", stdin=SKY).stdout == piped.stdout
    assert run("generate", SKY, "--temp", "0", "--echo").stdout == SKY + piped.stdout


def test_a_prompt_may_begin_with_an_at_sign(tmp_path: Path) -> None:
    assert run("generate", "@Anna", "--echo", "--max-len-tokens", "1").stdout.startswith("@Anna")


def test_an_empty_prompt_begins_a_text_from_nothing() -> None:
    done = run("generate", "", "--temp", "0", "--max-len-tokens", "5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert run("candidates", "", "-k", "2").returncode == 0
    assert '"" begins a text from nothing' in run("generate").stderr


def test_a_schema_from_a_file_gives_json(tmp_path: Path) -> None:
    file = written(tmp_path / "schema.json", json.dumps(SCHEMA))
    done = run("generate", "x", "--json-schema", f"@{file}")
    assert json.loads(done.stdout)["name"] in ("Ann", "Bo")
    for flag in ("-", "@-"):
        piped = run("generate", "x", "--json-schema", flag, stdin=json.dumps(SCHEMA))
        assert json.loads(piped.stdout)["name"] in ("Ann", "Bo")
    if os.name == "posix":
        command = f"{sys.executable} -m easy_llama generate x --threads 1 --json-schema @{file}"
        shell = f"{command} | {sys.executable} -m json.tool"
        whole = subprocess.run(shell, shell=True, capture_output=True, text=True, check=True)
        assert json.loads(whole.stdout)["name"] in ("Ann", "Bo")


def test_a_grammar_from_a_file(tmp_path: Path) -> None:
    file = written(tmp_path / "g.gbnf", 'root ::= "yes" | "no"\n')
    assert run("generate", "x", "--grammar", f"@{file}").stdout in ("yes\n", "no\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--json-schema", "schema.json"), "'schema.json' looks like the name of a file; write @schema.json"),
        (("--grammar", "nofile.gbnf"), "'nofile.gbnf' looks like the name of a file; write @nofile.gbnf"),
        (("--grammar", "@nofile.gbnf"), "can't read 'nofile.gbnf': No such file"),
        (("--grammar", "@."), "can't read '.'"),
        (("--json-schema", "{"), "must be JSON or off; got '{'"),
    ],
)
def test_a_wrong_file_is_wrong_usage(args: tuple[str, ...], words: str) -> None:
    done = run("generate", "x", "--echo", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())


def test_what_is_wrong_with_a_file_or_standard_input_is_said(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe{}")
    assert "is not text in UTF-8" in run("generate", "x", "--json-schema", f"@{binary}").stderr
    both = run("generate", "-", "--json-schema", "-", stdin='{"enum": [1]}')
    assert "standard input can't be both --json-schema and the prompt" in both.stderr
    done = subprocess.run([*COMMAND, "generate"], input=b"a\xffb", capture_output=True, check=False)
    assert done.returncode == 1
    assert b"standard input is not text in UTF-8" in done.stderr


def test_a_pipe_gets_the_text_byte_for_byte() -> None:
    command = [*COMMAND, "generate", "x", "--grammar", RED]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == "\x1b[31mred\x9b2Jgone\n".encode()


# --- generate in a terminal ----------------------------------------------------------------------------


@needs_terminal
def test_a_terminal_gets_the_prompt_and_harmless_text() -> None:
    child = spawn("generate", "say: ", "--grammar", RED)
    text = child.read()
    assert text == "say: \\x1b[31mred\\x9b2Jgone\r\n"
    child = spawn("generate", "say: ", "--grammar", RED, "--no-echo")
    assert child.read().startswith("\\x1b[31mred")
    shown = spawn("generate", "a\x1b[31mb", "--max-len-tokens", "1").read()
    assert "\x1b" not in shown


@needs_terminal
def test_in_a_terminal_it_asks_until_an_empty_line_with_editing() -> None:
    import pexpect

    child = spawn("generate", "--temp", "0")
    child.expect("Once upon a time")
    child.expect(READY)
    child.send("he sky is blue, and\x01T\r")  # Ctrl-A: to the beginning of the line
    child.expect(r"The sky is blue, and the \w+")
    child.expect(READY)
    child.send("\x1b[A\r")  # the line before
    child.expect(r"The sky is blue, and the \w+")
    child.expect(READY)
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@needs_terminal
def test_ctrl_c_at_the_prompt_ends_it_and_in_a_text_only_that() -> None:
    import pexpect

    child = spawn("generate", "--context-length", "16384", "--grammar", "root ::= [a-z ]+ [0-9]+ root")
    child.expect(READY)
    child.sendline("once")
    child.expect("once[a-z0-9 ]{40}")
    child.sendintr()
    child.expect(r"\(stopped\)")
    child.expect(READY)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


# --- ask -----------------------------------------------------------------------------------------------


def test_ask_answers_in_the_chat_format() -> None:
    done = run("ask", "What is the capital of France?", "--temp", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The capital of France is Paris.\n"
    piped = run("ask", "--temp", "0", stdin="What is the capital of France?\n")
    assert piped.stdout == done.stdout
    assert run("ask", "-", "--temp", "0", stdin="What is the capital of France?\n").stdout == done.stdout


def test_ask_takes_the_question_and_what_is_piped_below_it() -> None:
    """Both are one message: the same as the whole as an argument."""
    both = run("ask", "What is 2 + 3?", "--temp", "0", stdin="and the capital of Peru\n").stdout
    assert both == run("ask", "What is 2 + 3?\n\nand the capital of Peru", "--temp", "0").stdout


def test_ask_takes_system_format_ban_and_schema() -> None:
    answer = run("ask", "What is 2 + 3?", "--temp", "0").stdout
    assert "5" in answer
    assert "5" not in run("ask", "What is 2 + 3?", "--temp", "0", "--ban", "5").stdout
    assert json.loads(run("ask", "Who?", "--json-schema", json.dumps(SCHEMA)).stdout)
    assert json.loads(run("ask", "Who?", "--json-schema", "-", stdin=json.dumps(SCHEMA)).stdout)
    assert run("ask", "What is 2 + 3?", "--temp", "0", "--format", "chatml").stdout == answer
    done = run("ask", "Hi", "--system", "word " * 600)
    assert (done.returncode, done.stdout) == (1, "")
    assert "a larger --context-length" in done.stderr


def test_ask_without_a_question_says_how() -> None:
    for args in ((), ("",), ("-",), (" ",)):
        done = run("ask", *args)
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no question" in done.stderr


@needs_terminal
def test_ask_in_a_terminal_is_harmless() -> None:
    child = spawn("ask", "Hello", "--grammar", RED)
    assert child.read() == "\\x1b[31mred\\x9b2Jgone\r\n"
    child.close()
    assert child.exitstatus == 0
