import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reelsense.errors import StoreError
from reelsense.feedback.records import KeptPrediction, NewFeedback, text_hash
from reelsense.feedback.repository import FeedbackRepository
from reelsense.server.middleware.load_shedding import MAX_FEEDBACK_REQUESTS
from tests.feedback.made import kept
from tests.server.conftest import Make
from tests.server.middleware.test_metrics import read_samples
from tests.server.secured import CRITIC, OPS, SHOP, WITH_CRITIC, bearer, problem_code
from tests.waiting import wait_until

BORE = {"text": "A bore.", "label": "negative"}

Give = Callable[..., TestResponse]


@pytest.fixture
def app(make: Make, url: str) -> Flask:
    return make(start=False, keep_predictions="all", keep_texts=True, database=url)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def give(client: FlaskClient, key: str | None = None, **body: Any) -> TestResponse:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/feedback", json=body, headers=headers)


def listed(client: FlaskClient, **query: object) -> dict[str, Any]:
    response = client.get("/v1/feedback", query_string=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.get_json()
    return body


def field_codes(response: TestResponse) -> list[tuple[str, str]]:
    assert response.status_code in (400, 422)
    return [(error["pointer"], error["code"]) for error in response.get_json()["errors"]]


def test_feedback_on_prediction_is_stored(client: FlaskClient) -> None:
    predicted = client.post("/v1/predict", json={"text": "good film"}).get_json()["predictions"][0]
    fields: dict[str, Any] = {
        "label": "negative",
        "stars": 2,
        "comment": "ironic",
        "source": "till",
    }
    response = give(client, prediction_id=predicted["prediction_id"], **fields)
    assert response.status_code == 201
    entry = response.get_json()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(entry["created"])).total_seconds() < 60
    assert entry == {
        "id": entry["id"],
        "created": entry["created"],
        "key": None,
        "prediction_id": predicted["prediction_id"],
        "text": "good film",
        **fields,
        "text_hash": text_hash("good film"),
        "predicted": {
            "model": "tiny",
            "version": "0",
            "label": "positive",
            "verdict": "positive",
            "score": predicted["score"],
            "stars": predicted["stars"],
        },
    }
    assert listed(client) == {"total": 1, "feedback": [entry]}
    assert read_samples(client)("feedback_total") == 1


def test_feedback_on_text_is_stored(client: FlaskClient) -> None:
    entry = give(client, text="A bore.", stars=1.5).get_json()
    assert (entry["text"], entry["label"], entry["stars"]) == ("A bore.", None, 1.5)
    assert (entry["source"], entry["prediction_id"], entry["predicted"]) == ("api", None, None)


def test_texts_are_not_stored_without_keep_texts(make: Make) -> None:
    client = make(start=False).test_client()
    entry = give(client, **BORE).get_json()
    assert (entry["text"], entry["text_hash"]) == (None, text_hash("A bore."))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"label": "negative"}, [("#", "one-of")]),
        ({**BORE, "prediction_id": "x" * 22}, [("#", "one-of")]),
        ({"text": "A bore."}, [("#", "one-of")]),
        ({"text": " ", "label": "negative"}, [("#/text", "blank")]),
        ({"prediction_id": "x", "label": "negative"}, [("#/prediction_id", "wrong-value")]),
        ({"text": "A bore.", "label": "neutral"}, [("#/label", "unknown-label")]),
        ({"text": "A bore.", "label": "unsure"}, [("#/label", "unknown-label")]),
        ({"text": "A bore.", "label": None}, [("#/label", "wrong-type")]),
        ({"text": "A bore.", "stars": 11}, [("#/stars", "wrong-value")]),
        ({**BORE, "comment": "x" * 2001}, [("#/comment", "wrong-value")]),
        ({**BORE, "source": ""}, [("#/source", "wrong-value")]),
        # It would bias the measured accuracy, and replace other labels in training.
        ({**BORE, "source": "queue-random"}, [("#/source", "wrong-value")]),
        ({**BORE, "source": "job-queue-suspect"}, [("#/source", "wrong-value")]),
        ({**BORE, "origin": "x"}, [("#/origin", "unknown-field")]),
    ],
)
def test_invalid_feedback_is_rejected(
    make: Make, body: dict[str, Any], fields: list[tuple[str, str]]
) -> None:
    client = make(start=False).test_client()
    assert field_codes(give(client, **body)) == fields
    assert listed(client)["total"] == 0


def test_unknown_prediction_is_404(client: FlaskClient) -> None:
    response = give(client, prediction_id="x" * 22, label="negative")
    assert (response.status_code, problem_code(response)) == (404, "not-found")


def test_feedback_waits_for_prediction_of_other_process(app: Flask, client: FlaskClient) -> None:
    prediction: KeptPrediction = kept("good")
    database = app.extensions["reelsense"].jobs_worker.jobs.database
    timer = threading.Timer(0.3, lambda: FeedbackRepository(database).add_predictions([prediction]))
    timer.start()
    response = give(client, prediction_id=prediction.id, label="negative")
    timer.join()
    assert response.status_code == 201


