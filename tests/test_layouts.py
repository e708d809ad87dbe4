"""Layouts: what a thread sends is what the chat template writes, byte for byte, as text and as tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.chat.encoder import MessageEncoder
from easy_llama.chat.layouts import DictLayout, Layout, TemplateLayout, layout_of
from easy_llama.chat.message import Message
from easy_llama.engine import Engine, Tokenizer
from easy_llama.errors import FormatError
from easy_llama.formats.shape import Told
from easy_llama.formats.template import ChatTemplate
from tests.conftest import SHARED
from tests.test_templates import CHATML

TEMPLATES = sorted((SHARED / "templates").glob("*.jinja"))
SYSTEM_BLOCK = "<|im_start|>system\nBe good.<|im_end|>\n"
DEFAULT = f"{{% if messages[0].role != 'system' %}}{SYSTEM_BLOCK}{{% endif %}}"
TRIMMING = CHATML.replace("m.content", "m.content | trim")
# none of these is a probe of derive's as a whole; they meet in other orders and places
SCRAPS = [
    "", " ", "\n", "\t", "a", "Hello there.", "É漢😀", "<think>", "</think>", "[/THINK]", "<|im_end|>",
    "<|im_start|>user\n", "[INST]", "<tool_call>{}</tool_call>", "{{ x }}", "/no_think", "\r\n", "### ",
]  # fmt: skip
CONTENTS = st.lists(st.sampled_from(SCRAPS) | st.text(max_size=8), max_size=5).map("".join)


@dataclass
class Chatting:
    """A provider with the bundled vocabulary and any chat template."""

    engine: Engine
    tokenizer: Tokenizer
    chat_template: str
    name: str = "any"


def layout_for(model: ez.Model, template: str) -> Layout:
    encoder = MessageEncoder(lambda: model.tokenizer)
    return layout_of(Chatting(model.engine, model.tokenizer, template), None, encoder)[0]


def told(model: ez.Model, layout: Layout, conversation: list[Told]) -> list[Message]:
    """The conversation as a thread's messages."""
    messages: list[Message] = []
    for role, content, *thinking in conversation:
        prefix, postfix = layout.texts(role, messages[-1] if messages else None)
        message = Message(role, prefix, content, postfix)
        message.thinking = "".join(thinking)
        messages.append(message)
    return messages


@st.composite
def conversations(draw: st.DrawFn) -> list[Told]:
    """With or without a system message, of any length, ending with a question or an answer."""
    system: list[Told] = [("system", text)] if (text := draw(CONTENTS)) else []
    turns: list[Told] = []
    for i in range(draw(st.integers(1, 6))):
        if i % 2 and draw(st.booleans()):
            turns.append(("bot", draw(CONTENTS), draw(CONTENTS)))
        else:
            turns.append(("bot" if i % 2 else "user", draw(CONTENTS)))
    return system + turns


def body(text: str, model: ez.Model) -> str:
    """The text behind the beginning-of-sequence text, which comes from the tokenizer or the template."""
    return re.sub(f"^({re.escape(model.tokenizer.markers()[0])})+", "", text)


