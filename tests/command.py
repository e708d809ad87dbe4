"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "easy_llama"]
GENERATING = ("ask", "candidates", "chat", "compare", "explain", "generate", "replay")


def on_one_thread(args: tuple[str, ...]) -> list[str]:
    """The arguments for one thread: two wait for each other for seconds where other tests run beside."""
    more = ["--threads", "1"] if args and args[0] in GENERATING and "--threads" not in args else []
    return [*args[:1], *more, *args[1:]]


def run(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *on_one_thread(args)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, **(env or {})},
    )


def spawn(*args: str, env: dict[str, str] | None = None, columns: int = 80, timeout: int = 60) -> Any:
    """The same in a pseudo-terminal."""
    import pexpect

    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *on_one_thread(args)],
        encoding="utf-8",
        timeout=timeout,
        env={**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})},
        dimensions=(40, columns),
    )


def written(path: Path, text: str) -> str:
    """Write a file and return its path as an argument."""
    path.write_text(text, encoding="utf-8")
    return str(path)
