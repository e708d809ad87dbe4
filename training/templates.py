"""A template language of two signs, enough to write varied text by hand.

``[a|b|c]`` stands for one of its alternatives (they nest), ``{name}`` for a slot.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def expand(template: str, rng: random.Random, slots: Mapping[str, str] | None = None) -> str:
    """Choose among the alternatives from the inside out, then fill the slots.

    Slots are filled last, so that brackets inside a slot's value stay as they are.
    """
    count = 1
    while count:
        template, count = _CHOICE.subn(lambda m: rng.choice(m.group(1).split("|")), template)
    if slots:
        template = _SLOT.sub(lambda m: slots[m.group(1)], template)
    return template


def capitalize(text: str) -> str:
    """Make the first letter of ``text`` a capital and leave the rest alone."""
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    """Put ``a`` or ``an`` before ``noun``."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sample_two(rng: random.Random, items: Sequence[T]) -> tuple[T, T]:
    """Draw two different items."""
    first, second = rng.sample(items, 2)
    return first, second
