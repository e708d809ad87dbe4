"""Held: the cache of one model call, for one row or several, and what engines do with it.

Works on whatever the model returned as its cache. ``crop(-n)`` forgets tokens, ``reorder_cache`` or
``batch_select_indices`` chooses rows, as transformers' caches have them; without them a cache is copied
whole and never cut. Only caches of plain keys and values are put together from several.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

if TYPE_CHECKING:
    import torch

__all__ = ["Held", "Part", "choose_rows", "gather", "is_safe"]

_PLAIN = {"keys", "values"}
_SLIDING = _PLAIN | {"_sliding_window_tensor"}  # a constant beside keys and values that lie in a window


class Held:
    """A cache of some rows and ``length`` places, of which the first ``pads[row]`` are padding.

    ``owners`` are the engines that use it. ``cache`` is None while nothing usable is there: in the
    beginning, and after a call that was interrupted.
    """

    def __init__(self, cache: Any = None, length: int = 0, pads: Sequence[int] = (0,)) -> None:
        self.cache, self.length, self.pads = cache, length, list(pads)
        self.owners: WeakSet[object] = WeakSet()

    def choose(self, rows: list[int], length: int, row_method: str | None) -> bool:
        """Make it hold these rows, cut to ``length`` places; False (and no cache) where it can't be done."""
        if length < self.length and not _crop(self.cache, self.length - length):
            self.cache = None
            return False
        self.length = length
        if rows != list(range(len(self.pads))):
            if row_method is None:
                self.cache = None
                return False
            choose_rows(self.cache, rows, row_method)
            self.pads = [self.pads[row] for row in rows]
        return True


class Part(NamedTuple):
    """The first ``n`` tokens of one row of ``held``."""

    held: Held
    row: int
    n: int

    @property
    def end(self) -> int:
        """The place behind the last of these tokens."""
        return self.held.pads[self.row] + self.n


def gather(parts: Sequence[Part], *, consume: bool, may_pad: bool, row_method: str | None) -> Held | None:
    """Return a cache with one row for each part, or None where these can't stand in one.

    ``consume``: nobody else needs the parts' caches, so they may be changed. ``may_pad``: the model takes
    padded rows. ``row_method``: see ``choose_rows``; None where no method of the cache can be trusted.
    The common case, all rows of one cache in their order, costs nothing.
    """
    held, end = parts[0].held, parts[0].end
    rows = [part.row for part in parts]
    one_cache = all(part.held is held and part.end == end for part in parts)
    if one_cache and consume and (may_pad or not any(held.pads)):
        return held if held.choose(rows, end, row_method) else None
    if all(_is_plain(part.held) for part in parts) and (may_pad or len({part.n for part in parts}) == 1):
        return _stack(parts)
    if not one_cache:
        return None
    copied = Held(copy.deepcopy(held.cache), held.length, held.pads)
    return copied if copied.choose(rows, end, row_method) else None


def choose_rows(cache: Any, rows: Sequence[int], method: str) -> None:
    """Make ``cache`` hold these of its rows, by ``reorder_cache`` or ``batch_select_indices``."""
    import torch

    getattr(cache, method)(torch.tensor(rows))


def is_safe(cache: Any) -> bool:
    """Whether the cache is keys and values only: several tokens can follow it at once, rows can be chosen.

    With other states either may give wrong results without an error: Mamba forgets its state before
    several tokens, MiniMax's cache reorders only some of its layers (both in transformers 5).
    """
    layers = getattr(cache, "layers", None)
    if not isinstance(layers, list) or _tensor_names(cache, "layers") or not hasattr(cache, "reorder_cache"):
        return False
    return all(_tensor_names(layer) <= _SLIDING for layer in layers)


def _is_plain(held: Held) -> bool:
    """Whether every layer is keys and values of all places, (rows, heads, length, size), and nothing else."""
    layers = getattr(held.cache, "layers", None)
    if not isinstance(layers, list) or _tensor_names(held.cache, "layers"):
        return False
    for layer in layers:
        names = _tensor_names(layer)
        if not names <= _PLAIN or any(getattr(layer, name).shape[-2] != held.length for name in names):
            return False
    return True


def _tensor_names(thing: Any, *without: str) -> set[str]:
    """The names of the attributes that are tensors or hold some."""
    return {name for name, value in vars(thing).items() if name not in without and any(_tensors(value))}


def _tensors(value: Any) -> Iterator[bool]:
    """Yield True for each tensor in ``value``, which may be a container."""
    if hasattr(value, "data_ptr"):
        yield True
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)


def _crop(cache: Any, n: int) -> bool:
    """Forget the last ``n`` places; False where that can't be done, and then the cache may be half cut."""
    if not hasattr(cache, "crop") or not getattr(cache, "is_croppable", True):
        return False
    try:
        cache.crop(-n)
    except (RuntimeError, ValueError):  # a window that has moved on, recurrent states: depends on the version
        return False
    return True


def _stack(parts: Sequence[Part]) -> Held:
    """Copy the parts' keys and values into one new cache, the shorter ones padded on the left."""
    length = max(part.n for part in parts)
    first = parts[0].held.cache
    cache = copy.copy(first)
    cache.layers = []
    for index, layer in enumerate(first.layers):
        new = copy.copy(layer)
        for name in _tensor_names(layer):
            setattr(new, name, _stacked(parts, index, name, length))
        cache.layers.append(new)
    return Held(cache, length, [length - part.n for part in parts])


def _stacked(parts: Sequence[Part], index: int, name: str, length: int) -> torch.Tensor:
    import torch

    rows = []
    for part in parts:
        tensor = getattr(part.held.cache.layers[index], name)
        row = tensor[part.row : part.row + 1, ..., part.end - part.n : part.end, :]
        if part.n < length:
            row = torch.nn.functional.pad(row, (0, 0, length - part.n, 0))
        rows.append(row)
    return torch.cat(rows)
