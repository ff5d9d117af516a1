"""The OpenAPI document matches the code, and generated requests match the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)

from reelsense.server.api import openapi
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny

COPY = Path(__file__).parents[3] / "docs" / "openapi.json"


def document(settings: Settings | None = None) -> dict[str, Any]:
    return openapi.document(create_app(settings, tiny.classifier()))


def test_committed_document_is_current() -> None:
    assert json.loads(COPY.read_text()) == document(), "run `make docs` to update docs/openapi.json"


def test_document_is_openapi_3_1_with_valid_references() -> None:
    api = document()
    assert api["openapi"].startswith("3.1.")

    def references(node: object) -> list[str]:
        if isinstance(node, list):
            return [reference for value in node for reference in references(value)]
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + references(list(node.values()))
        return []

    for reference in references(api):
        target: Any = api
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_document_contains_every_route() -> None:
    app = create_app(model=tiny.classifier())
    pages = {"/review", "/openapi.json", "/docs", "/docs/errors", "/docs/swagger-ui/<path:name>"}
    pages |= {"/llms.txt"}
    pages |= {"/model", "/model/report", "/model/plots/<name>.svg", "/model/MODEL_CARD.md"}
    pages |= {
        "/answer",
        "/explanation",
        "/feedback",
        "/feedback/undo",
        "/jobs",
        "/jobs/recent",
        "/jobs/<name>",
    }
    pages |= {"/jobs/<name>/progress", "/jobs/<name>/table", "/jobs/<name>/rows/<int:n>"}
    pages |= {"/jobs/<name>/summary", "/jobs/<name>/cancel", "/jobs/<name>/delete"}
    pages |= {"/queue", "/queue/undo"}
    pages |= {"/static/<path:filename>", "/sign-in", "/sign-out", "/metrics", "/admin/reload"}
    rules = {rule.rule for rule in app.url_map.iter_rules()} - pages
    assert {rule.replace("<", "{").replace(">", "}") for rule in rules} == set(document()["paths"])


def test_parameters_of_the_same_name_have_the_schema_of_their_route() -> None:
    paths = document()["paths"]
    formats = {
        path: next(
            parameter["schema"]
            for parameter in paths[path]["get"]["parameters"]
            if parameter["name"] == "format"
        )
        for path in ("/v1/jobs/{id}/result", "/v1/jobs/{id}/summary")
    }
    assert formats["/v1/jobs/{id}/result"]["anyOf"][0]["enum"] == ["csv", "tsv", "jsonl"]
    assert formats["/v1/jobs/{id}/summary"]["enum"] == ["json", "csv", "html"]


def test_document_contains_limits_of_server() -> None:
    schemas = document(Settings(max_texts=3, max_characters=70))["components"]["schemas"]
    fields = schemas["PredictRequest"]["properties"]
    assert fields["texts"]["maxItems"] == 3
    assert fields["text"]["maxLength"] == 70
    assert schemas["InferenceRequest"]["properties"]["inputs"]["oneOf"][1]["maxItems"] == 3


# Small limits, so that cases beyond them are generated quickly.
SMALL = Settings(max_characters=40, max_texts=4, max_body=100_000, max_jobs=100_000)

SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
for media_type in ("application/jsonl", "application/x-ndjson", SPREADSHEET):
    schemathesis.serializer.alias(media_type, "text/plain")

schema = schemathesis.openapi.from_wsgi(
    "/openapi.json", create_app(SMALL, tiny.cautious_classifier())
)

# Codes of errors that a schema cannot express. White space differs between JSON Schema and Python.
NOT_IN_SCHEMA = {
    *("unreadable", "blank", "wrong-shape"),
    *("unknown-label", "reused-key"),
    *("unusable-file", "no-such-column", "no-such-encoding"),
}


def check_response(case: Case[Any]) -> None:
    response = case.call()
    errors = response.json().get("errors", []) if response.status_code in (400, 422) else []
    excluded: list[Any] = []
    if errors and not any(map(is_in_schema, errors)):
        excluded.append(positive_data_acceptance)
    if case.path == "/":
        # GET / is a page, which is not in the document.
        excluded += [allow_header_conformance, unsupported_method]
    if case.path in ("/v1/jobs", "/v1/preview"):
        excluded.append(negative_data_rejection)  # every value becomes a string in the URL
    case.validate_response(response, excluded_checks=excluded)


def is_in_schema(error: dict[str, str]) -> bool:
    """Return whether a schema can express the error; it cannot for texts with `strict`."""
    return not (error["code"] in NOT_IN_SCHEMA or error["pointer"].startswith("#/texts/"))


# In addition, each operation gets cases at the limits of its schema.
@schema.parametrize()
@settings(max_examples=60, deadline=None)
def test_responses_conform_to_document(case: Case[Any]) -> None:
    check_response(case)


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=600, deadline=None)
def test_many_responses_conform_to_document(case: Case[Any]) -> None:
    check_response(case)
