"""How long the command line takes to start, beside what Python and its libraries take.

Prints the median and the best of many runs, in milliseconds, each command in turn so that all see the same
machine. The goals are 150 ms for ``--version`` and 300 ms for ``--help``.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

RUNS = 15
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    'python -c "import click"': ["-c", "import click"],
    'python -c "import numpy"': ["-c", "import numpy"],
    'python -c "import easy_llama"': ["-c", "import easy_llama"],
    'python -c "import easy_llama; easy_llama.Model"': ["-c", "import easy_llama; easy_llama.Model"],
    "easy-llama --version": ["-m", "easy_llama", "--version"],
    "easy-llama --help": ["-m", "easy_llama", "--help"],
    "easy-llama chta (an error)": ["-m", "easy_llama", "chta"],
    "easy-llama generate --help": ["-m", "easy_llama", "generate", "--help"],
    "easy-llama formats": ["-m", "easy_llama", "formats"],
    "easy-llama generate x, one token": [
        "-m", "easy_llama", "generate", "x", "--max-len-tokens", "1", "--threads", "1"
    ],
}  # fmt: skip


def seconds(arguments: list[str]) -> float:
    """Return how long Python takes for ``arguments``, from the call to its end."""
    start = perf_counter()
    subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return perf_counter() - start


def main() -> None:
    """Print the table."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            took = seconds(arguments)
            if run:  # the first fills the caches
                times[name].append(took)
    width = max(map(len, COMMANDS))
    print(f"{'milliseconds':{width}}  median  best")
    for name, runs in times.items():
        print(f"{name:{width}}  {1000 * median(runs):6.0f}  {1000 * min(runs):4.0f}")


if __name__ == "__main__":
    main()
