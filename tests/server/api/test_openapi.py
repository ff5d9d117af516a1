"""The OpenAPI document matches the code, and generated requests match the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from reelsense.server.api import openapi
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny

COPY = Path(__file__).parents[3] / "docs" / "openapi.json"


def document(given: Settings | None = None) -> dict[str, Any]:
    return openapi.document(create_app(given, tiny.classifier()))


def test_committed_document_is_current() -> None:
    assert json.loads(COPY.read_text()) == document(), "`make docs` writes docs/openapi.json anew"


def test_document_is_openapi_3_1_with_valid_references() -> None:
    made = document()
    assert made["openapi"].startswith("3.1.")

    def references(node: object) -> list[str]:
        if isinstance(node, list):
            return [each for value in node for each in references(value)]
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [each for value in node.values() for each in references(value)]
        return []

    for reference in references(made):
        found: Any = made
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_document_contains_every_route() -> None:
    app = create_app(model=tiny.classifier())
    pages = {"/", "/openapi.json", "/docs", "/docs/errors", "/docs/swagger-ui/<path:name>"}
    pages |= {"/model", "/model/report", "/model/plots/<name>.svg", "/model/MODEL_CARD.md"}
    pages |= {"/answer", "/explanation", "/jobs", "/jobs/recent", "/jobs/<name>"}
    pages |= {"/jobs/<name>/progress", "/jobs/<name>/table", "/jobs/<name>/rows/<int:n>"}
    pages |= {"/jobs/<name>/cancel", "/jobs/<name>/delete"}
    pages |= {"/static/<path:filename>", "/sign-in", "/sign-out", "/metrics", "/admin/reload"}
    rules = {rule.rule for rule in app.url_map.iter_rules()} - pages
    assert {rule.replace("<", "{").replace(">", "}") for rule in rules} == set(document()["paths"])


def test_document_contains_limits_of_server() -> None:
    schemas = document(Settings(max_texts=3, max_characters=70))["components"]["schemas"]
    fields = schemas["PredictRequest"]["properties"]
    assert fields["texts"]["maxItems"] == 3
    assert fields["text"]["maxLength"] == 70
    assert schemas["InferenceRequest"]["properties"]["inputs"]["oneOf"][1]["maxItems"] == 3


# Small limits: the cases just beyond them come quickly.
SMALL = Settings(max_characters=40, max_texts=4, max_body=100_000, max_jobs=100_000)

for kind in ("application/jsonl", "application/x-ndjson"):
    schemathesis.serializer.alias(kind, "text/plain")

schema = schemathesis.openapi.from_wsgi(
    "/openapi.json", create_app(SMALL, tiny.cautious_classifier())
)

# JSON Schema's white space is not quite Python's.
UNSAID = (
    *("unreadable", "blank", "wrong-shape"),
    *("unusable-file", "no-such-column", "no-such-encoding"),
)


def answered_as_it_says(case: Case[Any]) -> None:
    answer = case.call()
    faults = answer.json().get("errors", []) if answer.status_code in (400, 422) else []
    unsaid = bool(faults) and all(map(is_unsaid, faults))
    excluded: list[Any] = [positive_data_acceptance] if unsaid else []
    if case.path in ("/v1/jobs", "/v1/preview"):
        excluded.append(negative_data_rejection)  # whatever is no string becomes one on its way
    case.validate_response(answer, excluded_checks=excluded)


def is_unsaid(fault: dict[str, str]) -> bool:
    """Is it what a schema cannot say: what holds words, what fits to what, what strict does?"""
    return fault["code"] in UNSAID or fault["pointer"].startswith("#/texts/")


# Besides these, each operation gets the cases at the edges of its schema.
@schema.parametrize()
@settings(max_examples=60, deadline=None)
def test_responses_conform_to_document(case: Case[Any]) -> None:
    answered_as_it_says(case)


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=600, deadline=None)
def test_many_responses_conform_to_document(case: Case[Any]) -> None:
    answered_as_it_says(case)
