"""Description of the interface as OpenAPI 3.1, from the declarations that read the requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from pgretrieval.serve.endpoints import Endpoint
from pgretrieval.serve.requests import ErrorAnswer

VERSION = "1"
"""Version of the interface, the first part of its paths."""

_ERRORS = {
    "400": "The request is invalid.",
    "401": "The token is missing or wrong.",
    "404": "There is no such collection or path.",
    "409": "An id exists, another transaction changed the same passages, there is no index, or the service changes nothing.",
    "413": "The body is too large.",
    "429": "Too many requests wait.",
    "503": "The database or a model does not answer, or not in time.",
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the description of these endpoints."""
    models = {model for each in endpoints for model in (each.request, each.answer, ErrorAnswer) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {"title": "pgretrieval", "version": VERSION},
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters = []
    if "{name}" in endpoint.path:
        parameters.append(
            {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A collection."}
        )
    operation: dict[str, Any] = {"summary": endpoint.summary, "operationId": _identifier(endpoint)}
    if endpoint.request is not None and endpoint.method == "GET":
        shown = schemas[endpoint.request.__name__]
        for name, schema in shown["properties"].items():
            parameters.append({"name": name, "in": "query", "required": name in shown.get("required", []), "schema": schema})
    elif endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(endpoint.request.__name__)}
    if parameters:
        operation["parameters"] = parameters
    content = _content(endpoint.answer.__name__)
    if endpoint.html is not None:
        content["text/html"] = {"schema": {"type": "string"}}
    failed = {status: {"description": meaning, "content": _content(ErrorAnswer.__name__)} for status, meaning in _ERRORS.items()}
    operation["responses"] = {"200": {"description": (endpoint.answer.__doc__ or "").strip(), "content": content}, **failed}
    return operation


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def _identifier(endpoint: Endpoint) -> str:
    """ "PUT /v1/collections/{name}/passages" -> put_collection_passages"""
    parts = [part for part in endpoint.path.split("/")[2:] if part != "{name}"]
    if "{name}" in endpoint.path:
        parts[0] = "collection"
    return "_".join([endpoint.method.lower(), *parts])
