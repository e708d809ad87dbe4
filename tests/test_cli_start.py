"""The command line starts at once: what is loaded for a command, and Ctrl-C at any moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from easy_llama.cli.entry import COMMANDS, cli
from easy_llama.cli.group import CommandGroup
from tests.command import run, spawn

# runs the command; ``moment`` names the module whose import is the moment at which Ctrl-C is pressed
PRESS = """
import signal, sys
def press(event, arguments):
    if event == "import":
        global count
        count += 1
        if count == moment:
            signal.raise_signal(signal.SIGINT)
count, moment = 0, int(sys.argv.pop(1))
from easy_llama.cli import main
sys.addaudithook(press)
try:
    main()
finally:
    if moment == 0:
        print(count, file=sys.stderr)
"""
GENERATE = ["generate", "Once upon a time", "--threads", "1", "--max-len-tokens", "2"]
needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def press_at(moment: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRESS, str(moment), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaded_for(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and the modules that it has loaded."""
    code = f"""
import sys
from easy_llama.cli import main
sys.argv = {["easy-llama", *arguments]!r}
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_load_no_command_and_no_numpy(flag: str) -> None:
    text, loaded = loaded_for(flag)
    assert text
    assert not {"numpy", "rich", "sqlite3", "llama_cpp", "jinja2", "psutil"} & loaded
    own = {name for name in loaded if name.startswith("easy_llama.")}
    parts = ["", ".entry", ".group", ".interrupts"]
    assert own == {"easy_llama.errors", "easy_llama.version"} | {f"easy_llama.cli{part}" for part in parts}


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    """Help lines stand in a table so that no command is imported for them."""
    assert isinstance(cli, CommandGroup)
    context = cli.make_context("easy-llama", ["--debug"])
    names = cli.list_commands(context)
    assert names == [name for section in COMMANDS.values() for name in section]
    for section in COMMANDS.values():
        for name, entry in section.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name
            words = [re.findall(r"\w+", text or "")[0] for text in (entry.help, command.help)]
            assert words[0] == words[1], name


@needs_signals
def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_word() -> None:
    """At many an import from main's first line to the last token, the libraries' own imports among them."""
    n_imports = int(press_at(0, *GENERATE).stderr)
    assert n_imports > 200
    step = n_imports // 12
    for moment in [1, 2, 3, *range(step, n_imports, step), n_imports]:
        done = press_at(moment, *GENERATE)
        assert done.stderr.strip() == "", f"at import {moment}"
        assert done.returncode in (-signal.SIGINT, 130), f"at import {moment}"


@needs_signals
def test_ctrl_c_at_many_moments_shows_no_traceback_of_ours() -> None:
    """Before ``main``, while Python itself starts, the traceback is Python's."""
    for tenth in range(12):
        process = subprocess.Popen(
            [sys.executable, "-m", "easy_llama", *GENERATE[:-1], "300"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(tenth / 12)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert "in main" not in errors.replace("<frozen site>", ""), f"after {tenth / 12:.2f} s"
        assert "Exception ignored" not in errors


@needs_signals
def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    """As in a shell's background."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PRESS
    n_imports = int(press_at(0, *GENERATE).stderr)
    command = [sys.executable, "-c", code, str(n_imports // 2), *GENERATE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_errors_break_at_words_on_a_terminal_and_stay_whole_in_a_pipe() -> None:
    pytest.importorskip("pexpect")
    arguments = ("generate", "x", "--model", "nowhere-at-all/" * 6 + "model.gguf", "--threads", "1")
    whole = run(*arguments).stderr
    assert whole.count("\n") == 1
    child = spawn(*arguments, columns=60)
    shown = child.read().replace("\r", "")
    assert "".join(shown.split()) == "".join(whole.split())
    lines = shown.strip("\n").split("\n")
    assert len(lines) > 1
    assert all(len(line) <= 60 for line in lines)
