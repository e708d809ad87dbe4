"""Fields as a person types them: on the command line and in the console."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from easy_llama import SamplerSettings
from easy_llama.cli.flags import sampler_options
from easy_llama.console.settings import changed_sampler
from easy_llama.errors import SettingsError
from easy_llama.samplers import GreedyDecoding
from easy_llama.samplers.fields import FIELDS
from easy_llama.samplers.texts import text_of_value, value_from_text

OTHER: dict[str, Any] = {  # a value for each kind of field, not the default
    "temp": 0.25, "top_k": None, "seed": 12, "mirostat": 2, "num_beams": 3, "early_stopping": "never",
    "dry_sequence_breakers": ("\n", '"', "é"), "logit_bias": ((12, -math.inf), ("12", 2.0), ("yes", -1.5)),
    "grammar": 'root ::= "a" | "off"', "json_schema": {"properties": {"é": {"enum": [1, None]}}},
}  # fmt: skip


def test_every_field_has_help_and_a_kind() -> None:
    assert list(FIELDS) == [field.name for field in fields(SamplerSettings)]
    assert {row.kind.words for row in FIELDS.values()} == {
        "an integer", "a number", "a text", "JSON", "true, false or never",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(FIELDS))
def test_the_text_of_a_value_is_read_as_that_value(name: str) -> None:
    changed = {name: OTHER[name]} if name in OTHER else {}
    for chosen in (SamplerSettings(), SamplerSettings(**changed)):
        value = getattr(chosen, name)
        text = text_of_value(value)
        assert getattr(SamplerSettings(**{name: value_from_text(name, text)}), name) == value
        assert getattr(changed_sampler(GreedyDecoding, f"{name} {text}"), name) == value


@given(st.floats(allow_nan=False), st.integers())
def test_numbers_survive(number: float, whole: int) -> None:
    assert value_from_text("temp", text_of_value(number)) == number
    assert value_from_text("top_k", text_of_value(whole)) == whole


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temp", "off", None),
        ("temp", " NONE ", None),
        ("temp", "1", 1.0),
        ("grammar", "off", None),
        ("logit_bias", "off", None),
        ("dry_sequence_breakers", "[]", []),
        ("early_stopping", "TRUE", True),
        ("early_stopping", "off", False),
        ("early_stopping", "soon", "soon"),  # for the settings to refuse
        ("logit_bias", '{"12": -1, "yes": 2}', [(12, -1), ("yes", 2)]),
        ("logit_bias", '[["12", 2], [12, -Infinity]]', [["12", 2], [12, -math.inf]]),
    ],
)
def test_what_texts_mean(name: str, text: str, value: Any) -> None:
    assert value_from_text(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("temp", "hot", "temp must be a number or off; got 'hot'"),
        ("top_k", "2.5", "top_k must be an integer or off; got '2.5'"),
        ("json_schema", "{", "json_schema must be JSON or off; got '{' (Expecting"),
        ("logit_bias", "yes", "logit_bias must be JSON or off"),
        ("json_schema", "[" * 100_000, "json_schema must be JSON or off"),
    ],
)
def test_a_text_of_another_kind_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        value_from_text(name, text)
    assert str(caught.value).startswith(words)


def run(*arguments: str) -> Any:
    """What a command with the sampler's flags gets."""
    given: list[SamplerSettings] = []

    @click.command()
    @sampler_options
    def command(sampler: SamplerSettings) -> None:
        given.append(sampler)

    result = CliRunner().invoke(command, arguments)
    return given[0] if given else (result.exit_code, result.output, result.exception)


def test_the_flags_give_every_field() -> None:
    assert run() == SamplerSettings()
    compatible = {name: value for name, value in OTHER.items() if name != "grammar"}
    flags = [(f"--{name.replace('_', '-')}", text_of_value(value)) for name, value in compatible.items()]
    assert run(*(part for flag in flags for part in flag)) == SamplerSettings(**compatible)
    assert run("--grammar", OTHER["grammar"]) == SamplerSettings(grammar=OTHER["grammar"])


def test_a_wrong_flag_is_wrong_usage() -> None:
    for arguments, words in (
        (("--temp", "hot"), "'hot' is neither a number nor off"),
        (("--top-k", "2.5"), "'2.5' is neither an integer nor off"),
        (("--json-schema", "{"), "'--json-schema': must be JSON or off; got '{'"),
    ):
        code, output, _ = run(*arguments)
        assert code == 2
        assert words in " ".join(output.split())
    assert isinstance(run("--early-stopping", "soon")[2], SettingsError)


def test_a_stored_sampler_is_shown_as_it_was_typed() -> None:
    chosen = SamplerSettings(**{**OTHER, "json_schema": None})
    shown = {name: text_of_value(value) for name, value in asdict(chosen).items()}
    assert shown["top_k"] == "off"
    assert json.loads(shown["dry_sequence_breakers"]) == ["\n", '"', "é"]
    assert "\n" not in "".join(shown.values())
