"""Inline SVG of the report: a scatter plot of all methods, a bar for each, and the families' markers.

Pure functions to strings. Nothing in them comes from a model: only numbers and the names of families.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

from .outcome import Outcome
from .style import BANDS, band_of

__all__ = ["MARKERS", "band_text", "bar", "marker", "numbers_text", "scatter"]

# in a box of 10 by 10
MARKERS = {
    "greedy": '<circle cx="5" cy="5" r="4.2"/>',
    "sampling": '<path d="M5 .6 9.6 9H.4Z"/>',
    "temperature": '<path d="M1 1h8v8H1Z"/>',
    "nucleus": '<path d="M5 0 10 5 5 10 0 5Z"/>',
    "beam": '<path d="M3.4.5h3.2v2.9h2.9v3.2H6.6v2.9H3.4V6.6H.5V3.4h2.9Z"/>',
    "contrastive": '<path d="M5 9.4.4 1h9.2Z"/>',
    "settings": '<path d="M5 .3 9.7 3.8 7.9 9.4H2.1L.3 3.8Z"/>',
}

_WIDTH, _HEIGHT = 400, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 376, 26, 222
_CELL = 6.0  # points nearer than this share a label


_Box: TypeAlias = tuple[float, float, float, float]


class _Point(NamedTuple):
    x: float
    y: float
    family: str
    numbers: list[int]
    is_beyond: bool  # stands at the border, which is left of where it belongs


def marker(family: str) -> str:
    """Return the small picture that stands before the name of a method."""
    return f'<svg class="m mark {family}" viewBox="0 0 10 10" aria-hidden="true">{MARKERS[family]}</svg>'


def bar(outcome: Outcome) -> str:
    """Return a bar of the shares that the six bands of probability have among the tokens."""
    bands = [band_of(math.exp(logprob)) for logprob in outcome.logprobs]
    if not bands:
        return ""
    at, rects, told = 0.0, "", []
    for band in range(len(BANDS) + 1):
        share = bands.count(band) / len(bands)
        if share:
            rects += f'<rect class="f{band}" x="{96 * at:.1f}" width="{96 * share:.1f}" height="12"/>'
            told.append(f"{share:.0%} {band_text(band)}")
            at += share
    label = "share of tokens by probability: " + ", ".join(told)
    return (
        f'<svg class="bar" viewBox="0 0 96 12" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"<title>{label}</title>{rects}</svg>"
    )


def band_text(band: int) -> str:
    """Return the range of probabilities of a band in words.

    >>> band_text(1)
    '0.5 to 0.9'
    """
    if band == 0:
        return f"{BANDS[0]:g} or more"
    if band == len(BANDS):
        return f"below {BANDS[-1]:g}"
    return f"{BANDS[band]:g} to {BANDS[band - 1]:g}"


def numbers_text(numbers: Iterable[int]) -> str:
    """Return numbers with runs drawn together.

    >>> numbers_text([1, 2, 3, 7])
    '1-3, 7'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


# --- the scatter plot ----------------------------------------------------------------------------------


def scatter(outcomes: Sequence[Outcome]) -> str:
    """Return the plot of distinct-2 over the mean surprise of a token; "" for less than three texts.

    What is over four times as surprising as the median stands at the right border with an arrow: gibberish
    would press all others together.
    """
    numbered = [(n, one, -one.logprob / one.n_tokens) for n, one in enumerate(outcomes, 1) if one.tokens]
    if len({one.tokens for _, one, _ in numbered}) < 3:
        return ""
    border = 4 * median(surprise for _, _, surprise in numbered)
    across = _Axis.around([surprise for _, _, surprise in numbered if surprise <= border])
    up = _Axis.around([one.distinct[1] for _, one, _ in numbered], most=1.0)
    points = []
    for number, one, surprise in numbered:
        x = _LEFT + (_RIGHT - _LEFT) * min(across.share(surprise), 1.0)
        y = _BOTTOM - (_BOTTOM - _TOP) * up.share(one.distinct[1])
        points.append(_Point(x, y, one.family, [number], surprise > border))
    label = "distinct-2 of each method over the mean surprise of its tokens; the table has the numbers"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{_axes(across, up)}{_labels(points)}{_marks(points)}</svg>"
    )


