"""The command ``easy-llama``; ``main`` runs it.

Next to nothing is imported before ``main`` has said what Ctrl-C does: from its first line on, Ctrl-C ends the
process without a traceback.
"""

from __future__ import annotations

import sys

from .interrupts import interrupts_end

__all__ = ["main"]


def main() -> None:
    """Run the command line; the exit code is 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    # for good: also what Python does after the command, to end, shows no traceback
    interrupts_end().begin()
    from .entry import run

    sys.exit(run())
