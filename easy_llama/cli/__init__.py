"""The command ``easy-llama``; ``main`` runs it."""

from __future__ import annotations

from .entry import cli, main

__all__ = ["cli", "main"]
