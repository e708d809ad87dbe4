"""The command line as a person uses it: in a process of its own, piped and in a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from easy_llama import SamplerSettings, __version__
from easy_llama.cli.flags import HEADINGS
from easy_llama.cli.wording import as_flags
from easy_llama.model import BUNDLED_MODEL
from easy_llama.samplers.fields import FIELDS

from .command import run, spawn


def test_flags_are_the_fields_of_the_settings() -> None:
    text = run("generate", "--help").stdout
    for field in fields(SamplerSettings):
        assert f"--{field.name.replace('_', '-')}" in text
        assert FIELDS[field.name].help
    shown = [name for names in HEADINGS.values() for name in names.split()]
    assert sorted(shown) == sorted(FIELDS)
    assert all(f"\n{heading}:\n" in text for heading in HEADINGS)
    short = run("generate", "Once", "--max-len-tokens", "2", "--top-k", "off", "--seed", "1")
    assert len(short.stdout) < 40


def test_a_stop_ends_the_text() -> None:
    whole = run("generate", "The sky is blue, and", "--temp", "0").stdout
    cut = run("generate", "The sky is blue, and", "--temp", "0", "--stop", whole[10:14]).stdout
    assert cut.rstrip("\n") == whole[:10].rstrip("\n")


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
        (("generate", "x", "--context-length", "-5"), 1, "--context-length must be"),
        (("nonsense",), 2, "No such command or model 'nonsense'"),
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


def test_help_is_a_word_too() -> None:
    assert run("help").stdout == run("--help").stdout
    assert run("help", "threads", "search").stdout == run("threads", "search", "--help").stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("chta",), "Did you mean 'chat'?"),
        (("run",), "Did you mean 'chat'?"),
        (("tinny",), "No such command or model 'tinny'. Did you mean 'tiny'?"),
        (("generate", "x", "--temperature", "1"), "Did you mean '--temp'?"),
        (("generate", "x", "--n-predict", "1"), "Did you mean '--max-len-tokens'?"),
        (("--temp", "0"), "stand behind it: easy-llama chat --temp 0"),
        (("generate", "x", "--debug"), "It stands before the command: easy-llama --debug generate"),
        (("formats", "chekc"), "Did you mean 'check'?"),
    ],
)
def test_what_is_misspelled_gets_a_suggestion(args: tuple[str, ...], words: str) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert words in done.stderr


BOTH = ("--grammar", "root ::= [a]", "--json-schema", '{"type": "object"}')


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--threads", "99999"), "--threads must be an integer from 1 to"),
        (("--gpu-layers", "-5"), "--gpu-layers must be an integer from -1"),
        (("--rope-freq-base", "0"), "--rope-freq-base must be a number from 1 to 1e+15; got 0.0"),
        (("--num-beams", "5", "--penalty-alpha", "0.6"), "give --num-beams 1 or --penalty-alpha off"),
        (("--num-beams", "99"), "use --num-beams 15 or less"),
        (BOTH, "--grammar and --json-schema can't"),
        (("--early-stopping", "soon"), "--early-stopping must be true, false or never"),
        (("--logit-bias", '{"some words": 1}'), "or use --ban for whole phrases"),
        (("--num-beams", "2", "--ban", "x"), "leave --ban out, or --penalty-alpha and --num-beams"),
    ],
)
def test_errors_speak_of_flags(args: tuple[str, ...], words: str) -> None:
    """And nothing is printed before them."""
    done = run("generate", "x", "--echo", *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "=" not in done.stderr.replace("::=", "")
    assert "None" not in done.stderr


def test_the_errors_of_other_commands_speak_of_flags_too(tmp_path: Path) -> None:
    for args, words in (
        (("chat", "--format", "nosuch"), "`easy-llama formats` lists all"),
        (("ask", "x", "--format", "llma3"), "did you mean 'llama3' or"),
        (("candidates", "-"), "there is no prompt: give one as an argument or on standard input"),
        (("candidates", "x", "-k", "0"), "-k must be an integer from 1 to"),
        (("compare", "x", "--html", str(tmp_path)), f"--html: {tmp_path} is a folder"),
        (("compare", "x", "--html", "/dev/null/x"), "there is no folder /dev/null"),
        (("info", "a.gguf", "-m", "b.gguf"), "there are two models, a.gguf and b.gguf; give one"),
    ):
        done = run(*args)
        assert (done.returncode, done.stdout) == (1, ""), args
        assert words in done.stderr
    misfit = run("ask", "x", "--format", "alpaca", "--max-len-tokens", "1").stderr
    assert "use --format chatml, or leave --format out to use the model's own" in misfit


def test_only_arguments_become_flags_and_only_where_they_are_named() -> None:
    assert as_flags("top_p must be a number, or None to switch it off; got 'temp=2, or None'") == (
        "--top-p must be a number, or off to switch it off; got 'temp=2, or None'"
    )
    assert as_flags("a seed for the grammar: temp, k") == "a seed for the grammar: temp, k"
    assert as_flags("can't do it, don't: seed=3") == "can't do it, don't: --seed 3"
    assert as_flags("flash_attn=True or x.top_k=3 or my_top_k") == "--flash-attn or x.top_k=3 or my_top_k"


def test_a_model_instead_of_a_command_chats_with_it() -> None:
    file = str(BUNDLED_MODEL)
    by_name = run(file, "--temp", "0", stdin="What is 2 + 3?\n")
    assert (by_name.returncode, by_name.stderr) == (0, "")
    assert by_name.stdout == run("chat", "-m", file, "--temp", "0", stdin="What is 2 + 3?\n").stdout
    assert run("info", "-m", file).stdout == run("info", file).stdout
    assert "there is no file at nowhere.gguf" in run("nowhere.gguf").stderr


@pytest.mark.skipif(os.name != "posix", reason="/dev/full, and a shell")
@pytest.mark.parametrize(
    "command", ["info", "generate x", "ask hello", "formats", "formats show chatml", "--help"]
)
def test_a_full_disk_and_a_reader_that_goes_away(command: str) -> None:
    shell = f"{sys.executable} -m easy_llama {command}"
    if Path("/dev/full").exists():
        full = subprocess.run(f"{shell} > /dev/full", shell=True, capture_output=True, text=True, check=False)
        assert (full.returncode, full.stderr) == (1, "easy-llama: can't write: No space left on device\n")
    gone = subprocess.run(f"{shell} | true", shell=True, capture_output=True, text=True, check=False)
    assert gone.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")
def test_no_colours_where_none_are_wanted() -> None:
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for args in (("formats",), ("candidates", "x"), ("generate", "x", "--seed", "1"), ("ask", "Hi")):
            child = spawn(*args, env=env)
            text = child.read()
            child.close()
            assert child.exitstatus == 0, text
            assert not re.search(r"\x1b\[[0-9;]*[34][0-7][;m]", text), (env, args, text)


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("--debug", "generate", "x", "--temp", "-3").stderr


def test_a_warning_is_one_line() -> None:
    done = run("generate", "x", "--context-length", "1024", "--max-len-tokens", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("easy-llama: warning: --context-length 1024 is 2 times")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_drama() -> None:
    shell = f"{sys.executable} -m easy_llama info | head -n 1"
    if os.name == "posix":
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr
