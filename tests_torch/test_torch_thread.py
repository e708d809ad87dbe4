"""A Hugging Face model as a provider: the same methods, and the same conversation as with llama.cpp."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers

import easy_llama as ez
from easy_llama.decoding import BeamSearch
from easy_llama.samplers import GreedyDecoding, SamplerSettings

PROMPT = "The sky is blue, and"
SHORT = SamplerSettings(temp=0.0, max_len_tokens=12)


@pytest.fixture(scope="module")
def llama() -> Iterator[ez.Model]:
    with ez.Model(n_threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def provider(llama: ez.Model) -> Iterator[ez.TransformersProvider]:
    """The bundled model, loaded by transformers, with the chat template of its file."""
    path = ez.model.BUNDLED_MODEL
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    made = ez.TransformersProvider(model, tokenizer)
    yield made
    made.engine.close()


def test_a_hugging_face_model_chats_as_the_same_weights_do_on_llama_cpp(
    provider: ez.TransformersProvider, llama: ez.Model
) -> None:
    threads = [ez.Thread(one, sampler=GreedyDecoding) for one in (provider, llama)]
    assert threads[0].format == threads[1].format
    for question in ("My name is Zoe.", "What is my name?", "What is 7 + 5?"):
        ours, theirs = (thread.send(question) for thread in threads)
        assert ours == theirs
    assert "Zoe" in threads[0].messages[-3]["content"]
    assert threads[0].messages[-1].generated == threads[1].messages[-1].generated
    stats = threads[0].last.stats
    assert stats.reused > stats.evaluated > 0, "a turn costs its new tokens"
    assert threads[0].candidates(1)[0][0] == threads[1].candidates(1)[0][0]


def test_a_conversation_overflows_and_goes_on(provider: ez.TransformersProvider) -> None:
    for overflow in ("trim", "shift", "summarize"):
        sampler = SamplerSettings(temp=0.0, max_len_tokens=20)
        thread = ez.Thread(provider, sampler=sampler, overflow=overflow)
        dropped = 0
        for i in range(30):
            thread.send(f"What is {i} + 1? Tell me a story about it, too, and then another one about a dog.")
            dropped += thread.last.dropped
        assert dropped > 0
        assert len(provider.engine.tokens) <= provider.engine.n_ctx


def test_saved_and_resumed(provider: ez.TransformersProvider, tmp_path: Any) -> None:
    thread = ez.Thread(provider, sampler=GreedyDecoding)
    thread.send("My name is Zoe.")
    thread.save(tmp_path / "talk.json")
    again = ez.Thread.load(tmp_path / "talk.json", provider)
    assert again.send("What is my name?") == thread.send("What is my name?")


def test_everything_that_a_model_does_with_text(provider: ez.TransformersProvider, llama: ez.Model) -> None:
    text = provider.generate(PROMPT, sampler=SHORT)
    assert text == llama.generate(PROMPT, sampler=SHORT)
    chunks = list(provider.stream(PROMPT, sampler=SHORT))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text
    out = io.StringIO()
    assert provider.stream_print(PROMPT, sampler=SHORT, file=out) == text
    assert provider.generate(PROMPT, stops=["<|im_end|>", text[5:9]], sampler=SHORT) == text[:5]
    ours, theirs = (one.candidates(PROMPT, 3) for one in (provider, llama))
    assert [token for token, _ in ours] == [token for token, _ in theirs]
    assert all(math.isclose(a, b, abs_tol=0.02) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    steps = [report.step for report in provider.explain(PROMPT, SamplerSettings(seed=1))]
    assert steps == [report.step for report in llama.explain(PROMPT, SamplerSettings(seed=1))]
    beams = provider.beams(PROMPT, 3, sampler=SHORT)
    assert beams[0].text == llama.beams(PROMPT, 3, sampler=SHORT)[0].text
    assert provider.generate(PROMPT, sampler=SHORT, decoder=BeamSearch(3)) == beams[0].text
    assert len(provider.align(PROMPT, len, steps=3, seed=1, sampler=SHORT).chain) == 4
    provider.ingest(PROMPT)
    assert provider.stats.evaluated + provider.stats.reused == provider.get_length(PROMPT)
    assert provider.name


def test_templates_of_tokenizers_in_every_shape() -> None:
    path = ez.model.BUNDLED_MODEL
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**where)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    template = tokenizer.chat_template
    for given, expected in (
        ({"default": template, "tool_use": "x"}, template), ({"tool_use": "x"}, None), (None, None),
    ):  # fmt: skip
        tokenizer.chat_template = given
        assert ez.TransformersProvider(model, tokenizer).chat_template == expected
