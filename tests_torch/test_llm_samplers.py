"""The samplers of the LLM Samplers document on PyTorch models: steps, batches, lengths, bad input."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import logits_process as hf_steps

import easy_llama as ez
from easy_llama.errors import (
    EasyLlamaWarning,
    EngineError,
    ExceededContextLengthException,
    PromptError,
    SettingsError,
)
from easy_llama.steps import basic as steps

from .models import N_CTX, N_VOCAB, PlainModule, llama
from .test_torch_text import byte_level

SAMPLERS: list[ez.TokenSampler] = [
    ez.TemperatureSampler(0.7),
    ez.TopKSampler(5),
    ez.TopPSampler(0.9),
    ez.MinPSampler(0.05),
    ez.XTCSampler(),
    ez.AntiSlopSampler(disallowed_phrases=[[3, 4]], disallowed_tokens=[5]),
    ez.BeamSearchSampler(3),
    ez.QAlignSampler(lambda tokens: float((tokens == 7).sum()), num_steps=3),
]


class Wrapped:
    """A plain object around a model, with a config, as in the document."""

    def __init__(self, model: Any, eos: Any) -> None:
        self.model = model
        self.config = SimpleNamespace(eos_token_id=eos)

    def __call__(self, input_ids: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.model(input_ids).logits)


def plain(eos: Any = 0) -> Any:
    model = PlainModule()
    model.config = SimpleNamespace(eos_token_id=eos)
    return model


def endless() -> Any:
    """A model without an end token."""
    model = llama()
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "hugging face": llama,
    "custom module": plain,
    "wrapped": lambda: Wrapped(llama(), 0),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: type(one).__name__)
def test_a_sampler_takes_and_returns_tensors(kind: str, sampler: ez.TokenSampler) -> None:
    model = MODELS[kind]()
    input_ids = torch.tensor([[1, 2, 3], [9, 8, 7]])
    found = sampler.sample(model, input_ids, max_length=8, num_return_sequences=2, seed=1)
    assert found.shape[0] == 4
    assert 3 < found.shape[1] <= 11
    assert found.dtype == torch.long
    assert torch.equal(found[:, :3], input_ids.repeat_interleave(2, 0))
    again = sampler.sample(model, input_ids, max_length=8, num_return_sequences=2, seed=1)
    assert torch.equal(found, again)


def test_rows_end_independently_and_are_padded() -> None:
    model = plain(eos=[0, 1])
    input_ids = torch.tensor([[2], [3], [4], [5]])
    found = ez.TemperatureSampler(1.0).sample(model, input_ids, max_length=60, seed=3).tolist()
    lengths = set()
    for row in found:
        end = next((i for i, token in enumerate(row[1:], 1) if token in (0, 1)), len(row))
        lengths.add(end)
        assert all(token == 0 for token in row[end:]), "only padding follows"
    assert len(lengths) > 1


def test_a_row_of_a_batch_draws_what_it_draws_alone() -> None:
    model, sampler = llama(), ez.TopKSampler(10)
    alone = sampler.sample(model, torch.tensor([[1, 2, 3]]), max_length=10, seed=4)
    together = sampler.sample(model, torch.tensor([[1, 2, 3], [4, 5, 6]]), max_length=10, seed=4)
    assert torch.equal(alone[0], together[0])


def test_max_length_counts_new_tokens_in_all_of_them() -> None:
    model = endless()
    for sampler in SAMPLERS:
        found = sampler.sample(model, torch.tensor([[1, 2, 3, 4, 5]]), max_length=4, seed=0)
        assert found.shape == (1, 9), type(sampler).__name__


def test_anti_slop_never_writes_the_phrase() -> None:
    model = endless()
    for seed in range(10):
        plain_text = ez.TemperatureSampler(1.0).sample(model, torch.tensor([[1]]), max_length=30, seed=seed)
        pair = plain_text[0, 4:6].tolist()
        sampler = ez.AntiSlopSampler(disallowed_phrases=[pair])
        row = sampler.sample(model, torch.tensor([[1]]), max_length=30, seed=seed)[0].tolist()
        assert pair not in [row[i : i + 2] for i in range(1, len(row))]


def test_the_phrase_in_the_prompt_is_no_match() -> None:
    sampler = ez.AntiSlopSampler(disallowed_phrases=[[3, 4]])
    found = sampler.sample(llama(), torch.tensor([[3, 4]]), max_length=5, seed=1)
    assert found[0, :2].tolist() == [3, 4]
    assert found.shape[1] > 2


def test_the_training_mode_device_and_dtype_are_left_alone() -> None:
    model = copy.deepcopy(llama()).train().to(torch.bfloat16)
    ez.TopPSampler(0.9).sample(model, torch.tensor([[1, 2]]), max_length=4)
    assert model.training
    assert next(model.parameters()).dtype == torch.bfloat16


# --- steps are the logits processors of transformers -----------------------------------------------------

logits_rows = st.integers(0, 10_000).map(
    lambda seed: np.random.default_rng(seed).normal(scale=4, size=50).astype(np.float32)
)


def theirs(processor: Any, logits: np.ndarray[Any, Any], history: list[int]) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = processor(torch.tensor([history]), torch.tensor(logits)[None])[0].numpy()
    return out


@given(logits_rows, st.integers(1, 50))
def test_top_k(logits: Any, k: int) -> None:
    assert np.allclose(steps.top_k(k)([], logits), theirs(hf_steps.TopKLogitsWarper(k), logits, [0]))


@given(logits_rows, st.floats(0.05, 0.99))
def test_top_p(logits: Any, p: float) -> None:
    ours, other = steps.top_p(p)([], logits), theirs(hf_steps.TopPLogitsWarper(p), logits, [0])
    chances = np.sort(steps.probabilities(logits))[::-1].cumsum()
    if np.abs(chances - p).min() > 1e-5:  # at the very border the sums of the two differ in the last bit
        assert np.allclose(ours, other)


@given(logits_rows, st.floats(0.01, 0.9))
def test_min_p(logits: Any, p: float) -> None:
    ours, other = steps.min_p(p)([], logits), theirs(hf_steps.MinPLogitsWarper(p), logits, [0])
    if np.abs(steps.probabilities(logits) / steps.probabilities(logits).max() - p).min() > 1e-5:
        assert np.allclose(ours, other)


@given(logits_rows, st.floats(0.1, 5))
def test_temperature(logits: Any, temp: float) -> None:
    other = theirs(hf_steps.TemperatureLogitsWarper(temp), logits, [0])
    assert np.allclose(steps.temperature(temp)([], logits), other, rtol=1e-5)


@given(logits_rows, st.floats(0.1, 0.95))
def test_typical(logits: Any, mass: float) -> None:
    ours, other = steps.typical(mass)([], logits), theirs(hf_steps.TypicalLogitsWarper(mass), logits, [0])
    different = np.isfinite(ours) != np.isfinite(other)
    assert different.sum() <= 1, "Hugging Face and llama.cpp differ in whether the border token is kept"


@given(logits_rows, st.floats(1.0, 2.0), st.lists(st.integers(0, 49), min_size=1, max_size=20))
def test_repetition_penalty(logits: Any, penalty: float, history: list[int]) -> None:
    other = theirs(hf_steps.RepetitionPenaltyLogitsProcessor(penalty), logits, history)
    assert np.allclose(steps.penalties(64, penalty, 0.0, 0.0)(history, logits), other, rtol=1e-5)


# --- AntiSlopSampler() finds the model's tokenizer ---------------------------------------------------------


class Talker(torch.nn.Module):
    """Writes ``text`` over and over, whatever comes before; nearly as likely are the other tokens."""

    def __init__(self, tokens: list[int], n_vocab: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(eos_token_id=None)
        self.tokens, self.n_vocab = tokens, n_vocab

    def forward(self, input_ids: torch.Tensor) -> Any:
        logits = torch.zeros(*input_ids.shape, self.n_vocab)
        logits[..., self.tokens[input_ids.shape[1] % len(self.tokens)]] = 9.0
        return SimpleNamespace(logits=logits)


class Letters:
    """A tokenizer that has no more than the documents ask for."""

    eos_token_id = None

    def encode(self, text: str) -> list[int]:
        return [ord(char) - 32 for char in text]

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(32 + int(token)) for token in tokens)


def slop_in(text: str) -> bool:
    return any(slop in text.lower() for slop in ez.token_samplers.DEFAULT_SLOPS)


@pytest.mark.parametrize("kind", ["transformers", "letters"])
def test_anti_slop_finds_the_tokenizer_of_a_wrapper(kind: str) -> None:
    tokenizer: Any = byte_level() if kind == "transformers" else Letters()
    tokens = tokenizer.encode("they delve; ")
    talker = Talker(tokens, 400 if kind == "transformers" else 96)

    class ModelWrapper:  # as in the document
        def __init__(self, base_model: Any, tokenizer: Any) -> None:
            self.model = base_model
            self.tokenizer = tokenizer
            self.config = type("Config", (), {"eos_token_id": tokenizer.eos_token_id})()

        def __call__(self, input_ids: torch.Tensor) -> Any:
            outputs = self.model(input_ids)
            return type("Output", (), {"logits": outputs.logits})()

    model = ModelWrapper(talker, tokenizer)
    start = torch.tensor([[tokens[0]], [tokens[0]]])
    free = ez.TemperatureSampler(0.3).sample(model, start, max_length=40, seed=1)
    assert slop_in(tokenizer.decode(free[0].tolist())), "without it the model writes nothing else"
    held = ez.AntiSlopSampler().sample(model, start, max_length=40, num_return_sequences=2, seed=1)
    assert held.shape == (4, 41)
    assert not any(slop_in(tokenizer.decode(row[1:].tolist())) for row in held)


def test_anti_slop_finds_the_tokenizer_of_a_hugging_face_model_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    made = llama()
    made.config.eos_token_id = made.generation_config.eos_token_id = None
    made.save_pretrained(tmp_path)
    letters().save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([[3]])
    free = ez.TemperatureSampler().sample(model, ids, max_length=30, seed=2)
    text = tokenizer.decode(free[0])
    held = ez.AntiSlopSampler([text[10:12]]).sample(model, ids, max_length=30, seed=2)
    assert text[10:12].lower() not in tokenizer.decode(held[0, 1:]).lower()
    same = ez.AntiSlopSampler().sample(model, ids, max_length=30, seed=2)  # no slop comes of such weights
    assert same.tolist() == free.tolist()


@pytest.mark.parametrize("kind", [*MODELS, "a name that is not here"])
def test_without_a_tokenizer_anti_slop_says_once_that_it_bans_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    model = MODELS.get(kind, llama)()
    if kind not in MODELS:
        model.config.name_or_path = "nobody/has-such-a-model"
    ids = torch.tensor([[1, 2], [3, 4]])
    with pytest.warns(EasyLlamaWarning, match="bans nothing") as caught:
        found = ez.AntiSlopSampler().sample(model, ids, max_length=6, num_return_sequences=2, seed=1)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert found.shape[0] == 4
    same = ez.TemperatureSampler(1.0).sample(model, ids, max_length=6, num_return_sequences=2, seed=1)
    assert found.tolist() == same.tolist()


def no_network(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("nothing may be fetched")


def letters() -> Any:
    """A tokenizer whose tokens are characters, as many as the tiny models know."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {
        char: i
        for i, char in enumerate(["<unk>", *"abcdefghijklmnopqrstuvwxyz0123456789-:. "[: N_VOCAB - 1]])
    }
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.filterwarnings("ignore:AntiSlopSampler bans nothing")
@pytest.mark.parametrize("kind", MODELS)
def test_the_samplers_of_the_document_as_they_stand_there(kind: str) -> None:
    model, input_ids = MODELS[kind](), torch.tensor([[1, 2, 3]])
    for sampler in (
        ez.TemperatureSampler(temperature=0.7), ez.TemperatureSampler(temperature=1.2), ez.TopKSampler(k=50),
        ez.TopPSampler(p=0.95), ez.MinPSampler(min_p=0.05), ez.AntiSlopSampler(), ez.XTCSampler(),
    ):  # fmt: skip
        output_ids = sampler.sample(model, input_ids, max_length=20)
        assert torch.equal(output_ids[0, :3], input_ids[0])
        assert output_ids.shape[0] == 1
        assert output_ids.dtype == input_ids.dtype
    output_ids = ez.BeamSearchSampler(beam_width=5).sample(
        model, input_ids, max_length=20, num_return_sequences=3
    )
    assert output_ids.shape[0] == 3
    assert torch.equal(output_ids[:, :3], input_ids.repeat(3, 1))


