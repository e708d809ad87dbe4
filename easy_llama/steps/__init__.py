"""Sampler steps and draws in numpy, the oracle of llama.cpp's sampler chain; ``ez.steps``.

To add a step, write it in ``basic.py`` and name it in that file's ``__all__``. Pure functions, no engine.
"""

from __future__ import annotations

from .basic import *  # noqa: F403  # that file's __all__ says what there is
from .dry import dry as dry  # ez.steps.dry is the function
from .dry import dry_breakers as dry_breakers
from .random import *  # noqa: F403
