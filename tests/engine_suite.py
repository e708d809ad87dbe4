"""What the engine protocol promises, as tests to inherit: a subclass has the fixture ``engine``.

It holds nothing yet, 64 tokens at most, and knows at least 20 token ids.
"""

from __future__ import annotations

import numpy as np
import pytest

from easy_llama.engine import Engine, HiddenEngine, Logits, extend_all, prefill
from easy_llama.errors import EasyLlamaError, ExceededContextLengthException, PromptError

TOKENS = [5, 3, 8, 1, 7, 2, 2, 9]
# the last bits depend on how many tokens are evaluated together
TOLERANCE = 2e-2


def same(left: Logits, right: Logits) -> bool:
    return bool(np.allclose(left, right, atol=TOLERANCE)) and int(left.argmax()) == int(right.argmax())


class EngineSuite:
    """What every engine promises."""

    def test_it_is_an_engine(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        logits = engine.extend(TOKENS)
        assert logits.dtype == np.float32
        assert logits.shape == (engine.n_vocab,)
        assert np.isfinite(logits).all()
        assert engine.tokens == TOKENS

    def test_in_pieces_is_at_once(self, engine: Engine) -> None:
        at_once = engine.extend(TOKENS).copy()
        for piece_size in (1, 3):
            engine.rollback(0)
            for i in range(0, len(TOKENS), piece_size):
                logits = engine.extend(TOKENS[i : i + piece_size])
            assert same(logits, at_once)
            assert engine.tokens == TOKENS

    @pytest.mark.parametrize("n", [0, 1, 4, 7])
    def test_rollback_is_never_having_gone_further(self, engine: Engine, n: int) -> None:
        if n:
            engine.extend(TOKENS[:n])
        expected = engine.extend([4, 6]).copy()
        engine.rollback(0)
        engine.extend(TOKENS)
        engine.rollback(n)
        assert engine.tokens == TOKENS[:n]
        assert same(engine.extend([4, 6]), expected)

    def test_rollback_with_the_same_batches_is_exact_to_the_last_bit(self, engine: Engine) -> None:
        engine.extend(TOKENS[:4])
        expected = engine.extend(TOKENS[4:6]).copy()
        engine.extend([1, 1, 1])
        engine.rollback(4)
        assert np.array_equal(engine.extend(TOKENS[4:6]), expected)

    def test_a_view_is_dead_after_the_next_call(self, engine: Engine) -> None:
        view = engine.extend(TOKENS[:3])
        before = view.copy()
        engine.extend([4])
        assert not np.array_equal(view, before)

    def test_a_fork_and_its_parent_do_not_disturb_each_other(self, engine: Engine) -> None:
        engine.extend(TOKENS[:5])
        expected = engine.extend([4]).copy()
        engine.rollback(5)
        fork = engine.fork()
        assert fork.tokens == TOKENS[:5]
        fork.extend([9, 9, 9])
        fork.rollback(2)
        assert fork.tokens == TOKENS[:2]
        assert engine.tokens == TOKENS[:5]
        assert np.array_equal(engine.extend([4]), expected)
        parent_after = engine.tokens
        assert same(fork.extend([*TOKENS[2:5], 4]), expected)
        assert engine.tokens == parent_after
        fork.close()
        fork.close()

    def test_bad_calls_are_errors_and_change_nothing(self, engine: Engine) -> None:
        engine.extend(TOKENS)
        for call in (
            lambda: engine.extend([]),
            lambda: engine.extend([engine.n_vocab]),
            lambda: engine.extend([-1]),
            lambda: engine.extend([1, 2, -1]),
            lambda: engine.rollback(-1),
            lambda: engine.rollback(len(TOKENS) + 1),
            lambda: prefill(engine, []),
        ):
            with pytest.raises(PromptError):
                call()
            assert engine.tokens == TOKENS
        with pytest.raises(ExceededContextLengthException) as caught:
            engine.extend([1] * 60)
        assert (caught.value.n_tokens, caught.value.context_length) == (68, 64)
        assert engine.tokens == TOKENS
        engine.extend([1] * 56)
        assert len(engine.tokens) == engine.n_ctx

    def test_a_closed_engine_says_so(self, engine: Engine) -> None:
        engine.extend(TOKENS)
        engine.close()
        engine.close()
        with pytest.raises(EasyLlamaError):
            engine.extend([1])
        with pytest.raises(EasyLlamaError):
            engine.rollback(0)

    def test_forks_advance_together_as_they_do_alone(self, engine: Engine) -> None:
        engine.extend(TOKENS)
        forks = [engine.fork() for _ in range(3)]
        forks[1].rollback(4)
        alone = extend_all(forks, [1, 2, 3], batch=False).copy()
        for fork, n in zip(forks, (8, 4, 8), strict=True):
            fork.rollback(n)
        together = extend_all(forks, [1, 2, 3])
        for one, other in zip(alone, together, strict=True):
            assert same(one, other)
        assert [fork.tokens[-1] for fork in forks] == [1, 2, 3]
        assert forks[1].tokens == [*TOKENS[:4], 2]
        assert engine.tokens == TOKENS
        for fork in forks:
            fork.close()
        assert same(extend_all([engine], [4])[0], prefill(engine, [*TOKENS, 4]))


class CachedEngineSuite:
    """What engines promise that keep what they have evaluated."""

    def test_prefill_evaluates_what_is_new_and_the_last_token(self, engine: Engine) -> None:
        prefill(engine, TOKENS)
        count = engine.n_evaluated  # type: ignore[attr-defined]  # both engines count; the protocol need not
        for prompt, evaluated in [
            (TOKENS, 1),
            ([*TOKENS, 4, 4], 2),
            ([*TOKENS[:5], 1], 1),
            (TOKENS[:3], 1),
            ([4, *TOKENS], 9),
        ]:
            prefill(engine, prompt)
            assert engine.tokens == prompt
            assert engine.n_evaluated - count == evaluated  # type: ignore[attr-defined]
            count += evaluated


class HiddenEngineSuite:
    """What engines promise that tell hidden states."""

    def test_hidden_states_are_known_for_what_was_evaluated_with_them(self, engine: Engine) -> None:
        assert isinstance(engine, HiddenEngine)
        logits = engine.extend_hidden(TOKENS).copy()
        assert engine.hidden.shape[0] == len(TOKENS)
        engine.rollback(5)
        states = engine.hidden.copy()
        assert len(states) == 5
        assert same(engine.extend_hidden(TOKENS[5:]), logits)
        assert np.allclose(engine.hidden[:5], states)
        one_by_one = engine.hidden.copy()
        engine.rollback(0)
        for token in TOKENS:
            engine.extend_hidden([token])
        assert np.allclose(engine.hidden, one_by_one, atol=TOLERANCE)

    def test_what_was_looked_at_and_taken_is_as_if_evaluated(self, engine: Engine) -> None:
        assert isinstance(engine, HiddenEngine)
        engine.extend_hidden(TOKENS)
        before = engine.n_evaluated  # type: ignore[attr-defined]
        logits, hidden = engine.look_ahead([4, 6, 9])
        assert (len(logits), len(hidden)) == (3, 3)
        assert engine.tokens == TOKENS
        engine.take(1)
        assert engine.tokens == [*TOKENS, 6]
        assert engine.n_evaluated - before == 3  # type: ignore[attr-defined]
        assert np.allclose(engine.hidden[-1], hidden[1])
        after = engine.extend([2]).copy()
        assert same(prefill(engine, [*TOKENS, 6]), logits[1])
        engine.rollback(0)
        assert same(prefill(engine, [*TOKENS, 6, 2]), after)
