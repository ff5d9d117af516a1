"""Predictions that a server stores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from reelsense.feedback.records import text_hash
from reelsense.jobs.models import predictions
from tests import tiny
from tests.server.conftest import Make
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until


def rows(app: Flask) -> list[Mapping[Any, Any]]:
    """Return the stored predictions, after all have been written."""
    state = app.extensions["reelsense"]
    state.feedback_writer.close()
    with state.jobs_worker.jobs.database.reading() as connection:
        return list(connection.execute(select(predictions)).mappings())


def predict(app: Flask, **body: Any) -> list[dict[str, Any]]:
    response: TestResponse = app.test_client().post("/v1/predict", json=body)
    assert response.status_code == 200
    answers: list[dict[str, Any]] = response.get_json()["predictions"]
    return answers


def test_no_prediction_is_stored_by_default(make: Make) -> None:
    app = make(start=False)
    assert "prediction_id" not in predict(app, text="good film")[0]
    assert rows(app) == []


def test_all_predictions_are_stored(make: Make) -> None:
    app = make(start=False, keep_predictions="all", keep_texts=True)
    answers = predict(app, texts=["good film", "", "bad film"])
    assert [("prediction_id" in answer) for answer in answers] == [True, False, True]
    by_id = {row["id"]: row for row in rows(app)}
    first = by_id[answers[0]["prediction_id"]]
    assert (first["text"], first["label"], first["share"]) == ("good film", "positive", 1.0)
    assert first["score"] == answers[0]["score"]
    assert (first["model"], first["version"]) == ("tiny", "0")
    assert by_id[answers[2]["prediction_id"]]["label"] == "negative"
    assert len(by_id) == 2


def test_texts_are_stored_as_hashes(make: Make) -> None:
    app = make(start=False, keep_predictions="all")
    predict(app, text="good film")
    (row,) = rows(app)
    assert (row["text"], row["text_hash"]) == (None, text_hash("good film"))


def test_unsure_predictions_are_stored(make: Make) -> None:
    app = make(tiny.cautious_classifier(), start=False, keep_predictions="unsure", keep_texts=True)
    answers = predict(app, texts=["good good", "good", "film"])
    assert [answer["verdict"] for answer in answers] == ["positive", "unsure", "unsure"]
    assert [("prediction_id" in answer) for answer in answers] == [False, True, True]
    assert [(row["text"], row["share"]) for row in rows(app)] == [("good", None), ("film", None)]


def test_rejected_request_stores_nothing(make: Make) -> None:
    app = make(start=False, keep_predictions="all")
    body = {"texts": ["good", " "], "strict": True}
    assert app.test_client().post("/v1/predict", json=body).status_code == 422
    assert rows(app) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"inputs": "good"}),
        ("/models/default", {"inputs": "good"}),
    ],
)
def test_predictions_of_other_interfaces_are_stored(
    make: Make, path: str, body: dict[str, Any]
) -> None:
    app = make(start=False, keep_predictions="all", keep_texts=True)
    assert app.test_client().post(path, json=body).status_code == 200
    assert [row["text"] for row in rows(app)] == ["good"]


def test_missing_database_fails_no_prediction(make: Make, tmp_path: Path) -> None:
    app = make(
        start=False,
        keep_predictions="all",
        max_jobs=0,
        database=f"sqlite:///{tmp_path / 'missing' / 'jobs.db'}",
    )
    client = app.test_client()
    for _ in range(5):
        assert predict(app, text="good film")[0]["label"] == "positive"
    wait_until(lambda: read_samples(client)("kept_predictions_total", outcome="dropped") == 5)
    assert read_samples(client)("kept_predictions_total", outcome="stored") == 0
