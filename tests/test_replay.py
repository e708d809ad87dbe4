"""Replies that are drawn again, go on after a stop, or are deleted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.chat.history import History
from easy_llama.errors import PromptError
from easy_llama.thread import Thread
from tests.command import run

WARM = ez.SamplerSettings(temp=1.2, top_p=None, min_p=None)


@pytest.fixture
def thread(model: ez.Model) -> Thread:
    return Thread(model, sampler=WARM)


def test_a_reply_comes_out_the_same_from_its_seed(thread: Thread) -> None:
    for prompt in ("Tell me a story about a fox.", "What is my name?"):
        thread.send(prompt)
    before = thread.to_dict()
    for index in (1, 3, -1):
        done = thread.replay(index)
        assert done.is_same
        assert done.text == thread.messages[index]["content"]
        assert done.seed == thread.messages[index].seed
        assert str(done) == f"the same: {len(done.kept)} tokens, seed {done.seed}"
    assert thread.to_dict() == before, "the thread is not changed"


def test_settings_of_then_count_not_those_of_now(thread: Thread) -> None:
    thread.send("Tell me a story about an owl.")
    thread.sampler = ez.samplers.GreedyDecoding
    assert thread.replay().is_same


def test_prefixes_rerolls_and_swipes_are_replayed(thread: Thread) -> None:
    thread.send("Tell me about the sea.", prefix="The sea")
    assert thread.replay().is_same
    assert "behind the" in str(thread.replay())
    thread.reroll()
    assert len(thread.messages[-1].alternatives) == 2
    for number in (0, 1):
        thread.alternative(number)
        assert thread.replay().is_same
        assert thread.replay().text in thread.messages[-1]["content"]


def test_a_stopped_reply_is_compared_as_far_as_it_went(thread: Thread) -> None:
    pieces = thread.stream("Tell me a story about a brave fox.")
    said = "".join(next(pieces) for _ in range(8))
    pieces.close()
    assert thread.messages[-1]["content"] == said
    assert thread.replay().is_same


def test_the_first_different_token_is_told_with_both_logits(thread: Thread) -> None:
    thread.send("Tell me a story about a fox.")
    message = thread.messages[-1]
    made = message.made
    assert made is not None
    other = (made.tokens[4] + 1) % thread.model.tokenizer.n_vocab
    message.made = replace(made, tokens=(*made.tokens[:4], other, *made.tokens[5:]))
    done = thread.replay()
    found = done.difference
    assert found is not None
    assert (done.is_same, found.at) == (False, 4)
    assert found.then is not None
    assert found.now is not None
    assert (found.then.token, found.now.token) == (other, made.tokens[4])
    prompt = thread._layout.tokens(thread.messages[:-1])
    thread.model.engine.rollback(0)
    logits = thread.model.engine.extend([*prompt, *made.tokens[:4]]).copy()
    chances = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    assert found.now.logit == pytest.approx(float(logits[made.tokens[4]]), abs=0.05)
    assert found.now.probability == pytest.approx(float(chances[made.tokens[4]]), abs=0.01)
    assert found.gap == pytest.approx(abs(found.now.logit - found.then.logit))
    assert "it differs from token 5 on" in str(done)


def test_a_reply_that_ended_must_end_again(thread: Thread) -> None:
    thread.send("What is 7 + 5?")
    made = thread.messages[-1].made
    assert made is not None
    assert made.finish_reason == "stop"
    thread.messages[-1].made = replace(made, tokens=made.tokens[:-1])
    found = thread.replay().difference
    assert found is not None
    assert found.then is None
    assert "then the end, now" in str(thread.replay())


def test_what_can_not_be_made_again_is_refused_with_the_reason(thread: Thread) -> None:
    with pytest.raises(PromptError, match=r"no message -1; the thread has 0"):
        thread.replay()
    thread.send("My name is Anna.")
    thread.send("What is my name?")
    with pytest.raises(PromptError, match="not kept how message 0 was made"):
        thread.replay(0)
    thread.edit(0, "My name is Ben.")
    with pytest.raises(PromptError, match=r"before message 3 has changed .* tokens then"):
        thread.replay(3)
    thread.edit(3, "Anna!")
    with pytest.raises(PromptError, match="not kept how message 3"):
        thread.replay()


def test_another_strategy_is_remarked(thread: Thread) -> None:
    thread.strategy = ez.AntiSlopStrategy(thread.model, ["fox"])
    thread.send("Tell me a story about a fox.")
    assert thread.replay().is_same
    thread.strategy = None
    assert "written with AntiSlopStrategy, and now with no strategy" in str(thread.replay())


def test_it_survives_saving_dropping_and_the_history(thread: Thread, tmp_path: Path) -> None:
    for _ in range(5):
        thread.send("Tell me a story about a fox named Ruby.")
    assert any(not message.in_context for message in thread.messages), "the context has overflowed"
    thread.save(tmp_path / "talk.json")
    again = Thread.load(tmp_path / "talk.json", thread.model)
    assert [m.made for m in again.messages] == [m.made for m in thread.messages]
    assert thread.replay().is_same
    with History(tmp_path / "threads.sqlite3") as history:
        kept = history.load(history.begin(thread), thread.model)
    assert kept.messages[-1].made == thread.messages[-1].made
    data = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert data["messages"][-1]["made"][0]["sampler"] == {"temp": 1.2, "top_p": None, "min_p": None}


@pytest.mark.parametrize(
    "made",
    [
        [{"tokens": "x"}], [{"tokens": [1.5]}], [5], [{"tokens": [1], "n_given": 2}], 5, [{}, {}, {}],
        [{"tokens": [1], "sampler": {"temp": "hot"}}], [{"tokens": [1], "prompt": {}}],
        [{"tokens": [1], "x": 1}], [{"tokens": [1], "thinking": 5}], [{"tokens": [1], "sampler": []}],
        [{"tokens": [1], "answer": 9}],
    ],
)  # fmt: skip
def test_a_saved_thread_with_nonsense_in_it_is_refused(thread: Thread, made: object) -> None:
    data = thread.to_dict()
    data["messages"] = [{"role": "bot", "prefix": "", "content": "x", "postfix": "", "made": made}]
    with pytest.raises((PromptError, ez.errors.SettingsError)):
        Thread.from_dict(data, thread.model)


def test_continuing_a_stopped_reply_gives_what_it_would_have_been(model: ez.Model) -> None:
    prompt = "Tell me a story about a brave fox named Ruby."
    whole = Thread(model, sampler=ez.samplers.GreedyDecoding).send(prompt)
    model.engine.rollback(0)  # the same shapes of batches, and so the same last bits
    thread = Thread(model, sampler=ez.samplers.GreedyDecoding)
    pieces = thread.stream(prompt)
    said = "".join(next(pieces) for _ in range(9))
    pieces.close()
    added = thread.continue_reply()
    assert added
    assert said + added == thread.messages[-1]["content"] == whole
    assert len(thread.messages) == 2
    assert thread.last.stats.evaluated <= 1, "nothing is evaluated again"
    assert thread.messages[-1].alternatives == [whole]
    assert thread.replay().is_same
    assert thread.continue_reply() == ""
    with pytest.raises(PromptError, match="nothing to go on with"):
        Thread(model).continue_reply()


def test_a_message_is_deleted_by_its_number(thread: Thread) -> None:
    thread.send("My name is Anna.")
    removed = thread.delete(0)
    assert removed["content"] == "My name is Anna."
    assert [m["role"] for m in thread.messages] == ["bot"]
    with pytest.raises(PromptError, match=r"no message 1; the thread has 1"):
        thread.delete(1)


def test_the_command_replays_a_kept_chat(tmp_path: Path, model: ez.Model) -> None:
    data = {"EASY_LLAMA_DATA": str(tmp_path)}
    thread = Thread(model, sampler=ez.SamplerSettings(temp=1.0))
    thread.send("What is the capital of France?")
    with History(tmp_path / "threads.sqlite3") as history:
        number = history.begin(thread)
    done = run("replay", str(number), env=data)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"the same: \d+ tokens, seed \d+\n", done.stdout)
    shown = run("replay", "latest", "1", "--text", env=data).stdout
    assert shown.endswith(thread.messages[-1]["content"] + "\n")
    for arguments, words in (
        (["9"], "no thread 9"), (["²"], "is no id of a chat"), ([str(number), "0"], "not kept how message 0"),
        ([str(number), "7"], "there is no message 7"),
    ):  # fmt: skip
        wrong = run("replay", *arguments, env=data)
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr
