"""Chat templates write here what they write in transformers, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from easy_llama.errors import FormatError
from easy_llama.formats.shape import ROLE_NAMES, Told
from easy_llama.formats.template import ChatTemplate
from tests.conftest import SHARED

TEMPLATES = sorted((SHARED / "templates").glob("*.jinja"))
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the wéather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city, <b>not</b> a country."}},
            "required": ["city"],
        },
    },
}
TALKS: list[list[Told]] = [
    [("user", "a")],
    [("system", " S\n"), ("user", " a "), ("bot", "\nb\n"), ("user", "c")],
    [("user", "a"), ("bot", "<think>\nb\n</think>\n\nc"), ("user", "d"), ("bot", "e")],
    [("user", "a"), ("bot", "b", "T1"), ("user", "c"), ("bot", "d", "\nT2\n")],
    [("user", "é<b>\r\n"), ("bot", "x", "T"), ("user", "")],
]
# looks for tools without asking whether there are any; transformers can't render it without
NEEDS_TOOLS = "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use"
FAILS_WITH_TOOLS = "llama-cpp-deepseek-r1"  # it writes a generator as JSON


def theirs(source: str, talk: list[Told], *, generate: bool, keys: tuple[str, ...], **variables: Any) -> str:
    """What transformers writes, with thinking under ``keys``."""
    messages = []
    for role, content, *thinking in talk:
        messages.append(
            {"role": ROLE_NAMES[role], "content": content} | dict.fromkeys(keys, "".join(thinking))
        )
        if not thinking:
            messages[-1] = {"role": ROLE_NAMES[role], "content": content}
    written, _ = render_jinja_template(
        [messages], chat_template=source, add_generation_prompt=generate, bos_token="<s>", eos_token="</s>",
        **variables,
    )  # fmt: skip
    text: str = written[0]
    return text


@pytest.mark.skipif(not TEMPLATES, reason="the real templates are not here")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("generate", [False, True])
def test_a_real_template_writes_what_it_writes_in_transformers(
    path: Path, tools: bool, generate: bool
) -> None:
    source = path.read_text(encoding="utf-8")
    variables: dict[str, Any] = {"tools": [TOOL], "enable_thinking": True} if tools else {}
    template = ChatTemplate(source, "<s>", "</s>", variables)
    keys = template.thinking_keys
    n_compared = 0
    for talk in TALKS:
        if keys[:1] and "." in keys[0]:  # contents made of parts, which transformers takes as they are
            talk = [message[:2] for message in talk]
        try:
            expected = theirs(source, talk, generate=generate, keys=keys, **variables)
        except (jinja2.TemplateError, TypeError):
            if path.stem != NEEDS_TOOLS or tools:
                with pytest.raises(FormatError):
                    template.render(talk, generate=generate)
            continue
        assert template.render(talk, generate=generate) == expected
        n_compared += 1
    assert n_compared >= 3 or path.stem == (FAILS_WITH_TOOLS if tools else NEEDS_TOOLS)


@pytest.mark.parametrize(
    "options",
    ["", "true", "false, 2", "indent=3", "separators=(',', ':')", "sort_keys=true", "ensure_ascii=true",
     "indent=1, sort_keys=true, separators=('; ', '= '), ensure_ascii=true"],
)  # fmt: skip
def test_tojson_takes_the_options_that_it_takes_in_transformers(options: str) -> None:
    source = (
        f"{{{{ {json.dumps({'b': 'é<', 'a': [1, None]}).replace('null', 'none')} | tojson({options}) }}}}"
    )
    talk: list[Told] = [("user", "a")]
    assert ChatTemplate(source).render(talk) == theirs(source, talk, generate=True, keys=())


def test_the_names_that_templates_find_are_those_of_transformers() -> None:
    names = ["tools", "documents", "functions", "add_generation_prompt", "bos_token", "eos_token", "messages",
             "raise_exception", "strftime_now", "tool_choice", "namespace", "dict", "range"]  # fmt: skip
    source = "".join(f"{{{{ [{name} is defined, {name} is none] }}}}" for name in names)
    source += "{{ strftime_now('%Y-%m') }}{{ add_generation_prompt }}{{ bos_token }}{{ eos_token }}"
    talk: list[Told] = [("user", "a")]
    ours = ChatTemplate(source, "<s>", "</s>").render(talk)
    assert ours == theirs(source, talk, generate=True, keys=())
