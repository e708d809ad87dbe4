"""The PyTorch engine: the suite of all engines, and what only PyTorch models can do wrong."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from easy_llama.decoding.beam import BeamSearch
from easy_llama.engine import Engine, HiddenEngine, extend_all, prefill
from easy_llama.engines.pytorch.cache import Held, Part, gather
from easy_llama.engines.pytorch.engine import TorchEngine, end_tokens_of
from easy_llama.errors import (
    EasyLlamaWarning,
    EngineError,
    ExceededContextLengthException,
    MissingExtraError,
    PromptError,
    SettingsError,
)
from tests import engine_suite as suites

from .models import (
    N_CTX,
    N_VOCAB,
    Counting,
    HiddenModule,
    PlainModule,
    Wrapper,
    gemma,
    gpt2,
    lfm2,
    llama,
    mamba,
    minimax,
    mistral,
    reference,
    right,
)

PROMPT = [5, 3, 8, 1, 7, 2, 2, 9, 11, 13]


class Shapes:
    """The shapes of the logits that a module gives from now on: one for each call."""

    def __init__(self, model: Any) -> None:
        self.seen: list[tuple[int, ...]] = []
        model.register_forward_hook(
            lambda _module, _inputs, output: self.seen.append(output.logits.shape[:2])
        )


# --- the suite of all engines ----------------------------------------------------------------------------


def opened(make: Callable[[], Any]) -> Iterator[TorchEngine]:
    engine = TorchEngine(make(), n_ctx=N_CTX)
    yield engine
    engine.close()


class TorchSuite(suites.EngineSuite, suites.CountingSuite, suites.BatchSuite, suites.RowsSuite):
    """What all PyTorch models can do."""


class TestModelsWithKeysAndValues(TorchSuite, suites.CachedEngineSuite, suites.HiddenSuite):
    @pytest.fixture(params=[llama, gpt2, mistral])
    def engine(self, request: pytest.FixtureRequest) -> Iterator[Engine]:
        yield from opened(request.param)


class TestModelsWithOtherStates(TorchSuite, suites.HiddenSuite):
    @pytest.fixture(params=[gemma, mamba, lfm2, minimax])
    def engine(self, request: pytest.FixtureRequest) -> Iterator[Engine]:
        yield from opened(request.param)


class TestModelsWithoutMore(TorchSuite):
    @pytest.fixture(params=[PlainModule, lambda: Wrapper(PlainModule()), Counting])
    def engine(self, request: pytest.FixtureRequest) -> Iterator[Engine]:
        yield from opened(request.param)


# --- right, whatever is done -----------------------------------------------------------------------------

MODELS = {
    make.__name__: make()
    for make in (llama, gpt2, mistral, gemma, mamba, lfm2, minimax, PlainModule, Counting)
}  # fmt: skip
TOKEN = st.integers(0, N_VOCAB - 1)
CALL = st.one_of(
    st.tuples(st.just("extend"), st.integers(0, 3), st.lists(TOKEN, min_size=1, max_size=4)),
    st.tuples(st.just("rollback"), st.integers(0, 3), st.floats(0, 1)),
    st.tuples(st.just("fork"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("together"), st.permutations(range(4)), st.lists(TOKEN, min_size=1, max_size=4)),
)


@pytest.mark.parametrize("name", MODELS)
@given(calls=st.lists(CALL, min_size=2, max_size=8))
def test_any_calls_leave_every_engine_with_the_logits_of_its_tokens(name: str, calls: list[Any]) -> None:
    model = MODELS[name]
    root = TorchEngine(model)
    engines = [root, root.fork(), root.fork(), root.fork()]
    for engine in engines[:3]:
        engine.extend(PROMPT[:7])
    for kind, where, what in calls:
        if kind == "extend":
            assert right(engines[where], model, engines[where].extend(what))
        elif kind == "rollback":
            engines[where].rollback(round(what * len(engines[where].tokens)))
        elif kind == "fork":
            engines[what] = engines[where].fork()
        else:
            members = [engines[i] for i in where[: len(what)]]
            for engine, logits in zip(members, extend_all(members, what), strict=True):
                assert right(engine, model, logits)
    for engine in engines:
        assert right(engine, model, engine.extend([1]))


@pytest.mark.parametrize("make", [llama, gpt2, gemma, mamba])
@pytest.mark.parametrize("batch", [True, False])
def test_beam_search_finds_what_transformers_finds(make: Callable[[], Any], batch: bool) -> None:
    model = make()
    options = {"max_new_tokens": 12, "num_beams": 4, "do_sample": False, "pad_token_id": 0}
    found = model.generate(torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT)), **options)
    best = BeamSearch(4, batch=batch).search(TorchEngine(model), PROMPT, end_tokens_of(model), 12)[0]
    expected = found[0, len(PROMPT) :].tolist()
    ends = [i for i, token in enumerate(expected) if token in end_tokens_of(model)]
    assert list(best.tokens) == expected[: ends[0] if ends else None]


# --- what is evaluated, and how --------------------------------------------------------------------------


def test_forks_are_evaluated_in_one_call_in_any_order() -> None:
    model = llama()
    root = TorchEngine(model)
    root.extend(PROMPT)
    forks = [root.fork() for _ in range(4)]
    shapes = Shapes(model)
    for order in ([0, 1, 2, 3], [2, 2, 0, 1], [0, 1, 2, 3], [3, 0, 0, 0]):
        children = [forks[i].fork() for i in order]
        for fork in forks:
            fork.close()
        forks = children
        for fork, logits in zip(forks, extend_all(forks, order), strict=True):
            assert right(fork, model, logits)
    assert shapes.seen == [(4, 1)] * 4
    assert root.n_evaluated == len(PROMPT) + 16


@pytest.mark.parametrize("make", [llama, gemma, mamba, minimax])
def test_forks_that_are_left_behind_keep_their_rows(make: Callable[[], Any]) -> None:
    model = make()
    root = TorchEngine(model)
    root.extend(PROMPT)
    forks = [root.fork() for _ in range(3)]
    extend_all(forks, [1, 2, 3])
    for members in (forks[2:0:-1], forks[:2], [forks[2], root]):
        for fork, logits in zip(members, extend_all(members, [4, 5]), strict=True):
            assert right(fork, model, logits)
    for fork in (root, *forks):
        assert right(fork, model, fork.extend([6]))


def test_the_cache_of_forks_that_stay_in_order_is_neither_copied_nor_reordered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = TorchEngine(llama())
    root.extend(PROMPT)
    forks = [root.fork() for _ in range(3)]
    extend_all(forks, [1, 2, 3])
    monkeypatch.setattr(torch, "cat", _only_appending(torch.cat, 3))
    monkeypatch.setattr("transformers.DynamicCache.reorder_cache", _forbidden)
    extend_all(forks, [1, 2, 3])
    with pytest.raises(AssertionError, match="not allowed"):
        extend_all(forks[::-1], [1, 2, 3])


def _forbidden(*_: Any) -> None:
    raise AssertionError("not allowed")


def _only_appending(cat: Callable[..., Any], n_rows: int) -> Callable[..., Any]:
    def checked(tensors: Any, *options: Any, **named: Any) -> Any:
        assert all(len(tensor) == n_rows for tensor in tensors if tensor.ndim == 4)
        return cat(tensors, *options, **named)

    return checked


@pytest.mark.parametrize("make", [llama, gpt2])
def test_forks_of_different_lengths_are_evaluated_in_one_call(make: Callable[[], Any]) -> None:
    model = make()
    root = TorchEngine(model)
    forks = [root.fork() for _ in range(3)]
    for fork, n in zip(forks, (10, 3, 6), strict=True):
        fork.extend(PROMPT[:n])
    shapes = Shapes(model)
    for token in (4, 5):
        for fork, logits in zip(forks, extend_all(forks, [token] * 3), strict=True):
            assert right(fork, model, logits)
    assert shapes.seen == [(3, 1)] * 2
    assert right(forks[1], model, forks[1].extend([1, 2]))  # alone again, without the padding
    assert [len(fork.tokens) for fork in forks] == [12, 7, 8]


def test_models_without_a_cache_take_forks_of_one_length_in_one_call() -> None:
    model = PlainModule()
    root = TorchEngine(model)
    root.extend(PROMPT[:4])
    forks = [root.fork() for _ in range(3)]
    del model.shapes[:]
    extend_all(forks, [1, 2, 3])
    assert model.shapes == [(3, 5)]
    forks[0].rollback(2)
    extend_all(forks, [1, 2, 3])
    assert model.shapes[1:] == [(1, 3), (1, 6), (1, 6)]
    assert root.n_evaluated == 4 + 15 + 15


def test_a_model_for_one_sequence_at_a_time_gets_forks_one_by_one() -> None:
    model = Wrapper(PlainModule())
    root = TorchEngine(model)
    root.extend(PROMPT)
    forks = [root.fork() for _ in range(3)]
    for fork, logits in zip(forks, extend_all(forks, [1, 2, 3]), strict=True):
        assert right(fork, model.inside, logits)


def test_keys_that_do_not_fill_their_places_are_not_put_together() -> None:
    def held(n_keys: int) -> Held:
        layers = [SimpleNamespace(keys=torch.ones(1, 2, n_keys, 4))]
        return Held(SimpleNamespace(layers=layers), length=5)

    for n_keys, together in ((5, True), (3, False)):
        parts = [Part(held(n_keys), 0, 5), Part(held(n_keys), 0, 4)]
        assert (gather(parts, consume=False, may_pad=True, row_method=None) is not None) is together


def test_a_cache_that_says_it_can_not_be_cut_is_not_cut() -> None:
    for can, cut in ((True, [-1]), (False, [])):
        done: list[int] = []
        held = Held(SimpleNamespace(crop=done.append, is_croppable=can), length=5)
        assert held.choose([0], 4, None) is can
        assert (held.cache is not None) is can
        assert done == cut


def test_an_emptied_engine_frees_its_cache() -> None:
    model = llama()
    caches: list[weakref.ref[Any]] = []
    model.register_forward_hook(
        lambda _model, _inputs, output: caches.append(weakref.ref(output.past_key_values))
    )
    engine = TorchEngine(model)
    engine.extend(PROMPT)
    assert caches[-1]() is not None
    engine.rollback(0)
    gc.collect()
    assert [cache() for cache in caches] == [None] * len(caches)


def test_only_the_last_logits_of_a_prompt_are_computed() -> None:
    model = llama()
    shapes = Shapes(model)
    TorchEngine(model).extend(PROMPT)
    assert shapes.seen[-1] == (1, 1)


def test_rollback_cuts_a_window_that_has_not_moved_and_evaluates_again_behind_one_that_has() -> None:
    model = mistral(window=8)
    engine = TorchEngine(model)
    engine.extend(PROMPT[:7])
    engine.rollback(3)
    assert right(engine, model, engine.extend([4]))
    assert engine.n_evaluated == 7 + 1
    engine.extend(PROMPT)
    engine.rollback(12)
    assert right(engine, model, engine.extend([4]))
    assert engine.n_evaluated == 8 + 10 + 12 + 1


def test_tokens_after_a_recurrent_state_go_one_by_one() -> None:
    model = mamba()
    engine = TorchEngine(model)
    shapes = Shapes(model)
    engine.extend(PROMPT)
    assert right(engine, model, engine.extend([1, 2, 3]))
    assert len(shapes.seen) == 1 + 3
    assert engine.n_evaluated == len(PROMPT) + 3


def test_an_interrupted_call_leaves_the_tokens_that_were_there() -> None:
    model = llama()
    root = TorchEngine(model)
    root.extend(PROMPT)
    forks = [root.fork() for _ in range(2)]
    extend_all(forks, [1, 2])

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    hook = model.model.layers[1].register_forward_hook(
        interrupt
    )  # one layer's cache has the token, one hasn't
    calls: list[Callable[[], object]] = [lambda: root.extend([7]), lambda: extend_all(forks, [3, 4])]
    for call in calls:
        with pytest.raises(KeyboardInterrupt):
            call()
    hook.remove()
    assert [engine.tokens for engine in (root, *forks)] == [PROMPT, [*PROMPT, 1], [*PROMPT, 2]]
    assert right(root, model, root.extend([7]))
    for fork, logits in zip(forks, extend_all(forks, [3, 4]), strict=True):
        assert right(fork, model, logits)


# --- hidden states ---------------------------------------------------------------------------------------


class TestHiddenStatesWithoutACache(TorchSuite, suites.HiddenSuite):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        yield from opened(HiddenModule)

    def test_what_was_looked_at_and_taken_is_as_if_evaluated(self, engine: Engine) -> None:
        """The suite counts as if there was a cache."""
        assert isinstance(engine, HiddenEngine)
        engine.extend_hidden(PROMPT)
        logits, states = engine.look_ahead([4, 6])
        engine.take(1)
        assert np.array_equal(engine.hidden[-1], states[1])
        assert np.allclose(prefill(engine, [*PROMPT, 6]), logits[1], atol=1e-4)


def test_hidden_states_behind_a_gap_are_not_kept() -> None:
    engine = TorchEngine(llama())
    assert isinstance(engine, HiddenEngine)
    engine.extend_hidden(PROMPT)
    before = engine.hidden.copy()
    engine.extend([1])
    engine.extend_hidden([2, 3])
    assert np.array_equal(engine.hidden, before)
    engine.rollback(len(PROMPT))
    engine.extend_hidden([2, 3])
    assert len(engine.hidden) == len(PROMPT) + 2


@pytest.mark.parametrize("make", [llama, gpt2, gemma, mamba])
def test_hidden_states_are_those_after_the_final_norm(make: Callable[[], Any]) -> None:
    model = make()
    engine = TorchEngine(model)
    assert isinstance(engine, HiddenEngine)
    engine.extend_hidden(PROMPT[:6])
    engine.extend_hidden(PROMPT[6:])
    with torch.no_grad():
        states = model(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states[-1][0]
        assert torch.allclose(
            model.get_output_embeddings()(states), model(torch.tensor([PROMPT])).logits[0]
        ) or (
            make is gemma  # which bounds its logits after that
        )
    assert np.allclose(engine.hidden, states.numpy(), atol=1e-4)
    engine.extend([1])
    assert len(engine.hidden) == len(PROMPT)


def test_models_without_hidden_states_are_no_hidden_engines() -> None:
    for model in (PlainModule(), Wrapper(PlainModule()), Counting()):
        engine = TorchEngine(model)
        assert not isinstance(engine, HiddenEngine)
        assert not hasattr(engine, "hidden")
        assert not isinstance(engine.fork(), HiddenEngine)


def test_a_candidate_can_be_taken_only_right_after_it_was_looked_at() -> None:
    engine = TorchEngine(llama())
    assert isinstance(engine, HiddenEngine)
    engine.extend_hidden(PROMPT)
    changes: list[Callable[[], object]] = [
        lambda: engine.extend([1]),
        lambda: engine.extend_hidden([1]),
        lambda: engine.rollback(5),
        lambda: extend_all([engine, engine.fork()], [1, 2]),
        lambda: engine.take(0),
    ]
    for change in changes:
        engine.look_ahead([4, 5])
        change()
        with pytest.raises(PromptError, match="no candidate"):
            engine.take(0)
    with pytest.raises(PromptError, match="nothing to look at"):
        engine.look_ahead([])
    with pytest.raises(PromptError, match="token id 40"):
        engine.look_ahead([1, 40])


def test_candidates_are_looked_at_in_one_call_and_right_after_a_rollback() -> None:
    for model in (llama(), mamba()):
        engine = TorchEngine(model)
        assert isinstance(engine, HiddenEngine)
        prefill(engine, PROMPT)
        engine.rollback(8)
        shapes = Shapes(model)
        rows, _ = engine.look_ahead([4, 5, 6])
        assert shapes.seen[-1] == (3, 1)
        for token, logits in zip((4, 5, 6), rows, strict=True):
            assert np.allclose(logits, reference(model, [*PROMPT[:8], token]), atol=1e-3)


def test_a_fork_knows_the_hidden_states() -> None:
    engine = TorchEngine(llama())
    assert isinstance(engine, HiddenEngine)
    engine.extend_hidden(PROMPT)
    before = engine.hidden.copy()
    fork = engine.fork()
    engine.rollback(2)
    engine.extend_hidden([1, 2, 3])
    assert isinstance(fork, HiddenEngine)
    assert np.array_equal(fork.hidden, before)


# --- the model stays what it was -------------------------------------------------------------------------


def test_training_mode_comes_back_when_the_last_engine_is_closed() -> None:
    model = PlainModule().train()
    model.mix.eval()
    flags = {name: module.training for name, module in model.named_modules()}
    engine = TorchEngine(model)
    assert right(engine, model, engine.extend(PROMPT))  # dropout is off
    assert not any(module.training for module in model.modules())
    fork = engine.fork()
    engine.close()
    assert not model.training
    model.train()
    fork.extend([1])
    assert not model.dropout.training
    del fork  # nobody closed it
    assert model.training
    assert model.dropout.training
    model.mix.eval()
    assert flags == {name: module.training for name, module in model.named_modules()}


def test_a_wrapped_module_is_switched_to_evaluation_too() -> None:
    inside = PlainModule().train()
    engine = TorchEngine(Wrapper(inside))
    assert np.array_equal(engine.extend(PROMPT).copy(), prefill(engine, PROMPT))
    engine.close()
    assert inside.dropout.training


def test_a_model_that_is_refused_is_left_in_training_mode() -> None:
    class Broken(PlainModule):
        def forward(self, input_ids: torch.Tensor) -> Any:
            return super().forward(input_ids).logits

    model = Broken().train()
    with pytest.raises(EngineError, match=r"\.logits"):
        TorchEngine(model)
    assert model.dropout.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_is_kept_and_logits_are_float32(dtype: Any) -> None:
    model = llama().to(dtype)
    engine = TorchEngine(model)
    logits = engine.extend(PROMPT)
    assert model.dtype == dtype
    assert logits.dtype == np.float32
    assert np.allclose(logits, reference(model, PROMPT), atol=0.1 * np.ptp(logits))
    assert extend_all([engine, engine.fork()], [1, 2]).dtype == np.float32


def test_no_gradients_are_recorded() -> None:
    seen = []
    model = PlainModule()
    model.register_forward_hook(lambda _module, _inputs, output: seen.append(output.logits.requires_grad))
    TorchEngine(model).extend(PROMPT)
    assert seen == [False, False]
    assert torch.is_grad_enabled()


def test_the_vocabulary_is_as_wide_as_the_logits_and_the_context_as_the_configuration_says() -> None:
    assert (TorchEngine(llama()).n_vocab, TorchEngine(llama()).n_ctx) == (N_VOCAB, N_CTX)
    assert TorchEngine(llama(), n_ctx=12).n_ctx == 12
    with pytest.warns(EasyLlamaWarning, match="n_ctx=65 is more than the 64"):
        assert TorchEngine(llama(), n_ctx=65).n_ctx == 65
    plain = TorchEngine(PlainModule(n_vocab=7))
    assert plain.n_vocab == 7
    assert plain.n_ctx > 10**9


# --- calls of many kinds ---------------------------------------------------------------------------------


def test_any_callable_will_do() -> None:
    inside = PlainModule().eval()

    def function(input_ids: Any) -> Any:
        return inside(input_ids)

    def by_keyword(*, input_ids: Any) -> Any:
        return inside(input_ids)

    def with_more(tokens: Any, **options: Any) -> Any:
        assert not options  # no configuration says that they mean anything
        return inside(tokens)

    for model in (function, by_keyword, with_more, inside.forward):
        engine = TorchEngine(model)
        assert right(engine, inside, engine.extend(PROMPT))


def test_a_signature_that_promises_too_much_is_noticed() -> None:
    inside = PlainModule().eval()

    def model(input_ids: Any, **options: Any) -> Any:
        return inside(input_ids, **options)

    model.config = SimpleNamespace(use_cache=True)  # type: ignore[attr-defined]  # functions take attributes
    engine = TorchEngine(model)
    assert right(engine, inside, engine.extend(PROMPT))


def test_end_tokens() -> None:
    def named(*, config: Any = None, generation: Any = None) -> Any:
        return SimpleNamespace(
            config=SimpleNamespace(eos_token_id=config),
            generation_config=SimpleNamespace(eos_token_id=generation),
        )

    assert end_tokens_of(named()) == frozenset()
    assert end_tokens_of(named(config=2)) == {2}
    assert end_tokens_of(named(config=[2, 3], generation=4)) == {2, 3, 4}
    assert end_tokens_of(PlainModule()) == frozenset()
    assert end_tokens_of(Wrapper(PlainModule())) == {3}


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (torch.zeros(1, 1, 5), "it returned Tensor;"),
        ((torch.zeros(1, 1, 5),), "it returned tuple;"),
        (SimpleNamespace(logits=torch.zeros(1, 5)), r"with \.logits of shape \(1, 5\)"),
        (None, "NoneType"),
    ],
)
def test_a_model_without_logits_is_refused(output: Any, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        TorchEngine(lambda input_ids: output)


def test_wrong_options_are_refused() -> None:
    for n_ctx in (0, -1, 2.5, True, "64"):
        with pytest.raises(SettingsError, match="n_ctx"):
            TorchEngine(PlainModule(), n_ctx=n_ctx)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(SettingsError, match="callable"):
        TorchEngine(5)
    for device in ("nowhere", 2.5):
        with pytest.raises(SettingsError, match="device"):
            TorchEngine(PlainModule(), device=device)


def test_a_model_on_another_device_is_refused_with_advice() -> None:
    def model(input_ids: torch.Tensor) -> Any:
        raise RuntimeError("Expected all tensors to be on the same device, but found cuda:0 and cpu!")

    with pytest.raises(EngineError, match=r"on the device cpu .* device="):
        TorchEngine(model)


def test_other_errors_of_a_model_come_through() -> None:
    def model(input_ids: torch.Tensor) -> Any:
        raise kind("its own fault")

    for kind in (RuntimeError, TypeError, ValueError):
        with pytest.raises(kind, match="its own fault"):
            TorchEngine(model)


def test_a_model_is_moved_to_the_device_that_is_asked_for() -> None:
    moved = []

    class Movable(PlainModule):
        def to(self, *where: Any) -> Any:
            moved.append(where)
            return super().to(*where)

    class Immovable(PlainModule):
        def to(self, *where: Any) -> Any:
            raise AssertionError("Torch not compiled with CUDA enabled")  # what torch raises

    TorchEngine(Movable())
    assert moved == []
    TorchEngine(Movable(), device="cpu")
    TorchEngine(Movable(), device=torch.device("cpu"))
    assert moved == [(torch.device("cpu"),)] * 2
    with pytest.raises(SettingsError, match="can't be moved to cuda: Torch not compiled"):
        TorchEngine(Immovable(), device="cuda")


def test_no_token_outside_the_vocabulary_reaches_the_model() -> None:
    model = PlainModule()
    engine = TorchEngine(model)
    forks = [engine.fork(), engine.fork()]
    del model.shapes[:]
    for wrong in (-1, N_VOCAB, 2**40, True, "1", 1.5, None):
        with pytest.raises(PromptError, match="token id"):
            engine.extend([1, wrong])  # type: ignore[list-item]  # the point of the test
        with pytest.raises(PromptError, match="token id"):
            extend_all(forks, [1, wrong])  # type: ignore[list-item]  # the point of the test
    assert model.shapes == []


def test_only_forks_of_one_engine_go_together() -> None:
    model = llama()
    engine, other = TorchEngine(model), TorchEngine(model)
    with pytest.raises(EngineError, match="forks"):
        extend_all([engine, other], [1, 2])
    with pytest.raises(PromptError, match="each once"):
        extend_all([engine, engine], [1, 2])
    with pytest.raises(PromptError, match="one token for each"):
        engine.extend_batch([engine, engine.fork()], [1])
    full = TorchEngine(model, n_ctx=2)
    full.extend([1, 2])
    with pytest.raises(ExceededContextLengthException):
        extend_all([full.fork(), full], [1, 2])
    closed = engine.fork()
    closed.close()
    with pytest.raises(EngineError, match="closed"):
        extend_all([engine, closed], [1, 2])
    for call in (closed.fork, lambda: closed.look_ahead([1]), lambda: closed.take(0)):  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="closed"):
            call()


def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install torch"):
        TorchEngine(lambda input_ids: None)
