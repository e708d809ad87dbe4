"""The doctor: what does not fit between a format and a model is found, told once, and never raises."""

from __future__ import annotations

import doctest
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import easy_llama as ez
from easy_llama import formats
from easy_llama.chat import layouts
from easy_llama.engine import Tokenizer
from easy_llama.errors import EasyLlamaWarning, FormatError
from easy_llama.formats import Finding, Format, check
from easy_llama.formats.shape import like
from easy_llama.samplers import GreedyDecoding
from easy_llama.thread import Thread
from tests.conftest import SHARED
from tests.test_formats import REAL
from tests.test_templates import CHATML

REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}" + CHATML
# past answers lose the thought that the newest one opens with
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")


@dataclass
class FakeTokenizer(Tokenizer):
    """One token for each special text, otherwise one for each character."""

    n_vocab: int = 0x110000
    special: tuple[str, ...] = ("<s>", "<|im_start|>", "<|im_end|>")
    adds_bos: bool = True

    def encode(self, text: str, *, bos: bool = True, special: bool = True) -> list[int]:
        first = [0] if bos and self.adds_bos else []
        return [*first, *([self.special.index(text)] if text in self.special else map(ord, text))]

    @property
    def end_tokens(self) -> frozenset[int]:
        return frozenset()

    def piece(self, token: int) -> bytes:
        return chr(token).encode()

    def markers(self) -> tuple[str, str]:
        return "<s>", "</s>"


@dataclass
class FakeModel:
    tokenizer: FakeTokenizer = field(default_factory=FakeTokenizer)
    chat_template: str | None = None


def fake(template: str | None = CHATML, *, adds_bos: bool = True) -> FakeModel:
    return FakeModel(FakeTokenizer(adds_bos=adds_bos), template)


def changed(**texts: str) -> Format:
    format = like(formats.chatml)
    format.update(texts)  # type: ignore[typeddict-item]  # keys of a format
    return format


def kinds(found: list[Finding]) -> list[str]:
    return [finding.kind for finding in found]


# --- what is found -------------------------------------------------------------------------------------


def test_the_bundled_model_is_well_with_chatml(model: ez.Model) -> None:
    assert check(model, formats.chatml) == []
    assert check(model, None) == []


@pytest.mark.parametrize(
    ("template", "format", "kind", "words"),
    [
        (CHATML, changed(user_suffix="<|im_end|>"), "whitespace", r"im_end\|>\\n<.* and not 'im_end\|><"),
        (CHATML, changed(bot_prefix="<|im_start|>assistant\n "), "whitespace", "spaces or newlines"),
        (CHATML, changed(bot_prefix="<|im_start|>assistant"), "whitespace", "spaces or newlines"),
        (CHATML, formats.alpaca, "differs", r"use ez\.formats\.chatml, or make the Thread without"),
        (CHATML.upper().replace("MESSAGES", "x"), formats.chatml, "template_broken", "broken"),
        (CHATML.replace("im_start", "begin"), formats.chatml, "differs", "<.begin.*; make the Thread"),
        (REFUSING, formats.chatml, "system_lost", "takes no system message"),
        (DEFAULT, formats.chatml, "system_lost", r"writes '<\|im_start\|>system\\nBe good\."),
        (THINKING, formats.chatml, "opening", r"assistant\\n<think>', the format with"),
    ],
)
def test_a_difference_from_the_template(template: str, format: Format, kind: str, words: str) -> None:
    found = check(fake(template), format)
    assert found[0].kind == kind
    assert re.search(words, found[0].text)
    assert kinds(found)[1:] == (["unstable_prefix"] if template is THINKING else [])


@pytest.mark.parametrize(
    ("template", "format"),
    [
        (CHATML, formats.qwen),
        ("{{ bos_token }}" + CHATML, formats.chatml),
        (DEFAULT, formats.qwen),
        (REFUSING, {**formats.chatml, "system_prefix": "<|im_start|>user\n", "system_suffix": "\n\n",
                    "user_prefix_after_system": ""}),
        (None, formats.chatml),
        (None, formats.alpaca),
        (None, formats.blank),
    ],
)  # fmt: skip
def test_what_fits_is_not_reported(template: str | None, format: Format) -> None:
    assert check(fake(template), format) == []


