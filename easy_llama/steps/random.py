"""Random numbers without a state: each depends on a seed and a position only.

Whoever comes back to a position finds the same number there; a redraw takes another stream.
"""

from __future__ import annotations

__all__ = ["DRAW", "SOFT_BAN", "XTC", "stream_seed", "uniform"]

DRAW, XTC, SOFT_BAN = 0, 1, 2  # what numbers are for: each purpose has a stream of its own


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on seed and position only (SplitMix64).

    A draw without state: whoever comes back to a position draws the same number again.

    >>> uniform(1, 5) == uniform(1, 5), uniform(1, 5) == uniform(1, 6)
    (True, False)
    """
    return (_mixed(seed, position) >> 11) / (1 << 53)


def stream_seed(seed: int, purpose: int, salt: int = 0) -> int:
    """Return the seed, below 2**64, of the random numbers for ``purpose`` (DRAW, XTC, SOFT_BAN).

    Another ``salt`` gives other numbers, as a redraw of a rejected token needs. The draws with salt 0 use
    ``seed`` itself.
    """
    return seed if (purpose, salt) == (DRAW, 0) else _mixed(_mixed(seed, ~purpose), salt)


def _mixed(seed: int, number: int) -> int:
    """64 bits out of two numbers."""
    mask = 0xFFFFFFFFFFFFFFFF
    z = (seed * 0xD1342543DE82EF95 + (number + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)