class _Axis(NamedTuple):
    """Numbers from ``low`` to ``high`` with a tick every ``step``, which is 1, 2 or 5 times a power of 10."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float], most: float = math.inf) -> _Axis:
        """Return the axis that all ``values`` find room on; it ends at ``most``."""
        width = max(max(values) - min(values), 0.2 * max(values), 1e-6)
        power = 10.0 ** math.floor(math.log10(width / 4))
        step = next(n * power for n in (1, 2, 5, 10) if n * power * 4 >= width * 0.999)
        low = math.floor(min(values) / step) * step
        high = min(max(math.ceil(max(values) / step) * step, low + step), most)
        return cls(min(low, high - step), high, step)

    def share(self, value: float) -> float:
        """Return how far along the axis a value stands, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return the numbers that are written."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


def _axes(across: _Axis, up: _Axis) -> str:
    out = ""
    for value in across.ticks():
        x = _LEFT + (_RIGHT - _LEFT) * across.share(value)
        out += f'<path class="grid" d="M{x:.1f} {_TOP}V{_BOTTOM}"/>'
        out += f'<text class="tick" x="{x:.1f}" y="{_BOTTOM + 17}" text-anchor="middle">{value:.3g}</text>'
    for value in up.ticks():
        y = _BOTTOM - (_BOTTOM - _TOP) * up.share(value)
        out += f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        out += f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    middle = (_LEFT + _RIGHT) / 2
    out += f'<text x="6" y="14">distinct-2</text><text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">'
    return out + "mean surprise of a token, in nats</text>"


def _marks(points: Sequence[_Point]) -> str:
    return "".join(
        f'<g class="mark {one.family}" transform="translate({one.x - 5:.1f} {one.y - 5:.1f})">'
        f"{MARKERS[one.family]}</g>"
        for one in points
    )


def _labels(points: Sequence[_Point]) -> str:
    """Write the numbers beside the points, or further away with a line to them where it is crowded."""
    boxes = [(one.x - 6, one.y - 6, one.x + 6, one.y + 6) for one in points]
    out = ""
    for one in _gathered(points):
        text = numbers_text(one.numbers) + " \u2192" * one.is_beyond
        width = 6.2 * len(text)
        near, far = _around(one, width, 7), _around(one, width, 22)
        free = [box for box in near + far if _is_inside(box) and not any(_meet(box, b) for b in boxes)]
        box = (free or [box for box in near if _is_inside(box)] or near)[0]
        boxes.append(box)
        if box in far:
            end_x, end_y = min(max(one.x, box[0]), box[2]), min(max(one.y, box[1]), box[3])
            out += f'<path class="lead" d="M{one.x:.1f} {one.y:.1f}L{end_x:.1f} {end_y:.1f}"/>'
        out += f'<text x="{box[0]:.1f}" y="{box[3] - 2:.1f}">{text}</text>'
    return out


def _around(one: _Point, width: float, gap: float) -> list[_Box]:
    """The places for a label: right, left, above, below, then the corners."""
    left, middle, right = one.x - gap - width, one.x - width / 2, one.x + gap
    above, level, below = one.y - gap - 12, one.y - 6, one.y + gap
    corners = [(right, level), (left, level), (middle, above), (middle, below)]
    corners += [(right, above), (right, below), (left, above), (left, below)]
    return [(x, y, x + width, y + 12) for x, y in corners]


def _is_inside(box: _Box) -> bool:
    return box[0] > _LEFT + 2 and box[2] < _WIDTH - 2 and box[1] > 16 and box[3] < _BOTTOM


def _gathered(points: Sequence[_Point]) -> list[_Point]:
    """Join the numbers of points that stand on top of each other."""
    places: list[_Point] = []
    for one in points:
        for place in places:
            if abs(place.x - one.x) < _CELL and abs(place.y - one.y) < _CELL:
                place.numbers.extend(one.numbers)
                break
        else:
            places.append(one._replace(numbers=list(one.numbers)))
    return places


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
