"""Prompt formats: the text around the messages that a model was trained with; ``ez.formats``.

``ez.formats.llama3`` and its like are dictionaries; ``names()`` lists them, ``find(name)`` takes a name
from a command line, ``wrap(prompt, format)`` makes a prompt of one message, and ``check(model, format)``
tells what does not fit.
"""

from __future__ import annotations

from .catalogue import check_format, find, names
from .community import *  # noqa: F403  # the constants are the module's contents; names() lists them
from .doctor import Finding, check
from .families import *  # noqa: F403
from .shape import KEYS, Format, layout, wrap

__all__ = ["KEYS", "Finding", "Format", "check", "check_format", "find", "layout", "names", "wrap"]
