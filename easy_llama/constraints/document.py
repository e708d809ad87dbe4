"""A JSON schema as plain JSON, out of a dictionary or a pydantic model class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from reprlib import repr as short  # a schema may be too deep for the other one
from typing import Any

from ..errors import SettingsError

__all__ = ["document_of"]

MAX_TEXT = 200_000  # characters; a schema with hundreds of fields has about 50,000


def document_of(schema: object, name: str = "the JSON schema") -> dict[str, Any]:
    """Return a copy of ``schema`` as plain JSON. Errors are SettingsErrors and call it ``name``."""
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):  # a class of pydantic
        model = schema
        try:
            schema = schema.model_json_schema()
        except Exception as error:  # pydantic's own and whatever the model's code raises
            raise SettingsError(f"{name}: {model.__name__} has no JSON schema: {error}") from error
    if not isinstance(schema, Mapping):
        raise SettingsError(
            f"{name} must be a dictionary or a pydantic model class, such as {{'type': 'object'}}; "
            f"got {short(schema)}"
        )
    try:
        text = json.dumps(dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"{name} is not JSON: it must hold JSON values only: {error}; got {short(schema)}"
        ) from None
    if len(text) > MAX_TEXT:
        raise SettingsError(f"{name} has {len(text):,} characters; at most {MAX_TEXT:,} are allowed")
    document: dict[str, Any] = json.loads(text)
    return document
