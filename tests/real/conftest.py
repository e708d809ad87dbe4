"""The real model: where ``EASY_LLAMA_REAL_MODEL`` says, or in ``.venv/models``; without it the tests skip.

``make real`` says where, so there a missing file is an error. Beside ours stands ``Plain``, llama_cpp alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

import easy_llama as ez
from make.real_model import PLACE

ROOT = Path(__file__).parent.parent.parent
N_CTX = 1024


class Plain:
    """The model in a ``llama_cpp.Llama`` of its own, which evaluates every text from its beginning."""

    def __init__(self, path: Path) -> None:
        self.llama = llama_cpp.Llama(str(path), n_ctx=N_CTX, n_threads=1, n_threads_batch=1, verbose=False)

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """The logits after ``tokens``, float64 (n_vocab,)."""
        self.llama.reset()
        self.llama.eval(list(tokens))
        return self._newest()

    def _newest(self) -> NDArray[np.float64]:
        pointer = llama_cpp.llama_get_logits_ith(self.llama.ctx, -1)
        return np.array(pointer[: self.llama.n_vocab()], dtype=np.float64)

    def greedy(self, tokens: Sequence[int], limit: int) -> list[int]:
        """The likeliest tokens one after the other, up to an end token."""
        logits, new = self.logits(tokens), list[int]()
        vocab = llama_cpp.llama_model_get_vocab(self.llama.model)
        while len(new) < limit:
            token = int(logits.argmax())
            if llama_cpp.llama_vocab_is_eog(vocab, token):
                break
            new.append(token)
            self.llama.eval([token])
            logits = self._newest()
        return new


@pytest.fixture(scope="session")
def path() -> Path:
    """The file of the real model."""
    given = os.environ.get("EASY_LLAMA_REAL_MODEL")
    file = ROOT / given if given else PLACE
    if given:
        assert file.is_file(), f"EASY_LLAMA_REAL_MODEL names {given}, and there is no such file"
    elif not file.is_file():
        pytest.skip("the real model is not here; make real fetches it")
    return file


@pytest.fixture(scope="session")
def loaded_real(path: Path) -> Iterator[ez.Model]:
    """The real model, loaded once."""
    with ez.Model(path, context_length=N_CTX, n_threads=1) as model:
        yield model


@pytest.fixture
def real(loaded_real: ez.Model) -> ez.Model:
    """The real model with an empty cache."""
    loaded_real.engine.rollback(0)
    return loaded_real


@pytest.fixture(scope="session")
def plain(path: Path) -> Plain:
    """The same file without easy_llama."""
    return Plain(path)
