"""One suite over every engine: what the protocol and its capabilities promise, whatever stands behind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.engine import Engine, common_prefix
from easy_llama.engines.table import TableEngine

pytest.register_assert_rewrite("tests.engine_suite")

from tests import engine_suite as suites  # noqa: E402 (see above)

# every engine with the suites of what it claims; those on PyTorch stand in tests_torch/test_torch_engine.py


class TestTableEngine(
    suites.EngineSuite,
    suites.CachedEngineSuite,
    suites.CountingSuite,
    suites.RowsSuite,
    suites.HiddenSuite,
):
    @pytest.fixture
    def engine(self) -> Engine:
        return TableEngine(np.random.default_rng(3).normal(size=(20, 20)), n_ctx=64)


class TestLlamaEngine(
    suites.EngineSuite,
    suites.CachedEngineSuite,
    suites.CountingSuite,
    suites.SessionSuite,
    suites.ForkingSuite,
    suites.BatchSuite,
    suites.RowsSuite,
    suites.ShiftingSuite,
    suites.PickingSuite,
    suites.AdvancingSuite,
    suites.ConstrainingSuite,
    suites.HiddenSuite,
):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ez.Model(context_length=64, n_threads=1) as model:
            yield model.engine


class TestForkOfLlamaEngine(
    suites.EngineSuite,
    suites.CachedEngineSuite,
    suites.CountingSuite,
    suites.SessionSuite,
    suites.ForkingSuite,
    suites.BatchSuite,
    suites.RowsSuite,
    suites.ForkShiftingSuite,
    suites.PickingSuite,
    suites.AdvancingSuite,
    suites.ConstrainingSuite,
    suites.HiddenSuite,
):
    """A fork is an engine like any other; only its cells may be shared, and its logits are copies."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ez.Model(context_length=64, n_threads=1) as model:
            yield model.engine.fork()

    def test_a_view_is_dead_after_the_next_call(self, engine: Engine) -> None:
        logits = engine.extend([5, 3, 8])
        before = logits.copy()
        engine.extend([4])
        assert np.array_equal(logits, before), "forks take turns on the row"


def test_common_prefix() -> None:
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2
    assert common_prefix([1, 2, 3], [1, 9, 3]) == 1
