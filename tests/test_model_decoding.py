"""Every way of decoding through Model and Thread, on the bundled model, and what does not go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import llama_cpp
import numpy as np
import pytest

import easy_llama as ez
from easy_llama.engine import Logits, prefill
from easy_llama.errors import (
    EngineBusyError,
    ExceededContextLengthException,
    NoTokenLeft,
    PromptError,
    SettingsError,
    StrategyError,
)
from easy_llama.model import BUNDLED_MODEL
from easy_llama.samplers import DefaultSampling, GreedyDecoding, SamplerSettings

from .conftest import chatml

QUESTION = chatml("What is the capital of France?")


# --- strategies ------------------------------------------------------------------------------------------


def test_generate_stream_and_stream_print_take_a_strategy(
    model: ez.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy = ez.AntiSlopStrategy(model, ["Paris"])
    text = model.generate(QUESTION, sampler=GreedyDecoding, strategy=strategy)
    assert text.startswith("The capital of France is")
    assert "Paris" not in text
    assert strategy.report
    chunks = model.stream(QUESTION, sampler=GreedyDecoding, strategy=strategy)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text
    assert model.stream_print(QUESTION, sampler=GreedyDecoding, strategy=strategy) == text
    assert capsys.readouterr().out == text + "\n"


def test_a_thread_takes_a_strategy_and_a_fork_of_it_too(model: ez.Model) -> None:
    strategy = ez.AntiSlopStrategy(model, ["Paris"])
    thread = ez.Thread(model, sampler=GreedyDecoding, strategy=strategy)
    for talk in (thread, thread.fork()):
        assert "Paris" not in talk.send("What is the capital of France?")
    thread.strategy = None
    assert "Paris" in thread.send("What is the capital of France?")


def test_a_stop_inside_what_is_held_back_ends_the_text_and_is_not_shown(model: ez.Model) -> None:
    plain = model.generate(QUESTION, sampler=GreedyDecoding)
    assert "France" in plain
    slop = ez.AntiSlopStrategy(model, ["France is Paris and much longer than that"])
    text = model.generate(QUESTION, stops=["France is"], sampler=GreedyDecoding, strategy=slop)
    assert text == plain[: plain.index("France is")]
    assert model.stats.finish_reason == "stop"
    assert model.stats.generated < 12


def test_the_limit_and_the_statistics_hold_with_a_strategy(model: ez.Model) -> None:
    settings = SamplerSettings(max_len_tokens=7, seed=5)
    strategy = ez.AntiSlopStrategy(model, ["zebra crossing"])
    assert model.generate("Once upon a time", sampler=settings) == model.generate(
        "Once upon a time", sampler=settings, strategy=strategy
    )
    assert model.stats.generated == 7
    assert model.stats.seed == 5
    assert model.stats.finish_reason == "length"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SamplerSettings(num_beams=2), "can't steer beam search"),
        (SamplerSettings(penalty_alpha=0.6, top_k=4), "can't steer contrastive search"),
    ],
)
def test_searches_take_no_strategy(model: ez.Model, settings: SamplerSettings, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        model.generate("Hi", sampler=settings, strategy=ez.AntiSlopStrategy(model, ["x"]))


def test_what_is_no_strategy_is_refused(model: ez.Model) -> None:
    wrong: Any = "anti-slop"
    with pytest.raises(SettingsError, match="must be a Strategy"):
        model.generate("Hi", strategy=wrong)
    with pytest.raises(SettingsError, match="must be a Strategy"):
        ez.BacktrackSampler(model, wrong)


# --- beam search -----------------------------------------------------------------------------------------


def test_beams_have_the_scores_of_their_texts(model: ez.Model) -> None:
    prompt = model.tokenize(QUESTION)
    found = model.beams(QUESTION, 4, sampler=SamplerSettings(max_len_tokens=20))
    assert len(found) == 4
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
    assert found[0].text == "The capital of France is Paris."
    for beam in found[:2]:
        total, history = 0.0, list(prompt)
        for token in beam.tokens:
            logits = prefill(model.engine, history).astype(np.float64)
            total += float(logits[token] - np.logaddexp.reduce(logits))
            history.append(token)
        if len(beam.tokens) < 20:
            logits = prefill(model.engine, history).astype(np.float64)
            ends = [float(logits[end] - np.logaddexp.reduce(logits)) for end in model.tokenizer.end_tokens]
            total = min((total + end for end in ends), key=lambda one: abs(one - beam.logprob))
        assert beam.logprob == pytest.approx(total, abs=0.05)
    assert model.engine.n_forks_free == 15


def test_num_beams_generates_the_best_beam_and_reuses_the_prompt(model: ez.Model) -> None:
    settings = SamplerSettings(num_beams=3, max_len_tokens=20)
    text = model.generate(QUESTION, sampler=settings)
    assert text == model.beams(QUESTION, 3, sampler=settings)[0].text
    assert model.stats.reused == len(model.tokenize(QUESTION)) - 1


def test_width_1_is_greedy(model: ez.Model) -> None:
    settings = SamplerSettings(max_len_tokens=30)
    greedy = model.generate("The sky is blue, and", sampler=SamplerSettings(temp=0, max_len_tokens=30))
    assert model.beams("The sky is blue, and", 1, sampler=settings)[0].text == greedy


def test_too_many_beams_name_the_number_that_fits(model: ez.Model) -> None:
    with pytest.raises(SettingsError, match="num_beams=15 or less"):
        model.beams("Hi", 16)
    assert len(model.beams("Hi", 15, sampler=SamplerSettings(max_len_tokens=4))) == 15
    with pytest.raises(SettingsError, match="num_return_sequences"):
        model.beams("Hi", 2, num_return_sequences=3)


def test_beams_that_fill_the_context_end_there(model: ez.Model) -> None:
    end_tokens = model.tokenizer.end_tokens
    model.tokenizer.__dict__["end_tokens"] = frozenset()
    try:
        prompt = model.tokenize("Once upon a time")
        found = model.beams(prompt, 5)
    finally:
        model.tokenizer.__dict__["end_tokens"] = end_tokens
    lengths = {len(beam.tokens) for beam in found}
    assert len(lengths) == 1
    assert max(lengths) > 100, "what the beams have in common is kept once"
    assert max(lengths) + len(prompt) <= model.context_length
    assert model.generate("Hi", sampler=SamplerSettings(max_len_tokens=2))
    assert model.engine.n_forks_free == 15


# --- the rest --------------------------------------------------------------------------------------------


def test_align_prefers_what_the_reward_prefers(model: ez.Model) -> None:
    sampler = SamplerSettings(temp=1.0, top_p=None, min_p=None, top_k=None, max_len_tokens=12)

    def reward(text: str) -> float:
        return float(text.count("a"))

    chain = model.align("Once upon a time", reward, steps=40, beta=0.2, seed=1, sampler=sampler)
    assert len(chain.chain) == 41
    assert 0 < chain.acceptance_rate <= 1
    assert chain.best.reward == max(sample.reward for sample in chain.chain) > chain.chain[0].reward
    assert chain == model.align("Once upon a time", reward, steps=40, beta=0.2, seed=1, sampler=sampler)


@pytest.mark.parametrize("value", [math.nan, math.inf, "good", None])
def test_a_reward_that_is_no_number_is_an_error_and_the_model_goes_on(model: ez.Model, value: Any) -> None:
    with pytest.raises(SettingsError, match="reward"):
        model.align("Once", lambda text: value, sampler=SamplerSettings(max_len_tokens=3))
    with pytest.raises(SettingsError, match="ZeroDivisionError"):
        model.align("Once", lambda text: 1 / 0, sampler=SamplerSettings(max_len_tokens=3))
    assert model.generate("Hi", sampler=SamplerSettings(max_len_tokens=2))


def test_explain_tells_what_every_step_does(model: ez.Model) -> None:
    settings = SamplerSettings(top_k=20, top_p=0.9, min_p=0.1, temp=0.5, repeat_penalty=1.1)
    reports = model.explain("The sky is blue, and", settings)
    names = ["model", "penalties", "top_k", "top_p", "min_p", "temperature"]
    assert [report.step for report in reports] == names
    survivors = [report.survivors for report in reports]
    assert survivors == sorted(survivors, reverse=True)
    assert survivors[0] == model.n_vocab
    assert survivors[2] == 20
    own = model.candidates("The sky is blue, and", 1)[0]
    assert reports[0].top == own[0]
    assert reports[0].top_probability == pytest.approx(float(own[1]), abs=1e-6)
    assert all(report.entropy >= 0 for report in reports)
    greedy = model.explain("The sky is blue, and", GreedyDecoding)[-1]
    assert (greedy.entropy, greedy.top_probability, greedy.survivors) == (0.0, 1.0, 1)
    banned = SamplerSettings(logit_bias={int(prefill_argmax(model)): -math.inf})
    assert model.explain("The sky is blue, and", banned)[1].favourite_probability == 0.0


def prefill_argmax(model: ez.Model) -> int:
    return int(prefill(model.engine, model.tokenize("The sky is blue, and")).argmax())


def test_a_bare_llama_is_a_provider() -> None:
    llama = llama_cpp.Llama(str(BUNDLED_MODEL), n_ctx=256, n_threads=1, verbose=False)
    provider = ez.LlamacppProvider(llama, cache=llama_cpp.LlamaRAMCache(), device="cpu")
    strategy = ez.AntiSlopStrategy(provider, ["Paris"])
    sampler = ez.BacktrackSampler(provider, strategy)
    tokens = list(sampler.generate(prompt=QUESTION, max_new_tokens=40, temperature=0))
    text = provider.decode(tokens)
    assert text.startswith("The capital of France is")
    assert "Paris" not in text
    by_hand = llama.create_completion(QUESTION, max_tokens=14, temperature=0)["choices"][0]["text"]
    assert "Paris" in by_hand
    assert provider.decode(list(sampler.generate(QUESTION, max_new_tokens=40, temperature=0))) == text
    assert provider.encode("Hi", add_special_tokens=False) == provider.tokenizer.encode("Hi", bos=False)
    with pytest.raises(SettingsError, match="room for 0"):
        list(ez.BeamSearchSampler(2).sample(provider, "Hi"))
    llama.close()
    with pytest.raises(SettingsError, match=r"llama_cpp\.Llama"):
        ez.LlamacppProvider(llama._model)


def test_the_lengths_of_backtrack_sampler(model: ez.Model) -> None:
    sampler = ez.BacktrackSampler(model, ez.AntiSlopStrategy(model, ["zebra crossing"]))
    prompt = model.tokenize("Once upon a time")
    assert len(list(sampler.generate("Once upon a time", max_new_tokens=5))) == 5
    assert len(list(sampler.generate("Once upon a time", max_length=len(prompt) + 3))) == 3
    assert list(sampler.generate(prompt, max_length=len(prompt))) == []
    one, other = (list(sampler.generate(prompt, max_new_tokens=9, seed=4)) for _ in range(2))
    assert one == other
    wrong: dict[str, Any]
    for wrong in ({"max_length": 0}, {"max_new_tokens": 1.5}, {"temperature": -1}, {"top_k": "x"}):
        with pytest.raises(SettingsError):
            sampler.generate("Hi", **wrong)
    assert len(list(sampler.generate("", max_new_tokens=2, seed=1))) == 2, "from the beginning token"
    empty: Any
    for empty in (b"", []):
        with pytest.raises(PromptError):
            sampler.generate(empty)
    with pytest.raises(ExceededContextLengthException):
        sampler.generate([5] * 600)
    tokens = sampler.generate("Once", max_new_tokens=50)
    next(tokens)
    with pytest.raises(EngineBusyError):
        model.generate("Hi")
    tokens.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    assert model.generate("Hi", sampler=SamplerSettings(max_len_tokens=2))


# --- one class for one step ------------------------------------------------------------------------------

SAMPLERS = [
    ez.TemperatureSampler(0.7), ez.TopKSampler(20), ez.TopPSampler(0.8), ez.MinPSampler(0.1), ez.XTCSampler(),
    ez.AntiSlopSampler(["the"]), ez.BeamSearchSampler(3),
    ez.QAlignSampler(lambda text: float(len(text)), num_steps=3),
]  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_a_sampler_returns_prompt_and_new_tokens(model: ez.Model, sampler: ez.TokenSampler) -> None:
    prompt = model.tokenize("Once upon a time")
    found = sampler.sample(model, "Once upon a time", max_length=6, num_return_sequences=2, seed=3)
    assert len(found) == 2
    for one in found:
        assert one[: len(prompt)] == prompt
        assert len(one) <= len(prompt) + 6
    again = sampler.sample(model, prompt, max_length=6, num_return_sequences=2, seed=3)
    assert again == found
    with pytest.raises(SettingsError, match="max_length"):
        sampler.sample(model, "Hi", max_length=0)
    with pytest.raises(SettingsError, match="num_return_sequences"):
        sampler.sample(model, "Hi", num_return_sequences=0)


def test_a_temperature_sampler_is_plain_sampling_with_that_temperature(model: ez.Model) -> None:
    prompt = model.tokenize("Once upon a time")
    settings = SamplerSettings(temp=0.7, top_k=None, top_p=None, min_p=None, seed=3, max_len_tokens=20)
    text = model.generate("Once upon a time", sampler=settings)
    model.engine.rollback(0)
    found = ez.TemperatureSampler(0.7).sample(model, prompt, max_length=20, seed=3)
    assert model.detokenize(found[0][len(prompt) :]) == text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ez.TemperatureSampler(-1.0), "temperature must"),
        (lambda: ez.TopKSampler(0), "k must"),
        (lambda: ez.TopPSampler(1.5), "p must"),
        (lambda: ez.MinPSampler(-0.1), "min_p must"),
        (lambda: ez.XTCSampler(threshold=2.0), "threshold must"),
        (lambda: ez.AntiSlopSampler(penalty=2.0), "penalty must"),
        (lambda: ez.BeamSearchSampler(0), "beam_width must"),
        (lambda: ez.QAlignSampler(len, num_steps=0), "steps must"),
        (lambda: ez.QAlignSampler(len, beta=0.0), "beta must"),
    ],
)
def test_wrong_arguments_of_samplers(make: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make()


def test_more_sequences_than_beams_are_refused(model: ez.Model) -> None:
    with pytest.raises(SettingsError, match="3 is more than the 2 beams"):
        ez.BeamSearchSampler(2).sample(model, "Hi", num_return_sequences=3)


def test_k_above_the_vocabulary_keeps_all(model: ez.Model) -> None:
    huge = SamplerSettings(top_k=10**6, top_p=None, min_p=None, temp=None, seed=2, max_len_tokens=10)
    off = SamplerSettings(top_k=None, top_p=None, min_p=None, temp=None, seed=2, max_len_tokens=10)
    assert model.generate("Once", sampler=huge) == model.generate("Once", sampler=off)
    assert model.generate("Once", sampler=DefaultSampling)


# --- what a hostile look at it found -----------------------------------------------------------------------


def test_banned_tokens_are_never_drawn(model: ez.Model) -> None:
    nothing = SamplerSettings(logit_bias=dict.fromkeys(range(model.n_vocab), -math.inf))
    for settings in (nothing, replace(nothing, temp=0.0), replace(nothing, mirostat=2)):
        with pytest.raises(NoTokenLeft):
            model.generate("Hi", sampler=settings)
    two = {278, 930}
    banned = {i: -math.inf for i in range(model.n_vocab) if i not in two}
    strategy = ez.AntiSlopStrategy(model, [model.detokenize([token]).strip() for token in two])
    text = model.generate(
        "Hi", sampler=SamplerSettings(logit_bias=banned, max_len_tokens=5, seed=1), strategy=strategy
    )
    assert set(model.tokenizer.encode(text, bos=False)) <= two
    assert any(entry.passed for entry in strategy.report)


def test_a_llama_without_weights_is_no_provider() -> None:
    llama = llama_cpp.Llama(str(BUNDLED_MODEL), vocab_only=True, verbose=False)
    with pytest.raises(SettingsError, match="vocab_only"):
        ez.LlamacppProvider(llama)
    llama.close()


def test_unloading_in_the_middle_of_a_rewind_is_an_error() -> None:
    with ez.Model(n_threads=1) as model:

        class Unload(ez.Strategy):
            @property
            def hold(self) -> int:
                return 100

            def keep(self, new: Sequence[int]) -> int:
                if len(new) == 6:
                    model.unload()
                    return 3
                return len(new)

        settings = SamplerSettings(max_len_tokens=30, seed=1, grammar="root ::= [a-z ]+")
        with pytest.raises(ez.model.ModelUnloadedException):
            model.generate("Once", sampler=settings, strategy=Unload())


@pytest.mark.parametrize("overflow", ["trim", "shift"])
def test_a_conversation_by_contrastive_search_makes_room(model: ez.Model, overflow: str) -> None:
    settings = SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=2)
    thread = ez.Thread(model, sampler=settings, overflow=overflow)
    for i in range(40):
        thread.send(f"My number is {i}, tell me about it.")
    assert thread.last.stats.reused + thread.last.stats.evaluated <= model.context_length
    assert model.engine.n_forks_free == 15


def test_the_statistics_of_the_prompt_are_those_of_the_prompt(model: ez.Model) -> None:
    prompt = model.tokenize("Once upon a time")
    for settings, strategy in (
        (SamplerSettings(seed=1), ez.AntiSlopStrategy(model, ["zebra crossing"])),
        (SamplerSettings(num_beams=3, max_len_tokens=10), None),
    ):
        model.engine.rollback(0)
        model.generate(prompt, sampler=settings, strategy=strategy)
        assert (model.stats.evaluated, model.stats.reused) == (len(prompt), 0)
        model.generate(prompt, sampler=settings, strategy=strategy)
        assert (model.stats.evaluated, model.stats.reused) == (1, len(prompt) - 1)


def test_explain_shows_grammars_and_mirostat_and_refuses_an_empty_choice(model: ez.Model) -> None:
    grammar = model.explain("Hi", SamplerSettings(grammar='root ::= "yes" | "no"'))
    assert grammar[1].step == "grammar"
    assert grammar[1].survivors < 10
    mirostat = model.explain("Hi", SamplerSettings(mirostat=2, mirostat_tau=2.0))
    assert mirostat[-1].step == "mirostat"
    assert mirostat[-1].survivors < model.n_vocab
    nothing = SamplerSettings(logit_bias=dict.fromkeys(range(model.n_vocab), -math.inf))
    with pytest.raises(NoTokenLeft):
        model.explain("Hi", nothing)


def test_beams_refuse_what_they_can_not_do(model: ez.Model) -> None:
    nothing: Any = None
    with pytest.raises(SettingsError, match="SamplerSettings"):
        model.beams("Hi", sampler=nothing)
    with pytest.raises(SettingsError, match="can't constrain beam search"):
        model.beams("Hi", sampler=SamplerSettings(grammar='root ::= "a"'))


@pytest.mark.parametrize("wrong", [None, [1.0], np.zeros(3, dtype=np.float32)])
def test_logits_that_a_strategy_must_not_return(model: ez.Model, wrong: Any) -> None:
    class Wrong(ez.Strategy):
        def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
            return wrong  # type: ignore[no-any-return]

    with pytest.raises(StrategyError, match=r"Wrong\.adjust must return the logits"):
        model.generate("Hi", strategy=Wrong())


def test_a_strategy_may_be_a_frozen_dataclass(model: ez.Model) -> None:
    @dataclass(frozen=True)
    class Only(ez.Strategy):
        token: int

        def adjust(self, new: Sequence[int], logits: Logits) -> Logits:
            out = np.full_like(logits, -np.inf)
            out[self.token] = 0.0
            return out

    assert model.generate("Hi", sampler=SamplerSettings(max_len_tokens=3), strategy=Only(352)) == (
        model.detokenize([352]) * 3
    )
