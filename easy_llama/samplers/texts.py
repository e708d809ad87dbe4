"""The fields of SamplerSettings as a person types and reads them: on the command line and in the console.

``value_from_text`` reads what ``text_of_value`` writes.
"""

from __future__ import annotations

import json
from typing import Any

from .fields import FIELDS

__all__ = ["text_of_value", "value_from_text"]


def value_from_text(name: str, text: str) -> Any:
    """Return the value that ``text`` gives the field ``name``, not yet checked; ``off`` is None.

    Raises SettingsError where it is not of the field's kind.
    """
    return FIELDS[name].kind.parse(name, text)


def text_of_value(value: Any) -> str:
    """Return a field's value as text."""
    if value is None or value == ():
        return "off"
    if isinstance(value, (bool, tuple, list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
