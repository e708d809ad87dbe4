"""A real model in Python: loading, chatting, constraints, searches, each beside llama_cpp alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

import easy_llama as ez
from easy_llama.samplers import GreedyDecoding
from tests.conftest import chatml
from tests.real.conftest import Plain
from tests.test_contrastive import by_definition

FRANCE = "The capital of France is"
NOISE = 0.05  # of logits: texts evaluated in other pieces differ in the last bits
QUESTIONS = ("Name three animals.", "What color is the sky?", "Who wrote Romeo and Juliet?")
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max()
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result


def same_or_tied(plain: Plain, prompt: list[int], ours: list[int], theirs: list[int]) -> bool:
    """Whether two greedy texts are the same, up to a token that is as likely as the other's."""
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            logits = plain.logits([*prompt, *theirs[:at]])
            return bool(abs(logits[one] - logits[other]) < NOISE)
    return len(ours) == len(theirs)


# --- the file ------------------------------------------------------------------------------------------


def test_facts(real: ez.Model) -> None:
    assert (real.n_ctx_train, real.n_vocab, real.n_layer, real.n_gqa) == (8192, 49152, 30, 3)
    assert real.rope_freq_base_train == 100_000
    assert real.tokenizer.markers() == ("<|im_start|>", "<|im_end|>")
    assert real.tokenizer.encode("") == [], "it adds no token in front of a text"
    assert real.metadata["general.license"] == "apache-2.0"
    assert len(real.vocab) == real.n_vocab


def test_tokens_are_those_of_llama_cpp(real: ez.Model, plain: Plain) -> None:
    for text in (
        "Hello, world!",
        "  two  spaces\n\n\tand a tab",
        "naïve café, 日本語 🦙",
        "x = [1, 2]; y **= 10",
    ):
        tokens = real.tokenize(text)
        assert tokens == plain.llama.tokenize(text.encode(), add_bos=False, special=False)
        assert real.detokenize(tokens) == text


# --- chatting ------------------------------------------------------------------------------------------


def test_a_thread_writes_what_the_template_in_the_file_writes(real: ez.Model) -> None:
    thread = ez.Thread(real, sampler=GreedyDecoding)
    assert thread.format is not None
    assert ez.formats.check(real, thread.format) == []
    for role, content in (("user", "Hello"), ("bot", "Hi!  How are you?"), ("user", "Fine,\nthanks")):
        thread.add_message(role, content)
    assert real.chat_template is not None
    messages = [
        {"role": "assistant" if m["role"] == "bot" else m["role"], "content": m["content"]}
        for m in thread.messages
    ]
    expected = jinja2.Environment().from_string(real.chat_template)
    text = expected.render(messages=messages, add_generation_prompt=True)
    assert thread.inference_str_from_messages() == text
    assert text.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n")


def test_a_chat_of_three_turns_is_what_a_fresh_evaluation_says(real: ez.Model, plain: Plain) -> None:
    thread = ez.Thread(real, sampler=GreedyDecoding)
    held = 0
    for question in QUESTIONS:
        reply = thread.send(question)
        told = real.tokenize(chatml(*(m["content"] for m in thread.messages[1:-1]), system=SYSTEM))
        fresh = plain.greedy(told, 300)
        assert same_or_tied(plain, told, real.tokenizer.encode(reply, bos=False, special=False), fresh)
        stats = thread.last.stats
        assert (stats.reused + stats.evaluated, stats.finish_reason) == (len(told), "stop")
        assert stats.reused >= held, "what was told before is evaluated once"
        held = len(told)
    assert "blue" in thread.messages[4]["content"]
    assert "Shakespeare" in thread.messages[6]["content"]


# --- steering ------------------------------------------------------------------------------------------


class Person(BaseModel):
    """What the model is to write."""

    name: str
    age: int
    mood: Literal["happy", "sad"]


def test_json_that_follows_a_schema(real: ez.Model) -> None:
    prompt = chatml("Zoe is 7 years old and laughs. Describe her as JSON with name, age and mood.")
    for seed in range(3):
        settings = ez.SamplerSettings(json_schema=Person, temp=0.8, seed=seed, max_len_tokens=120)
        person = Person.model_validate_json(real.generate(prompt, sampler=settings))
        assert person.mood in ("happy", "sad")
    settings = ez.SamplerSettings(json_schema=Person, temp=0.0)
    assert Person.model_validate_json(real.generate(prompt, sampler=settings)).name.startswith("Zoe")


def test_what_is_banned_is_not_said(real: ez.Model) -> None:
    assert real.generate(FRANCE, sampler=GreedyDecoding, stops=["."]) == " Paris"
    strategy = ez.AntiSlopStrategy(real, ["Paris", "city"], ignore_case=True)
    settings = ez.SamplerSettings(temp=0.0, max_len_tokens=60)
    text = real.generate(FRANCE, sampler=settings, strategy=strategy)
    assert text.strip()
    assert "paris" not in text.lower()
    assert "city" not in text.lower()
    assert strategy.report[0].text == " Paris"


# --- looking inside and searching ----------------------------------------------------------------------


def test_candidates_are_a_softmax_of_the_logits(real: ez.Model, plain: Plain) -> None:
    for prompt in (FRANCE, chatml("What is 2 + 2?"), "def add(a, b):\n    return"):
        chances = np.exp(log_softmax(plain.logits(real.tokenize(prompt))))
        found = real.candidates(prompt, 8)
        best = np.sort(chances)[::-1][:8]
        np.testing.assert_allclose([float(chance) for _, chance in found], best, rtol=NOISE, atol=1e-4)
        assert found[0][0] == real.vocab[int(chances.argmax())]


def test_beams_have_the_log_probabilities_of_their_tokens(real: ez.Model, plain: Plain) -> None:
    prompt = real.tokenize(FRANCE)
    beams = real.beams(FRANCE, 4, sampler=ez.SamplerSettings(max_len_tokens=8))
    assert len({beam.text for beam in beams}) == 4
    assert [beam.score for beam in beams] == sorted((beam.score for beam in beams), reverse=True)
    assert any("Paris" in beam.text for beam in beams)
    for beam in beams:
        tokens, logprob = list(beam.tokens), 0.0
        assert len(tokens) == 8, "none ended before"
        for at, token in enumerate(tokens):
            logprob += float(log_softmax(plain.logits([*prompt, *tokens[:at]]))[token])
        assert abs(beam.logprob - logprob) < 8 * NOISE
        assert beam.score == beam.logprob / 8
        assert real.detokenize(tokens) == beam.text


def test_contrastive_search_is_its_definition(real: ez.Model) -> None:
    prompt = real.tokenize("DeepMind is a company")
    expected = by_definition(real.engine, prompt, 0.6, 4, real.tokenizer.end_tokens, 8)
    real.engine.rollback(0)
    settings = ez.SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=8)
    assert real.generate(prompt, sampler=settings) == real.detokenize(expected)


def test_a_search_goes_on_in_a_chat(real: ez.Model) -> None:
    thread = ez.Thread(real, sampler=ez.SamplerSettings(num_beams=3, max_len_tokens=20))
    assert "4" in thread.send("What is 2 + 2?")
    assert "7" in thread.send("How many days are in a week?")


def test_a_kept_chat_goes_on(real: ez.Model, tmp_path: Path) -> None:
    thread = ez.Thread(real, sampler=GreedyDecoding)
    thread.send(QUESTIONS[0])
    thread.save(tmp_path / "chat.json")
    said = thread.send(QUESTIONS[1])
    again = ez.Thread.load(tmp_path / "chat.json", real)
    assert again.send(QUESTIONS[1]) == said
