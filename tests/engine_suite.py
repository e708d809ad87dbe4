"""What the engine protocol and its capabilities promise, as tests for a class with a fixture ``engine``.

It holds nothing yet, 64 tokens at most, and knows at least 20 token ids. A class inherits EngineSuite and the
suite of every capability that its engine claims; EngineSuite checks that none is left out.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

from easy_llama.engine import (
    AdvancingEngine,
    BatchEngine,
    ConstrainingEngine,
    CountingEngine,
    Engine,
    ForkingEngine,
    HiddenEngine,
    Logits,
    PickingEngine,
    RowsEngine,
    SessionEngine,
    ShiftingEngine,
    extend_all,
    n_evaluated,
    prefill,
    reserved,
    room_for_forks,
)
from easy_llama.errors import EasyLlamaError, EngineBusyError, ExceededContextLengthException, PromptError
from easy_llama.samplers import GreedyDecoding, SamplerSettings, SimpleSampling

TOKENS = [5, 3, 8, 1, 7, 2, 2, 9]
# the last bits depend on how many tokens are evaluated together
TOLERANCE = 2e-2


# protocol -> the suite that tests it
CAPABILITIES = {
    CountingEngine: "CountingSuite",
    SessionEngine: "SessionSuite",
    ForkingEngine: "ForkingSuite",
    BatchEngine: "BatchSuite",
    RowsEngine: "RowsSuite",
    ShiftingEngine: "ShiftingSuite",
    PickingEngine: "PickingSuite",
    AdvancingEngine: "AdvancingSuite",
    ConstrainingEngine: "ConstrainingSuite",
    HiddenEngine: "HiddenSuite",
}


def same(left: Logits, right: Logits) -> bool:
    return bool(np.allclose(left, right, atol=TOLERANCE)) and int(left.argmax()) == int(right.argmax())


class EngineSuite:
    """What every engine promises."""

    def test_everything_it_claims_is_tested(self, engine: Engine) -> None:
        claimed = {name for protocol, name in CAPABILITIES.items() if isinstance(engine, protocol)}
        tested = {kind.__name__ for kind in type(self).__mro__} & set(CAPABILITIES.values())
        assert claimed == tested

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


class CachedEngineSuite:
    """What engines promise that keep what they have evaluated."""

    def test_prefill_evaluates_what_is_new_and_the_last_token(self, engine: Engine) -> None:
        prefill(engine, TOKENS)
        count = n_evaluated(engine)
        for prompt, evaluated in [
            (TOKENS, 1),
            ([*TOKENS, 4, 4], 2),
            ([*TOKENS[:5], 1], 1),
            (TOKENS[:3], 1),
            ([4, *TOKENS], 9),
        ]:
            prefill(engine, prompt)
            assert engine.tokens == prompt
            assert n_evaluated(engine) - count == evaluated
            count += evaluated

    def test_a_fork_costs_its_new_tokens(self, engine: Engine) -> None:
        engine.extend(TOKENS)
        before = n_evaluated(engine)
        fork = engine.fork()
        fork.extend([4, 4])
        assert n_evaluated(engine) - before == 2
        fork.rollback(3)
        engine.extend([6])
        fork.extend([4])
        assert n_evaluated(engine) - before == 4
        fork.close()


class CountingSuite:
    """What engines promise that count."""

    def test_every_token_counts_once_also_those_of_forks(self, engine: Engine) -> None:
        assert isinstance(engine, CountingEngine)
        before = engine.n_evaluated
        engine.extend(TOKENS)
        assert engine.n_evaluated - before == n_evaluated(engine) - before == len(TOKENS)
        fork = engine.fork()
        fork.extend([4, 4])
        fork.close()
        assert engine.n_evaluated - before >= len(TOKENS) + 2, "an engine without a cache evaluates more"
        with pytest.raises(PromptError):
            engine.extend([-1])
        counted = engine.n_evaluated
        engine.rollback(len(TOKENS))
        assert engine.n_evaluated == counted


class SessionSuite:
    """What engines promise that several Python threads may share."""

    def test_a_thread_waits_until_the_session_of_another_is_over(self, engine: Engine) -> None:
        assert isinstance(engine, SessionEngine)
        order: list[str] = []

        def other() -> None:
            with reserved(engine) as claim:
                claim()
                order.append("other")

        thread = threading.Thread(target=other)
        with reserved(engine) as claim:
            claim()
            thread.start()
            thread.join(0.1)
            assert thread.is_alive()
            order.append("this one")
        thread.join(10)
        assert order == ["this one", "other"]

    def test_who_would_wait_for_ever_is_told(self, engine: Engine) -> None:
        with reserved(engine), pytest.raises(EngineBusyError), reserved(engine):
            pytest.fail("two sessions at once")
        with reserved(engine):
            pass


class ForkingSuite:
    """What engines promise that have room for some forks only."""

    def test_the_room_for_forks_is_counted_and_given_back(self, engine: Engine) -> None:
        assert isinstance(engine, ForkingEngine)
        engine.extend(TOKENS)
        room = engine.n_forks_free
        assert room_for_forks(engine) == room > 0
        forks = [engine.fork() for _ in range(room)]
        assert engine.n_forks_free == 0
        with pytest.raises(EasyLlamaError, match="close a fork"):
            engine.fork()
        forks.pop().close()
        assert engine.n_forks_free == 1
        forks.pop()  # a fork that nobody has any more is closed, too
        assert engine.n_forks_free == 2
        for fork in forks:
            fork.close()
            fork.close()
        assert engine.n_forks_free == room


class BatchSuite:
    """What engines promise that evaluate several forks at once."""

    def test_only_what_belongs_together_is_evaluated_together(self, engine: Engine) -> None:
        assert isinstance(engine, BatchEngine)
        engine.extend(TOKENS)
        forks = [engine.fork(), engine.fork()]
        for engines, tokens in (([forks[0], forks[0]], [1, 2]), (forks, [1]), (forks, [1, -1])):
            with pytest.raises(PromptError):
                engine.extend_batch(engines, tokens)
            assert [fork.tokens for fork in forks] == [TOKENS, TOKENS]
        for fork in forks:
            fork.close()

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


class RowsSuite:
    """What engines promise that tell the logits after each of several tokens."""

    def test_rows_are_what_one_token_after_the_other_gives(self, engine: Engine) -> None:
        assert isinstance(engine, RowsEngine)
        engine.extend(TOKENS[:3])
        alone = [engine.extend([token]).copy() for token in TOKENS[3:]]
        engine.rollback(3)
        rows = engine.extend_rows(TOKENS[3:])
        assert rows.dtype == np.float32
        assert rows.shape == (len(TOKENS) - 3, engine.n_vocab)
        for row, expected in zip(rows, alone, strict=True):
            assert same(row, expected)
        assert engine.tokens == TOKENS
        after = engine.extend([4]).copy()
        assert same(prefill(engine, [*TOKENS, 4]), after)
        engine.rollback(0)
        assert same(engine.extend_rows(TOKENS[:4])[-1], alone[0])

    def test_bad_rows_are_errors_and_change_nothing(self, engine: Engine) -> None:
        assert isinstance(engine, RowsEngine)
        engine.extend(TOKENS)
        for tokens in ([], [1, engine.n_vocab], [-1]):
            with pytest.raises(PromptError):
                engine.extend_rows(tokens)
            assert engine.tokens == TOKENS
        with pytest.raises(ExceededContextLengthException):
            engine.extend_rows([1] * 60)


class ShiftingSuite:
    """What engines promise that can forget tokens in the middle."""

    def test_what_is_discarded_is_gone_and_nothing_is_evaluated(self, engine: Engine) -> None:
        assert isinstance(engine, ShiftingEngine)
        engine.extend(TOKENS)
        before = n_evaluated(engine)
        assert engine.discard(2, 5)
        assert engine.tokens == TOKENS[:2] + TOKENS[5:]
        assert n_evaluated(engine) == before
        assert np.isfinite(engine.extend([4])).all()

    def test_where_it_can_not_be_done_nothing_changes(self, engine: Engine) -> None:
        assert isinstance(engine, ShiftingEngine)
        engine.extend(TOKENS)
        for start, stop in ((-1, 2), (5, 4), (0, len(TOKENS) + 1)):
            with pytest.raises(PromptError):
                engine.discard(start, stop)
        fork = engine.fork()
        assert not engine.discard(2, 5), "the fork shares what would be moved"
        fork.close()
        assert engine.tokens == TOKENS


class ForkShiftingSuite(ShiftingSuite):
    """The same for engines that share their cells with others: they never shift."""

    def test_what_is_discarded_is_gone_and_nothing_is_evaluated(self, engine: Engine) -> None:
        assert isinstance(engine, ShiftingEngine)
        engine.extend(TOKENS)
        assert not engine.discard(2, 5)
        assert engine.tokens == TOKENS


class PickingSuite:
    """What engines promise that have pickers of their own."""

    def test_their_greedy_picker_takes_the_likeliest(self, engine: Engine) -> None:
        assert isinstance(engine, PickingEngine)
        logits = engine.extend(TOKENS)
        picker = engine.picker(GreedyDecoding, 1, TOKENS)
        assert picker(TOKENS, logits) == int(logits.argmax())
        picker.close()
        picker.close()

    def test_a_picker_goes_back_and_draws_anew(self, engine: Engine) -> None:
        assert isinstance(engine, PickingEngine)
        logits = engine.extend(TOKENS).copy()
        picker = engine.picker(SimpleSampling, 7, TOKENS)
        first = [picker(TOKENS, logits) for _ in range(30)]
        picker.rewind(TOKENS, 0)
        assert [picker(TOKENS, logits) for _ in range(30)] == first
        picker.rewind(TOKENS, 1)
        assert [picker(TOKENS, logits) for _ in range(30)] != first
        picker.close()


class AdvancingSuite:
    """What engines promise that evaluate and pick in one go."""

    def test_the_short_way_is_the_long_way(self, engine: Engine) -> None:
        assert isinstance(engine, AdvancingEngine)
        assert isinstance(engine, PickingEngine)
        texts = []
        for fast in (True, False):
            logits, picker = prefill(engine, TOKENS), engine.picker(SimpleSampling, 7, TOKENS)
            tokens = [*TOKENS, picker(TOKENS, logits)]
            advance = engine.advance(picker)
            assert advance is not None
            for _ in range(12):
                tokens.append(advance(tokens[-1]) if fast else picker(tokens, engine.extend([tokens[-1]])))
            texts.append(tokens)
            picker.close()
        assert texts[0] == texts[1]
        assert engine.advance(lambda tokens, logits: 1) is None, "not a picker of this engine"


class ConstrainingSuite:
    """What engines promise that keep grammars."""

    def test_a_constraint_is_a_step_at_the_beginning(self, engine: Engine) -> None:
        assert isinstance(engine, ConstrainingEngine)
        logits = engine.extend(TOKENS).copy()
        left = engine.constraint_step(SamplerSettings(grammar='root ::= "a"'))(TOKENS, logits)
        assert 0 < np.isfinite(left).sum() < np.isfinite(logits).sum()
        assert np.array_equal(left[np.isfinite(left)], logits[np.isfinite(left)])


class HiddenSuite:
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
        before = n_evaluated(engine)
        logits, hidden = engine.look_ahead([4, 6, 9])
        assert (len(logits), len(hidden)) == (3, 3)
        assert engine.tokens == TOKENS
        engine.take(1)
        assert engine.tokens == [*TOKENS, 6]
        assert n_evaluated(engine) - before == 3
        assert np.allclose(engine.hidden[-1], hidden[1])
        after = engine.extend([2]).copy()
        assert same(prefill(engine, [*TOKENS, 6]), logits[1])
        engine.rollback(0)
        assert same(prefill(engine, [*TOKENS, 6, 2]), after)
