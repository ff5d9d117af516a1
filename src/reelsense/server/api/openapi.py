"""The OpenAPI 3.1 document, generated from the types that validate requests and responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextvars import copy_context
from copy import deepcopy
from http import HTTPStatus
from typing import Any, get_type_hints

from flask import Response
from flask_openapi3 import Info, License, OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from reelsense import __version__
from reelsense.server.api.constraints import LIMITS
from reelsense.server.middleware.problem_types import PROBLEM_TYPES
from reelsense.server.middleware.problems import Problem
from reelsense.server.state import state_of

INFO = Info(
    title="reelsense",
    version=__version__,
    description="Classification of texts with BERT. Errors are problem documents "
    "(RFC 9457); /docs/errors describes their types.",
    license=License(name="Apache-2.0", identifier="Apache-2.0"),
)

_REFERENCE = "#/components/schemas/{model}"
_HEADERS = {
    "X-Request-ID": "Id of the request: the one the client sent, or a new one.",
    "traceparent": "W3C trace context: the trace that the client sent, or a new one.",
    "Server-Timing": "For scored texts, milliseconds spent waiting for the model (queue), in "
    "tokenization (tokenize) and in the model (network).",
}
_STATUSES_WITH_KEYS = (401, 403, 429)
_SECURITY_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, if the server requires one.",
    }
}

Responses = dict[str | int | HTTPStatus, Any]

_response_models: list[type[BaseModel]] = [Problem]  # those of all routes


def json_responses(
    model: type[BaseModel],
    *problems: int,
    keys: bool = True,
    status: int = 200,
    others: Sequence[str] = (),
) -> Responses:
    """Declare the responses of a route that returns JSON.

    `problems` are its status codes in addition to the common ones; `keys` states whether it
    requires an API key on servers that have keys; `others` are media types of other formats.
    """
    _response_models.append(model)
    content: dict[str, dict[str, str]] = {"application/json": _reference(model)}
    content |= {media_type: {"type": "string"} for media_type in others}
    return {
        status: _response("Success.", content),
        **_problems(*problems, keys=keys),
    }


def table_responses(*problems: int) -> Responses:
    """Declare the responses of a route that returns a table."""
    media_types = ("text/csv", "text/tab-separated-values", "application/jsonl")
    tables = {media_type: {"type": "string"} for media_type in media_types}
    return {200: _response("The table.", tables), **_problems(*problems)}


def empty_responses(*problems: int) -> Responses:
    """Declare the responses of a route that returns no body."""
    return {204: {"description": "Success."}, **_problems(*problems)}


def _problems(*statuses: int, keys: bool = True) -> Responses:
    return {
        status: _response(
            "; or: ".join(
                problem.title for problem in PROBLEM_TYPES.values() if problem.status == status
            )
            + ".",
            {"application/problem+json": _reference(Problem)},
        )
        for status in sorted({*statuses, 500, *(_STATUSES_WITH_KEYS if keys else ())})
    }


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _response(description: str, content: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS},
        "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
    }


def json_response(body: BaseModel) -> Response:
    """Return `body` as JSON, without fields that are not set."""
    return Response(body.model_dump_json(exclude_unset=True) + "\n", mimetype="application/json")


def document(app: OpenAPI) -> dict[str, Any]:
    """Return the OpenAPI document of `app`, with the limits from its settings."""
    context = copy_context()
    context.run(LIMITS.set, state_of(app).settings)
    # flask-openapi3 drops parts of the schemas, so pydantic generates them again.
    components, parameters = context.run(_schemas, app), context.run(_parameters, app)
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    result = deepcopy(app.api_doc)
    result["components"] = {
        "schemas": components,
        "headers": headers,
        "securitySchemes": _SECURITY_SCHEMES,
    }
    result["security"] = [{}, {"key": []}]
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            schemas = parameters.get((path, method), {})
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = schemas.get(parameter["name"], parameter["schema"])
            if "description" in operation:
                operation["description"] = operation["description"].replace("<br/>", "\n").strip()
            # flask-openapi3 adds a 422 response to every route.
            unprocessable = operation["responses"].get("422", {"content": {}})
            if "application/json" in unprocessable["content"]:
                del operation["responses"]["422"]
    return result


def _types(view: Callable[..., object]) -> dict[str, type[BaseModel]]:
    """Return the types of the "body", "query" and "path" parameters of a view."""
    return get_type_hints(getattr(view, "__wrapped__", view))


def _parameters(app: OpenAPI) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the schemas of the parameters of each path and method."""
    parameters: dict[tuple[str, str], dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        types = _types(app.view_functions[rule.endpoint])
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        schemas: dict[str, Any] = {}
        for name in ("query", "path"):
            if name in types:
                schemas |= types[name].model_json_schema()["properties"]
        parameters |= {(path, method.lower()): schemas for method in rule.methods or ()}
    return parameters


def _schemas(app: OpenAPI) -> dict[str, Any]:
    modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(_response_models, "serialization")
    types = map(_types, app.view_functions.values())
    modes |= {of_view["body"]: "validation" for of_view in types if "body" in of_view}
    _, definitions = models_json_schema(list(modes.items()), ref_template=_REFERENCE)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
