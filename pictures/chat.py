"""Draws chat.svg: a real chat with the bundled model, in colours, 76 columns wide.

Run it with ``python pictures/chat.py`` after the console has changed. Needs Linux or macOS.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
from pathlib import Path

from rich.console import Console as RichConsole
from rich.text import Text

import easy_llama as ez
from easy_llama.console.loop import Console

COLUMNS = 76
LINES = [
    "My name is Zoe.",
    "Tell me a story about a brave owl named Bubbles.",
    "What is my name?",
    "!candidates 3",
    "!replay 3",
]


class Typed:
    """A reader whose lines are typed already; they are written behind the prompt, as a person's are."""

    is_person = True

    def __init__(self, lines: list[str], out: io.TextIOBase) -> None:
        self._lines, self._out = iter(lines), out

    def read(self, prompt: str) -> str:
        """Return the next line; EOFError behind the last."""
        line = next(self._lines, None)
        if line is None:
            raise EOFError
        self._out.write(f"{prompt}{line}\n")
        return line


def recorded() -> str:
    """Return what the console writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    written: list[bytes] = []

    def collect() -> None:
        try:
            while data := os.read(ours, 4096):
                written.append(data)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=collect)
    reader.start()
    with open(theirs, "w", encoding="utf-8") as out, ez.Model(n_threads=1) as model:
        header = f"{model.filename}, {model.context_length} tokens of context. !help: commands, Ctrl-C: end."
        thread = ez.Thread(model, sampler=ez.SamplerSettings(temp=0.7, seed=5))
        Console(thread, header=header, reader=Typed(LINES, out), out=out).run()
    reader.join()
    return b"".join(written).decode().replace("\r\n", "\n")


def main() -> None:
    """Write the picture beside this file."""
    console = RichConsole(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ easy-llama", style="bold"))
    console.print(Text.from_ansi(recorded().rstrip()))
    svg = console.export_svg(title="easy-llama")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # no font from somewhere else
    (Path(__file__).parent / "chat.svg").write_text(svg.replace("Fira Code, ", ""), encoding="utf-8")


if __name__ == "__main__":
    main()
