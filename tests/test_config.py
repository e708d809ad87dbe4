"""The config file: what is kept is a default, flags come first, a broken file says what is wrong with it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import click
import pytest

import easy_llama as ez
from easy_llama.chat.history import History
from easy_llama.cli import defaults, entry
from easy_llama.cli.entry import cli
from easy_llama.samplers.texts import text_of_value
from tests.command import run as in_a_process


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file, which is not there yet; the models folder has one model, other."""
    (tmp_path / "models").mkdir()
    shutil.copy(ez.model.BUNDLED_MODEL, tmp_path / "models" / "other.gguf")
    monkeypatch.setenv("EASY_LLAMA_CONFIG", str(tmp_path / "deep" / "config.json"))
    monkeypatch.setenv("EASY_LLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("EASY_LLAMA_DATA", str(tmp_path / "data"))
    return tmp_path / "deep" / "config.json"


class Done(NamedTuple):
    """What a command wrote, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def run(*args: str, stdin: str = "") -> Done:
    """Run a command in this process, which spares the imports."""
    out, err, threads = io.StringIO(), io.StringIO(), () if args[:1] != ("generate",) else ("--threads", "1")
    with (
        mock.patch.multiple(sys, argv=["easy-llama", *args, *threads], stdin=io.StringIO(stdin)),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            code = entry.run()
        except SystemExit as exit:
            code = int(exit.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def fails(*args: str) -> str:
    done = run(*args)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("easy-llama: ")


def works(*args: str, stdin: str = "") -> str:
    done = run(*args, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_in_a_process_of_its_own(file: Path) -> None:
    greedy = ("generate", "Once upon", "--temp", "0")
    short = in_a_process(*greedy, "--max-len-tokens", "3").stdout
    assert in_a_process("config", "set", "max-len-tokens", "3").stdout.startswith("max_len_tokens = 3 ")
    assert in_a_process(*greedy).stdout == short


def test_set_show_unset(file: Path) -> None:
    assert works("config") == ""
    assert f"would write {file}" in run("config").stderr
    assert works("config", "set", "temp", "0.5") == f"temp = 0.5   (in {file})\n"
    works("config", "set", "--top-k", "off")
    works("config", "set", "gpu-layers", "-1")
    works("config", "set", "system", "Sé breve.")
    works("config", "set", "flash_attn", "yes")
    assert (
        works("config") == "temp = 0.5\ntop_k = off\ngpu_layers = -1\nsystem = Sé breve.\nflash_attn = true\n"
    )
    kept = {"temp": 0.5, "top_k": "off", "gpu_layers": -1, "system": "Sé breve.", "flash_attn": True}
    assert json.loads(file.read_text(encoding="utf-8")) == kept
    works("config", "unset", "top-k", "temp", "gpu_layers", "system")
    assert works("config") == "flash_attn = true\n"
    assert fails("config", "unset", "temp") == "nothing is kept for temp\n"
    works("config", "unset", "flash_attn")
    assert not file.exists()
    assert works("config", "path") == f"{file}\n"
    assert [path.name for path in file.parent.iterdir()] == [], "nothing half-written stays"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("temp", "hot", "temp: 'hot' is neither a number nor off"),
        ("temp", "-3", "temp must be a number of at least 0"),
        ("seed", "1.5", "seed: '1.5' is neither an integer nor off"),
        ("json_schema", "{", "must be JSON or off; got '{'"),
        ("threads", "100000", "threads must be an integer from 1 to"),
        ("context_length", "x", "context_length: 'x' is not a valid integer"),
        ("context_length", "0", "must be an integer from 1 to"),
        ("overflow", "x", "overflow: 'x' is not one of trim, shift, summarize, error"),
        ("flash_attn", "maybe", "flash_attn: 'maybe' is neither true nor false"),
        ("format", "llma3", "there is no format 'llma3'; did you mean 'llama3'"),
        ("system", " ", "system must be a text"),
        ("model", "othr", "did you mean other?"),
        ("model", "", "the name of the model is empty"),
        ("temperature", "1", "there is no key 'temperature'; did you mean temp"),
        ("n_ctx", "1", "there is no key 'n_ctx'; did you mean context_length?"),
        ("n_gpu_layers", "1", "did you mean gpu_layers?"),
        ("nonsense", "1", "there is no key 'nonsense'; `easy-llama config --help` lists all"),
    ],
)
def test_wrong_values_are_refused_when_they_are_set(file: Path, key: str, value: str, words: str) -> None:
    assert words in fails("config", "set", key, value)
    assert not file.exists()


def test_every_key_is_a_flag_and_takes_its_default() -> None:
    context = click.Context(cli)
    commands = [name for name in defaults.COMMANDS if name in cli.list_commands(context)]
    assert {"chat", "generate", "explain", "candidates", "compare", "guide", "info"} <= set(commands)
    known: set[str] = set()
    for name in commands:
        command = cli.get_command(context, name)
        assert command is not None
        known |= {parameter.name or "" for parameter in command.params}
    assert {defaults.parameter_of(key) for key in defaults.KEYS} <= known
    for field in fields(ez.SamplerSettings):
        checked = defaults.check_value(field.name, text_of_value(field.default))
        made = ez.SamplerSettings(**{field.name: checked})
        assert getattr(made, field.name) == getattr(ez.SamplerSettings(), field.name), field.name


def test_what_is_kept_is_the_default_and_flags_come_first(file: Path) -> None:
    greedy = ("generate", "The sky is blue, and", "--temp", "0")
    plain = works(*greedy)
    works("config", "set", "temp", "0")
    works("config", "set", "max_len_tokens", "4")
    short = works("generate", "The sky is blue, and")
    assert plain.startswith(short.rstrip("\n"))
    assert len(short) < len(plain)
    assert works(*greedy, "--max-len-tokens", "-1") == plain
    shown = " ".join(works("generate", "--help").split())
    assert "Temperature; 0 always takes the likeliest token. [default: 0.0]" in shown
    works("config", "set", "flash_attn", "true")
    assert "[default: flash-attn]" in " ".join(works("candidates", "--help").split()).replace(
        "- attn", "-attn"
    )
    assert works(*greedy, "--no-flash-attn", "--max-len-tokens", "-1") == plain


@pytest.mark.parametrize("args", [(), ("chat",)])
def test_a_chat_takes_what_is_kept(file: Path, args: tuple[str, ...]) -> None:
    works("config", "set", "temp", "0")
    whole = works(*args, stdin="Hello\n")
    works("config", "set", "max_len_tokens", "2")
    works("config", "set", "model", "other")
    short = works(*args, stdin="Hello\n")
    assert len(short) < len(whole)
    assert whole.startswith(short.rstrip("\n"))


def test_the_model_that_is_kept(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "models")
    works("config", "set", "model", "other.gguf")
    assert works("config") == f"model = {tmp_path / 'models' / 'other.gguf'}\n", "the path, for any folder"
    works("config", "set", "model", "other")
    assert works("config") == "model = other\n"
    assert "other.gguf" in works("info")
    assert "tiny.gguf" in works("info", "tiny")
    assert "[default: other]" in works("generate", "--help")
    (tmp_path / "models" / "other.gguf").unlink()
    for command in (("generate", "x"), ("chat",), ("info",)):
        assert f"(other is kept by {file}; to change that: easy-llama config set model NAME)" in fails(
            *command
        )
    assert "config" not in fails("generate", "x", "-m", "nowhere")
    with ez.Model(n_threads=1) as model:
        assert model.filename == "tiny.gguf", "Python code does not depend on a file of the user"


def test_the_last_model_is_remembered_where_that_is_wanted(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last() -> str:
        return works("info").split()[0]

    works("generate", "x", "-m", "other", "--max-len-tokens", "1")
    assert last() == "tiny.gguf", "nobody asked for it"
    works("config", "set", "model", "last")
    assert last() == "tiny.gguf"
    works("generate", "x", "-m", "other", "--max-len-tokens", "1")
    assert last() == "other.gguf"
    fails("generate", "x", "-m", "nowhere")
    assert last() == "other.gguf"
    shutil.copy(ez.model.BUNDLED_MODEL, tmp_path / "third.gguf")
    monkeypatch.chdir(tmp_path)
    works("chat", "third.gguf", stdin="Hi\n")
    monkeypatch.chdir(tmp_path / "models")
    assert last() == "third.gguf"
    assert "third.gguf]" in "".join(works("generate", "--help").split())
    (tmp_path / "third.gguf").unlink()
    assert "was given last, and is kept by" in fails("generate", "x")
    works("generate", "x", "-m", "tiny", "--max-len-tokens", "1")
    assert last() == "tiny.gguf"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions, which root has all")
def test_a_folder_that_may_not_be_written_is_only_a_warning(file: Path, tmp_path: Path) -> None:
    works("config", "set", "model", "last")
    (tmp_path / "data").mkdir(mode=0o500)
    done = run("generate", "x", "-m", "other", "--max-len-tokens", "1")
    assert done.returncode == 0
    assert "can't be remembered" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"temp": "hot"}', "temp: 'hot' is neither a number nor off (easy-llama config unset temp)"),
        ('{"temp": true}', "temp: 'true' is neither"),
        ('{"temp": -1}', "temp must be a number of at least 0"),
        ('{"temprature": 1}', "there is no key 'temprature'; did you mean"),
        ('{"Top-K": 1}', "the key must be written top_k"),
        ('{"system": null}', "system must be a text; got None"),
        ('{"model": 5}', "model must be a text; got 5"),
        ('{"threads": {}}', "threads: '{}' is not a valid integer"),
    ],
)
def test_a_wrong_value_in_the_file_is_named_and_can_be_taken_out(file: Path, text: str, words: str) -> None:
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    error = fails("generate", "x")
    assert error.startswith(f"in {file}: ")
    assert words in error
    key = next(iter(json.loads(text)))
    assert "   <- " in works("config")
    assert "tiny" in works("models"), "what takes no defaults runs"
    works("config", "unset", key)
    assert works("config") == ""


@pytest.mark.parametrize("text", ['{"temp": ', "[1]", "\x00", "[" * 100_000, "temp = 1"])
def test_a_file_that_is_not_to_be_read_is_named_and_can_be_removed(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    for command in (
        ("generate", "x"),
        ("config",),
        ("config", "set", "temp", "1"),
        ("config", "unset", "temp"),
    ):
        error = fails(*command)
        assert error.startswith(f"the config file {file} ")
        assert "easy-llama config unset --all" in error
    assert file.read_text(encoding="utf-8") == text
    works("config", "unset", "--all")
    assert not file.exists()


def test_a_file_written_by_hand(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(
        b"\xef\xbb\xbf" + b'{"temp": 0, "logit_bias": {"5": -1}, "top_k": null}'
    )  # with Notepad's mark
    assert works("config") == 'temp = 0\nlogit_bias = {"5": -1}\ntop_k = off\n'
    works("generate", "x", "--max-len-tokens", "1")
    file.write_text("", encoding="utf-8")
    assert works("config") == ""


def test_a_folder_in_the_place_of_the_file(file: Path) -> None:
    file.mkdir(parents=True)
    assert f"the config file {file} can't be read" in fails("config")


def test_keys_that_only_some_commands_have(file: Path) -> None:
    defaults.write({"seed": "off", "max_len_tokens": 5, "threads": 1, "model": "other"})
    assert defaults.default_map("compare") == {"threads": "1", "model_path": "other"}
    assert "model_path" not in defaults.default_map("chat"), "so that a chat knows whether one was given"
    assert defaults.default_map("threads") == {}


def test_a_kept_chat_goes_on_with_its_own_model(file: Path, model: ez.Model) -> None:
    thread = ez.Thread(model, sampler=ez.samplers.GreedyDecoding)
    thread.send("My name is Anna.")
    with History() as history:
        history.begin(thread)
    works("config", "set", "model", "other")
    done = run("chat", "--resume", stdin="What is my name?\n")
    assert "Anna" in done.stdout
    assert "it goes on with" not in done.stderr, "neither another model nor a word of one"
    with History() as history:
        assert history.threads()[0].model == "tiny.gguf"


def test_one_value_is_printed_for_scripts(file: Path) -> None:
    works("config", "set", "temp", "0.25")
    assert works("config", "get", "temp") == "0.25\n"
    assert works("config", "get", "TEMP") == "0.25\n"
    assert fails("config", "get", "top_k") == "nothing is kept for top_k\n"
