from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready

TEXT = "A good film &amp; \U0001f525.<br />The plot was bad, awful, bad."


def test_explain_returns_sentences_words_and_counterfactual(client: FlaskClient) -> None:
    answer = client.post("/v1/explain", json={"text": TEXT})
    assert answer.status_code == 200
    body = answer.get_json()
    explanation = tiny.classifier().explain(TEXT)
    assert body["model"] == {"name": "tiny", "version": "0"}
    assert body["prediction"] == predicted(client, TEXT)
    assert (body["target_label"], body["budget"]) == ("positive", 200)
    assert body["log_odds"] == pytest.approx(explanation.log_odds)
    assert body["forward_passes"] == explanation.forward_passes
    assert [part["text"] for part in body["sentences"]] == [
        "A good film &amp; \U0001f525.", "The plot was bad, awful, bad."
    ]  # fmt: skip
    for part in [*body["sentences"], *body["words"]]:
        assert TEXT[part["start"] : part["end"]] == part["text"]
    assert [part["weight"] for part in body["sentences"]] == pytest.approx(
        [part.weight for part in explanation.sentences]
    )
    assert {part["text"] for part in body["words"]} == {"bad", "awful"}
    counterfactual = body["counterfactual"]
    assert counterfactual["unit"] == "sentences"
    assert [part["text"] for part in counterfactual["parts"]] == ["The plot was bad, awful, bad."]
    assert counterfactual["prediction"] == predicted(client, "A good film &amp; \U0001f525.<br />")


def predicted(client: FlaskClient, text: str) -> Any:
    return client.post("/v1/predict", json={"text": text}).get_json()["predictions"][0]


def test_explain_without_counterfactual(client: FlaskClient) -> None:
    body = client.post("/v1/explain", json={"text": "good"}).get_json()
    assert body["counterfactual"] is None
    assert body["words"][0]["text"] == "good"


def test_explain_applies_risk() -> None:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)
    verdicts = [
        client.post("/v1/explain", json={"text": "good"} | more).get_json()["prediction"]["verdict"]
        for more in ({}, {"risk": 0.2})
    ]
    assert verdicts == ["unsure", "positive"]


@pytest.mark.parametrize(
    ("body", "status", "pointer", "code"),
    [
        (b"{", 400, None, None),
        (b"[]", 422, "#", "wrong-type"),
        (b"{}", 422, "#/text", "missing"),
        (b'{"text": " "}', 422, "#/text", "blank"),
        (b'{"text": 7}', 422, "#/text", "wrong-type"),
        (b'{"text": "\\u0000"}', 422, "#/text", "unreadable"),
        (b'{"text": "good", "texts": []}', 422, "#/texts", "unknown-field"),
        (b'{"text": "good", "budget": 15}', 422, "#/budget", "wrong-value"),
        (b'{"text": "good", "budget": 1001}', 422, "#/budget", "wrong-value"),
        (b'{"text": "good", "budget": "20"}', 422, "#/budget", "wrong-type"),
        (b'{"text": "good", "risk": 1}', 422, "#/risk", "wrong-value"),
        (b'{"text": "good", "risk": 0.5}', 422, "#/risk", "no-thresholds"),
        (b'{"text": "good", "aspects": 1}', 422, "#/aspects", "wrong-type"),
    ],
)
def test_explain_reports_invalid_fields(
    client: FlaskClient, body: bytes, status: int, pointer: str | None, code: str | None
) -> None:
    answer = client.post("/v1/explain", data=body, content_type="application/json")
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    if pointer:
        [error] = answer.get_json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, code)


def test_explain_returns_aspects_on_request(client: FlaskClient) -> None:
    body = client.post("/v1/explain", json={"text": TEXT, "aspects": True}).get_json()
    assert body["aspects"] == [
        {
            "aspect": "story",
            "start": TEXT.index("The plot"),
            "end": TEXT.index(", awful"),
            "text": "The plot was bad",
            "verdict": "negative",
            "positive": pytest.approx(0.119, abs=0.001),
        }
    ]
    without = client.post("/v1/explain", json={"text": TEXT}).get_json()
    assert without == {name: body[name] for name in body if name != "aspects"}


def test_explain_rejects_aspects_of_other_labels() -> None:
    client = create_app(model=tiny.classifier(("bad", "good"))).test_client()
    wait_until_ready(client)
    answer = client.post("/v1/explain", json={"text": "The plot is bad.", "aspects": True})
    [error] = answer.get_json()["errors"]
    assert (answer.status_code, error["pointer"], error["code"]) == (422, "#/aspects", "no-aspects")


def test_explain_rejects_long_texts_and_media_types() -> None:
    client = create_app(Settings(max_characters=5), tiny.classifier()).test_client()
    wait_until_ready(client)
    answer = client.post("/v1/explain", json={"text": "good film"})
    assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (422, "too-long")
    assert client.post("/v1/explain", data="good").status_code == 415
    assert client.get("/v1/explain").status_code == 405


def test_explain_keeps_offsets_with_lone_surrogates(client: FlaskClient) -> None:
    body = client.post(
        "/v1/explain", data=b'{"text": "bad \\ud83d. good"}', content_type="application/json"
    ).get_json()
    assert [part["text"] for part in body["sentences"]] == ["bad \ufffd.", "good"]
    assert body["sentences"][1]["start"] == 7


def test_explain_is_counted_and_respects_deadline(client: FlaskClient) -> None:
    before = client.get("/metrics").text.count("reelsense_predictions_total{")
    client.post("/v1/explain", json={"text": "good film"})
    assert client.get("/metrics").text.count("reelsense_predictions_total{") > before
