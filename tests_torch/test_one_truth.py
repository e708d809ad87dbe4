"""The bundled model on llama.cpp and in transformers: the same weights, the same texts, the same scores.

llama.cpp keeps keys and values in half precision and transformers in single, so logits differ by up to a
few hundredths; texts are the same because the toy is mostly sure of what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers

import easy_llama as ez
from easy_llama.decoding import Backtracking, BeamSearch, ContrastiveDecoder, Sampling
from easy_llama.engine import Engine, Logits, prefill
from easy_llama.engines.pytorch.engine import TorchEngine
from easy_llama.samplers import GreedyDecoding, SamplerSettings, SimpleSampling

TOLERANCE = 0.05
QUESTIONS = ["What is the capital of France?", "What is 7 + 5?", "Tell me a story about a brave owl."]


def chat(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def hf() -> Any:
    path = ez.model.BUNDLED_MODEL
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def llama() -> Iterator[ez.Model]:
    with ez.Model(n_threads=1) as model:
        yield model


@pytest.fixture
def engines(hf: Any, llama: ez.Model) -> Iterator[tuple[Engine, Engine]]:
    engine = TorchEngine(hf)
    llama.engine.rollback(0)
    yield llama.engine, engine
    engine.close()


class WithoutPicker:
    """An engine without llama.cpp's sampler chain, so that both engines draw with the same numbers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.n_vocab, self.n_ctx = engine.n_vocab, engine.n_ctx

    @property
    def tokens(self) -> list[int]:
        return self._engine.tokens

    def extend(self, tokens: Any) -> Logits:
        return self._engine.extend(tokens)

    def rollback(self, n: int) -> None:
        self._engine.rollback(n)

    def fork(self) -> Engine:
        return self._engine.fork()

    def close(self) -> None:
        pass


def test_the_logits_agree(llama: ez.Model, engines: tuple[Engine, Engine]) -> None:
    tokens = llama.tokenize(chat(QUESTIONS[2]) + "Once upon a time, in a quiet town, there lived an owl.")
    for n in range(1, len(tokens), 3):
        one, other = (prefill(engine, tokens[:n]).copy() for engine in engines)
        assert np.abs(one - other).max() < TOLERANCE


@pytest.mark.parametrize("prompt", [chat(QUESTIONS[2]), "Once upon a time", "The sky is blue, and"])
def test_greedy_text_is_the_same_over_200_tokens(
    llama: ez.Model, engines: tuple[Engine, Engine], prompt: str
) -> None:
    tokens = llama.tokenize(prompt)
    one, other = (list(Sampling(GreedyDecoding, 1)(e, tokens, frozenset(), 200)) for e in engines)
    assert len(one) == 200
    assert one == other


@pytest.mark.parametrize("num_beams", [2, 4, 8])
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_beam_search_finds_what_transformers_finds(
    hf: Any,
    llama: ez.Model,
    engines: tuple[Engine, Engine],
    num_beams: int,
    length_penalty: float,
    early_stopping: bool | Literal["never"],
) -> None:
    ends = llama.tokenizer.end_tokens
    search = BeamSearch(num_beams, length_penalty, early_stopping, num_return_sequences=num_beams, batch=True)
    for question in QUESTIONS[:2]:
        tokens = llama.tokenize(chat(question))
        with torch.inference_mode():
            found = hf.generate(
                torch.tensor([tokens]),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
                num_beams=num_beams,
                num_return_sequences=num_beams,
                length_penalty=length_penalty,
                early_stopping=early_stopping,
                max_new_tokens=16,
                eos_token_id=sorted(ends),
                pad_token_id=0,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
            )
        expected = []
        for sequence in found.sequences.tolist():
            new = sequence[len(tokens) :]
            end = next((i for i, token in enumerate(new) if token in ends), len(new))
            expected.append(tuple(new[:end]))
        scores = found.sequences_scores.tolist()
        for engine, tolerance in zip(engines, (TOLERANCE, 1e-4), strict=True):
            ours = search.search(engine, tokens, ends, 16)
            assert [one.score for one in ours] == pytest.approx(scores, abs=tolerance)
            assert ours[0].tokens == expected[0]
            if tolerance < TOLERANCE:
                assert [one.tokens for one in ours] == expected
            else:  # texts whose scores are nearly equal may change places
                assert len({one.tokens for one in ours} & set(expected)) >= num_beams - 2


def test_contrastive_search_takes_the_same_tokens(llama: ez.Model, engines: tuple[Engine, Engine]) -> None:
    for prompt in ("Once upon a time", chat(QUESTIONS[0]), "The sky is blue, and"):
        tokens = llama.tokenize(prompt)
        decode = ContrastiveDecoder(0.6, 4, SimpleSampling)
        one, other = (list(decode(engine, tokens, llama.tokenizer.end_tokens, 60)) for engine in engines)
        assert one == other


@pytest.mark.parametrize("seed", range(6))
def test_anti_slop_writes_the_same_with_the_same_draws(
    llama: ez.Model, engines: tuple[Engine, Engine], seed: int
) -> None:
    tokens, ends = llama.tokenize("Once upon a time"), llama.tokenizer.end_tokens
    settings = SamplerSettings(temp=0.9, repeat_penalty=1.1)
    texts = []
    for engine in engines:
        strategy = ez.AntiSlopStrategy(llama, ["lived", "the", "morning"], ignore_case=True)
        decode = Backtracking(strategy, settings, seed, llama.tokenizer)
        texts.append(llama.detokenize(list(decode(WithoutPicker(engine), tokens, ends, 80))))
        assert strategy.report
    assert texts[0] == texts[1]
    assert not any(word in texts[0].lower() for word in ("lived", "the", "morning"))


def test_a_provider_of_transformers_is_one_like_any_other(hf: Any, llama: ez.Model) -> None:
    path = ez.model.BUNDLED_MODEL
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    provider = ez.TransformersProvider(hf, tokenizer, torch.device("cpu"))
    question = chat(QUESTIONS[0])
    assert provider.tokenizer.encode(question) == llama.tokenize(question)
    strategy = ez.AntiSlopStrategy(provider, ["Paris"])
    sampler = ez.BacktrackSampler(provider, strategy)
    text = provider.decode(list(sampler.generate(question, max_new_tokens=12, temperature=0)))
    expected = llama.generate(
        question,
        sampler=SamplerSettings(temp=0, max_len_tokens=12),
        strategy=ez.AntiSlopStrategy(llama, ["Paris"]),
    )
    assert text.startswith("The capital of France is")
    assert text == expected
