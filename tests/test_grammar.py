"""Grammar: the tokens follow it wherever one goes, and back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.engines.llama.grammar import Grammar
from easy_llama.errors import EngineError, ModelUnloadedException, PromptError, SettingsError
from tests.test_gbnf import JSON, ORDINARY


def masked(grammar: Grammar, tokens: Sequence[int]) -> list[int]:
    """Those of ``tokens`` that ``mask`` leaves, in their order."""
    ids = tokens
    candidates = (llama_cpp.llama_token_data * len(ids))()
    for candidate, token in zip(candidates, ids, strict=True):
        candidate.id, candidate.logit = token, token / 7
    array = llama_cpp.llama_token_data_array(data=candidates, size=len(ids), selected=-1, sorted=False)
    grammar.mask(array)
    kept = [candidate.id for candidate in candidates if candidate.logit > -np.inf]
    assert all(candidate.logit in (np.float32(candidate.id / 7), -np.inf) for candidate in candidates)
    return kept


def allowed(grammar: Grammar, n_vocab: int) -> list[int]:
    return [token for token in range(n_vocab) if grammar.allows(token)]


def random_walk(grammar: Grammar, model: ez.Model, rng: random.Random, steps: int) -> list[int]:
    """Accept tokens at random from what the mask leaves, and return them."""
    taken: list[int] = []
    for _ in range(steps):
        choices = [token for token in masked(grammar, range(model.n_vocab)) if token not in ends(model)]
        if not choices:
            break
        taken.append(rng.choice(choices))
        grammar.accept(taken[-1])
    return taken


def ends(model: ez.Model) -> frozenset[int]:
    return model.tokenizer.end_tokens


@pytest.mark.parametrize("name", ["json", "arithmetic", "words", "choice", "thinking", "form"])
def test_mask_leaves_what_is_allowed_token_by_token(name: str, model: ez.Model) -> None:
    grammar, rng = Grammar(model.llama, ORDINARY[name]), random.Random(7)
    for _ in range(12):
        expected = allowed(grammar, model.n_vocab)
        assert masked(grammar, range(model.n_vocab)) == expected
        shuffled = rng.sample(range(model.n_vocab), 100)
        assert masked(grammar, shuffled) == [token for token in shuffled if token in set(expected)]
        choices = [token for token in expected if token not in ends(model)]
        if not choices:
            break
        grammar.accept(rng.choice(choices))


def test_a_grammar_is_followed_to_its_end(model: ez.Model) -> None:
    grammar = Grammar(model.llama, 'root ::= "yes" | "no"')
    end = min(ends(model))
    assert not grammar.allows(end), "nothing is complete yet"
    tokens = model.tokenizer.encode("yes", bos=False)
    grammar.accept_all(tokens)
    assert grammar.tokens == tokens
    assert allowed(grammar, model.n_vocab) == sorted(ends(model)), "nothing but an end fits"
    grammar.accept(end)
    assert grammar.tokens == [*tokens, end]
    grammar.rewind(())
    assert grammar.tokens == []
    assert grammar.allows(tokens[0])


def test_a_forbidden_token_is_an_error_and_changes_nothing(model: ez.Model) -> None:
    grammar = Grammar(model.llama, 'root ::= "yes" | "no"')
    wrong, right = (model.tokenizer.encode(text, bos=False)[0] for text in ("maybe", "no"))
    before = allowed(grammar, model.n_vocab)
    for token in (wrong, min(ends(model))):
        with pytest.raises(EngineError, match=f"forbids the token {token} after 0 tokens"):
            grammar.accept(token)
    assert allowed(grammar, model.n_vocab) == before
    assert grammar.allows(right)
    assert not grammar.allows(wrong)
    grammar.accept(np.int32(right))  # type: ignore[arg-type]  # an index from numpy is one, too
    assert type(grammar.tokens[0]) is int
    with pytest.raises(EngineError, match="forbids"):
        grammar.accept(right)


@pytest.mark.parametrize("token", [-1, 1024, 2**40, None, "a", 1.0, True])
def test_what_is_no_token_is_an_error(token: int, model: ez.Model) -> None:
    grammar = Grammar(model.llama, JSON)
    for call in (grammar.allows, grammar.accept):
        with pytest.raises(PromptError, match="token id"):
            call(token)
    if isinstance(token, int) and not isinstance(token, bool) and abs(token) < 2**31:
        with pytest.raises(PromptError, match="outside the vocabulary"):
            masked(grammar, [5, token])
    assert masked(grammar, []) == []


def test_markup_is_no_text(model: ez.Model) -> None:
    start = model.tokenizer.encode("<|im_start|>", bos=False)[0]
    assert model.tokenizer.is_control(start)
    for text in ("root ::= .*", 'root ::= "<|im_start|>"'):
        grammar = Grammar(model.llama, text)
        assert not grammar.allows(start), "its text would fit, but it adds none"
        assert start not in masked(grammar, range(model.n_vocab))
    named = Grammar(model.llama, 'root ::= <|im_start|> "a"')
    assert masked(named, range(model.n_vocab)) == [start]
    named.accept(start)
    assert named.allows(model.tokenizer.encode("a", bos=False)[0])


@pytest.mark.parametrize(
    ("name", "fault"),
    [("<no such token>", "not one token"), ("<[1024]>", "not one token"), ("<[9999999999]>", "not one token"),
     ("<|im_end|>", "ends a text")],
)  # fmt: skip
def test_tokens_that_can_not_be_named(name: str, fault: str, model: ez.Model) -> None:
    with pytest.raises(SettingsError, match=fault):
        Grammar(model.llama, f"root ::= {name}")


def test_characters_of_several_tokens(model: ez.Model) -> None:
    grammar = Grammar(model.llama, "root ::= [あ-ん]{3}")
    tokens = random_walk(grammar, model, random.Random(1), 50)
    text = b"".join(map(model.tokenizer.piece, tokens)).decode()
    assert len(tokens) > 3 == len(text)
    assert all("あ" <= char <= "ん" for char in text)


def test_closed_or_unloaded(model: ez.Model) -> None:
    grammar = Grammar(model.llama, JSON)
    grammar.close()
    grammar.close()
    calls: list[Callable[[], object]] = [
        lambda: grammar.allows(5), lambda: grammar.accept(5), lambda: masked(grammar, [5]),
        lambda: grammar.rewind([5]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(EngineError, match="closed"):
            call()
    with ez.Model(n_threads=1) as other:
        left = Grammar(other.llama, JSON)
        first = other.tokenizer.encode("{", bos=False)[0]
        assert left.allows(first)
    for call in (
        lambda: left.allows(5), lambda: left.accept(first), lambda: left.rewind([first]),
        lambda: masked(left, [5]), lambda: Grammar(left._llama, JSON),
    ):  # fmt: skip
        with pytest.raises(ModelUnloadedException):
            call()


# --- going back ----------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_rewind_is_a_fresh_run(loaded: ez.Model, seed: int, data: st.DataObject) -> None:
    grammar, rng = Grammar(loaded.llama, JSON), random.Random(seed)
    random_walk(grammar, loaded, rng, 150)
    for _ in range(3):
        keep = data.draw(st.integers(0, len(grammar.tokens)))
        grammar.rewind(grammar.tokens[:keep])
        fresh = Grammar(loaded.llama, JSON)
        fresh.accept_all(grammar.tokens)
        assert len(fresh.tokens) == keep
        assert masked(grammar, range(loaded.n_vocab)) == masked(fresh, range(loaded.n_vocab))
        random_walk(grammar, loaded, rng, data.draw(st.integers(0, 80)))


def test_rewind_to_another_text(model: ez.Model) -> None:
    grammar = Grammar(model.llama, JSON)
    one, two = (model.tokenizer.encode(json.dumps(value), bos=False) for value in ({"a": [1, 2]}, {"a": "b"}))
    grammar.rewind(one)
    grammar.rewind(two)
    assert grammar.tokens == two
    with pytest.raises(EngineError, match="forbids"):
        grammar.rewind([*two[:2], two[0], two[0], two[0]])
    grammar.rewind(one)
    assert grammar.allows(min(ends(model)))


def test_going_back_costs_the_same_in_a_long_text(model: ez.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = Grammar(model.llama, "root ::= [a-z ]*")
    tokens = model.tokenizer.encode("a b " * 4000, bos=False)
    grammar.accept_all(tokens)
    assert len(tokens) > 3000
    assert len(grammar._kept) <= 2 * len(tokens).bit_length(), "few states are kept"
    taken: list[int] = []
    take = Grammar._take

    def counted(self: Grammar, token: int) -> None:
        taken.append(token)
        take(self, token)

    monkeypatch.setattr(Grammar, "_take", counted)
    length = len(tokens)
    for back in (1, 1, 5, 70, 200, 1, 500, 1000):
        taken.clear()
        length -= back
        grammar.rewind(tokens[:length])
        assert len(taken) <= 2 * back + 128, "about as many tokens are read again as are taken back"
        assert grammar.tokens == tokens[:length]
