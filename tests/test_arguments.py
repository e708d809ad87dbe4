"""Wrong arguments: what was meant, in an error that names what was called; warnings at the caller's line."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import llama_cpp
import pytest

import easy_llama as ez
from easy_llama.caller import ALIASES
from easy_llama.errors import ArgumentError, EasyLlamaWarning, PromptError, SettingsError
from easy_llama.model import BUNDLED_MODEL
from easy_llama.samplers import SamplerSettings
from easy_llama.samplers.fields import FIELDS

from .toys import toy

PRESETS = [name for name in ez.samplers.__all__ if isinstance(getattr(ez.samplers, name), SamplerSettings)]


@pytest.fixture
def bare() -> Iterator[Any]:
    llama = llama_cpp.Llama(str(BUNDLED_MODEL), n_ctx=128, n_threads=1, verbose=False)
    yield llama
    llama.close()


# --- wrong names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("temperature", "temp"), ("max_tokens", "max_len_tokens"), ("max_new_tokens", "max_len_tokens"),
        ("n_predict", "max_len_tokens"), ("repetition_penalty", "repeat_penalty"), ("typical", "typical_p"),
        ("topk", "top_k"), ("repeat_penality", "repeat_penalty"), ("Temp", "temp"),
        ("json_shema", "json_schema"),
    ],
)  # fmt: skip
def test_settings_know_what_was_meant(wrong: str, meant: str) -> None:
    arguments: Any = {wrong: 1}
    with pytest.raises(ArgumentError) as caught:
        SamplerSettings(**arguments)
    assert str(caught.value) == f"SamplerSettings() has no argument {wrong!r}; did you mean {meant!r}?"
    change: Callable[..., Any] = dataclasses.replace
    with pytest.raises(TypeError, match=f"did you mean '{meant}'"):  # Python's own kind, too
        change(SamplerSettings(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_ctx": 256}, "Model() has no argument 'n_ctx'; did you mean 'context_length'?"),
        ({"num_ctx": 256}, "did you mean 'context_length'?"),
        ({"n_gpu": -1}, "did you mean 'n_gpu_layers'?"),
        ({"gpu_layers": -1}, "did you mean 'n_gpu_layers'?"),
        ({"threads": 1}, "did you mean 'n_threads'?"),
        ({"temperature": 1}, "that is 'temp' of ez.SamplerSettings"),
        ({"colour": 1}, "it takes model_path, context_length, n_gpu_layers"),
    ],
)
def test_a_model_knows_what_was_meant(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ez.Model(**arguments)
    assert said in str(caught.value)
    assert "LoadedModel" not in str(caught.value)


def test_generating_knows_what_belongs_to_the_sampler(model: ez.Model) -> None:
    generate: Callable[..., Any] = model.generate
    with pytest.raises(ArgumentError) as caught:
        generate("x", max_tokens=5)
    assert str(caught.value) == (
        "Model.generate() has no argument 'max_tokens'; did you mean "
        "sampler=ez.SamplerSettings(max_len_tokens=5)?"
    )
    for wrong, said in (
        ({"temperature": 0.5}, r"sampler=ez\.SamplerSettings\(temp=0\.5\)"),
        ({"top_k": 5}, r"sampler=ez\.SamplerSettings\(top_k=5\)"),
        ({"stop": ["."]}, "'stops'"),
        ({"n_ctx": 5}, "'context_length' of ez.Model"),
        (
            {"max_tokens": 5, "foo": 1},
            r"'max_tokens' \(did you mean .*\), 'foo' \(it takes prompt",
        ),
    ):
        for method in (model.generate, model.stream, model.stream_print, model.generation):
            call: Callable[..., Any] = method
            with pytest.raises(ArgumentError, match=said):
                call("x", **wrong)
    with pytest.raises(ArgumentError, match=r"Model\.generate\(\): missing a required argument: 'prompt'"):
        generate()
    with pytest.raises(ArgumentError, match="at most 3 arguments by position: prompt, stops, sampler"):
        generate("x", [], ez.SamplerSettings(), None)


def test_everything_that_people_call_knows_its_arguments(model: ez.Model) -> None:
    provider = toy(["a", "b"])
    wrong: list[tuple[Callable[..., Any], str, dict[str, Any]]] = [
        (ez.Thread, r"Thread\(\) .* sampler=ez\.SamplerSettings\(temp=0\)",
         {"model": model, "temperature": 0}),
        (ez.Thread, "did you mean 'format'", {"model": model, "chat_format": {}}),
        (ez.LlamacppProvider, r"LlamacppProvider\(\) .* 'llama'", {"llm": model.llama}),
        (ez.TransformersProvider, "did you mean 'tokenizer'", {"model": 1, "tokeniser": 1}),
        (ez.EngineProvider, "did you mean 'engine'", {"model": model.engine, "tokenizer": 1}),
        (ez.TemperatureSampler, "did you mean 'temperature'", {"temp": 1}),
        (ez.TopKSampler, "did you mean 'k'", {"top_k": 5}),
        (ez.TopPSampler, "did you mean 'p'", {"top_p": 0.5}),
        (ez.BeamSearchSampler, "did you mean 'beam_width'", {"num_beams": 2}),
        (ez.AntiSlopStrategy, "did you mean 'slops'", {"provider": provider, "phrases": []}),
        (ez.BacktrackSampler(model, ez.AdaptiveTemperatureStrategy()).generate, "'max_new_tokens'",
         {"prompt": "x", "max_tokens": 2}),
        (ez.compare, r"compare\(\) .* 'max_len_tokens'", {"provider": model, "prompt": "x", "max_tokens": 2}),
        (model.candidates, "did you mean 'k'", {"prompt": "x", "top_k": 2}),
        (model.beams, "did you mean 'num_beams'", {"prompt": "x", "beams": 2}),
    ]  # fmt: skip
    for call, said, arguments in wrong:
        with pytest.raises(ArgumentError, match=said):
            call(**arguments)


def test_aliases_lead_to_names_that_are_there() -> None:
    there = set(FIELDS)
    for call in (
        ez.Model, ez.Thread, ez.Model.generate, ez.Model.beams, ez.Model.candidates, ez.Model.get_length,
        ez.compare, ez.LlamacppProvider, ez.EngineProvider, ez.TopKSampler, ez.TopPSampler,
        ez.TemperatureSampler, ez.BeamSearchSampler, ez.XTCSampler, ez.QAlignSampler,
        ez.TokenSampler.sample, ez.AntiSlopStrategy, ez.BacktrackSampler.generate,
    ):  # fmt: skip
        there |= set(inspect.signature(call).parameters)
    for wrong, meant in ALIASES.items():
        assert wrong not in meant
        assert set(meant) <= there, wrong


def test_a_forgotten_name_of_the_sampler_is_said_in_a_line(model: ez.Model) -> None:
    call: Callable[..., Any] = model.generate
    with pytest.raises(PromptError) as caught:
        call("x", ez.samplers.GreedyDecoding)
    assert str(caught.value).endswith("write sampler=ez.samplers.GreedyDecoding")
    assert len(str(caught.value)) < 160
    with pytest.raises(SettingsError, match=r"ez\.SamplerSettings\(\*\*"):
        call("x", sampler={"temp": 0})
    with pytest.raises(SettingsError, match="strategy="):
        call("x", sampler=ez.AdaptiveTemperatureStrategy())


def test_stops_may_be_left_out_none_or_empty(model: ez.Model) -> None:
    greedy = ez.SamplerSettings(temp=0, max_len_tokens=5)
    texts = {
        model.generate("Once", sampler=greedy), model.generate("Once", None, greedy),
        model.generate("Once", [], greedy), model.generate("Once", (), greedy),
    }  # fmt: skip
    assert len(texts) == 1


def test_warnings_point_at_the_line_that_called(bare: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EasyLlamaWarning)
        with ez.Model(context_length=1024, n_threads=1) as model:
            model.reload()
            model.unload()
            model.load()
        ez.compare(ez.LlamacppProvider(bare), "x", ["greedy", "beam"], max_len_tokens=1)
    assert len(caught) == 4
    assert {warning.filename for warning in caught} == {__file__}


# --- settings as they are shown ------------------------------------------------------------------------


def test_settings_show_what_is_not_the_default() -> None:
    assert repr(SamplerSettings()) == "SamplerSettings()"
    assert repr(SamplerSettings(temp=0)) == "SamplerSettings(temp=0)"
    made = SamplerSettings(
        logit_bias={5: float("-inf"), "a, -inf)": 2}, dry_sequence_breakers=["x"],
        json_schema={"type": "null"}, early_stopping="never", top_k=None,
    )  # fmt: skip
    assert eval(repr(made)) == made
    assert eval(repr(SamplerSettings(logit_bias=(), dry_sequence_breakers=()))).dry_sequence_breakers == ()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_show_as_their_names(name: str) -> None:
    preset = getattr(ez.samplers, name)
    assert repr(preset) == f"ez.samplers.{name}"
    assert eval(repr(preset)) is preset
    for other in (copy.copy(preset), copy.deepcopy(preset), pickle.loads(pickle.dumps(preset))):
        assert other == preset
        assert hash(other) == hash(preset)
        assert name not in repr(other)
        assert eval(repr(other)) == preset
    assert dataclasses.asdict(preset) == dataclasses.asdict(copy.copy(preset))
    changed = dataclasses.replace(preset, seed=5)
    assert changed != preset
    assert name not in repr(changed)


def test_signatures_name_the_preset() -> None:
    assert len(PRESETS) == 14
    for method in (ez.Model.generate, ez.Model.stream, ez.Model.stream_print, ez.Model.beams, ez.Thread):
        signature = str(inspect.signature(method))
        assert "= ez.samplers.DefaultSampling" in signature
        assert len(signature) < 500


def test_settings_take_the_documented_order_by_position() -> None:
    made = SamplerSettings(100, 0.5, 0.9, 0.1, 0.2, 0.3, 1.1, 20)
    assert made == SamplerSettings(
        max_len_tokens=100, temp=0.5, top_p=0.9, min_p=0.1, frequency_penalty=0.2, presence_penalty=0.3,
        repeat_penalty=1.1, top_k=20,
    )  # fmt: skip
    call: Callable[..., Any] = SamplerSettings
    with pytest.raises(ArgumentError, match="at most 8 arguments by position: max_len_tokens, temp, top_p"):
        call(100, 0.5, 0.9, 0.1, 0.2, 0.3, 1.1, 20, 42)
