"""Model: what the specification lists, with its errors, counts and streams."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.errors import (
    EngineBusyError,
    PromptError,
    SettingsError,
)
from easy_llama.samplers import DefaultSampling, GreedyDecoding, SamplerSettings
from tests.conftest import chatml

SEEDED = replace(DefaultSampling, seed=1, max_len_tokens=40)


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


# --- attributes and tokens -----------------------------------------------------------------------------


def test_every_attribute_of_the_specification(model: ez.Model) -> None:
    expected = {
        "verbose": False, "context_length": 512, "n_ctx": 512, "eos_token": 0, "bos_token": 0, "eot_token": 2,
        "prefix_token": None, "middle_token": None, "suffix_token": None, "cls_token": None,
        "sep_token": None, "filename": "tiny.gguf", "n_ctx_train": 512, "rope_freq_base_train": 10000.0,
        "rope_freq_base": 10000.0, "flash_attn": False, "n_vocab": 1024, "n_layer": 4, "n_gpu_layers": 0,
        "ctx_scale": 1.0, "type_k": 1, "type_v": 1, "n_gqa": 5,
    }  # fmt: skip
    assert {name: getattr(model, name) for name in expected} == expected
    assert model.metadata["llama.block_count"] == 4
    assert len(model.vocab) == 1024
    assert model.nl_token is not None
    assert model.detokenize([model.nl_token]) == "\n"
    assert model.llama.n_vocab() == 1024
    assert repr(model) == "<Model tiny.gguf, 512 tokens of context>"


def test_text_to_tokens_and_back(model: ez.Model) -> None:
    for text in ("Once upon a time", "zwölf ☃ 👩‍👩‍👧", "a\nb\t c", "100 % {json: [1, 2]}", ""):
        tokens = model.tokenize(text)
        assert tokens[0] == model.bos_token
        assert model.detokenize(tokens) == text
        assert model.get_length(text) == len(tokens)


def test_markup_becomes_single_tokens_and_adds_no_text(model: ez.Model) -> None:
    tokens = model.tokenize("<|im_start|>user")
    assert len(tokens) == len(model.tokenize("user")) + 1
    assert model.detokenize(tokens) == "user"


def test_bos_is_never_doubled(model: ez.Model) -> None:
    assert model.tokenize("<|endoftext|>Hi") == model.tokenize("Hi")


def test_odd_text_does_no_harm(model: ez.Model) -> None:
    for text in ("\0", "\ud800", "a" * 100_000, "\U0010ffff"):
        assert model.tokenize(text)


# --- generating ----------------------------------------------------------------------------------------


def test_same_seed_same_text_and_other_seed_other_text(model: ez.Model) -> None:
    texts = [model.generate("Once upon a time", sampler=replace(SEEDED, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_the_drawn_seed_is_recorded_and_brings_the_text_back(model: ez.Model) -> None:
    first = model.generate("Once upon a time")
    seed = model.stats.seed
    assert seed is not None
    assert model.generate("Once upon a time", sampler=SamplerSettings(seed=seed)) == first


def test_stream_generate_and_stream_print_are_the_same_text(model: ez.Model) -> None:
    text = model.generate("Once upon a time", sampler=SEEDED)
    chunks = list(model.stream("Once upon a time", sampler=SEEDED))
    assert text_of(chunks) == text
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"][0] == {"text": "", "index": 0, "finish_reason": "length"}
    out = io.StringIO()
    assert model.stream_print("Once upon a time", sampler=SEEDED, file=out, end="<end>") == text
    assert out.getvalue() == text + "<end>"


def test_a_prompt_may_be_tokens(model: ez.Model) -> None:
    tokens = model.tokenize("Once upon a time")
    text = model.generate("Once upon a time", sampler=SEEDED)
    assert model.generate(tokens, sampler=SEEDED) == text
    assert model.generate(np.array(tokens), sampler=SEEDED) == text  # type: ignore[arg-type]


def test_finish_reasons(model: ez.Model) -> None:
    model.generate("The sky is blue, and", sampler=replace(GreedyDecoding, max_len_tokens=3))
    assert (model.stats.finish_reason, model.stats.generated) == ("length", 3)
    model.generate(chatml("Hello"), sampler=GreedyDecoding)
    assert model.stats.finish_reason == "stop"
    model.generate("The sky is blue, and", stops=["sun"], sampler=GreedyDecoding)
    assert model.stats.finish_reason == "stop"


def test_stops_are_texts_tokens_and_markup(model: ez.Model) -> None:
    prompt = "Count: 1, 2, 3, 4, 5, 6, 7, 8"
    whole = model.generate(prompt, sampler=GreedyDecoding)
    half = whole[: len(whole) // 2]
    cut = half[-3:]
    assert model.generate(prompt, stops=[cut], sampler=GreedyDecoding) == whole[: whole.index(cut)]
    period = model.tokenize(".")[-1]
    text = model.generate("The sky is blue, and", stops=[period], sampler=GreedyDecoding)
    assert "." not in text
    assert model.stats.finish_reason == "stop"
    # markup adds no text, so as a text it would never be found; it stops by its id
    model.generate(chatml("Hello"), stops=["<|im_start|>"], sampler=GreedyDecoding)
    assert model.stats.finish_reason == "stop"


def test_max_len_tokens_below_1_goes_to_the_end_of_the_context(model: ez.Model) -> None:
    everything = replace(ez.samplers.RandomSampling, max_len_tokens=0, seed=3)
    model.tokenizer.__dict__["end_tokens"] = frozenset()  # nothing ends it
    try:
        model.generate("Once", sampler=everything)
    finally:
        del model.tokenizer.__dict__["end_tokens"]
    assert model.stats.finish_reason == "length"
    assert model.stats.generated == 512 - len(model.tokenize("Once"))


def test_a_context_that_is_nearly_full_gives_one_token(model: ez.Model) -> None:
    model.generate([5] * 511, sampler=GreedyDecoding)
    assert model.stats.generated <= 1
    assert model.generate("The sky is blue, and", sampler=GreedyDecoding)


def test_penalties_see_the_prompt(model: ez.Model) -> None:
    prompt = "The dog says woof, but the cat says"
    settings = replace(GreedyDecoding, max_len_tokens=1)
    meow = model.generate(prompt, sampler=settings)
    told = prompt.replace("woof", "woof, meow, meow, meow")
    strict = replace(settings, presence_penalty=50.0)
    assert model.generate(told, sampler=settings) == meow
    assert model.generate(told, sampler=strict) != meow


# --- what is evaluated ---------------------------------------------------------------------------------


def test_a_prompt_that_goes_on_costs_what_is_new(model: ez.Model) -> None:
    first = model.tokenize("Once upon a time there was a fox")
    model.generate(first, sampler=replace(GreedyDecoding, max_len_tokens=10))
    assert (model.stats.evaluated, model.stats.reused, model.stats.generated) == (len(first), 0, 10)
    held = model.engine.tokens
    assert len(held) == len(first) + 9, "the last token is not evaluated in vain"
    longer = [*held, 5, 6, 7]
    model.generate(longer, sampler=replace(GreedyDecoding, max_len_tokens=1))
    assert (model.stats.evaluated, model.stats.reused) == (3, len(held))


def test_the_same_prompt_again_costs_one_token(model: ez.Model) -> None:
    for expected in (7, 1, 1):
        model.generate("The sky is blue, and", sampler=SEEDED)
        assert model.stats.evaluated == expected
        assert model.stats.prompt_seconds > 0
        assert model.stats.generate_seconds > 0


def test_ingest_makes_the_next_prompt_cheap(model: ez.Model) -> None:
    text = "Once upon a time, there was a tiny hedgehog"
    model.ingest(text)
    assert model.stats.evaluated == model.get_length(text)
    model.generate(text + " named", sampler=SEEDED)
    assert model.stats.reused >= model.get_length(text) - 1


def test_hand_made_calls_of_llama_in_between_are_harmless(model: ez.Model) -> None:
    prompt = "The sky is blue, and"
    expected = model.generate(prompt, sampler=GreedyDecoding)
    model.llama.eval([1, 2, 3])
    assert model.generate(prompt, sampler=GreedyDecoding) == expected
    model.llama.reset()
    model.llama.eval(model.tokenize(prompt)[:4])
    assert model.generate(prompt, sampler=GreedyDecoding) == expected
    tokens = model.tokenize(prompt)
    by_hand: list[int] = []
    for token in model.llama.generate(tokens, temp=0.0):
        if token in model.tokenizer.end_tokens or len(by_hand) == 20:
            break
        by_hand.append(token)
    assert expected.startswith(model.detokenize(by_hand))


# --- candidates ----------------------------------------------------------------------------------------


def test_candidates_are_probabilities_over_the_whole_vocabulary(model: ez.Model) -> None:
    everything = model.candidates("The sky is", model.n_vocab)
    chances = [float(chance) for _, chance in everything]
    assert sum(chances) == pytest.approx(1, abs=1e-4)
    assert chances == sorted(chances, reverse=True)
    assert [token for token, _ in model.candidates("The sky is", 3)] == [t for t, _ in everything[:3]]
    first: Any = everything[0][1]
    assert issubclass(type(first), np.floating), "as the specification says"
    assert issubclass(type(first), float), "and a number of Python's own: json takes it"
    assert json.loads(json.dumps(first)) == first


def test_candidates_show_bare_numbers(model: ez.Model) -> None:
    (_, first), (_, second) = model.candidates("The sky is", 2)
    assert repr([("x", first)]) == f"[('x', {np.float32(first)!s})]"
    assert str(second) == str(np.float32(second))
    for beam in model.beams("The sky is", 2, sampler=ez.SamplerSettings(max_len_tokens=3)):
        assert type(beam.score) is type(beam.logprob) is float
    for report in model.explain("The sky is"):
        numbers = (report.entropy, report.top_probability, report.favourite_probability)
        assert {type(number) for number in numbers} == {float}


def test_print_candidates_prints_the_lines_of_the_specification(model: ez.Model) -> None:
    out = io.StringIO()
    model.print_candidates("The dog says woof, but the cat says", 2, file=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("token 'Ġmeow' has probability 0.")


def test_an_empty_text_begins_with_the_beginning_token(model: ez.Model) -> None:
    start = model.tokenize("")
    assert start == [model.bos_token]
    greedy = ez.SamplerSettings(temp=0, max_len_tokens=5)
    text = model.generate(start, sampler=greedy)
    assert text
    assert model.generate("", sampler=greedy) == text
    assert "".join(chunk["choices"][0]["text"] for chunk in model.stream("", sampler=greedy)) == text
    model.engine.rollback(0)
    assert [token for token, _ in model.candidates("", 3)] == [
        token for token, _ in model.candidates(start, 3)
    ]
    assert model.explain("")[0].survivors == model.n_vocab
    model.ingest("")
    assert model.engine.tokens == start
    assert model.beams("", 2, sampler=greedy)


# --- bad input -----------------------------------------------------------------------------------------

BAD_CALLS: list[tuple[Callable[[ez.Model], object], type[Exception], str]] = [
    (lambda m: m.generate([]), PromptError, "empty"),
    (lambda m: m.detokenize(5), PromptError, "tokens must be a list of token ids; got 5"),  # type: ignore[arg-type]
    (lambda m: m.detokenize(None), PromptError, "got None"),  # type: ignore[arg-type]
    (lambda m: m.detokenize("abc"), PromptError, "got 'abc'"),  # type: ignore[arg-type]
    (lambda m: m.decode([1.5]), PromptError, "1.5 is not an int"),  # type: ignore[list-item]
    (lambda m: m.generate(5), PromptError, "str or token ids; got int"),  # type: ignore[arg-type]
    (lambda m: m.generate(None), PromptError, "NoneType"),  # type: ignore[arg-type]
    (lambda m: m.generate(b"x"), PromptError, "bytes"),
    (lambda m: m.generate([1, 1024]), PromptError, "1024 is not an int from 0 to 1023"),
    (lambda m: m.generate([1, -1]), PromptError, "-1"),
    (lambda m: m.generate(["a"]), PromptError, "'a'"),  # type: ignore[list-item]
    (lambda m: m.generate("x", stops="y"), PromptError, "list"),
    (lambda m: m.generate("x", stops=[""]), PromptError, "empty"),
    (lambda m: m.generate("x", stops=[99999]), PromptError, "99999"),
    (lambda m: m.generate("x", stops=[None]), PromptError, "None"),  # type: ignore[list-item]
    (lambda m: m.generate("x", sampler={"temp": 1}), SettingsError, "SamplerSettings; got dict"),  # type: ignore[arg-type]
    (lambda m: m.candidates("x", 0), SettingsError, "from 1 to 1024; got 0"),
    (lambda m: m.candidates("x", 1025), SettingsError, "got 1025"),
    (lambda m: m.candidates("x", 1.5), SettingsError, "1.5"),  # type: ignore[arg-type]
    (lambda m: m.tokenize(b"x"), PromptError, "bytes"),  # type: ignore[arg-type]
    (lambda m: m.detokenize([5000]), PromptError, "5000"),
    (lambda m: m.detokenize([-1]), PromptError, "-1"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD_CALLS)
def test_bad_input_is_a_clear_error_at_once(
    model: ez.Model, call: Callable[[ez.Model], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(model)
    assert model.generate("The sky is", sampler=SEEDED), "usable afterwards"


def test_errors_of_stream_come_with_the_call_and_not_with_the_first_piece(model: ez.Model) -> None:
    with pytest.raises(PromptError):
        model.stream("x", stops=[""])


def test_a_prompt_that_is_too_long_names_both_counts(model: ez.Model) -> None:
    with pytest.raises(ez.model.ExceededContextLengthException, match=r"512.*512") as caught:
        model.generate([5] * 512)
    assert (caught.value.n_tokens, caught.value.context_length) == (512, 512)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ez.model.ExceededContextLengthException):
        model.ingest("word " * 5000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context_length": 0}, "context_length must be an integer from 1"),
        ({"context_length": "512"}, "got '512'"),
        ({"context_length": 1 << 30}, "got 1073741824"),
        ({"n_gpu_layers": -2}, "n_gpu_layers"),
        ({"n_threads": 100_000}, "n_threads"),
        ({"n_threads": 0}, "n_threads"),
        ({"rope_freq_base": -5.0}, "rope_freq_base"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ez.Model(**options)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="n_ctx"):
        ez.Model(n_ctx=100)  # type: ignore[call-arg]


# --- threads and streams -------------------------------------------------------------------------------


def test_a_second_generation_inside_a_stream_of_the_same_thread_is_an_error(model: ez.Model) -> None:
    stream = model.stream("Once upon a time")
    next(stream)
    with pytest.raises(EngineBusyError, match="unfinished stream"):
        model.generate("x")
    with pytest.raises(EngineBusyError):
        model.candidates("x", 1)
    stream.close()
    assert model.stats.finish_reason is None
    assert model.generate("The sky is", sampler=SEEDED)


def test_a_stream_that_was_never_read_holds_nothing(model: ez.Model) -> None:
    stream = model.stream("Once upon a time")
    assert model.generate("The sky is", sampler=SEEDED)
    stream.close()


def test_a_stream_that_is_dropped_frees_the_context(model: ez.Model) -> None:
    for _ in model.stream("Once upon a time"):
        break
    assert model.generate("The sky is", sampler=SEEDED)


def test_threads_wait_for_each_other_and_get_their_own_text(model: ez.Model) -> None:
    prompts = [f"Once upon a time there were {n} animals" for n in range(4)]
    expected = [model.generate(prompt, sampler=GreedyDecoding) for prompt in prompts]
    found: dict[int, str] = {}

    def work(i: int) -> None:
        found[i] = text_of(list(model.stream(prompts[i], sampler=GreedyDecoding)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(4)] == expected
