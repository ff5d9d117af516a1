"""The contract, OpenAPI 3.1: made from the types that check requests and make answers."""

from __future__ import annotations

from copy import deepcopy
from http import HTTPStatus
from typing import Any, get_type_hints

from flask import Response
from flask_openapi3 import Info, License, OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from reelsense import __version__
from reelsense.server.middleware.problem_types import PROBLEM_TYPES
from reelsense.server.middleware.problems import Problem

INFO = Info(
    title="reelsense",
    version=__version__,
    description="The sentiment of movie reviews, from BERT. What is wrong with a request is said "
    "in a problem document (RFC 9457); /docs/errors explains each kind.",
    license=License(name="Apache-2.0", identifier="Apache-2.0"),
)

_REFERENCE = "#/components/schemas/{model}"
_HEADERS = {
    "X-Request-ID": "The id of the request: the client's own, or a new one.",
    "Server-Timing": "Of an answer to texts: the milliseconds they waited (queue), were cut into "
    "word pieces (tokenize) and were read (network).",
}

_OF_ALL_WITH_KEYS = (401, 403, 429)
_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the server, where it has any.",
    }
}

_told: list[type[BaseModel]] = [Problem]
"""What is answered, of all routes."""


def answers(
    model: type[BaseModel], *problems: int, keys: bool = True, status: int = 200
) -> dict[str | int | HTTPStatus, Any]:
    """Return what a route declares that answers with `model`, or with `problems` by status.

    Without `keys` it is open to everyone, also where the server has keys.
    """
    _told.append(model)
    return {
        status: _declared("The answer.", {"application/json": _reference(model)}),
        **_problems(*problems, keys=keys),
    }


def files(*problems: int) -> dict[str | int | HTTPStatus, Any]:
    """Return the same of a route that answers with a table."""
    kinds = ("text/csv", "text/tab-separated-values", "application/jsonl")
    tables = {kind: {"type": "string"} for kind in kinds}
    return {200: _declared("The table.", tables), **_problems(*problems)}


def nothing(*problems: int) -> dict[str | int | HTTPStatus, Any]:
    """Return the same of a route that has nothing to answer."""
    return {204: {"description": "It is done."}, **_problems(*problems)}


def _problems(*statuses: int, keys: bool = True) -> dict[str | int | HTTPStatus, Any]:
    return {
        status: _declared(
            "; or: ".join(kind.title for kind in PROBLEM_TYPES.values() if kind.status == status)
            + ".",
            {"application/problem+json": _reference(Problem)},
        )
        for status in sorted({*statuses, 500, *(_OF_ALL_WITH_KEYS if keys else ())})
    }


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _declared(description: str, content: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS},
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }


def json_of(answer: BaseModel) -> Response:
    """Return `answer` as JSON, without the fields it leaves out."""
    return Response(answer.model_dump_json(exclude_unset=True) + "\n", mimetype="application/json")


def document(app: OpenAPI) -> dict[str, Any]:
    """Return the contract of `app` with the limits it runs with."""
    with app.app_context():
        made = deepcopy(app.api_doc)
        # flask-openapi3 keeps what it knows of a schema; pydantic has all of it.
        schemas, parameters = _schemas(app), _parameters(app)
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    made["components"] = {"schemas": schemas, "headers": headers, "securitySchemes": _SCHEMES}
    made["security"] = [{}, {"key": []}]
    for path in made["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = parameters[parameter["name"]]
            if "description" in operation:
                operation["description"] = operation["description"].replace("<br/>", "\n").strip()
            # It adds this one to all routes, in a form of its own.
            added = operation["responses"].get("422", {"content": {}})
            if "application/json" in added["content"]:
                del operation["responses"]["422"]
    return made


def _asked(app: OpenAPI, part: str) -> list[type[BaseModel]]:
    """Return the types of the "body", "query" or "path" of all views."""
    views = (getattr(view, "__wrapped__", view) for view in app.view_functions.values())
    return [hints[part] for view in views if part in (hints := get_type_hints(view))]


def _parameters(app: OpenAPI) -> dict[str, Any]:
    asked = [*_asked(app, "query"), *_asked(app, "path")]
    schemas = [part.model_json_schema() for part in asked]
    return {name: each for schema in schemas for name, each in schema["properties"].items()}


def _schemas(app: OpenAPI) -> dict[str, Any]:
    modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(_told, "serialization")
    modes |= dict.fromkeys(_asked(app, "body"), "validation")
    _, found = models_json_schema(list(modes.items()), ref_template=_REFERENCE)
    schemas: dict[str, Any] = found["$defs"]
    return schemas