def test_the_names_of_llm_samplers() -> None:
    model, ids = llama(), torch.tensor([[1, 2, 3]])
    for sampler in SAMPLERS:
        found = sampler.sample(model=model, input_ids=ids, max_length=4, num_return_sequences=1)
        assert torch.equal(found[:, :3], ids)
    wrong: Any = SAMPLERS[0].sample
    with pytest.raises(TypeError, match="did you mean 'input_ids'"):
        wrong(model, prompt=ids)


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("input_ids", "said"),
    [
        (torch.tensor([[1, N_VOCAB]]), f"token id {N_VOCAB} is outside"),
        (torch.tensor([[-1]]), "token id -1 is outside"),
        (torch.zeros((0, 3), dtype=torch.long), "empty"),
        (torch.zeros((2, 0), dtype=torch.long), "empty"),
        (torch.tensor([[1.5]]), "tensor of token ids"),
        ([[1, 2]], "tensor of token ids"),
        ("text", "tensor of token ids"),
        (torch.zeros((1, 2), dtype=torch.long, device="meta"), "meta"),
    ],
)
def test_wrong_tensors(input_ids: Any, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        ez.TemperatureSampler().sample(llama(), input_ids)


def test_more_than_the_positions() -> None:
    with pytest.raises(ExceededContextLengthException):
        ez.TemperatureSampler().sample(llama(), torch.ones((1, N_CTX), dtype=torch.long))
    found = ez.TemperatureSampler().sample(llama(), torch.ones((1, N_CTX - 2), dtype=torch.long))
    assert found.shape[1] <= N_CTX


def test_models_that_are_none() -> None:
    ids = torch.tensor([[1, 2]])
    with pytest.raises(EngineError, match="logits"):
        ez.TemperatureSampler().sample(lambda input_ids: input_ids, ids)
    with pytest.raises(SettingsError, match="callable"):
        ez.TemperatureSampler().sample("gpt2", ids)
    without_config = Wrapped(llama(), 0)
    del without_config.config
    found = ez.TemperatureSampler().sample(without_config, ids, max_length=5, seed=1)
    assert found.shape == (1, 7), "without a config there is no end token"


def test_phrases_need_a_tokenizer_and_sequences_a_width() -> None:
    with pytest.raises(SettingsError, match="disallowed_phrases"):
        ez.AntiSlopSampler(["delve"]).sample(llama(), torch.tensor([[1]]))
    with pytest.raises(SettingsError, match="5 is more than the 3 beams"):
        ez.BeamSearchSampler(3).sample(llama(), torch.tensor([[1]]), num_return_sequences=5)


def test_beams_are_those_of_transformers() -> None:
    model = llama()
    ids = torch.tensor([[1, 2, 3]])
    ours = ez.BeamSearchSampler(4).sample(model, ids, max_length=10, num_return_sequences=4)
    with torch.inference_mode():
        other = model.generate(
            ids, attention_mask=torch.ones_like(ids), num_beams=4, num_return_sequences=4, max_new_tokens=10,
            do_sample=False, pad_token_id=model.config.eos_token_id,
        )  # fmt: skip
    assert ours.tolist() == other.tolist()
    assert transformers.__version__
