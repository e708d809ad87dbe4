"""JSON schemas with their traps, and the standard's rules for whether a value fits one."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal

import pydantic


class Colour(pydantic.BaseModel):
    name: Literal["red", "grün", 'a "quoted" one']
    alpha: float | None = None


class Shape(pydantic.BaseModel):
    """A recursive model with everything that is common."""

    kind: Literal["circle", "square"]
    label: str = pydantic.Field(max_length=12)
    sides: list[int] = pydantic.Field(min_length=1, max_length=3)
    colour: Colour
    pair: tuple[int, str]
    parts: list[Shape] = []
    notes: dict[str, bool] = {}


NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/My_Node[int]"}},
    },
    "required": ["value", "children"],
}
SCHEMAS: dict[str, Any] = {
    "anything": {},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "string": {"type": "string"},
    "any object": {"type": "object"},
    "any array": {"type": "array", "items": {}, "maxItems": 3},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "enum": {
        "enum": ['a "b"', "c\\d", "line\nbreak", "é", "😀", "\ud83d", None, 1.5, -0.0, {"x": [1, {}]}, ""]
    },
    "const": {"const": {'quote"d': ["\t", 1]}},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
    "old tuple": {"type": "array", "items": [{"type": "integer"}], "additionalItems": False},
    "no items": {"type": "array", "items": False},
    "empty tuple": {"type": "array", "prefixItems": [], "items": {"type": "integer"}},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "open map": {"type": "object", "additionalProperties": {}},
    "empty object": {"type": "object", "additionalProperties": False},
    "nested": {
        "type": "object",
        "properties": {
            "a": {
                "type": "object",
                "properties": {"b": {"type": "array", "items": {"type": "boolean"}}},
                "required": ["b"],
            },
            "c": {"type": "null"},
            'd "quoted" \\ name\n😀': {"type": "integer"},
        },
        "required": ["c", "a", 'd "quoted" \\ name\n😀'],
    },
    "optional": {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in "abcd"},
        "required": ["c"],
    },
    "recursive": {"$defs": {"My_Node[int]": NODE}, "$ref": "#/$defs/My_Node[int]"},
    "itself": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    },
    "mixed up names": {  # the converter would take the rule of a property or of its own for these definitions
        "type": "object",
        "properties": {
            "colour": {"enum": [1]},
            "x": {"$ref": "#/$defs/colour"},
            "y": {"$ref": "#/$defs/string"},
            "": {"enum": [2]},
            "root": {"enum": [3]},
            "space": {"const": 4},
            "z-kv": {"const": 5},
            "z": {"const": 6},
        },
        "$defs": {"colour": {"enum": ["red"]}, "string": {"enum": ["green"]}},
        "required": ["colour", "x", "y", "", "root", "space", "z-kv", "z"],
    },
    "escaped reference": {"$ref": "#/definitions/a~1b%20c/0", "definitions": {"a/b c": [{"const": "found"}]}},
    "all of one": {
        "allOf": [{"$ref": "#/definitions/C"}],
        "definitions": {"C": {"enum": ["red"]}},
        "description": "x",
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"const": 7}, "b": {"type": "boolean"}}, "required": ["b"]},
        ],
    },
    "any of beside": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "types": {
        "type": ["string", "null", "array"],
        "maxLength": 2,
        "items": {"type": "boolean"},
        "maxItems": 2,
    },
    "enum beside types": {"type": ["string", "null"], "enum": ["long enough", None, 3, True]},
    "required elsewhere": {"type": "object", "required": ["a"], "additionalProperties": {"type": "boolean"}},
    "pattern": {"type": "string", "pattern": r"^\d{3}-[a-z\w.]{1,8}\.(com|org)$"},
    "pattern without anchors": {"type": "string", "pattern": "a|b"},
    "printable": {"type": "string", "pattern": "^[ -~]{1,20}$"},
    "date-time": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "uuid": {"type": "string", "format": "uuid"},
    "colour": Colour,
    "shape": Shape,
}

FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:\d\d)",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether ``value`` fits ``schema``: the standard's rules for the keywords used in these tests."""
    if isinstance(schema, bool) or schema == {}:
        return schema is not False
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].split("/")[1:]:
            part = part.replace("~1", "/").replace("%20", " ")
            target = target[int(part)] if isinstance(target, list) else target[part]
        return fits(value, target, root)
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    is_bool = isinstance(value, bool)
    if not any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not is_bool) for kind in kinds):
        return False
    checks = [
        "enum" not in schema or any(same(value, choice) for choice in schema["enum"]),
        "const" not in schema or same(value, schema["const"]),
        all(fits(value, part, root) for part in schema.get("allOf", [])),
        "anyOf" not in schema or any(fits(value, part, root) for part in schema["anyOf"]),
    ]
    if isinstance(value, str):
        checks += [
            schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf),
            re.search(schema.get("pattern", ""), value) is not None,
            re.fullmatch(FORMATS.get(schema.get("format"), "(?s:.*)"), value) is not None,
        ]
    if isinstance(value, list):
        items = schema.get("items", True)
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        checks += [
            schema.get("minItems", len(first))
            <= len(value)
            <= schema.get("maxItems", len(first) or math.inf),
            all(fits(item, part, root) for item, part in zip(value, first, strict=False)),
            bool(first) or all(fits(item, items, root) for item in value),
        ]
    if isinstance(value, dict):
        known, further = schema.get("properties", {}), schema.get("additionalProperties", True)
        checks += [
            set(schema.get("required", [])) <= set(value),
            all(fits(part, known.get(name, further), root) for name, part in value.items()),
        ]
    return all(checks)


def same(left: Any, right: Any) -> bool:
    return json.dumps(left) == json.dumps(right)


VALUES: list[Any] = [
    None, True, False, 0, 7, -3, 1.5, 12345, "", "a", "ab", "abc", "red", "long enough", "ax", "quote\"d",
    "123-abc.com", "2024-02-29", "found", [], [1], [1, 2], [1, "ab"], [1, "abcd"], [True, False], {},
    {"a": 1}, {"a": 7, "b": True}, {"b": 1}, {"c": 1}, {"c": 1, "d": 2}, {"d": 2}, {"next": {"next": None}},
    {"value": 1, "children": [{"value": 2, "children": []}]}, {"value": 1}, {"c": 3.5}, {"next": 1},
    {"quote\"d": ["\t", 1]}, "é", "😀", "line\nbreak", "c\\d", {"x": [1, {}]}, 'a "b"', {"a": True},
    ["a"], [[1], {"b": None}],
]  # fmt: skip
