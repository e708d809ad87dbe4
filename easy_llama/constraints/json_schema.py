"""JSON schema to GBNF, by llama-cpp-python's converter, without its traps.

The converter breaks the JSON on quotes and control characters, mixes up rules of the same name, and leaves
out much in silence. So a schema is first rewritten in the few words that it does justice to, and a private
copy of the converter gets correct rules for strings and numbers. Nothing is ever fetched.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..caller import warn
from ..errors import SettingsError
from .document import document_of
from .gbnf import MAX_TEXT
from .gbnf_check import check_grammar
from .json_plain import plain_schema

__all__ = ["schema_to_grammar"]


def schema_to_grammar(schema: Mapping[str, Any] | type) -> str:
    """Return a GBNF grammar for JSON that fits ``schema``, a dictionary or a pydantic model class.

    Enforced are ``type``, ``properties``, ``required``, ``additionalProperties``, ``items``,
    ``prefixItems``, ``minItems``, ``maxItems``, ``enum``, ``const``, ``anyOf``, ``oneOf`` (as anyOf),
    ``allOf``, ``minLength``, ``maxLength``, ``pattern`` and the formats ``date``, ``time``, ``date-time`` and
    ``uuid``. What else limits the values (``minimum``, ``multipleOf``, ``uniqueItems``, ``not``, ...) is not
    enforced, and an EasyLlamaWarning names it. Only ``$ref`` within the schema (``#/$defs/Name``) is known.

    The JSON comes on one line with at most one space between its parts. Required properties come first, both
    kinds in the schema's order; an object with ``properties`` has no others. ``pattern`` leaves out quotes,
    backslashes and control characters. Integers have up to 16 digits.

    Raises SettingsError that names the fault: a schema that isn't one, that nothing fits, lengths above
    2,000, a grammar that becomes too large, or one in which alternatives can't be told apart.
    """
    definitions, ignored = plain_schema(document_of(schema))
    text = _convert(definitions)
    if len(text) > MAX_TEXT:
        raise SettingsError(
            f"the JSON schema gives a grammar of {len(text):,} characters, above {MAX_TEXT:,}; "
            "leave properties away, or split the schema"
        )
    try:
        check_grammar(text)
    except SettingsError as error:
        raise SettingsError(
            "the JSON schema gives a grammar that can't be used (in a schema: alternatives must begin with a "
            f"property that tells them apart, and only a part of a schema may refer to the whole): {error}"
        ) from None
    if ignored:
        warn(f"not enforced in the JSON schema: {', '.join(ignored)}; check the values afterwards")
    return text


def _convert(definitions: dict[str, Any]) -> str:
    converter = _converter_module().SchemaConverter(
        prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False
    )
    converter._refs = definitions  # so it has nothing to look up or fetch
    try:
        converter.visit({"$ref": next(iter(definitions))}, "")
        text: str = converter.format_grammar()
    except Exception as error:  # the converter raises whatever happens to go wrong
        raise SettingsError(f"the JSON schema can't be made a grammar: {error!r}") from error
    return text


# --- the converter -------------------------------------------------------------------------------------

_RULES = {
    # theirs allows raw line breaks, and code points that are no characters
    "char": r'[ !#-\[\]-~\u0080-\uD7FF\uE000-\U0010FFFF] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "integral-part": '"0" | [1-9] [0-9]{0,15}',  # theirs reads every digit in two ways
    "decimal-part": "[0-9]{1,16}",
    # theirs allows exponents that are no finite number
    "number": '("-"? integral-part) ("." decimal-part)? ([eE] [-+]? [0-9]{1,2})? space',
}


@lru_cache(maxsize=1)
def _converter_module() -> Any:
    """A copy of ``llama_cpp.llama_grammar`` that nobody else sees, with the rules above."""
    spec = importlib.util.find_spec("llama_cpp.llama_grammar")
    if spec is None or spec.loader is None:
        raise SettingsError("this llama-cpp-python has no converter for JSON schemas; give a grammar instead")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, rule in _RULES.items():
        module.PRIMITIVE_RULES[name].content = rule
    module._build_repetition = _repetition
    module.SchemaConverter._format_literal = _literal
    return module


def _repetition(
    item: str,
    low: int,
    high: int | None,
    separator_rule: str | None = None,
    item_rule_is_literal: bool = False,
) -> str:
    """``item`` from ``low`` to ``high`` times; the original writes every repetition out."""
    if not separator_rule:
        return f"{item}{{{low},{'' if high is None else high}}}"
    if high == 0:
        return ""
    further = f"({separator_rule} {item}){{{max(low - 1, 0)},{'' if high is None else high - 1}}}"
    return f"{item} {further}" if low else f"({item} {further} | )"


def _literal(converter: Any, text: str) -> str:
    """JSON ``text`` as a literal of the grammar; the original doesn't escape backslashes."""
    try:
        raw = json.dumps(json.loads(text), ensure_ascii=False)
        raw.encode()  # half a surrogate pair stays an escape
    except ValueError:
        raw = text
    escaped = raw.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
