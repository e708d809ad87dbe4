"""The command line as a person uses it: in a process of its own, piped and in a real pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields

import pytest

from easy_llama import SamplerSettings, __version__
from easy_llama.samplers.fields import FIELDS

COMMAND = [sys.executable, "-m", "easy_llama"]


def run(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, **(env or {})},
    )


def test_generate_from_standard_input_and_from_the_argument() -> None:
    piped = run("generate", "--temp", "0", stdin="The sky is blue, and\n")
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout.startswith("The sky is blue, and ")
    assert piped.stdout.count("\n") == 1
    assert run("generate", "The sky is blue, and", "--temp", "0").stdout == piped.stdout
    assert run("generate", stdin="Once upon a time").stdout.startswith("Once upon a time")


def test_flags_are_the_fields_of_the_settings() -> None:
    text = run("generate", "--help").stdout
    for field in fields(SamplerSettings):
        assert f"--{field.name.replace('_', '-')}" in text
        assert FIELDS[field.name].help
    short = run("generate", "Once", "--max-len-tokens", "2", "--top-k", "off", "--seed", "1")
    assert len(short.stdout) < 40


def test_a_stop_ends_the_text() -> None:
    whole = run("generate", "The sky is blue, and", "--temp", "0").stdout
    cut = run("generate", "The sky is blue, and", "--temp", "0", "--stop", whole[30:34]).stdout
    assert cut.rstrip("\n") == whole[:30].rstrip("\n")


def test_candidates_is_a_table() -> None:
    done = run("candidates", "The dog says woof, but the cat says", "-k", "5")
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [line for line in lines if line and line[0].isdigit()]
    assert [row[0] for row in rows] == list("12345")
    assert rows[0][1] == "Ġmeow"
    assert float(rows[0][2]) > 0.5


def test_info_reads_the_header_only() -> None:
    done = run("info")
    assert done.returncode == 0
    for words in ("tiny.gguf", "llama.context_length", "512", "1.3 million", "tokenizer.ggml.tokens", "MIT"):
        assert words in done.stdout


def test_version_and_help() -> None:
    assert run("--version").stdout.strip().endswith(__version__)
    assert "generate" in run("-h").stdout


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("generate", "x", "--temp", "-3"), 1, "--temp must be a number of at least 0"),
        (("generate", "x", "--temp", "hot"), 2, "'hot' is neither a number nor off"),
        (("generate", "x", "-m", "nowhere.gguf"), 1, "there is no file at nowhere.gguf"),
        (("generate", "x", "-m", "."), 1, "is a directory"),
        (("generate",), 1, "there is no prompt"),
        (("generate", "x", "--seed", "-1"), 1, "--seed must be an integer from 0 to 4294967294, or off"),
        (("info", __file__), 1, "is not a GGUF file"),
        (("candidates", "x", "-k", "0"), 1, "k must be an integer from 1 to 1024; got 0"),
        (("generate", "x", "--context-length", "-5"), 1, "context_length must be"),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_errors_are_one_line_without_a_traceback(args: tuple[str, ...], code: int, words: str) -> None:
    done = run(*args)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("easy-llama: ")


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("--debug", "generate", "x", "--temp", "-3").stderr


def test_a_warning_is_one_line() -> None:
    done = run("generate", "x", "--context-length", "1024", "--max-len-tokens", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("easy-llama: warning: context_length=1024")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_drama() -> None:
    shell = f"{sys.executable} -m easy_llama info | head -n 1"
    if os.name == "posix":
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_in_a_terminal_it_asks_until_an_empty_line() -> None:
    import pexpect

    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "generate"], encoding="utf-8", timeout=60)
    child.expect("Once upon a time")
    child.expect("> ")
    child.sendline("The sky is blue, and")
    child.expect(r"The sky is blue, and the \w+")
    child.expect("> ")
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_ctrl_c_at_the_prompt_ends_it() -> None:
    import pexpect

    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "generate"], encoding="utf-8", timeout=60)
    child.expect("> ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
