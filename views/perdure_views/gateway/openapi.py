"""The OpenAPI 3.1 description, made from the table of endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from perdure_schemas.version import VERSION
from perdure_views.gateway.endpoints import Endpoint, Param
from perdure_views.gateway.shapes import Problem

CSRF_HEADER: Final = "x-perdure-csrf"
_REF: Final = "#/components/schemas/{name}"


def openapi(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The description of the endpoints."""
    shapes: list[Any] = [Problem]
    shapes += [row.answer for row in endpoints]
    shapes += [row.body for row in endpoints if row.body is not None]
    _, components = msgspec.json.schema_components(dict.fromkeys(shapes), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for row in endpoints:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perdure gateway",
            "version": VERSION,
            "description": (
                "Workflows on a Kafka log. Changes need the header"
                f" `{CSRF_HEADER}` with the token of `GET /api/v1/me`, unless the request has a"
                " bearer token. Ids are query parameters or fields, never parts of a path."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Endpoint) -> dict[str, Any]:
    media = "text/event-stream" if row.streams else "application/json"
    out: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.says,
        "description": f"Needs the role `{row.role}`." if row.role else "Needs no role.",
        "security": [{"bearer": []}, {}],
        "responses": {
            str(row.status): {
                "description": row.answer.__doc__ or row.name,
                "content": {media: {"schema": _reference(row.answer)}},
            },
            "default": {
                "description": "What went wrong, and what to do.",
                "content": {"application/json": {"schema": _reference(Problem)}},
            },
        },
    }
    if row.params:
        out["parameters"] = [_parameter(param) for param in row.params]
    if row.body is not None:
        content = {"application/json": {"schema": _reference(row.body)}}
        out["requestBody"] = {"required": True, "content": content}
    return out


def _parameter(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if param.is_number:
        schema = {"type": "integer", "minimum": param.least, "maximum": param.most}
    if param.default:
        schema["default"] = int(param.default) if param.is_number else param.default
    return {
        "name": param.name,
        "in": "query",
        "required": param.is_required,
        "description": param.says,
        "schema": schema,
    }


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}
