"""One suite over every engine: what the protocol promises, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.engine import Engine, common_prefix
from easy_llama.engines.table import TableEngine

pytest.register_assert_rewrite("tests.engine_suite")

from tests.engine_suite import CachedEngineSuite, EngineSuite, HiddenEngineSuite  # noqa: E402 (see above)


def table_engine() -> Engine:
    return TableEngine(np.random.default_rng(3).normal(size=(20, 20)), n_ctx=64)


def llama_engine() -> Engine:
    model = ez.Model(context_length=64, n_threads=1)
    return model.engine


class TestEngines(EngineSuite, CachedEngineSuite, HiddenEngineSuite):
    @pytest.fixture(params=[table_engine, llama_engine])
    def engine(self, request: pytest.FixtureRequest) -> Iterator[Engine]:
        make: Callable[[], Engine] = request.param
        made = make()
        yield made
        made.close()


def test_common_prefix() -> None:
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2
    assert common_prefix([1, 2, 3], [1, 9, 3]) == 1
