"""JSON schemas: what a model can write under them is JSON that fits, whatever it prefers."""

from __future__ import annotations

import codecs
import json
import math
import random
import re
import socket
import warnings
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import easy_llama as ez
from easy_llama.constraints.json_pattern import plain_pattern
from easy_llama.constraints.json_schema import schema_to_grammar
from easy_llama.engines.llama.grammar import Grammar
from easy_llama.errors import EasyLlamaWarning, SettingsError
from tests.schemas import SCHEMAS, TYPES, VALUES, fits
from tests.test_grammar import masked


@lru_cache
def grammar_of(name: str) -> str:
    return schema_to_grammar(SCHEMAS[name])


RANKS = {piece: i for i, piece in enumerate([b'"', b"]", b"}", b",", b":", b"null", b"0", b"1"])}


def written(model: ez.Model, grammar: Grammar, rng: random.Random, limit: int) -> str:
    """What a model without any preference writes; after ``limit`` tokens it begins to close brackets.

    It knows UTF-8: where a vocabulary has single bytes, a grammar leaves a few sequences that are no text.
    """
    ends, data, decoder = model.tokenizer.end_tokens, b"", codecs.getincrementaldecoder("utf-8")()
    while True:
        choices = masked(grammar, range(model.n_vocab))
        assert choices, "the grammar leaves nothing to write"
        over = len(grammar.tokens) > limit
        if ends & set(choices) and (over or len(choices) == len(ends) or rng.random() < 0.5):
            return data.decode()
        choices = [token for token in choices if token not in ends]
        rng.shuffle(choices)
        if over and rng.random() < 0.8:
            choices.sort(key=lambda token: RANKS.get(model.tokenizer.piece(token), len(RANKS)))
        state = decoder.getstate()
        for token in choices:
            with suppress(UnicodeDecodeError):
                decoder.decode(model.tokenizer.piece(token))
                break
            decoder.setstate(state)
        grammar.accept(token)
        data += model.tokenizer.piece(token)


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_written_is_json_that_fits(name: str, model: ez.Model) -> None:
    schema, grammar = SCHEMAS[name], Grammar(model.llama, grammar_of(name))
    for seed in range(8):
        grammar.rewind(())
        text = written(model, grammar, random.Random(seed), 40)
        value = json.loads(text)
        if isinstance(schema, dict):
            assert fits(value, schema, schema), text
        else:
            schema.model_validate_json(text)


def accepted(model: ez.Model, grammar: str, text: str) -> bool:
    """Whether the grammar fits all of ``text``."""
    run = Grammar(model.llama, grammar)
    for token in model.tokenizer.encode(text, bos=False, special=False):
        if not run.allows(token):
            return False
        run.accept(token)
    return run.allows(min(model.tokenizer.end_tokens))


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if isinstance(schema, dict)])
def test_values_are_accepted_exactly_if_they_fit(name: str, model: ez.Model) -> None:
    schema = SCHEMAS[name]
    for value in VALUES:
        expected = fits(value, schema, schema)
        if isinstance(value, str) and "pattern" in schema and re.search(r"[\"\\\n]", value):
            expected = False  # no pattern lets these in
        if isinstance(value, dict) and "anyOf" in schema and set(value) - set(schema["properties"]):
            expected = False  # an object with properties has no others
        text = json.dumps(value, ensure_ascii=False)
        assert accepted(model, grammar_of(name), text) == expected, text


# --- the form ------------------------------------------------------------------------------------------


