"""Decoding methods beside each other on one prompt: their texts, what the model thinks of them, a report."""

from __future__ import annotations

from .comparing import compare
from .outcome import Outcome
from .page import write_html
from .results import Study

__all__ = ["Outcome", "Study", "compare", "write_html"]
