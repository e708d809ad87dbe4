"""QAlign: the chain reaches the tilted distribution, draws anew each time and evaluates no prompt twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

import easy_llama as ez
from easy_llama.decoding import Alignment, QAlign, Sampling
from easy_llama.engines.table import TableEngine
from easy_llama.errors import PromptError, SettingsError

END, START = 0, 1
ENDS = frozenset({END})
# what follows the end, the start, "a" and "b": half of the answers are empty, the others tend to be long
LIKELY = np.array([[1.0, 0, 0, 0], [0.5, 0, 0.3, 0.2], [0.05, 0, 0.15, 0.8], [0.1, 0, 0.8, 0.1]])
LIMIT = 4
BETA = 1.0


def engine() -> TableEngine:
    with np.errstate(divide="ignore"):
        return TableEngine(np.log(LIKELY))


def text(tokens: Sequence[int]) -> str:
    return "".join(".^ab"[token] for token in tokens)


def reward(answer: str) -> float:
    return answer.count("b") - 0.45 * len(answer)


def probabilities() -> dict[str, float]:
    """Every answer and how likely the model gives it."""
    every = {}
    for n in range(LIMIT + 1):
        for tokens in product((2, 3), repeat=n):
            path = (START, *tokens) if n == LIMIT else (START, *tokens, END)
            every[text(tokens)] = math.prod(LIKELY[a, b] for a, b in pairwise(path))
    return every


def tilted(reward: Callable[[str], float], beta: float) -> dict[str, float]:
    """The target: p(answer) * exp(reward / beta), summing to 1."""
    weights = {answer: p * math.exp(reward(answer) / beta) for answer, p in probabilities().items()}
    return {answer: weight / sum(weights.values()) for answer, weight in weights.items()}


def distance(found: Alignment, target: dict[str, float]) -> float:
    """Total variation between the states of the chain and ``target``, 0 to 1."""
    counts = Counter(sample.text for sample in found.chain)
    assert counts.keys() <= target.keys()
    return sum(abs(counts[answer] / len(found.chain) - p) for answer, p in target.items()) / 2


class WithoutLengthRatio(QAlign):
    """Accepts by the reward alone."""

    def _log_length_ratio(self, now: object, new: object) -> float:
        return 0.0


def test_the_chain_reaches_the_target_and_the_length_ratio_is_why() -> None:
    target = tilted(reward, BETA)
    assert sum(probabilities().values()) == pytest.approx(1.0)
    found = QAlign(reward, text, 30_000, BETA, seed=3).align(engine(), [START], ENDS, LIMIT)
    without = WithoutLengthRatio(reward, text, 30_000, BETA, seed=3).align(engine(), [START], ENDS, LIMIT)
    near, far = distance(found, target), distance(without, target)
    print(f"total variation: {near:.3f} with the length ratio, {far:.3f} without")
    assert near < 0.05
    assert far > 0.2
    assert distance(found, probabilities()) > 0.1  # the reward counts
    assert 0.5 < found.acceptance_rate < 0.95
    accepted = [sample.accepted for sample in found.chain[1:]]
    assert found.acceptance_rate == sum(accepted) / 30_000


def test_without_a_reward_the_model_is_left_as_it_is() -> None:
    found = QAlign(lambda answer: 7.0, text, 20_000, 0.3, seed=1).align(engine(), [START], ENDS, LIMIT)
    assert distance(found, probabilities()) < 0.05


def test_the_settings_are_the_distribution() -> None:
    likeliest_two = ez.SamplerSettings(top_k=2, top_p=None, min_p=None, temp=None)
    found = QAlign(lambda answer: 0.0, text, 2_000, 1.0, 5, likeliest_two).align(engine(), [START], ENDS, 2)
    assert {sample.text for sample in found.chain} == {"", "aa", "ab"}


def test_proposals_are_independent_draws() -> None:
    """Answers of one token: every proposal is accepted, so the chain is the draws themselves."""
    table = TableEngine(np.log(np.tile([0.1, 0.2, 0.3, 0.4], (4, 1))))
    found = QAlign(lambda answer: 0.0, text, 20_000, 1.0, seed=2).align(table, [START], frozenset(), 1)
    assert found.acceptance_rate == 1.0
    drawn = np.array([sample.tokens[0] for sample in found.chain])
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (drawn[:-1], drawn[1:]), 1 / (len(drawn) - 1))
    expected = np.outer([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4])
    chi_square = ((pairs - expected) ** 2 / expected).sum() * (len(drawn) - 1)
    assert chi_square < 45  # 15 degrees of freedom: above with probability 1e-4; the seed is fixed


def test_same_seed_same_chain() -> None:
    def chain(seed: int) -> Alignment:
        return QAlign(reward, text, 40, BETA, seed).align(engine(), [START], ENDS, LIMIT)

    assert chain(4) == chain(4)
    assert chain(4) != chain(5)


def test_the_chain_tells_what_happened() -> None:
    found = QAlign(reward, text, 200, BETA, 8).align(engine(), [START], ENDS, LIMIT)
    assert len(found.chain) == 201
    assert found.chain[0].accepted
    for before, sample in pairwise(found.chain):
        assert (sample.text, sample.reward) == (text(sample.tokens), reward(sample.text))
        assert sample.accepted or sample.tokens == before.tokens
    assert found.best.reward == max(sample.reward for sample in found.chain)
    assert found.best is next(sample for sample in found.chain if sample.reward == found.best.reward)
    decoded = list(QAlign(reward, text, 200, BETA, 8)(engine(), [START], ENDS, LIMIT))
    assert tuple(decoded) == found.best.tokens
    assert list(QAlign(reward, text, 200, BETA, 8)(engine(), [START], ENDS, 0)) == []


def test_a_small_beta_climbs() -> None:
    best = max(probabilities(), key=reward)
    found = QAlign(reward, text, 300, 0.01, 1).align(engine(), [START], ENDS, LIMIT)
    assert found.best.text == best
    assert found.chain[-1].text == best


def test_forbidden_answers_are_left_and_never_entered() -> None:
    def no_a(answer: str) -> float:
        return -math.inf if "a" in answer else 0.0

    starts_forbidden = next(
        seed
        for seed in range(99)
        if "a" in QAlign(no_a, text, 1, 1.0, seed).align(engine(), [START], ENDS, LIMIT).chain[0].text
    )
    found = QAlign(no_a, text, 300, 1.0, starts_forbidden).align(engine(), [START], ENDS, LIMIT)
    allowed = ["a" not in sample.text for sample in found.chain]
    assert allowed == sorted(allowed)  # once allowed, always allowed
    assert {allowed[0], allowed[-1]} == {False, True}
    nowhere = QAlign(lambda answer: -math.inf, text, 10_000, 1.0, 1).align(engine(), [START], ENDS, LIMIT)
    assert distance(nowhere, probabilities()) < 0.05  # all are equally bad
    huge = QAlign(lambda answer: 1e308 if answer else -1e308, text, 50, 1e-300, 1)
    assert huge.align(engine(), [START], ENDS, LIMIT).chain[-1].text


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.array(2.0), True])
def test_rewards_are_any_numbers(number: Any) -> None:
    found = QAlign(lambda answer: number, text, 3, 1.0, 1).align(engine(), [START], ENDS, LIMIT)
    assert found.best.reward == float(number)


@pytest.mark.parametrize("value", [None, "2", b"2", math.nan, math.inf, [1, 2], 10**400, 1j])
def test_rewards_that_are_no_numbers(value: Any) -> None:
    table = engine()
    with pytest.raises(SettingsError, match=r"must be a number below inf; for the text '.*' it is"):
        QAlign(lambda answer: value, text, 3, 1.0, 1).align(table, [START], ENDS, LIMIT)
    assert next(Sampling(ez.samplers.SimpleSampling, 5)(table, [START, 2], ENDS, 3)) in (2, 3)


def test_a_reward_that_fails() -> None:
    def fails(answer: str) -> float:
        raise KeyError("model")

    with pytest.raises(SettingsError, match=r"failed on the text '.*': KeyError\('model'\)") as caught:
        QAlign(fails, lambda tokens: "x" * 500, 3, 1.0, 1).align(engine(), [START], ENDS, LIMIT)
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(str(caught.value)) < 200

    def interrupted(answer: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        QAlign(interrupted, text, 3, 1.0, 1).align(engine(), [START], ENDS, LIMIT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": 3}, "reward must be a function"),
        ({"text": "x"}, "text must be a function"),
        ({"steps": 0}, "steps must be an integer of at least 1; got 0"),
        ({"steps": 2.0}, "steps must be an integer"),
        ({"beta": 0.0}, r"beta must be a number above 0; got 0\.0"),
        ({"beta": -1}, "beta"),
        ({"beta": math.nan}, "beta"),
        ({"beta": math.inf}, "beta"),
        ({"beta": True}, "beta"),
        ({"beta": "1"}, "beta"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967294"),
        ({"seed": None}, "seed"),
        ({"settings": 0.7}, "settings must be a SamplerSettings"),
        ({"settings": ez.SamplerSettings(grammar='root ::= "a"')}, "can't keep to a grammar"),
        ({"settings": ez.SamplerSettings(num_beams=2)}, "leave out penalty_alpha and num_beams"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"reward": reward, "text": text, "steps": 3, "beta": 1.0, "seed": 1}
    with pytest.raises(SettingsError, match=message):
        QAlign(**{**usual, **options})


def test_wrong_calls() -> None:
    one = QAlign(reward, text, 3, 1.0, 1)
    with pytest.raises(SettingsError, match="limit must be an integer of at least 1; got 0"):
        one.align(engine(), [START], ENDS, 0)
    with pytest.raises(PromptError, match="empty"):
        one.align(engine(), [], ENDS, 3)


def test_what_the_engine_holds_is_not_evaluated_again() -> None:
    table = engine()
    prompt = [START, 2, 3] * 100
    found = QAlign(reward, text, 50, BETA, 1).align(table, prompt, ENDS, LIMIT)
    # the prompt once; then for each answer at most its tokens and the last token before the cut
    assert table.n_evaluated <= len(prompt) + LIMIT * len(found.chain)


def test_llama(model: ez.Model) -> None:
    eng, ends = model.engine, model.tokenizer.end_tokens
    prompt = model.tokenize("Once upon a time, there was")
    before = eng.n_evaluated

    def short_words(answer: str) -> float:
        return -float(np.mean([len(word) for word in answer.split()] or [9]))

    one = QAlign(short_words, lambda tokens: model.detokenize(list(tokens)), 30, 0.1, 1)
    found = one.align(eng, prompt, ends, 12)
    assert eng.n_evaluated - before <= len(prompt) + 12 * 31
    assert found.best.reward > found.chain[0].reward
    assert found.best.text == model.detokenize(list(found.best.tokens))
    eng.rollback(0)
    assert one.align(eng, prompt, ends, 12).chain == found.chain
    assert model.generate("The sky is blue, and", sampler=ez.samplers.GreedyDecoding)
