"""What a model thinks, apart from what it answers, in a conversation and in the console."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama.chat.history import History
from easy_llama.chat.reply import Part
from easy_llama.console.loop import Console
from easy_llama.engine import prefill
from easy_llama.terminal.reader import PlainReader
from easy_llama.thread import Thread
from tests.test_console import Terminal

# drops what was thought from the history, as Qwen3's template does
TEMPLATE = """{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}{# <think> #}{% if false %}<think></think>{% endif %}"""
OPENED = TEMPLATE.replace("assistant\n{% endif %}{#", "assistant\n<think>\n{% endif %}{#")
GRAMMAR = 'root ::= "<think>\\nHm, 2.\\n</think>\\n\\nIt is " [0-9] "."'


def speaker(model: ez.Model, template: str = TEMPLATE) -> ez.EngineProvider:
    return ez.EngineProvider(model.engine, model.tokenizer, "thinker", template)


def thinker(model: ez.Model, grammar: str = GRAMMAR, template: str = TEMPLATE) -> Thread:
    sampler = ez.SamplerSettings(temp=0.0, grammar=grammar, max_len_tokens=80)
    return Thread(speaker(model, template), sampler=sampler)


def test_the_answer_is_apart_from_the_thinking(model: ez.Model) -> None:
    thread = thinker(model)
    parts = list(thread.stream_parts("What is 1 + 1?"))
    message = thread.messages[-1]
    assert "".join(part.text for part in parts if part.is_thinking).strip() == "Hm, 2."
    assert "".join(part.text for part in parts if not part.is_thinking) == message["content"]
    assert message["content"].startswith("It is ")
    assert message.thinking.strip() == "Hm, 2."
    assert thread.send("And again?") == thread.messages[-1]["content"]
    assert "think" not in thread.as_string(), "it is not sent back, as the template does not"
    assert all(isinstance(part, Part) for part in parts)


def test_a_template_that_opens_the_thinking_itself(model: ez.Model) -> None:
    thread = thinker(model, 'root ::= "Hm.\\n</think>\\n\\nYes."', OPENED)
    assert thread.send("Is it?") == "Yes."
    assert thread.messages[-1].thinking.strip() == "Hm."


def test_the_next_turn_reuses_the_tokens_of_the_answer(model: ez.Model) -> None:
    thread = thinker(model)
    thread.send("What is 1 + 1?")
    message = thread.messages[-1]
    made = message.made
    assert made is not None
    assert message.generated == list(made.tokens[made.answer :])
    text = b"".join(map(model.tokenizer.piece, message.generated or [])).decode()
    assert text == message["content"]
    thread.send("And again?")
    told = thread._layout.tokens(thread.messages[:3])
    fresh = prefill(model.engine, told).copy()
    model.engine.rollback(0)
    assert fresh.argmax() == prefill(model.engine, told).argmax()


def test_thinking_is_kept_saved_rerolled_and_replayed(model: ez.Model, tmp_path: Path) -> None:
    thread = thinker(model, 'root ::= "<think>" [a-z]+ "</think>" [a-z]+')
    thread.sampler = ez.SamplerSettings(temp=1.5, grammar=thread.sampler.grammar, max_len_tokens=60)
    thread.send("Hello")
    thread.reroll()
    assert thread.replay().is_same
    message = thread.messages[-1]
    thoughts = [one.thinking for text in message.alternatives if (one := message.made_of(text)) is not None]
    for number, thought in enumerate(thoughts):
        thread.alternative(number)
        assert thread.messages[-1].thinking == thought
    thread.save(tmp_path / "x.json")
    assert Thread.load(tmp_path / "x.json", thread.model).messages[-1].thinking == thoughts[-1]
    with History(tmp_path / "threads.sqlite3") as history:
        assert history.load(history.begin(thread), thread.model).messages[-1].thinking == thoughts[-1]


def test_a_reply_stopped_while_it_thinks_goes_on_thinking(model: ez.Model) -> None:
    thread = thinker(model)
    pieces = thread.stream_parts("What is 1 + 1?")
    while not next(pieces).is_thinking:
        pass
    pieces.close()
    assert thread.messages[-1]["content"] == ""
    assert thread.messages[-1].thinking
    thread.sampler = ez.SamplerSettings(temp=0.0, grammar='root ::= " more</think>So."')
    assert thread.continue_reply() == "So."
    assert thread.messages[-1].thinking.endswith(" more")


def test_an_answer_that_only_talks_about_the_markers_stays_as_it_is(model: ez.Model) -> None:
    text = "The tag <think> opens it and </think> closes it."
    thread = thinker(model, f'root ::= "{text}"')
    assert thread.send("Which tags?") == text
    assert thread.messages[-1].thinking == ""


@pytest.mark.parametrize("stream", [True, False])
def test_the_console_dims_it_and_pipes_leave_it_out(
    model: ez.Model, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = {}
    for out in (Terminal(), io.StringIO()):
        reader = PlainReader(io.StringIO("What is 1 + 1?\n"), out)
        Console(thinker(model), reader=reader, out=out, stream=stream).run()
        shown[out.isatty()] = out.getvalue()
    assert shown[False].startswith("It is "), "a program reads the answer alone"
    thought, _, answer = shown[True].partition("\x1b[32m")
    assert "\x1b[2;3mHm, 2." in thought
    assert answer.startswith("It is ")
