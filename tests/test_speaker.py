"""The speaker: everything one does to text works on every provider, on engines of one's own, too."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llama_cpp
import numpy as np
import pytest

import easy_llama as ez
from easy_llama.decoding import BeamSearch, Sampling
from easy_llama.decoding.backtracking import Backtracking
from easy_llama.engine import ChatProvider, Engine, Provider, prefill
from easy_llama.engines.table import TableEngine
from easy_llama.errors import PromptError, SettingsError
from easy_llama.generation.speaker import Speaker
from easy_llama.samplers import GreedyDecoding, SamplerSettings
from easy_llama.samplers.picker import NumpyPicker
from easy_llama.terminal.menu import Choice, Option
from tests.test_console import Terminal
from tests.toys import PieceTokenizer, toy

PIECES = ["a", "b", "c", " ", "ab", "ba", "é", ".", "x"]
SHORT = SamplerSettings(temp=0.0, max_len_tokens=12)
DRAWN = SamplerSettings(max_len_tokens=12, seed=3)


def model_provider() -> Speaker:
    return ez.Model(n_threads=1)


def llamacpp_provider() -> Speaker:
    path = str(ez.model.BUNDLED_MODEL)
    return ez.LlamacppProvider(llama_cpp.Llama(path, n_ctx=512, n_threads=1, verbose=False))


def own_provider() -> Speaker:
    made = toy(PIECES, seed=4)
    return ez.EngineProvider(made.engine, made.tokenizer, name="toy")


@pytest.fixture(params=[model_provider, llamacpp_provider, own_provider])
def provider(request: pytest.FixtureRequest) -> Iterator[Speaker]:
    make: Callable[[], Speaker] = request.param
    made = make()
    yield made
    made.engine.close()


def prompt_of(provider: Speaker) -> str:
    return "ab" if provider.name == "toy" else "The sky is blue, and"


def test_generating_in_all_four_ways_is_the_same(provider: Speaker) -> None:
    prompt = prompt_of(provider)
    text = provider.generate(prompt, sampler=DRAWN)
    assert text
    assert provider.stats.generated == 12
    assert provider.stats.seed == 3
    chunks = list(provider.stream(prompt, sampler=DRAWN))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    out = io.StringIO()
    assert provider.stream_print(prompt, sampler=DRAWN, file=out) == text
    assert out.getvalue() == text + "\n"
    assert "".join(provider.generation(prompt, sampler=DRAWN).pieces()) == text
    stop = text[len(text) // 2 :][:2]
    assert provider.generate(prompt, [stop], DRAWN) == text[: text.index(stop)]


def test_what_was_evaluated_is_not_evaluated_again(provider: Speaker) -> None:
    tokens = provider.tokenize(prompt_of(provider))
    provider.ingest(tokens)
    assert provider.stats.evaluated == len(tokens)
    provider.candidates(tokens, 1)
    assert (provider.stats.evaluated, provider.stats.reused) == (1, len(tokens) - 1)
    provider.generate([*tokens, tokens[-1]], sampler=SHORT)
    assert provider.stats.reused == len(tokens)


def test_candidates_are_the_likeliest_tokens_in_the_words_of_the_vocabulary(provider: Speaker) -> None:
    prompt = prompt_of(provider)
    logits = prefill(provider.engine, provider.tokenize(prompt)).copy()
    found = provider.candidates(prompt, 5)
    best = np.argsort(-logits, kind="stable")[:5]
    assert [token for token, _ in found] == [provider.tokenizer.raw_text(int(token)) for token in best]
    assert np.allclose(
        [chance for _, chance in found], np.exp(logits - np.logaddexp.reduce(logits))[best], atol=1e-4
    )
    out = io.StringIO()
    provider.print_candidates(prompt, 2, out)
    assert out.getvalue().count("has probability") == 2
    with pytest.raises(SettingsError, match="k must be an integer from 1 to"):
        provider.candidates(prompt, 0)


def test_explaining(provider: Speaker) -> None:
    reports = provider.explain(
        prompt_of(provider), SamplerSettings(top_k=3, top_p=None, min_p=None, temp=0.5)
    )
    assert [report.step for report in reports] == ["model", "top_k", "temperature"]
    assert reports[1].survivors == 3
    assert reports[0].top == provider.candidates(prompt_of(provider), 1)[0][0]


def test_aligning(provider: Speaker) -> None:
    found = provider.align(prompt_of(provider), len, steps=4, seed=1, sampler=SHORT)
    assert len(found.chain) == 5
    assert found.best.reward == max(sample.reward for sample in found.chain)


def test_beams(provider: Speaker) -> None:
    prompt = prompt_of(provider)
    if isinstance(provider, ez.LlamacppProvider):
        with pytest.raises(SettingsError, match="room for 0"):  # the context that Llama makes has no forks
            provider.beams(prompt, 2)
        return
    found = provider.beams(prompt, 3, sampler=SHORT)
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
    assert found[0].text == provider.detokenize(found[0].tokens)


def test_a_decoder_of_ones_own(provider: Speaker) -> None:
    prompt, seen = prompt_of(provider), []

    def last_token_again(
        engine: Engine, prompt: list[int], ends: frozenset[int], limit: int
    ) -> Iterator[int]:
        seen.append((len(prompt), limit))
        prefill(engine, prompt)
        for _ in range(min(limit, 4)):
            yield prompt[-1]

    tokens = provider.tokenize(prompt)
    text = provider.generate(prompt, decoder=last_token_again)
    assert text == provider.detokenize([tokens[-1]] * 4)
    assert seen == [(len(tokens), provider.engine.n_ctx - len(tokens))]
    plain = Sampling(DRAWN, 3, provider.tokenizer)
    assert provider.generate(prompt, decoder=plain, sampler=SHORT) == provider.generate(prompt, sampler=DRAWN)
    if not isinstance(provider, ez.LlamacppProvider):
        best = provider.beams(prompt, 3, sampler=SHORT)[0].text
        assert provider.generate(prompt, sampler=SHORT, decoder=BeamSearch(3)) == best
    slop = ez.AntiSlopStrategy(provider, ["ba"])
    with pytest.raises(SettingsError, match="strategy and decoder"):
        provider.generate(prompt, decoder=plain, strategy=slop)
    with pytest.raises(SettingsError, match="decoder must be a function"):
        provider.generate(prompt, decoder="beam")  # type: ignore[arg-type]  # the point of the test


def test_strategies(provider: Speaker) -> None:
    text = provider.generate(prompt_of(provider), sampler=SHORT)
    slop = ez.AntiSlopStrategy(provider, [text[3:5]])
    assert text[3:5] not in provider.generate(prompt_of(provider), sampler=SHORT, strategy=slop)


def test_text_to_tokens_and_back(provider: Speaker) -> None:
    prompt = prompt_of(provider)
    tokens = provider.encode(prompt)
    assert tokens == provider.tokenize(prompt)
    assert provider.decode(tokens) == provider.detokenize(tokens) == prompt
    assert provider.get_length(prompt) == len(tokens)
    with pytest.raises(PromptError, match="text must be a str"):
        provider.tokenize(5)  # type: ignore[arg-type]  # the point of the test


def test_what_a_provider_is(provider: Speaker) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, ChatProvider)
    assert provider.name in ("tiny.gguf", "toy")
    assert (provider.chat_template is None) == (provider.name == "toy")
    assert provider.name in repr(provider)


class SpaceBefore(PieceTokenizer):
    """As SentencePiece does: BOS first, then a space that is no part of the text."""

    adds_space = True

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        return [0] * bos + (super().encode(" " + text) if text else [])

    def decode(self, tokens: Sequence[int]) -> bytes:
        data = b"".join(map(self.piece, tokens))
        return data.removeprefix(b" ") if list(tokens[:1]) == [0] else data


def test_only_a_text_that_begins_a_sequence_loses_the_space_that_was_added() -> None:
    tokenizer = SpaceBefore(["", " a", " b", "c", " "])
    table = np.full((6, 6), -9.0)
    table[0, 1] = table[1, 2] = table[2, 3] = table[3, 1] = 5.0  # BOS, " a", " b", "c", " a", ...
    provider = ez.EngineProvider(TableEngine(table), tokenizer)
    settings = SamplerSettings(temp=0, max_len_tokens=4)
    assert provider.generate("", sampler=settings) == "a bc a"
    assert provider.generate([0], sampler=settings) == "a bc a"
    assert provider.generate("a", sampler=settings) == " bc a b"
    assert [chunk["choices"][0]["text"] for chunk in provider.stream("", sampler=settings)][:2] == ["a", " b"]
    assert provider.generate("", stops=[" a"], sampler=settings) == "a bc", "the first one is no ' a'"
    assert provider.beams("", 1, sampler=settings)[0].text == "a bc a"
    assert provider.beams("a", 1, sampler=settings)[0].text == " bc a b"
    found = provider.align("", lambda text: float(text.startswith("a")), 2, seed=1, sampler=settings)
    assert found.best.text == "a bc a"
    run = provider.generation("", sampler=settings)
    text = "".join(run.pieces())
    assert run.tokens_of(text) == ([1, 2, 3, 1], "")
    assert provider.detokenize(provider.tokenize("a bc")) == "a bc"
    assert provider.detokenize([1, 2]) == " a b"


def test_where_there_is_no_beginning_token_an_empty_text_is_an_error() -> None:
    provider = ez.EngineProvider(TableEngine(np.zeros((3, 3))), PieceTokenizer(["a", "b"]))
    calls: list[Callable[[], object]] = [
        lambda: provider.generate(""), lambda: list(provider.stream("")), lambda: provider.candidates("", 1),
        lambda: provider.explain(""), lambda: provider.ingest(""), lambda: provider.beams(""),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(PromptError, match=r"prompt is empty, .* at least one character") as caught:
            call()
        assert "model." not in str(caught.value), "it reads well on the command line, too"
    with pytest.raises(PromptError, match="empty list; give at least one token id"):
        provider.generate([])


def test_a_constraint_where_the_engine_has_none_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"llama\.cpp engine"):
        own_provider().generate("ab", sampler=SamplerSettings(grammar='root ::= "a"'))
    with pytest.raises(SettingsError, match=r"llama\.cpp engine"):
        own_provider().explain("ab", SamplerSettings(grammar='root ::= "a"'))


# --- conversations -------------------------------------------------------------------------------------


def test_a_bare_llama_chats_as_a_model_does(model: ez.Model) -> None:
    greedy = SamplerSettings(temp=0.0, seed=1)
    with_model = ez.Thread(model, sampler=greedy)
    provider = llamacpp_provider()
    thread = ez.Thread(provider, sampler=greedy)
    for question in ("My name is Anna.", "What is my name?", "What is 7 + 5?"):
        assert thread.send(question) == with_model.send(question)
        assert thread.last.stats.reused == with_model.last.stats.reused
    assert "Anna" in thread.messages[-3]["content"]
    assert thread.to_dict() == with_model.to_dict()
    provider.engine.close()


def test_an_engine_of_ones_own_chats_with_a_format() -> None:
    thread = ez.Thread(own_provider(), {**ez.formats.chatml, **BARE}, SHORT)
    reply = thread.send("ab")
    assert reply
    assert thread.last.stats.finish_reason in ("stop", "length")
    assert [message["role"] for message in thread.messages] == ["user", "bot"]
    assert thread.reroll() == reply
    assert thread.messages[-1].alternatives == [reply]
    with pytest.raises(ez.errors.FormatError, match="toy has no chat template; give a format"):
        ez.Thread(own_provider())


BARE: ez.formats.Format = {
    "system_prefix": "", "system_prompt": "", "system_suffix": "", "user_prefix": "a", "user_suffix": ".",
    "bot_prefix": "b", "bot_suffix": " ", "stops": [],
}  # fmt: skip


class Minimal:
    """A provider that is no Speaker: it has the four things that a conversation asks for."""

    def __init__(self, model: ez.Model) -> None:
        self.engine, self.tokenizer = model.engine, model.tokenizer
        self.name, self.chat_template = "minimal", model.chat_template


def test_any_provider_with_a_name_and_a_template_chats(model: ez.Model) -> None:
    thread = ez.Thread(Minimal(model), sampler=GreedyDecoding)
    assert thread.send("What is the capital of France?") == "The capital of France is Paris."
    assert repr(thread) == "<Thread of 2 messages on minimal>"
    with pytest.raises(PromptError, match=r"a name and a chat_template.*got TableEngine"):
        ez.Thread(own_provider().engine)  # type: ignore[arg-type]  # the point of the test


class FourMembers:
    """The least that a tokenizer is: the members that a class derived from Tokenizer writes itself."""

    def __init__(self) -> None:
        self._toy = toy(PIECES, seed=4).tokenizer
        self.n_vocab, self.end_tokens = self._toy.n_vocab, self._toy.end_tokens

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        return self._toy.encode(text)

    def piece(self, token: int) -> bytes:
        return self._toy.piece(token)


class Least:
    """A provider of an engine and that tokenizer."""

    def __init__(self) -> None:
        self.engine, self.tokenizer = toy(PIECES, seed=4).engine, FourMembers()


def test_what_takes_a_provider_asks_its_tokenizer_for_four_members_only() -> None:
    provider: Any = Least()
    found = ez.compare(provider, [0], {"greedy": SHORT, "slow": DRAWN}, max_len_tokens=5)
    assert len(found.outcomes) == 2
    seen: list[str] = []

    def person(text: str, options: list[Option], can_go_back: bool) -> Choice:
        seen.append(text)
        return "end" if len(seen) > 3 else 0

    guided = ez.HumanGuidanceStrategy(provider, choose=person)
    ends = provider.tokenizer.end_tokens
    tokens = list(Backtracking(guided, SHORT, 1, provider.tokenizer)(provider.engine, [0], ends, 5))
    assert len(tokens) == 3
    assert seen[0] == ""
    assert all(len(text) > 0 for text in seen[1:])


class PickingOnly(TableEngine):
    """It has a picker of its own, but neither a faster way nor grammars."""

    def picker(self, settings: SamplerSettings, seed: int, history: Sequence[int] = ()) -> NumpyPicker:
        return NumpyPicker(SamplerSettings(logit_bias={3: 100.0}), seed, None)


def test_an_engine_with_a_picker_alone_has_it_used() -> None:
    made = toy(PIECES, seed=4)
    engine = PickingOnly(np.zeros((made.tokenizer.n_vocab,) * 2))
    provider = ez.EngineProvider(engine, made.tokenizer)
    assert provider.generate("ab", sampler=SHORT) == " " * 12
    with pytest.raises(SettingsError, match=r"needs a llama\.cpp engine"):
        provider.explain("ab", sampler=SamplerSettings(grammar='root ::= "a"'))


def test_printed_on_a_terminal_a_text_can_not_steer_it(model: ez.Model) -> None:
    red = ez.SamplerSettings(temp=0.0, grammar='root ::= "\\x1b[31mred\\x1b[2J"')
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        assert model.stream_print("Hello", sampler=red, file=out) == "\x1b[31mred\x1b[2J"
    assert terminal.getvalue() == "\\x1b[31mred\\x1b[2J\n"
    assert pipe.getvalue() == "\x1b[31mred\x1b[2J\n", "a program gets the text as it is"
