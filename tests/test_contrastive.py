"""Contrastive search: the definition, worked out slowly; greedy at alpha 0; nothing evaluated twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.decoding import ContrastiveDecoder
from easy_llama.engine import Engine, HiddenEngine, prefill
from easy_llama.engines.table import TableEngine
from easy_llama.errors import EasyLlamaWarning, EngineError, ExceededContextLengthException, SettingsError
from easy_llama.samplers import ContrastiveSearch, GreedyDecoding, SamplerSettings, SimpleSampling
from easy_llama.steps.basic import probabilities


def by_definition(
    engine: HiddenEngine, prompt: list[int], alpha: float, k: int, end: frozenset[int], limit: int
) -> list[int]:
    """Every score from a fresh evaluation of the whole text."""
    new: list[int] = []
    while len(new) < limit:
        engine.rollback(0)
        chances = probabilities(engine.extend_hidden([*prompt, *new]).copy())
        before = engine.hidden.copy()
        scores = {}
        for token in sorted(np.argsort(-chances, kind="stable")[:k].tolist(), key=lambda t: -chances[t]):
            engine.rollback(0)
            engine.extend_hidden([*prompt, *new, token])
            state = engine.hidden[-1]
            norms = np.linalg.norm(before, axis=1) * np.linalg.norm(state)
            scores[token] = (1 - alpha) * chances[token] - alpha * (before @ state / norms).max()
        best = max(scores, key=lambda token: scores[token])
        if best in end:
            break
        new.append(best)
    return new


@given(st.integers(0, 500), st.floats(0, 0.9), st.integers(1, 6))
def test_it_is_the_definition(seed: int, alpha: float, k: int) -> None:
    engine = TableEngine(np.random.default_rng(seed).normal(scale=2, size=(8, 8)))
    decoder = ContrastiveDecoder(alpha, k, SimpleSampling)
    end = frozenset({7})
    assert list(decoder(engine, [1, 2], end, 12)) == by_definition(engine, [1, 2], alpha, k, end, 12)


def test_it_is_the_definition_on_llama_cpp(model: ez.Model) -> None:
    prompt, end = model.tokenize("Once upon a time there was"), model.tokenizer.end_tokens
    expected = by_definition(model.engine, prompt, 0.6, 4, end, 30)
    model.engine.rollback(0)
    settings = SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=30)
    assert model.generate(prompt, sampler=settings) == model.detokenize(expected)
    assert expected != list(ContrastiveDecoder(0.0, 4, SimpleSampling)(model.engine, prompt, end, 30)), (
        "alpha changes the text"
    )


@pytest.mark.parametrize("k", [16, 31, 40])
def test_more_candidates_than_forks_are_evaluated_in_turns(model: ez.Model, k: int) -> None:
    prompt, end = model.tokenize("Once upon a time there was"), model.tokenizer.end_tokens
    expected = by_definition(model.engine, prompt, 0.6, k, end, 12)
    model.engine.rollback(0)
    settings = SamplerSettings(penalty_alpha=0.6, top_k=k, max_len_tokens=12)
    before = model.engine.n_evaluated
    with pytest.warns(EasyLlamaWarning, match="top_k=4 is usual") as caught:
        assert model.generate(prompt, sampler=settings) == model.detokenize(expected)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    spent = model.engine.n_evaluated - before - len(prompt)
    assert 12 * k <= spent <= 12 * (k + 1), "at most the winner is evaluated twice"
    assert model.engine.n_forks_free == 15


@pytest.mark.filterwarnings("ignore:contrastive search")
def test_penalty_alpha_alone_is_enough(model: ez.Model) -> None:
    assert model.generate("Once", sampler=SamplerSettings(penalty_alpha=0.6, max_len_tokens=4))
    room = 20
    prompt = (model.tokenize("Once upon a time, ") * 200)[: model.context_length - room]
    model.generate(prompt, sampler=SamplerSettings(penalty_alpha=0.6))
    assert len(model.engine.tokens) <= model.context_length


def test_alpha_0_is_greedy(model: ez.Model) -> None:
    prompt = "The little dog went to the"
    greedy = model.generate(prompt, sampler=GreedyDecoding)
    assert model.generate(prompt, sampler=SamplerSettings(penalty_alpha=0.0, top_k=3)) == greedy


def test_only_candidates_are_evaluated_and_a_conversation_goes_on_where_it_was(model: ez.Model) -> None:
    engine, prompt = model.engine, model.tokenize("Once upon a time")
    before = engine.n_evaluated
    settings = SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=20)
    text = model.generate(prompt, sampler=settings)
    assert engine.n_evaluated - before == len(prompt) + 4 * 20
    assert engine.n_forks_free == 15
    before = engine.n_evaluated
    model.generate([*engine.tokens, *model.tokenizer.encode(" and", bos=False)], sampler=settings)
    assert engine.n_evaluated - before <= 4 * 20 + 3, "the hidden states of the first text are still known"
    assert text


def test_forks_are_free_after_the_end_of_a_text_and_after_an_error(model: ez.Model) -> None:
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    assert "Paris" in model.generate(question, sampler=ContrastiveSearch)
    assert model.engine.n_forks_free == 15
    stream = model.stream(question, sampler=ContrastiveSearch)
    next(stream)
    stream.close()
    assert model.engine.n_forks_free == 15
    assert model.engine.fork().tokens


def test_to_the_end_of_the_context(model: ez.Model) -> None:
    room = 10
    prompt = (model.tokenize("Once upon a time, ") * 200)[: model.context_length - room]
    settings = SamplerSettings(penalty_alpha=0.6, top_k=4)
    decoded = list(ContrastiveDecoder(0.6, 4, settings)(model.engine, prompt, frozenset(), room - 3))
    assert len(decoded) == room - 3
    model.generate(prompt, sampler=settings)
    assert len(model.engine.tokens) <= model.context_length
    too_long = (prompt * 2)[: model.context_length - 3]
    with pytest.raises(ExceededContextLengthException, match="room for 4 more"):
        model.generate(too_long, sampler=settings)


def test_what_it_needs(model: ez.Model) -> None:
    with pytest.raises(SettingsError, match="needs top_k"):
        model.generate("Hi", sampler=SamplerSettings(penalty_alpha=0.5, top_k=None))
    forks = [model.engine.fork() for _ in range(15)]
    with pytest.raises(SettingsError, match="room for none"):
        model.generate("Hi", sampler=SamplerSettings(penalty_alpha=0.5, top_k=4))
    for fork in forks:
        fork.close()

    class NoHidden:
        n_vocab, n_ctx, tokens = 3, 10, [0]
        extend = rollback = fork = close = lambda self, *_: None

    engine: Engine = NoHidden()  # type: ignore[assignment]  # an engine in name only
    with pytest.raises(EngineError, match="NoHidden tells no hidden states"):
        next(ContrastiveDecoder(0.6, 4, SimpleSampling)(engine, [0], frozenset(), 5))


def test_penalties_and_biases_count(model: ez.Model) -> None:
    prompt = "Once upon a time"
    end = model.tokenizer.end_tokens
    decode = ContrastiveDecoder(0.6, 4, SimpleSampling)
    first = next(decode(model.engine, model.tokenize(prompt), end, 5))
    banned = ContrastiveDecoder(0.6, 4, SamplerSettings(logit_bias={first: -np.inf}, repeat_penalty=1.5))
    assert next(banned(model.engine, model.tokenize(prompt), end, 5)) != first
    assert prefill(model.engine, model.tokenize(prompt)).shape == (model.n_vocab,)
