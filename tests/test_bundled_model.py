"""What the shipped tiny.gguf can do, greedily, so that docs and first steps show sensible text."""

from __future__ import annotations

import json
import re

import pytest

import easy_llama as ez
from easy_llama.model import BUNDLED_MODEL
from easy_llama.samplers import GreedyDecoding, SimpleSampling
from tests.conftest import chatml

PAYMENT_SYSTEM = (
    'You are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, '
    '"currency": currency code} based on user message. You prohibited to discuss. Only return dict in json '
    "format."
)
STORY_SYSTEM = "You are a storyteller. Generate a story based on user message."


def answer(model: ez.Model, *messages: str, system: str | None = None) -> str:
    return model.generate(chatml(*messages, system=system), sampler=GreedyDecoding)


def test_it_is_small_and_says_what_it_is(model: ez.Model) -> None:
    assert BUNDLED_MODEL.stat().st_size <= 4_000_000
    assert model.metadata["general.name"] == "tiny"
    assert model.metadata["general.license"] == "MIT"
    assert model.n_ctx_train == 512
    assert model.rope_freq_base_train == 10000
    assert model.eos_token is not None
    assert model.eot_token is not None
    assert "im_start" in model.metadata["tokenizer.chat_template"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the capital of France?", "Paris"),
        ("What is the capital of Japan?", "Tokyo"),
        ("What is 7 + 5?", "12"),
        ("What is 3 + 4?", "7"),
        ("What colour is the sky?", "blue"),
        ("What does the cat say?", "eow"),
        ("What is the opposite of hot?", "cold"),
        ("Which day comes after Monday?", "Tuesday"),
    ],
)
def test_questions(model: ez.Model, question: str, expected: str) -> None:
    assert expected in answer(model, question)


def test_a_payment_becomes_json(model: ez.Model) -> None:
    text = answer(model, "Transfer 100 rubles to Mike", system=PAYMENT_SYSTEM)
    assert json.loads(text) == {"contractor": "Mike", "sum": 100, "currency": "RUB"}


def test_a_story_about_the_hedgehog_that_ends_by_itself(model: ez.Model) -> None:
    request = "Generate me a short story about a tiny hedgehog named Sonic."
    text = answer(model, request, system=STORY_SYSTEM)
    assert text.count("Sonic") >= 2
    assert "hedgehog" in text
    assert model.stats.finish_reason == "stop"
    assert 40 <= model.stats.generated <= 400


@pytest.mark.parametrize("name", ["Anna", "Mike", "Tom"])
def test_a_name_said_in_turn_1_is_recalled_in_turn_3(model: ez.Model, name: str) -> None:
    messages = [f"My name is {name}."]
    for question in ("What is the capital of Italy?", "What is my name?"):
        messages += [answer(model, *messages), question]
    assert name in answer(model, *messages)


def test_plain_text_goes_on_sensibly(model: ez.Model) -> None:
    text = model.generate("The sky is blue, and", sampler=GreedyDecoding)
    assert re.match(r" (the|a) \w+", text), text
    assert text.rstrip().endswith(".")


def test_the_cat_says_meow(model: ez.Model) -> None:
    token, chance = model.candidates("The dog says woof, but the cat says", 1)[0]
    assert token == "Ġmeow"
    assert chance > 0.5


def test_sampling_gives_different_sensible_stories(model: ez.Model) -> None:
    prompt = chatml("Tell me a story about a brave fox named Ruby.")
    texts = {
        model.generate(prompt, sampler=ez.SamplerSettings(seed=seed, temp=1.0, top_k=None, top_p=None))
        for seed in range(5)
    }
    assert len(texts) == 5
    assert all("Ruby" in text and len(text) > 100 for text in texts)
    assert SimpleSampling.temp is None