def test_white_space_is_bounded(model: ez.Model) -> None:
    grammar = schema_to_grammar({"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]})
    for text in ('{"a":[]}', '{ "a" : [ 1 , 2 ] } '):
        assert accepted(model, grammar, text)
    for text in ('{"a":  []}', ' {"a":[]}', '{"a":[]}  ', '{"a":\n[]}', '{"a":\t[]}'):
        assert not accepted(model, grammar, text)


def test_required_properties_come_first_in_the_order_of_the_schema(model: ez.Model) -> None:
    properties = {name: {"type": "integer"} for name in ("b", "a", "d", "c")}
    grammar = schema_to_grammar({"type": "object", "properties": properties, "required": ["c", "a"]})
    assert accepted(model, grammar, '{"a":1,"c":2}')
    assert accepted(model, grammar, '{"a":1,"c":2,"b":3,"d":4}')
    assert accepted(model, grammar, '{"a":1,"c":2,"d":4}')
    assert not accepted(model, grammar, '{"c":1,"a":2}')
    assert not accepted(model, grammar, '{"a":1,"c":2,"d":4,"b":3}')
    assert not accepted(model, grammar, '{"a":1,"c":2,"e":4}')


def test_numbers_are_finite_json(model: ez.Model) -> None:
    grammar = schema_to_grammar({"type": "number"})
    for text in ("0", "-0", "10", "0.5", "-1.25e-10", "1E+99", "1234567890123456"):
        assert accepted(model, grammar, text)
    for text in ("01", "+1", ".5", "1.", "1e999", "NaN", "Infinity", "12345678901234567"):
        assert not accepted(model, grammar, text)


# --- what is not enforced ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 10}, "maximum, minimum;"),
        ({"type": "number", "multipleOf": 2}, "multipleOf;"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems;"),
        ({"type": "string", "format": "email"}, "format 'email';"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "maxLength;"),
        ({"type": "object", "minProperties": 1}, "minProperties;"),
        ({"not": {"type": "string"}}, "not;"),
        ({"type": "object", "propertys": {}}, "propertys;"),
    ],
)
def test_what_is_not_enforced_is_named(schema: Any, named: str) -> None:
    with pytest.warns(EasyLlamaWarning, match=f"^not enforced in the JSON schema: {re.escape(named)}"):
        assert schema_to_grammar(schema)


def test_what_needs_no_enforcing_is_not_named() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = {"title": "T", "description": "d", "default": 1, "$schema": "s", "examples": []}
        schema_to_grammar(notes | {"type": ["string", "null"], "minLength": 1, "minimum": 3})


# --- what is refused -----------------------------------------------------------------------------------


class NoSchema(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    thing: socket.socket


def nested(n: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(n):
        schema = {"type": "array", "items": schema}
    return schema


def cyclic() -> Any:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema
    return schema


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (5, "a dictionary or a pydantic model class"),
        ("{}", "a dictionary or a pydantic model class"),
        (int, "a dictionary or a pydantic model class"),
        (NoSchema, "has no JSON schema"),
        (cyclic(), "is not JSON"),
        ({"const": {1, 2}}, "is not JSON"),
        ({"const": math.nan}, "is not JSON"),
        (nested(70), "64 levels"),
        (nested(5000), "is not JSON|64 levels"),
        ({"type": "strin"}, "type 'strin'"),
        ({"type": "value"}, "type 'value'"),
        ({"type": [{}]}, "the type {}"),
        ({"type": []}, "must be a list that is not empty"),
        ({"enum": []}, "must be a list that is not empty"),
        ({"enum": "abc"}, "must be a list that is not empty"),
        ({"type": "integer", "enum": ["a"]}, "no value of"),
        ({"anyOf": []}, "must be a list that is not empty"),
        ({"anyOf": [3]}, "not a schema: 3"),
        ({"items": 3, "type": "array"}, "not a schema: 3"),
        ({"properties": [1]}, "properties are not a dictionary"),
        ({"type": "object", "required": "name"}, "not a list of names"),
        (
            {"type": "object", "required": ["a"], "additionalProperties": False},
            "requires a property that it forbids",
        ),
        ({"type": "object", "properties": {"a": False}}, "that nothing fits"),
        ({"type": "object", "properties": {"a" * 300: {}}}, "more than 200 characters"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, "minItems is 3, above its maxItems of 1"),
        ({"type": "array", "minItems": -1}, "minItems must be an integer from 0"),
        ({"type": "array", "minItems": 1, "items": False}, "allows none"),
        ({"type": "array", "minItems": None}, "minItems must be an integer from 0"),
        ({"type": "string", "maxLength": "5"}, "maxLength must be an integer from 0"),
        ({"type": "string", "maxLength": 100_000}, "maxLength is 100,000; at most 2,000"),
        ({"type": "string", "minLength": 10**9}, "at most 2,000"),
        ({"type": "array", "prefixItems": [{}], "minItems": 2}, "prefixItems must be"),
        (
            {
                "type": "object",
                "properties": {str(i): {"type": "string", "maxLength": 2000} for i in range(60)},
            },
            "elements",
        ),
        ({"type": "object", "properties": {f"{i:0200}": {} for i in range(300)}}, "characters"),
        ({"$ref": "https://example.com/schema.json"}, "only places within it"),
        ({"$ref": "other.json#/a"}, "only places within it"),
        ({"$ref": 5}, "only places within it"),
        ({"$ref": "#/$defs/Missing"}, "there is no '\\$defs'"),
        ({"$ref": "#"}, "can't be used.*may refer to the whole.*left recursion"),
        (
            {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "can't be used.*may refer to the whole.*left recursion",
        ),
        ({"allOf": [{"$ref": "#"}]}, "left recursion|64 levels|can't be joined"),
        ({"allOf": [{"type": "object"}, {"type": "string"}]}, "joins two values of type"),
        ({"allOf": [{"type": "object"}, False]}, "can't be joined"),
        ({"pattern": 5}, "pattern must be a text"),
        ({"pattern": '^"$'}, "quotes, backslashes"),
        ({"pattern": r"^\n$"}, "quotes, backslashes"),
        ({"pattern": r"\bword\b"}, r"\\b is not supported"),
        ({"pattern": "(?=a)b"}, "groups that begin"),
        ({"pattern": "^a{3,1}$"}, "lower number first"),
        ({"pattern": "^a{0,99999}$"}, "at most 2,000"),
        ({"pattern": "^[z-a]$"}, "from a lower to a higher"),
        ({"pattern": "^[a$"}, "] is missing"),
        ({"pattern": "^(a$"}, r"as many \( as \)"),
        ({"pattern": "^a)(b$"}, r"as many \( as \)"),
        ({"pattern": "^*$"}, "can't be"),
        ({"pattern": "a^b"}, "only at the end"),
        ({"pattern": "^(a| )*( |b)*( |c)*( |d)*( |e)*$"}, "can't be used.*very many ways"),
        (
            {
                "$ref": "#/$defs/E",
                "$defs": {
                    "E": {
                        "anyOf": [
                            {"type": "integer"},
                            *(
                                {
                                    "type": "object",
                                    "properties": {"left": {"$ref": "#/$defs/E"}, "op": {"const": op}},
                                    "required": ["left", "op"],
                                }
                                for op in "+-*"
                            ),
                        ]
                    }
                },
            },
            "very many ways",
        ),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:40],
)
def test_faults_are_named(schema: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object, **options: object) -> None:
        raise AssertionError("a schema must not use the network")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(SettingsError, match=f"(?s){fault}"):
        schema_to_grammar(schema)


def test_the_converter_of_others_is_left_alone() -> None:
    from llama_cpp import llama_grammar

    before = llama_grammar.json_schema_to_gbnf('{"type": "string", "maxLength": 2}')
    schema_to_grammar({"type": "string", "maxLength": 2})
    assert llama_grammar.json_schema_to_gbnf('{"type": "string", "maxLength": 2}') == before
    assert "(char (char)?)?" in before, "their own rules"


# --- properties ----------------------------------------------------------------------------------------

keywords = st.sampled_from([
    "type", "properties", "required", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf",
    "minItems", "maxItems", "minLength", "maxLength", "pattern", "format", "additionalProperties", "title",
    "$ref",
])  # fmt: skip
wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from([*TYPES, "#", "#/items", "^a*$", "date", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keywords | st.sampled_from("ab"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(keywords, wild, max_size=4))
def test_any_dictionary_gives_a_grammar_or_a_settings_error(schema: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EasyLlamaWarning)
        with suppress(SettingsError):
            assert schema_to_grammar(schema).count("root ::=") == 1


@st.composite
def sound(draw: st.DrawFn, depth: int = 2) -> Any:
    """Schemas that can be fitted."""
    simple = ["integer", "boolean", "null", "string", "enum"]
    kind = draw(st.sampled_from([*simple, "object", "array", "anyOf", "allOf"] if depth else simple))
    if kind == "enum":
        return {
            "enum": draw(st.lists(st.text(max_size=3) | st.integers() | st.none(), min_size=1, max_size=3))
        }
    if kind == "string":
        low = draw(st.integers(0, 3))
        return {"type": "string", "minLength": low, "maxLength": low + draw(st.integers(0, 4))}
    if kind == "array":
        low = draw(st.integers(0, 2))
        return {"type": "array", "items": draw(sound(depth - 1)), "minItems": low, "maxItems": low + 1}
    if kind == "object":
        names = draw(st.lists(st.text(max_size=4), max_size=3, unique=True))
        required = [name for name in names if draw(st.booleans())]
        return {
            "type": "object",
            "properties": {n: draw(sound(depth - 1)) for n in names},
            "required": required,
        }
    if kind == "anyOf":
        return {"anyOf": draw(st.lists(sound(depth - 1), min_size=1, max_size=3))}
    return {"allOf": [draw(sound(depth - 1))]} if kind == "allOf" else {"type": kind}


@settings(max_examples=40)
@given(schema=sound(), seed=st.integers(0, 100))
def test_what_is_written_fits_any_sound_schema(loaded: ez.Model, schema: Any, seed: int) -> None:
    text = written(loaded, Grammar(loaded.llama, schema_to_grammar(schema)), random.Random(seed), 60)
    assert fits(json.loads(text), schema, schema), text


@pytest.mark.parametrize(
    "pattern",
    [
        "^a+b?$",
        "ab",
        "^(a|bc)*$",
        "^[a-c]{2,3}$",
        "b$",
        "^[^a]$",
        r"^\w\s\d$",
        "^a.c$",
        r"^(?:a|b\.)c{1}$",
        "^a|b$",
    ],
)
def test_patterns_fit_what_they_matched(pattern: str, model: ez.Model) -> None:
    grammar = schema_to_grammar({"type": "string", "pattern": pattern})
    rng = random.Random(5)
    for _ in range(60):
        text = "".join(rng.choice("abc. 1") for _ in range(rng.randrange(5)))
        found = re.search(pattern, text) is not None
        if pattern == "^a|b$":  # read as ^(a|b)$: not all, but only what fits
            found = text in ("a", "b")
        assert accepted(model, grammar, f'"{text}"') == found, text


def test_a_pattern_keeps_to_what_a_json_string_may_hold() -> None:
    assert (
        plain_pattern("^[^x]$")
        == r"^([\x20-\x21\x23-\x5B\x5D-\x77\x79-\x7E\x80-\U0000D7FF\U0000E000-\U0010FFFF])$"
    )
    assert (
        plain_pattern(r"^[\s\S]$") == r"^([\x20-\x21\x23-\x5B\x5D-\x7E\x80-\U0000D7FF\U0000E000-\U0010FFFF])$"
    )
