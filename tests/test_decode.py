"""LlamaContext.decode: prompts, tokens of several sequences and several rows go through one call."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.engine import prefill
from easy_llama.engines.llama import context as llama_context
from easy_llama.engines.llama.context import LlamaContext
from easy_llama.engines.llama.jobs import Ask
from easy_llama.errors import ContextFullError, EngineError, ExceededContextLengthException, PromptError

TOKENS = [(37 * i + 11) % 1000 for i in range(1400)]
TOLERANCE = 2e-2  # the last bits depend on how many tokens are evaluated together


@pytest.fixture
def context() -> Iterator[LlamaContext]:
    with ez.Model(context_length=4096, rope_freq_base=200_000.0, n_threads=1) as model:
        yield LlamaContext(model.llama)


def rows_one_by_one(context: LlamaContext, tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The logits after each of ``tokens``, from single steps of a new sequence."""
    sequence, rows = context.branch(context.root), []
    for token in tokens:
        context.step(sequence, token)
        rows.append(context.newest(sequence).copy())
    sequence.close()
    return np.stack(rows)


def close(left: Any, right: Any) -> bool:
    return bool(np.allclose(left, right, atol=TOLERANCE))


def test_a_step_is_decode_for_one_token_to_the_last_bit(context: LlamaContext) -> None:
    one, other = context.branch(context.root), context.branch(context.root)
    for token in TOKENS[:40]:
        context.step(one, token)
        stepped = context.newest(one).copy()
        decoded = context.decode([Ask(other, [token])]).logits[0].copy()
        assert np.array_equal(stepped, decoded)
        assert one.tokens == other.tokens
    assert context.n_evaluated == 80


def test_a_step_of_several_sequences_is_decode_to_the_last_bit(context: LlamaContext) -> None:
    ones, others = ([context.branch(context.root) for _ in range(4)] for _ in range(2))
    for i in range(20):
        tokens = TOKENS[4 * i : 4 * i + 4]
        stepped = context.step_each(ones, tokens).logits.copy()
        decoded = context.decode([Ask(other, [t]) for other, t in zip(others, tokens, strict=True)])
        assert np.array_equal(stepped, decoded.logits)
    assert [one.tokens for one in ones] == [other.tokens for other in others]
    assert context.n_evaluated == 160
    with pytest.raises(PromptError):
        context.step_each(ones, [1, 2, 3, -1])
    ones[1].close()
    with pytest.raises(EngineError, match="this fork is closed"):
        context.step_each(ones, [1, 2, 3, 4])
    assert [len(one.tokens) for one in ones] == [20] * 4


def test_prompts_tokens_and_rows_of_several_sequences_in_one_call(context: LlamaContext) -> None:
    parts = [TOKENS[:30], TOKENS[100:101], TOKENS[200:220], TOKENS[300:303]]
    begun = [TOKENS[50:55], TOKENS[60:70], [], TOKENS[80:81]]
    wanted = [1, 1, 7, 0]
    sequences = [context.branch(context.root) for _ in parts]
    expected = []
    for before, part, n in zip(begun, parts, wanted, strict=True):
        expected += list(rows_one_by_one(context, [*before, *part])[len(before) + len(part) - n :])
    context.decode([Ask(s, b, 0) for s, b in zip(sequences, begun, strict=True) if b])
    counted = context.n_evaluated
    rows = context.decode(list(map(Ask, sequences, parts, wanted)))
    assert rows.logits.shape == (9, context.n_vocab)
    assert rows.hidden.shape[0] == 0
    assert close(rows.logits, np.stack(expected))
    assert [s.tokens for s in sequences] == [[*b, *p] for b, p in zip(begun, parts, strict=True)]
    assert context.n_evaluated - counted == sum(map(len, parts))


def test_more_than_a_batch_with_rows_across_its_border(context: LlamaContext) -> None:
    assert context.batch_size == 512
    tokens, first, second = TOKENS[:1300], context.branch(context.root), context.branch(context.root)
    expected = rows_one_by_one(context, tokens)
    rows = context.decode([Ask(first, tokens, 900), Ask(second, tokens[:700], 250)], hidden=True)
    assert rows.logits.shape == (1150, context.n_vocab)
    assert close(rows.logits[:900], expected[400:])
    assert close(rows.logits[900:], expected[450:700])
    assert close(rows.hidden[900:], rows.hidden[50:300]), "the same tokens have the same states"
    assert (first.tokens, second.tokens) == (tokens, tokens[:700])


def test_only_the_last_row_of_a_long_prompt(context: LlamaContext) -> None:
    rows = context.decode([Ask(context.root, TOKENS)])
    assert rows.logits.shape == (1, context.n_vocab)
    assert np.array_equal(rows.logits[0], context.newest(context.root))
    assert context.llama.input_ids[: context.llama.n_tokens].tolist() == TOKENS, "Llama's own record"