def test_markup_that_is_no_token_is_foreign(model: ez.Model) -> None:
    found = check(model, formats.llama3)
    assert kinds(found) == ["foreign_markup", "differs"]
    assert "<|start_header_id|>, <|end_header_id|>, <|eot_id|>, which" in found[0].text
    assert "use ez.formats.chatml" in found[0].text
    for format in (formats.mistral_v1, formats.llama2chat, formats.exaone, formats.deepseek, formats.gemma4):
        assert kinds(check(fake(None), format)) == ["foreign_markup"]
    for format in (formats.alpaca, formats.vicuna_common, formats.bagel):
        markup = [f.text for f in check(model, format) if f.kind == "foreign_markup"]
        assert all("</s>" in text for text in markup), "plain words are no markup"


def test_markup_that_the_models_own_template_writes_as_text_is_not_foreign() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    )
    assert check(fake(template), formats.mistral_v3) != []
    assert "foreign_markup" not in kinds(check(fake(template), formats.mistral_v3))


def test_a_doubled_beginning_of_sequence() -> None:
    format = changed(system_prefix="<s><|im_start|>system\n")
    found = check(fake(), format)
    assert kinds(found) == ["double_bos"]
    assert "drops the second one" in found[0].text
    assert kinds(check(fake(adds_bos=False), format)) == [], "it is there once"


def test_an_unstable_template_is_found_without_a_format() -> None:
    assert kinds(check(fake(THINKING), None)) == ["unstable_prefix"]


@pytest.mark.parametrize(
    "template",
    [
        "{% fir m in messages %}",
        "{{ 1 / 0 }}",
        "{{ raise_exception('never') }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}",
        "{% if messages | length > 1 %}{{ raise_exception('one only') }}{% endif %}{{ messages[0].content }}",
        "{% set x = messages[0].content %}" + "{{ (" * 300 + "1" + ") }}" * 300,
    ],
)
def test_a_broken_template_is_a_finding(template: str) -> None:
    found = check(fake(template), formats.chatml)
    assert kinds(found) == ["template_broken"]
    assert "chat template" in found[0].text


@pytest.mark.parametrize("source", [None, 5, ["a"], b"x"])
def test_a_template_that_is_no_text_is_none(
    source: Any, model: ez.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(model.metadata, "tokenizer.chat_template", source)
    assert model.chat_template is None
    assert check(model, formats.chatml) == []


def test_what_is_no_format_is_an_error() -> None:
    with pytest.raises(FormatError, match="lacks"):
        check(fake(), {"a": 1})  # type: ignore[arg-type]


@pytest.mark.skipif(not SHARED.exists(), reason="the real templates are not here")
@pytest.mark.parametrize("path", sorted((SHARED / "templates").glob("*.jinja")), ids=lambda path: path.stem)
def test_every_real_template_is_examined(path: Path) -> None:
    model = fake(path.read_text(encoding="utf-8"))
    for name in ("chatml", "alpaca", "gemma2", "llama2chat", "blank"):
        found = check(model, formats.find(name))
        assert "template_broken" not in kinds(found)
        assert all(finding.text and "\n" not in finding.text for finding in found)
    if path.stem in REAL:
        name, left_out = REAL[path.stem]
        fits = kinds(check(model, formats.find(name)))
        assert "whitespace" not in fits
        assert "foreign_markup" not in fits
        assert ("differs" in fits) == bool(left_out)


# --- a Thread warns once -------------------------------------------------------------------------------


@pytest.fixture
def unexamined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_examined", set())


def test_a_thread_with_a_format_that_does_not_fit_warns_once(model: ez.Model, unexamined: None) -> None:
    with pytest.warns(EasyLlamaWarning, match=r"use ez\.formats\.chatml") as caught:
        Thread(model, formats.alpaca)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(EasyLlamaWarning, match=r"<\|eot_id\|>"):
        Thread(model, formats.llama3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = Thread(model, formats.alpaca, GreedyDecoding)
        Thread(model, formats.cat)  # the same texts with another system prompt
        thread.fork()


def test_a_thread_with_a_format_that_fits_is_quiet(model: ez.Model, unexamined: None) -> None:
    for format in (None, formats.chatml, formats.qwen, formats.blank):
        Thread(model, format).fork()


def test_docstring_examples() -> None:
    failed, tried = doctest.testmod(formats.doctor)
    assert (failed, tried > 0) == (0, True)
