"""Chat templates: rendered as data and within limits, and dictionaries derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama import formats
from easy_llama.errors import FormatError
from easy_llama.formats.derive import derive
from easy_llama.formats.template import ChatTemplate, TemplateRefusal
from tests.conftest import SHARED

HELLO = [("user", "Hello")]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_the_bundled_model_has_chatml(model: ez.Model) -> None:
    derived = derive(ChatTemplate(model.metadata["tokenizer.chat_template"]))
    assert derived.system == "own"
    assert derived.format is not None
    for key in ("system_prefix", "system_suffix", "user_prefix", "user_suffix", "bot_prefix", "bot_suffix"):
        assert derived.format[key] == formats.chatml[key]
    assert derived.format["stops"] == ["<|im_end|>"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "does not end"),
        ("{{ 'x' * 10 ** 11 }}", "more than"),
        ("{{ [0] * 10000000 }}", "more than"),
        ("{{ 9 ** 99999999 }}", "more than"),
        ("{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}", "more than"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append.__globals__ }}", "unsafe"),
        ("{{ messages.clear() }}", "SecurityError|unsafe|not safely callable"),
        ("{% include '/etc/passwd' %}", "no loader|failed"),
        ("{% fir m in messages %}", "broken"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_hostile_or_broken_template_is_an_error(source: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        ChatTemplate(source).render(HELLO)


def test_what_templates_expect_is_there() -> None:
    source = (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}"
        "{{ m.content | tojson }}{% endfor %}"
        "{% generation %}{{ strftime_now('%Y') | length }}{% endgeneration %}{{ bos_token }}"
        "{{ [tools, documents, functions is defined, eos_token, add_generation_prompt] }}"
    )
    text = ChatTemplate(source, "<s>", "</s>").render([("user", "a"), ("bot", '"<é>"')], generate=False)
    assert text == '"\\"<é>\\""4<s>[None, None, False, \'</s>\', False]'


def test_variables_are_given_to_the_template() -> None:
    source = "{{ tools }}{{ functions }}{{ enable_thinking }}{{ bos_token }}"
    given = {"tools": [1], "functions": [2], "enable_thinking": False, "bos_token": "B"}
    assert ChatTemplate(source, "<s>", variables=given).render(HELLO) == "[1][2]FalseB"


def test_a_template_that_needs_tools_works_without_any() -> None:
    source = "{% for tool in tools %}{{ tool }}{% endfor %}" + CHATML
    assert ChatTemplate(source).render(HELLO, generate=False) == "<|im_start|>user\nHello<|im_end|>\n"
    with pytest.raises(FormatError, match="TypeError"):  # another fault is still one
        ChatTemplate(source + "{{ 1 + 'x' }}").render(HELLO)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("", '{"b": "é", "a": [1, 2]}'),
        ("sort_keys=true", '{"a": [1, 2], "b": "é"}'),
        ("separators=(',', ':')", '{"b":"é","a":[1,2]}'),
        ("ensure_ascii=true", '{"b": "\\u00e9", "a": [1, 2]}'),
        ("true", '{"b": "\\u00e9", "a": [1, 2]}'),
        ("indent=1", '{\n "b": "é",\n "a": [\n  1,\n  2\n ]\n}'),
    ],
)
def test_tojson_keeps_its_options(options: str, text: str) -> None:
    source = f"{{{{ {{'b': 'é', 'a': [1, 2]}} | tojson({options}) }}}}"
    assert ChatTemplate(source).render(HELLO) == text


def test_a_refusal_is_told_from_a_fault() -> None:
    with pytest.raises(TemplateRefusal, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(HELLO)


def test_a_role_that_is_refused_is_merged() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    derived = derive(ChatTemplate(refusing))
    assert derived.system == "refused"
    assert derived.format is not None
    text = "".join(a + b + c for a, b, c in formats.layout([("system", "S"), ("user", "U")], derived.format))
    assert text == "<|im_start|>user\nS\n\nU<|im_end|>\n"


def test_a_default_system_message_becomes_the_system_prompt() -> None:
    default = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
    derived = derive(ChatTemplate(default + CHATML))
    assert derived.format is not None
    assert derived.format["system_prompt"] == "Be good."


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}{% if not loop.last %}{{ m.content }}{% endif %}{% endfor %}", "left out"),
        ("{% for m in messages | reverse %}[{{ m.content }}]{% endfor %}", "order"),
        ("Date: today\n" + CHATML, "fixed text"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"), "left out"),
        (CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}"), "past answers"),
        (CHATML.replace("m.content", "m.content | trim"), "white space"),
        (CHATML.replace("m.content", "m.content.strip('\\n')"), "white space"),
        (CHATML.replace("m.content", "(m.content.split('</think>') | last)"), "thinking in past"),
        (CHATML.replace("m.content", "m.content.replace('/brief', '')"), "markup in contents"),
        (CHATML.replace("m.content", "('' if m.content.startswith('[[') else m.content)"), "markup"),
        (CHATML.replace("m.content", "(m.content | e)"), "thinking in past"),
        (CHATML.replace("{{ m.content }}", "{{ m.content or '(nothing)' }}"), "empty messages"),
        (CHATML.replace("m.content", "(m.content if m.content | trim else '-')"), "messages"),
        (CHATML.replace("m.content", "(m.thinking or '') + m.content"), "thinking is written"),
        (CHATML.replace("m.role }}", "'developer' if m.role == 'system' and loop.index > 1 else m.role }}"),
         "later system"),
        (CHATML.replace("{% if add_generation_prompt %}",
                        "{% if add_generation_prompt and messages[-1].role == 'user' %}"),
         "ends with an answer"),
        ("{% if messages[0].role != 'system' %}<|im_start|>system\n{{ strftime_now('%Y') }}<|im_end|>\n"
         "{% endif %}" + CHATML, "time"),
    ],
)  # fmt: skip
def test_what_is_not_regular_is_not_derived(source: str, reason: str) -> None:
    derived = derive(ChatTemplate(source))
    assert derived.format is None
    assert reason in derived.reason


def test_a_template_may_reject_empty_messages_and_keep_its_dictionary() -> None:
    strict = (
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty') }}{% endif %}{% endfor %}"
    )
    assert derive(ChatTemplate(strict + CHATML)).format is not None
    assert derive(ChatTemplate(CHATML.replace("m.content", "m.content | trim"))).stops == ("<|im_end|>",)


def test_markup_that_is_also_the_beginning_of_sequence_is_kept_where_the_tokenizer_adds_none() -> None:
    markers = ("<|im_start|>", "<|im_end|>")  # as SmolLM2 has them
    derived = derive(ChatTemplate(CHATML, *markers, adds_bos=False))
    assert derived.format is not None
    assert derived.format["system_prefix"] == "<|im_start|>system\n"
    assert derived.format["user_prefix"] == "<|im_start|>user\n"
    assert derive(ChatTemplate(CHATML, *markers)).format is None, "added in front, it is missing once"


def test_a_derived_dictionary_is_the_callers_own() -> None:
    first = derive(ChatTemplate(CHATML)).format
    assert first is not None
    first["stops"].append("x")
    second = derive(ChatTemplate(CHATML)).format
    assert second is not None
    assert second["stops"] == ["<|im_end|>"]
    other = derive(ChatTemplate("{{ x }}" + CHATML, variables={"x": "!"}))
    assert other.reason == "a fixed text stands before the conversation"
    assert derive(ChatTemplate(CHATML, variables={"tools": []})).format is not None, "not hashable"


# the rest change white space, thinking or markup in contents, write the date or put fixed texts in front
REGULAR = {
    "LFM2-8B-A1B", "MiMo-VL", "Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder", "ibm-granite-granite-4.0",
}  # fmt: skip


@pytest.mark.skipif(not SHARED.exists(), reason="the real templates are not here")
def test_every_real_template_is_derived_rendered_or_refused_for_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = []
    for path in sorted((SHARED / "templates").glob("*.jinja")):
        template = ChatTemplate(path.read_text(encoding="utf-8"), "<BOS>", "<EOS>")
        derived = derive(template)
        what = "derived" if derived.format else "rendered whole"
        table.append((path.stem, what, derived.system, derived.reason))
        conversation = [("user", "Qone"), ("bot", "Qtwo"), ("user", "Qthree")]
        text = template.render(conversation)
        assert all(content in text for _, content in conversation)
    with capsys.disabled():
        print("\ntemplate, result, system role, reason")
        for row in table:
            print(f"  {row[0]:48} {row[1]:15} {row[2]:8} {row[3]}")
    assert {row[0] for row in table if row[1] == "derived"} == REGULAR
    assert len(table) == len(list(Path(SHARED / "templates").glob("*.jinja")))


def test_a_beginning_of_sequence_that_the_tokenizer_does_not_add_is_kept(
    model: ez.Model, tmp_path: Path
) -> None:
    """As in SmolLM2: the template begins with what the vocabulary calls BOS, and nobody else writes it."""
    [start] = model.tokenize("<|im_start|>")[1:]
    data = ez.model.BUNDLED_MODEL.read_bytes()
    for key, kind, old, new in (
        (b"tokenizer.ggml.bos_token_id", 4, (0).to_bytes(4, "little"), start.to_bytes(4, "little")),
        (b"tokenizer.ggml.add_bos_token", 7, b"\1", b"\0"),
    ):
        found = key + kind.to_bytes(4, "little")
        assert data.count(found + old) == 1
        data = data.replace(found + old, found + new)
    (tmp_path / "no_bos.gguf").write_bytes(data)
    with ez.Model(tmp_path / "no_bos.gguf", n_threads=1) as other:
        assert (other.tokenizer.markers()[0], other.tokenizer.encode("")) == ("<|im_start|>", [])
        thread = ez.Thread(other, sampler=ez.samplers.GreedyDecoding)
        assert "Paris" in thread.send("What is the capital of France?")
        assert other.engine.tokens[0] == start
        assert thread.as_string().startswith("<|im_start|>user\nWhat is")
        assert thread.format is not None
        assert formats.check(other, thread.format) == []
        assert formats.check(other, formats.chatml) == []
