"""Arrays of candidates to run llama.cpp's samplers on without a context, and a chi-square test."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from easy_llama.engine import Logits
from easy_llama.steps.basic import probabilities

_LAYOUT = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

# chi-square that 1 in 1,000 exceeds, by degrees of freedom
CHI_SQUARE = [0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88, 29.59, 31.26, 32.91, 34.53]


class Candidates:
    """A ``llama_token_data_array`` over ``logits``."""

    def __init__(self, logits: Logits) -> None:
        self.n_vocab = len(logits)
        self.data = np.zeros(self.n_vocab, dtype=_LAYOUT)
        self.data["id"], self.data["logit"] = np.arange(self.n_vocab), logits
        pointer = self.data.ctypes.data_as(llama_cpp.llama_token_data_p)
        self.array = llama_cpp.llama_token_data_array(
            data=pointer, size=self.n_vocab, selected=-1, sorted=False
        )

    def apply(self, chain: Any) -> int:
        """Run the chain and return the id it selected."""
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(self.array))
        selected: int = self.array.data[self.array.selected].id
        return selected

    def logits(self) -> Logits:
        """The logits of what the chain left, by id; -inf for the others."""
        out = np.full(self.n_vocab, -np.inf, dtype=np.float32)
        left = [self.array.data[i] for i in range(self.array.size)]
        out[[one.id for one in left]] = [one.logit for one in left]
        return out

    def probabilities(self) -> Logits:
        """The probabilities of what the chain left, by id."""
        return probabilities(self.logits())


def fits(drawn: Sequence[int] | NDArray[np.intp], expected: Logits) -> bool:
    """Whether draws are from the probabilities ``expected``, by a chi-square test at 1 in 1,000.

    Tokens expected fewer than 5 times count as one.
    """
    counts = np.bincount(drawn, minlength=len(expected)).astype(float)
    wanted = expected.astype(float) * len(drawn)
    if counts[expected == 0].any():
        return False
    rare = wanted < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(wanted[~rare], wanted[rare].sum())
    counts, wanted = counts[wanted > 0], wanted[wanted > 0]
    assert 2 <= len(wanted) <= len(CHI_SQUARE), "a distribution with 2 to 14 outcomes is meant"
    return float(((counts - wanted) ** 2 / wanted).sum()) < CHI_SQUARE[len(wanted) - 1]
