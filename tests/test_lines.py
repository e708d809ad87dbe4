"""What a typed line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from easy_llama.console.commands import COMMANDS, completions
from easy_llama.console.lines import Line, read_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Line("empty")),
        ("   ", Line("empty")),
        ("Hello there ", Line("message", "Hello there ")),
        ("<", Line("prefix")),
        ("< Well,", Line("prefix", "Well,")),
        ("<Well", Line("prefix", "Well")),
        ("!!", Line("system")),
        ("!! Be kind.", Line("system", "Be kind.")),
        ("!", Line("command")),
        (" !help", Line("command", "help")),
        ("!edit 2 a  b", Line("command", "edit 2 a  b")),
        (r"\!wow", Line("message", "!wow")),
        (r"\<html>", Line("message", "<html>")),
        (r"\exit", Line("message", "exit")),
        (r"\/help", Line("message", "/help")),
        (r"\frac{1}{2}", Line("message", r"\frac{1}{2}")),
        ("/etc/passwd is a file", Line("message", "/etc/passwd is a file")),
        ("/shrug I do not know", Line("message", "/shrug I do not know")),
        ("exit the loop, please", Line("message", "exit the loop, please")),
    ],
)
def test_signs_messages_and_the_way_around_them(line: str, expected: Line) -> None:
    assert read_line(line, COMMANDS) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/help", "did you mean !help?"),
        ("/exi", "did you mean !exit?"),
        ("/save talk.json", "did you mean !save?"),
        ("/nonsense", "!help lists them"),
        ("exit", "!exit ends the chat"),
        ("Quit", "!exit ends the chat"),
        ("help", "!help lists the commands"),
    ],
)
def test_slips_are_answered_and_not_sent(line: str, words: str) -> None:
    found = read_line(line, COMMANDS)
    assert found.kind == "hint"
    assert words in found.text
    assert "\\" + line.split()[0] in found.text, "it tells how to send it all the same"


def test_the_tab_key_knows_commands_fields_presets_and_files(tmp_path: Path) -> None:
    assert completions("!re") == ["!remove", "!replay", "!reprint", "!reroll", "!reset"]
    assert completions("!sampler te") == ["temp"]
    assert completions("!sampler minp") == ["MinPSampling"]
    assert completions("!sampler temp 0") == []
    assert completions("!stats o") == ["on", "off"]
    assert completions("hello") == completions("!nonsense x") == completions("!exit x") == []
    (tmp_path / "talk.json").write_text("{}")
    (tmp_path / "talks").mkdir()
    assert [path.rpartition("talk")[2] for path in completions(f"!load {tmp_path}/ta")] == [".json", "s/"]
    assert completions("!load /nowhere/x") == []