@pytest.mark.skipif(not TEMPLATES, reason="the real templates are not here")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:.*refuses system messages")
@given(conversation=conversations(), generate=st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_thread_sends_what_a_real_template_writes(
    path: Path, conversation: list[Told], generate: bool, model: ez.Model
) -> None:
    source = path.read_text(encoding="utf-8")
    layout = layout_for(model, source)
    if "gemma-2" in path.stem:  # takes no system message; the next test is about that
        conversation = [message for message in conversation if message[0] != "system"]
    messages = told(model, layout, conversation)
    template = ChatTemplate(source, *model.tokenizer.markers())
    try:
        expected = body(template.render(conversation, generate=generate), model)
    except FormatError:
        return  # it rejects empty contents, or texts in them
    assert body(layout.text(messages, generate=generate), model) == expected
    try:
        tokens = layout.tokens(messages, generate=generate)
    except FormatError:
        return  # the template changes contents, and one of them holds markup
    written = model.tokenizer.decode(tokens, special=True).decode("utf-8", "replace")
    assert body(written, model) == expected.encode("utf-8", "replace").decode()


def test_a_refused_system_message_opens_the_users(model: ez.Model) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TRIMMING
    with pytest.warns(ez.errors.EasyLlamaWarning, match="refuses system messages"):
        layout = layout_for(model, refusing)
    messages = told(model, layout, [("system", "S"), ("user", " U ")])
    assert layout.text(messages, generate=False) == "<|im_start|>user\nS\n\n U<|im_end|>\n"


def test_a_default_system_message_is_written_where_none_is_given(model: ez.Model) -> None:
    layout = layout_for(model, DEFAULT + CHATML)
    assert isinstance(layout, DictLayout)
    question = told(model, layout, [("user", "Hi")])
    text = SYSTEM_BLOCK + "<|im_start|>user\nHi<|im_end|>\n"
    assert layout.text(question, generate=False) == text
    tokens = layout.tokens(question, generate=False)
    assert body(model.tokenizer.decode(tokens, special=True).decode(), model) == text
    with_own = told(model, layout, [("system", "No."), ("user", "Hi")])
    assert "Be good." not in layout.text(with_own)
    assert layout.text([]) == "<|im_start|>assistant\n"


def test_markup_in_contents_stays_plain_where_the_template_trims_them(model: ez.Model) -> None:
    layout = layout_for(model, TRIMMING)
    assert isinstance(layout, TemplateLayout)
    tokens = layout.tokens(told(model, layout, [("user", " <|im_end|>\n"), ("bot", "\nx<|im_end|>")]))
    assert sum(map(model.tokenizer.is_control, tokens)) == 1 + 2 + 2 + 1


def test_markup_stays_plain_where_the_template_takes_thinking_out(model: ez.Model) -> None:
    layout = layout_for(
        model, CHATML.replace("m.content", "m.content.split('<think>')[0].split('</think>')[-1]")
    )
    talk: list[Told] = [("user", "<|im_end|>"), ("bot", "<|im_end|>a</think>b<|im_end|>"), ("user", "c")]
    tokens = layout.tokens(told(model, layout, talk))
    text = body(model.tokenizer.decode(tokens, special=True).decode(), model)
    assert text == layout.text(told(model, layout, talk))
    assert "assistant\nb<|im_end|><|im_end|>" in text
    assert sum(map(model.tokenizer.is_control, tokens)) == 1 + 2 * 3 + 1


THINKING = CHATML.replace(
    "{{ m.content }}",
    "{% if m.reasoning_content and loop.index0 > messages | length - 3 %}"
    "<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}",
)


def test_thinking_goes_to_the_template_which_decides(model: ez.Model) -> None:
    layout = layout_for(model, THINKING)
    assert isinstance(layout, TemplateLayout)
    talk: list[Told] = [("user", "a"), ("bot", "b", "T1 <|im_end|>"), ("user", "c")]
    messages = told(model, layout, talk)
    text = layout.text(messages)
    assert "<think>T1 <|im_end|></think>b" in text
    tokens = layout.tokens(messages)
    assert body(model.tokenizer.decode(tokens, special=True).decode(), model) == text
    assert sum(map(model.tokenizer.is_control, tokens)) == 1 + 2 * 3 + 1, "what was thought stays plain, too"
    later = told(model, layout, [*talk, ("bot", "d", "T2"), ("user", "e")])
    assert "T1" not in layout.text(later)
    assert "<think>T2</think>d" in layout.text(later)


def test_generated_tokens_are_kept_where_a_template_is_rendered_whole(model: ez.Model) -> None:
    layout = layout_for(model, THINKING)
    for content in ("hello", " hello", "hello "):
        messages = told(model, layout, [("user", "x"), ("bot", content), ("user", "y")])
        letters = [token for letter in content for token in model.tokenizer.encode(letter, bos=False)]
        assert letters != model.tokenizer.encode(content, bos=False)
        before = layout.tokens(messages)
        messages[1].generated = letters
        after = layout.tokens(messages)
        assert after != before
        assert str(letters)[1:-1] in str(after)
        assert model.tokenizer.decode(after) == model.tokenizer.decode(before)


def test_an_empty_answer_that_the_template_rejects_is_left_out(model: ez.Model) -> None:
    strict = (
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty') }}{% endif %}{% endfor %}"
    )
    layout = layout_for(model, strict + TRIMMING)
    messages = told(model, layout, [("user", "a"), ("bot", ""), ("user", "b")])
    assert layout.text(messages, generate=False) == "<|im_start|>user\na\n\nb<|im_end|>\n"
    assert layout.tokens(messages)
    with pytest.raises(FormatError, match="empty"):
        layout.text(told(model, layout, [("user", "")]))


def test_a_message_keeps_what_was_thought() -> None:
    message = Message("bot", "", "a", "")
    assert message.thinking == ""
    state = message.state()
    message.thinking = "b"
    assert message.copy().thinking == "b"
    assert message.state() != state
