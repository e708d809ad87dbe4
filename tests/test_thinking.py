"""Thinking: found in chat templates, divided from the answer in any pieces, and given back to templates."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engine import Tokenizer
from easy_llama.formats.template import ChatTemplate
from easy_llama.formats.thinking import (
    Splitter,
    Thinking,
    as_shown,
    begins_thinking,
    hidden_tokens,
    thinking_of,
    tokens_behind,
)
from tests.conftest import SHARED
from tests.test_templates import CHATML

THINK = Thinking("<think>", "</think>")
CHANNELS = Thinking(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    ("thinking",),
    "<|channel|>final<|message|>",
)
SCRAPS = [
    "<think>", "</think>", "<thi", "nk>", "</", "think>", " ", "\n", "a", "b<", CHANNELS.start, CHANNELS.end,
    CHANNELS.answer, "<|", "<|channel|>", "",
]  # fmt: skip
REPLIES = st.lists(st.sampled_from(SCRAPS) | st.text(max_size=4), max_size=10).map("".join)


def split(thinking: Thinking | None, pieces: list[str], *, inside: bool = False) -> tuple[str, str]:
    """What was thought and what was answered; every part that comes has text."""
    splitter, texts = Splitter(thinking, inside), {True: "", False: ""}
    for part in [part for piece in pieces for part in splitter.push(piece)] + splitter.finish():
        assert part[1]
        assert part[0] is False or not texts[False], "nothing is thought behind an answer"
        texts[part[0]] += part[1]
    assert splitter.finish() == []
    return texts[True], texts[False]


@pytest.mark.parametrize(
    ("reply", "thought", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        (" \n<think>\na\n</think>\n\nb\n", "a\n", "b\n"),
        ("<think>\n\n</think>\n\nb", "", "b"),
        ("<think>a", "a", ""),
        ("<think>a</thi", "a</thi", ""),
        ("<think>a</think>", "a", ""),
        ("<think>a</think> \n", "a", ""),
        ("<think>", "", ""),
        ("<think> \n", "", ""),
        ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("b <think>a</think>", "", "b <think>a</think>"),
        ("a</think>b", "", "a</think>b"),
        (" \n b\n", "", " \n b\n"),
        (" \n", "", " \n"),
        (" <thi", "", " <thi"),
        (" <this>", "", " <this>"),
        ("", "", ""),
    ],
)
def test_a_reply_is_divided(reply: str, thought: str, answer: str) -> None:
    assert split(THINK, [reply]) == (thought, answer)
    assert split(THINK, list(reply)) == (thought, answer)


@pytest.mark.parametrize(
    ("reply", "thought", "answer"),
    [
        ("a</think>b", "a", "b"),
        ("\n\n</think>\n\nb", "", "b"),
        ("\na", "a", ""),
        ("\n<think>\na</think>b", "a", "b"),  # some models repeat what the prompt ends with
        ("<think><think>a", "<think>a", ""),
        ("<thi", "<thi", ""),
        ("\n", "", ""),
        ("", "", ""),
    ],
)
def test_a_reply_that_begins_inside_of_thinking(reply: str, thought: str, answer: str) -> None:
    assert split(THINK, [reply], inside=True) == (thought, answer)
    assert split(THINK, list(reply), inside=True) == (thought, answer)


def test_channels() -> None:
    thought = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b"
    assert split(CHANNELS, [thought]) == split(CHANNELS, list(thought)) == ("a", "b")
    assert split(CHANNELS, list("<|channel|>final<|message|>b")) == ("", "b")
    assert split(CHANNELS, list("<|channel|>commentary")) == ("", "<|channel|>commentary")


@given(text=REPLIES, inside=st.booleans(), thinking=st.sampled_from([THINK, CHANNELS]), cuts=st.data())
@example(text="<think>a</thi</think>b", inside=False, thinking=THINK, cuts=None)
def test_any_pieces_give_the_same_parts(
    text: str, inside: bool, thinking: Thinking, cuts: st.DataObject | None
) -> None:
    whole = split(thinking, [text], inside=inside)
    assert split(thinking, list(text), inside=inside) == whole
    if cuts is not None:
        ends = sorted(cuts.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
        assert split(thinking, pieces, inside=inside) == whole


@given(pieces=st.lists(REPLIES, max_size=6))
def test_a_model_that_never_thinks_writes_what_it_writes(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert split(None, pieces) == ("", text)
    if not text.lstrip().startswith("<think>"):
        assert split(THINK, pieces) == ("", text)


def test_only_what_may_become_a_marker_is_held_back() -> None:
    splitter = Splitter(THINK)
    assert splitter.push(" ") == splitter.push("<th") == splitter.push("ink>") == splitter.push("\n") == []
    assert splitter.push("a b") == [(True, "a b")]
    assert splitter.push("c</") == [(True, "c")]
    assert splitter.push("d</think") == [(True, "</d")]
    before = splitter.answer_at
    assert splitter.push(">\n") == []
    assert splitter.push("e") == [(False, "e")]
    assert (before, splitter.answer_at) == (None, len(" <think>\na bc</d</think>\n"))
    piece = "</think>"
    assert splitter.push(piece)[0][1] is piece, "an answer costs nothing"
    plain = Splitter(THINK)
    assert plain.push("He") == [(False, "He")]
    assert plain.answer_at == 0


# --- the markers of templates --------------------------------------------------------------------------

_TAGS = ("<think>", "</think>")
_CHANNELS = (CHANNELS.start, CHANNELS.end)
# markers, keys, and whether a reply begins inside
FAMILIES = {
    "Apertus-8B-Instruct": (("<|inner_prefix|>", "<|inner_suffix|>"), ("content.thoughts",), False),
    "Apriel-1.6-15b-Thinker-fixed":
        (("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"), ("reasoning_content",), True),
    "ByteDance-Seed-OSS": (("<seed:think>", "</seed:think>"), ("reasoning_content",), False),
    "Cohere2MoE": (
        ("<|START_THINKING|>", "<|END_THINKING|>"), ("reasoning_content", "reasoning", "thinking"), True),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (("<|START_THINKING|>", "<|END_THINKING|>"), (), False),
    "GLM-4.6": (_TAGS, ("reasoning_content",), False),
    "Kimi-K2-Thinking": (_TAGS, (), False),
    "LFM2.5-8B-A1B": (_TAGS, ("thinking",), False),
    "MiniMax-M3": (("<mm:think>", "</mm:think>"), ("reasoning_content",), False),
    "NVIDIA-Nemotron-Nano-v2": (_TAGS, (), True),
    "Qwen-QwQ-32B": (_TAGS, (), False),
    "Qwen3.5-4B": (_TAGS, ("reasoning_content",), True),
    "Spark2.5": (_TAGS, ("reasoning_content",), True),
    "StepFun3.5-Flash": (_TAGS, ("reasoning_content",), True),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (_TAGS, (), False),
    "deepseek-ai-DeepSeek-V3.1": (_TAGS, (), False),
    "deepseek-ai-DeepSeek-V4": (_TAGS, (), False),
    "deepseek-ai-DeepSeek-V4-Flash-0731": (_TAGS, (), False),
    "google-gemma-4-31B-it-interleaved": (("<|channel>thought", "<channel|>"), (), False),
    "ibm-granite-granite-3.3-2B-Instruct": (_TAGS, (), False),
    "inclusionai-ling-3.0-flash": (_TAGS, ("reasoning_content",), True),
    "llama-cpp-deepseek-r1": (_TAGS, (), True),
    "mistralai-Ministral-3-14B-Reasoning-2512": (("[THINK]", "[/THINK]"), ("content.thinking",), False),
    "muse-glimmer": (
        ("to=self<|message|>", "<|eom|><|start|>assistant to=user<|message|>"),
        ("reasoning_content",), False),
    "openai-gpt-oss-120b": (_CHANNELS, ("thinking",), False),
    "poolside-Laguna-S-2.1": (_TAGS, ("reasoning_content", "reasoning"), True),
    "poolside-Laguna-XS-2.1": (_TAGS, ("reasoning_content", "reasoning"), False),
    "tencent-Hy3": (
        ("<think:opensource>", "</think:opensource>"), ("reasoning_content", "reasoning"), False),
    "unsloth-Apriel-1.5": (("<thinking>", "</thinking>"), (), False),
    "upstage-Solar-Open-100B": (
        ("<|think|>", "<|end|><|begin|>assistant<|content|>"), ("reasoning",), False),
}  # fmt: skip


@pytest.mark.skipif(not SHARED.exists(), reason="the real templates are not here")
def test_the_markers_of_every_real_template() -> None:
    found = {}
    for path in (SHARED / "templates").glob("*.jinja"):
        source = path.read_text(encoding="utf-8")
        thinking = thinking_of(source)
        if thinking is not None:
            inside = begins_thinking(ChatTemplate(source).render([("user", "a")]), thinking)
            found[path.stem] = ((thinking.start, thinking.end), thinking.keys, inside)
            assert bool(thinking.answer) == (path.stem.split("-")[0] in ("openai", "muse", "upstage"))
    assert found == FAMILIES


@pytest.mark.skipif(not SHARED.exists(), reason="the real templates are not here")
@pytest.mark.parametrize("name", sorted(name for name, family in FAMILIES.items() if family[1]))
def test_what_a_real_template_writes_of_a_reply_is_divided_again(name: str) -> None:
    """The newest answer with its thinking, as the template writes it behind the prompt."""
    template = ChatTemplate((SHARED / "templates" / f"{name}.jinja").read_text(encoding="utf-8"))
    thinking = thinking_of(template.source)
    assert thinking is not None
    prompt = template.render([("user", "Q1Q")])
    text = template.render([("user", "Q1Q"), ("bot", "Q2Q", "Q3Q")], generate=False)
    behind = text[text.index("Q1Q") :]
    # what the model writes begins at the marker, or at the thought where the prompt has written that
    inside = begins_thinking(prompt, thinking)
    reply = behind[behind.index("Q3Q") if inside else behind.index(thinking.start) :]
    thought, answer = split(thinking, list(reply), inside=inside)
    assert thought.strip() == "Q3Q"
    assert answer.startswith(("Q2Q", "<|START_TEXT|>Q2Q"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (None, None),
        ("", None),
        (CHATML, None),
        ("{# <think></think> #}" + CHATML, None),
        ("<think>" + CHATML, None),
        ("{% fir m in messages %}<think></think>", THINK),  # broken, and the layout says so
        ("{{ raise_exception('never') }}<think></think>", THINK),
        (CHATML.replace("m.content", "(m.content.split('<x:think>')|last).split('</x:think>')|last"),
         Thinking("<x:think>", "</x:think>")),
        (CHATML.replace("{{ m.content", "{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content"),
         Thinking("[", "]", ("thinking",))),
    ],
)  # fmt: skip
def test_markers_of_other_templates(source: str | None, found: Thinking | None) -> None:
    assert thinking_of(source) == found


def test_an_opened_marker() -> None:
    assert begins_thinking("<|im_start|>assistant\n<think>\n", THINK)
    assert begins_thinking("<think>", THINK)
    assert not begins_thinking("<think>\n\n</think>\n\n", THINK)
    assert not begins_thinking("<|im_start|>assistant\n", THINK)
    assert not begins_thinking("<think>", None)
    assert not begins_thinking("", THINK)


# --- markers that are control tokens -------------------------------------------------------------------


class Markers(Tokenizer):
    """A vocabulary of characters and of some markers, of which those in ``hidden`` add no text."""

    n_vocab = 0x110000 + 10

    def __init__(self, *markers: str, hidden: tuple[str, ...]) -> None:
        self.markup, self.hidden = markers, hidden

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset()

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        ids: list[int] = []
        while text:
            marker = next((m for m in self.markup if text.startswith(m)), None)
            ids.append(0x110000 + self.markup.index(marker) if marker else ord(text[0]))
            text = text[len(marker or "x") :]
        return ids

    def piece(self, token: int) -> bytes:
        text = self.raw_text(token)
        return b"" if text in self.hidden else text.encode()

    def raw_text(self, token: int) -> str:
        return self.markup[token - 0x110000] if token >= 0x110000 else chr(token)


def test_control_tokens_among_the_markers_are_named_with_their_text() -> None:
    magistral = Thinking("[THINK]", "[/THINK]")
    tokenizer = Markers("[THINK]", "[/THINK]", hidden=("[THINK]", "[/THINK]"))
    hidden = hidden_tokens(magistral, tokenizer)
    assert sorted(hidden.values()) == [b"[/THINK]", b"[THINK]"]
    assert as_shown(magistral, tokenizer) is None
    tokens = tokenizer.encode("[THINK]a[/THINK]b")
    assert tokenizer.decode(tokens) == b"ab"
    shown = [(hidden.get(token) or tokenizer.piece(token)).decode() for token in tokens]
    assert split(magistral, shown) == ("a", "b")


def test_gpt_oss_shows_all_but_one_of_its_markers() -> None:
    markup = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")
    tokenizer = Markers(*markup, hidden=("<|end|>",))
    assert list(hidden_tokens(CHANNELS, tokenizer).values()) == [b"<|end|>"]
    shown = as_shown(CHANNELS, tokenizer)
    assert shown is not None
    assert shown.end == "<|start|>assistant<|channel|>final<|message|>"
    reply = CHANNELS.start + "a" + CHANNELS.end + "b"
    assert split(shown, [tokenizer.decode(tokenizer.encode(reply)).decode()]) == ("a", "b")
    assert hidden_tokens(CHANNELS, Markers(*markup, hidden=())) == {}
    assert as_shown(CHANNELS, Markers(*markup, hidden=())) == CHANNELS


def test_the_bundled_vocabulary_shows_plain_markers(model: ez.Model) -> None:
    assert hidden_tokens(THINK, model.tokenizer) == {}
    assert as_shown(THINK, model.tokenizer) == THINK
    end = Thinking("<|im_start|>", "<|im_end|>")
    assert sorted(hidden_tokens(end, model.tokenizer).values()) == [b"<|im_end|>", b"<|im_start|>"]


def test_the_tokens_of_the_answer() -> None:
    tokenizer = Markers("</think>", "\n\nb", hidden=())
    tokens = tokenizer.encode("é</think>\n\nbc")
    assert tokens_behind(tokens, "é</think>", tokenizer.piece) == tokens[2:]
    assert tokens_behind(tokens, "é</think>\n\n", tokenizer.piece) is None, "a token holds both"
    assert tokens_behind(tokens, "", tokenizer.piece) == tokens
    assert tokens_behind(tokens, "é</think>\n\nbc", tokenizer.piece) == []
    assert tokens_behind(tokens, "é</think>\n\nbcd", tokenizer.piece) is None
