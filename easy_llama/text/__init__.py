"""Text as it grows: whole characters, stop strings, the token that a character begins in, phrases, patterns.

Nothing here looks at more than what is new, whatever the length of the text.
"""

from __future__ import annotations

from .pieces import StopFinder, text_pieces

__all__ = ["StopFinder", "text_pieces"]