def test_retry_with_idempotency_key_stores_once(client: FlaskClient) -> None:
    first, second = give(client, "key-1", **BORE), give(client, "key-1", **BORE)
    assert first.status_code == second.status_code == 201
    assert first.get_json() == second.get_json()
    assert listed(client)["total"] == 1
    reused = give(client, "key-1", text="A bore.", label="positive")
    assert field_codes(reused) == [("Idempotency-Key", "reused-key")]
    assert give(client, "key-2", **BORE).get_json()["id"] != first.get_json()["id"]
    for invalid in ("with space", "x" * 256, "\xe9"):
        assert give(client, invalid, **BORE).status_code == 422


def test_feedback_is_listed_filtered_and_paged(client: FlaskClient) -> None:
    prediction_id = client.post("/v1/predict", json={"text": "good"}).get_json()["predictions"][0][
        "prediction_id"
    ]
    ids = [
        give(client, **fields).get_json()["id"]
        for fields in (
            {"prediction_id": prediction_id, "label": "negative"},
            {"prediction_id": prediction_id, "label": "positive"},
            {"text": "bad", "label": "negative", "source": "till"},
        )
    ]

    def found(**query: object) -> set[str]:
        page = listed(client, **query)
        assert page["total"] == len(page["feedback"])
        return {entry["id"] for entry in page["feedback"]}

    assert found() == set(ids)
    assert found(label="negative") == {ids[0], ids[2]}
    assert found(source="till") == {ids[2]}
    assert found(version="0") == {ids[0], ids[1]}
    assert found(differs="true") == {ids[0]}
    created = {entry["id"]: entry["created"] for entry in listed(client)["feedback"]}
    assert found(since=created[ids[1]]) == {ids[1], ids[2]}
    assert found(before=created[ids[1]]) == {ids[0]}
    assert found(since="2100-01-01T00:00:00") == set()  # in UTC
    assert found(source="\0") == set()
    pages = [listed(client, offset=n, limit=1) for n in range(4)]
    assert [page["total"] for page in pages] == [3] * 4
    assert [entry["id"] for page in pages for entry in page["feedback"]] == ids[::-1]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=0.5", "limit=501", "offset=-1", "labels=x"]
)
def test_invalid_query_is_400(make: Make, query: str) -> None:
    client = make(start=False).test_client()
    response = client.get(f"/v1/feedback?{query}")
    assert (response.status_code, problem_code(response)) == (400, "bad-request")


@pytest.mark.parametrize(
    ("secret", "post", "get"),
    [("", 401, 401), (SHOP, 403, 403), (CRITIC, 201, 403), (OPS, 403, 200)],
)
def test_keys_need_permission(make: Make, secret: str, post: int, get: int) -> None:
    client = make(start=False, keys=WITH_CRITIC).test_client()
    headers = bearer(secret) if secret else {}
    assert client.post("/v1/feedback", json=BORE, headers=headers).status_code == post
    assert client.get("/v1/feedback", headers=headers).status_code == get


def test_key_with_permission_scores_too_and_is_recorded(make: Make) -> None:
    client = make(start=False, keys=WITH_CRITIC).test_client()
    assert (
        client.post("/v1/predict", json={"text": "good"}, headers=bearer(CRITIC)).status_code == 200
    )
    entry = client.post("/v1/feedback", json=BORE, headers=bearer(CRITIC)).get_json()
    assert entry["key"] == "critic"
    assert client.get("/v1/feedback", headers=bearer(OPS)).get_json()["feedback"] == [entry]


def test_public_server_without_keys_lists_no_feedback(make: Make) -> None:
    client = make(start=False, host="0.0.0.0", insecure_public=True).test_client()  # noqa: S104
    assert give(client, **BORE).status_code == 201
    response = client.get("/v1/feedback")
    assert (response.status_code, problem_code(response)) == (403, "forbidden")


def test_messages_name_the_expected_value(make: Make) -> None:
    client = make(start=False).test_client()
    details = [
        response.get_json()["errors"][0]["detail"]
        for response in (
            give(client, text="A bore.", label="negative", source=""),
            client.get("/v1/feedback?since=yesterday"),
        )
    ]
    assert details[0] == "should have at least 1 character"
    assert details[1].startswith('invalid time "yesterday": expected 2026-11-30')


def test_missing_database_is_507(make: Make, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'missing' / 'jobs.db'}"
    client = make(start=False, database=url).test_client()
    for response in (give(client, **BORE), client.get("/v1/feedback")):
        assert (response.status_code, problem_code(response)) == (507, "storage")
        assert str(tmp_path) not in response.text
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_feedback_beyond_capacity_is_429(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(start=False)
    release = threading.Event()

    def wait(_self: object, items: list[NewFeedback]) -> list[StoreError]:
        assert release.wait(20)
        return [StoreError("down")] * len(items)

    monkeypatch.setattr(FeedbackRepository, "add", wait)
    count = MAX_FEEDBACK_REQUESTS + 8
    with ThreadPoolExecutor(count) as pool:
        requests = [pool.submit(give, app.test_client(), **BORE) for _ in range(count)]
        wait_until(lambda: sum(request.done() for request in requests) == 8)
        assert app.test_client().post("/v1/predict", json={"text": "good"}).status_code == 200
        release.set()
        statuses = sorted(request.result().status_code for request in requests)
    assert statuses == [429] * 8 + [507] * MAX_FEEDBACK_REQUESTS