def test_nothing_is_evaluated_where_one_ask_is_wrong(context: LlamaContext) -> None:
    one, other = context.branch(context.root), context.branch(context.root)
    closed = context.branch(context.root)
    closed.close()
    for asks, error in (
        ([Ask(one, [1, 2]), Ask(other, [1, -1])], PromptError),
        ([Ask(one, [1, 2]), Ask(other, [context.n_vocab])], PromptError),
        ([Ask(one, [1, 2]), Ask(other, [])], PromptError),
        ([Ask(one, [1, 2]), Ask(one, [3])], PromptError),
        ([Ask(one, [1, 2]), Ask(other, [1] * 5000)], ExceededContextLengthException),
        ([Ask(one, [1, 2]), Ask(closed, [3])], EngineError),
        ([], PromptError),
    ):
        with pytest.raises(error):
            context.decode(asks)
        assert one.tokens == other.tokens == []
    assert context.n_evaluated == 0
    assert close(context.decode([Ask(one, [1, 2])]).logits[0], rows_one_by_one(context, [1, 2])[1])


def test_a_full_context_leaves_every_record_true() -> None:
    with ez.Model(context_length=256, n_threads=1) as model:
        context = LlamaContext(model.llama)
        one, other = context.branch(context.root), context.branch(context.root)
        context.decode([Ask(one, TOKENS[:100]), Ask(other, TOKENS[100:200])])
        with pytest.raises(ContextFullError, match="no room is left in the 256 cells"):
            context.decode([Ask(one, TOKENS[:40], 3), Ask(other, TOKENS[:40])])
        for sequence in (one, other):
            assert context.memory.last(sequence.number) + 1 == sequence.record.n
        other.close()
        assert context.decode([Ask(one, TOKENS[:40])]).logits.shape == (1, context.n_vocab)


@pytest.mark.parametrize("aborted", [(1,), (2,), (1, 2, 3)])
def test_an_aborted_batch_of_several_sequences_goes_on_and_all_rows_are_right(
    context: LlamaContext, monkeypatch: pytest.MonkeyPatch, aborted: tuple[int, ...]
) -> None:
    """llama_decode says "aborted" and has evaluated a part of the batch, or nothing."""
    real, calls = llama_context._decode, [0]
    tokens, first, second = TOKENS[:800], context.branch(context.root), context.branch(context.root)
    expected = rows_one_by_one(context, tokens)

    def decode(pointer: Any, struct: Any) -> int:
        calls[0] += 1
        if calls[0] not in aborted:
            return int(real(pointer, struct))
        whole = struct.n_tokens
        struct.n_tokens = whole // 2  # the first half is done
        status = int(real(pointer, struct)) if whole > 1 else 0
        struct.n_tokens = whole
        assert status == 0
        return 2

    monkeypatch.setattr(llama_context, "_decode", decode)
    rows = context.decode([Ask(first, tokens, 600), Ask(second, tokens[:300], 1)])
    assert calls[0] >= 3 + len(aborted) - 1
    assert close(rows.logits[:600], expected[200:])
    assert close(rows.logits[600], expected[299])
    assert (first.tokens, second.tokens) == (tokens, tokens[:300])


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_handler_that_returns_lets_a_long_call_with_rows_go_on(context: LlamaContext) -> None:
    import signal

    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        rows = context.decode([Ask(context.root, TOKENS, 1400)])
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT]
    assert close(rows.logits[::100], rows_one_by_one_from_nothing(context)[::100])


def rows_one_by_one_from_nothing(context: LlamaContext) -> np.ndarray[Any, np.dtype[np.float32]]:
    context.root.cut(0)
    return rows_one_by_one(context, TOKENS)


def test_a_rollback_to_nothing_succeeds_also_where_the_memory_can_not_be_cut(model: ez.Model) -> None:
    engine = model.engine
    expected = prefill(engine, [5, 6, 7]).copy()
    model.llama._ctx.kv_cache_clear()  # emptied by hand
    engine.rollback(2)
    assert engine.tokens == [5, 6]
    model.llama._ctx.kv_cache_clear()
    engine.rollback(0)
    assert engine.tokens == []
    assert close(prefill(engine, [5, 6, 7]), expected)


def test_hidden_states_of_some_rows_of_several_sequences(context: LlamaContext) -> None:
    def asks() -> list[Ask]:
        return [
            Ask(context.branch(context.root), TOKENS[i : i + n], n_rows)
            for i, n, n_rows in ((0, 7, 1), (50, 5, 2), (90, 3, 0), (120, 9, 1))
        ]

    plain = context.decode(asks()).logits.copy()
    rows = context.decode(asks(), hidden=True)
    assert rows.logits.shape == plain.shape
    assert rows.hidden.shape[0] == 4
    assert close(rows.logits, plain)
    states = rows.hidden.copy()
    for i, ask in enumerate(asks()[:1]):
        alone = context.decode([ask._replace(n_rows=len(ask.tokens))], hidden=True)
        assert close(alone.hidden[-1], states[i])
