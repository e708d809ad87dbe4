"""JSON schemas, rewritten in the few words that llama-cpp-python's converter does justice to.

Every schema that is referred to gets a name of its own, every value that may be anything is said so, lists
of types and ``allOf`` are worked out, and what can't be enforced is collected.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias
from urllib.parse import unquote

from ..errors import SettingsError
from .gbnf import MAX_REPEAT
from .json_pattern import plain_pattern

__all__ = ["plain_schema"]

_Schema: TypeAlias = dict[str, Any]

_ANY: _Schema = {"type": "value"}  # the converter's name for any JSON value
_MAX_DEPTH = 64
_MAX_NAME = 200  # characters of a property's name; the converter repeats it in every rule below
_ANNOTATIONS = frozenset((
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$id", "$anchor", "$defs", "definitions", "discriminator",
    "contentMediaType", "contentEncoding", "contentSchema", "additionalItems",
))  # fmt: skip
_NUMERIC = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}  # none is enforced
_KEYWORDS = {  # what only concerns values of one type
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"pattern", "format", "minLength", "maxLength"},
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "boolean": set[str](),
    "null": set[str](),
}
_ALL_KEYWORDS = set[str]().union(*_KEYWORDS.values())
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_FORMATS = re.compile(r"date|time|date-time|uuid[1-5]?")


def plain_schema(document: _Schema) -> tuple[dict[str, _Schema], list[str]]:
    """Return the rewritten schemas by their references, the root first, and the keywords not enforced.

    Raises SettingsError for what is no schema or can't be rewritten.
    """
    rewriter = _Rewriter(document)
    rewriter.reference("#")
    while rewriter.pending:
        ref = rewriter.pending.pop()
        rewriter.definitions[rewriter.names[ref]] = rewriter.plain(rewriter.resolved(ref), 0)
    return rewriter.definitions, sorted(rewriter.ignored)


class _Rewriter:
    """The schemas of one document; ``names`` are those of the schemas that are referred to."""

    def __init__(self, document: _Schema) -> None:
        self.document = document
        self.names: dict[str, str] = {}
        self.definitions: dict[str, _Schema] = {}
        self.pending: list[str] = []
        self.ignored: set[str] = set()

    # --- references ------------------------------------------------------------------------------------

    def reference(self, ref: object) -> _Schema:
        """A reference to the schema at ``ref``, under a name that no property can have."""
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise SettingsError(
                f"the JSON schema refers to {ref!r}; only places within it (#/$defs/Name) can be referred to"
            )
        if ref not in self.names:
            self.names[ref] = f"def{len(self.names)}x"
            self.pending.append(ref)
        return {"$ref": self.names[ref]}

    def resolved(self, ref: str) -> Any:
        node: Any = self.document
        for part in ref.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                raise SettingsError(f"the JSON schema refers to {ref!r}, but there is no {key!r}")
        return node

    # --- schemas ---------------------------------------------------------------------------------------

    def plain(self, node: Any, depth: int) -> _Schema:
        """Rewrite one schema."""
        if depth > _MAX_DEPTH:
            raise SettingsError(f"the JSON schema is nested more than {_MAX_DEPTH} levels deep")
        if node is False:
            raise SettingsError("the JSON schema has a part that nothing fits (false); leave it away")
        if node is True:
            return _ANY
        if not isinstance(node, dict):
            raise SettingsError(f"a part of the JSON schema is not a schema: {node!r}")
        node = {key: value for key, value in node.items() if key not in _ANNOTATIONS}
        if set(node) == {"$ref"}:
            return self.reference(node["$ref"])
        if "$ref" in node or "allOf" in node:
            return self.plain(self.joined(node), depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in node:
                return self.union(node, key, depth)
        if "const" in node or "enum" in node:
            return self.values(node)
        if isinstance(node.get("type"), list):
            kinds = _listed(node, "type")
            return {"anyOf": [self.plain({**node, "type": kind}, depth + 1) for kind in kinds]}
        return self.of_type(node, depth)

    def union(self, node: _Schema, key: str, depth: int) -> _Schema:
        rest = {name: value for name, value in node.items() if name != key}
        alternatives = _listed(node, key)
        if rest:
            alternatives = [_merge(rest, self.opened(alternative)) for alternative in alternatives]
        return {"anyOf": [self.plain(alternative, depth + 1) for alternative in alternatives]}

    def values(self, node: _Schema) -> _Schema:
        """``const`` and ``enum``, as far as they agree with ``type``."""
        values = [node["const"]] if "const" in node else _listed(node, "enum")
        kinds = node.get("type", list(_PYTHON_TYPES))
        kinds = kinds if isinstance(kinds, list) else [kinds]
        fitting = [value for value in values if any(_is(value, kind) for kind in kinds)]
        if not fitting:
            raise SettingsError(f"no value of the JSON schema's {values!r:.200} is of the type {kinds!r}")
        self.ignored |= set(node) - {"const", "enum", "type"}
        return {"enum": fitting}

    def of_type(self, node: _Schema, depth: int) -> _Schema:
        kind = next((k for k, words in _KEYWORDS.items() if words & set(node)), None)
        kind = node.get("type", kind)
        if kind is not None and (not isinstance(kind, str) or kind not in _KEYWORDS):
            raise SettingsError(f"the JSON schema has the type {kind!r}; there are {', '.join(_KEYWORDS)}")
        unknown = set(node) - _ALL_KEYWORDS - {"type"}
        self.ignored |= unknown | (set(node) & _NUMERIC if kind in ("number", "integer") else unknown)
        if kind == "object":
            return self.object_(node, depth)
        if kind == "array":
            return self.array(node, depth)
        return self.string(node) if kind == "string" else {"type": kind} if kind else _ANY

    def object_(self, node: _Schema, depth: int) -> _Schema:
        properties, required = node.get("properties", {}), node.get("required", [])
        if not isinstance(properties, dict):
            raise SettingsError(f"the JSON schema's properties are not a dictionary: {properties!r:.200}")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise SettingsError(f"the JSON schema's required is not a list of names: {required!r:.200}")
        further = node.get("additionalProperties", True)
        if further is False and set(required) - set(properties):
            raise SettingsError(f"the JSON schema requires a property that it forbids: {required!r:.200}")
        properties = properties | {name: further for name in required if name not in properties}
        if any(len(name) > _MAX_NAME for name in properties):
            raise SettingsError(f"the JSON schema has a property name of more than {_MAX_NAME} characters")
        if not properties:
            further = further is not False and self.plain(further, depth + 1)
            return {"type": "object", "additionalProperties": further}
        plain = {name: self.plain(schema, depth + 1) for name, schema in properties.items()}
        return {"type": "object", "properties": plain, "required": required, "additionalProperties": False}

    def array(self, node: _Schema, depth: int) -> _Schema:
        low, high = _bounds(node, "minItems", "maxItems")
        items, first = node.get("items", True), node.get("prefixItems")
        if isinstance(items, list):  # as in older drafts of the standard
            first, items = items, True
        first = None if first == [] else first
        if first is None and items is False:
            if low:
                raise SettingsError(f"the JSON schema asks for {low} items and allows none")
            high, items = 0, True
        if first is None:
            plain = {"type": "array", "items": self.plain(items, depth + 1), "minItems": low}
            return plain if high is None else {**plain, "maxItems": high}
        if not isinstance(first, list) or not low <= len(first) <= (len(first) if high is None else high):
            raise SettingsError(
                "the JSON schema's prefixItems must be a list of minItems to maxItems schemas; "
                f"got {first!r:.200}"
            )
        return {"type": "array", "items": [self.plain(item, depth + 1) for item in first]}

    def string(self, node: _Schema) -> _Schema:
        low, high = _bounds(node, "minLength", "maxLength")
        if "pattern" in node:
            self.ignored |= set(node) - {"pattern", "type"}
            return {"type": "string", "pattern": plain_pattern(node["pattern"])}
        form = node.get("format")
        if isinstance(form, str) and _FORMATS.fullmatch(form):
            self.ignored |= set(node) - {"format", "type"}
            return {"type": "string", "format": form}
        if form is not None:
            self.ignored.add(f"format {form!r}")
        if not low and high is None:
            return {"type": "string"}
        return {"type": "string", "minLength": low} | ({} if high is None else {"maxLength": high})

    # --- joining ---------------------------------------------------------------------------------------

    def opened(self, node: Any, depth: int = 0) -> _Schema:
        """A schema without ``$ref`` and ``allOf`` at its top."""
        node = {} if node is True else node
        if not isinstance(node, dict) or depth > _MAX_DEPTH:
            raise SettingsError(
                f"the JSON schema joins {node!r:.200}, which can't be joined to another schema"
            )
        node = {key: value for key, value in node.items() if key not in _ANNOTATIONS}
        return self.joined(node, depth) if "$ref" in node or "allOf" in node else node

    def joined(self, node: _Schema, depth: int = 0) -> _Schema:
        """Work out ``$ref`` and ``allOf`` that stand beside other keywords."""
        parts = [self.resolved(node["$ref"])] if "$ref" in node and self.reference(node["$ref"]) else []
        parts += _listed(node, "allOf") if "allOf" in node else []
        rest = {key: value for key, value in node.items() if key not in ("$ref", "allOf")}
        if len(parts) == 1 and not rest:
            return parts[0] if isinstance(parts[0], dict) else {"allOf": parts}
        for part in parts:
            rest = _merge(rest, self.opened(part, depth + 1))
        return rest


def _merge(left: _Schema, right: _Schema) -> _Schema:
    """Both schemas at once; SettingsError where that can't be written down."""
    merged = left | right
    for key in left.keys() & right.keys():
        a, b = left[key], right[key]
        if key == "properties" and isinstance(a, dict) and isinstance(b, dict):
            both = {name: {"allOf": [a[name], b[name]]} for name in a if name in b and a[name] != b[name]}
            merged[key] = a | b | both
        elif key == "required" and isinstance(a, list) and isinstance(b, list):
            merged[key] = list(dict.fromkeys(a + b))
        elif key.startswith("min") and _is(a, "number") and _is(b, "number"):
            merged[key] = max(a, b)
        elif key.startswith("max") and _is(a, "number") and _is(b, "number"):
            merged[key] = min(a, b)
        elif key == "type" and [a, b] in (["integer", "number"], ["number", "integer"]):
            merged[key] = "integer"
        elif key == "additionalProperties" and (a is False or b is False):
            merged[key] = False
        elif a != b:
            raise SettingsError(f"the JSON schema joins two values of {key}: {a!r:.200} and {b!r:.200}")
    return merged


def _listed(node: _Schema, key: str) -> list[Any]:
    if not isinstance(node[key], list) or not node[key]:
        raise SettingsError(
            f"the JSON schema's {key} must be a list that is not empty; got {node[key]!r:.200}"
        )
    values: list[Any] = node[key]
    return values


def _is(value: object, kind: object) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _PYTHON_TYPES.get(str(kind), ()))


def _bounds(node: _Schema, least: str, most: str) -> tuple[int, int | None]:
    """The two counts, checked."""
    low, high = node.get(least, 0), node.get(most)
    counts: list[tuple[str, Any]] = [(least, low), (most, high)]
    for key, value in counts:
        if (value is not None or key in node) and not (_is(value, "integer") and value >= 0):
            raise SettingsError(f"the JSON schema's {key} must be an integer from 0; got {value!r}")
        if value is not None and value > MAX_REPEAT:
            raise SettingsError(
                f"the JSON schema's {key} is {value:,}; at most {MAX_REPEAT:,} can be enforced, so leave it "
                "away and limit the length with max_len_tokens"
            )
    if high is not None and high < low:
        raise SettingsError(f"the JSON schema's {least} is {low}, above its {most} of {high}")
    return int(low), None if high is None else int(high)
