import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from reelsense.feedback.records import Feedback, KeptPrediction, NewFeedback, new_id
from reelsense.feedback.repository import FeedbackRepository
from reelsense.inference.classifier import Classifier
from reelsense.prediction import UNSURE
from reelsense.server.pages.queue import ROUND, shortcuts
from tests import any_labels
from tests.feedback.made import kept, prediction
from tests.server.conftest import Make
from tests.server.jobs import ended, model, send
from tests.server.pages.test_feedback import BROWSER, signed_in, stored
from tests.server.secured import (
    ALL_ADDRESSES,
    CRITIC,
    OPS,
    SAME_ORIGIN,
    SHOP,
    WITH_CRITIC,
    bearer,
    problem_code,
)

KEEPING = {"keep_predictions": "all", "keep_texts": True}


@pytest.fixture
def app(make: Make) -> Flask:
    return make(**KEEPING)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def keep(app: Flask, count: int = 1, first: str = "A", **fields: Any) -> list[KeptPrediction]:
    """Store predictions of the served version, whose ids begin with `first`."""
    state = app.extensions["reelsense"]
    version = state.models.default.classifier(0).manifest.version
    made = []
    for n in range(count):
        values = {"text": f"text {first}{n}", "id": first + new_id()[1:], "version": version}
        made.append(kept(**values | fields))
    database = state.jobs_worker.jobs.database
    FeedbackRepository(database, keep_texts=True).add_predictions(made)
    return made


def fields(html: str) -> dict[str, str]:
    """Return the hidden fields of the form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html))


def buttons(html: str) -> list[tuple[str, str]]:
    """Return label and key of each button for a label."""
    return re.findall(r'name="label" value="([^"]*)" aria-keyshortcuts="(\w)"', html)


def title(html: str) -> str:
    (text,) = re.findall(r'<h2 id="item" tabindex="-1">([^<]*)</h2>', html)
    return str(text)


def show(client: FlaskClient, **query: str) -> str:
    response = client.get("/queue", query_string=query)
    assert response.status_code == 200
    return response.text


def post(client: FlaskClient, html: str, path: str = "/queue", **values: str) -> str:
    """Submit the form of a page, and return the part of the page that follows."""
    response = client.post(path, data=fields(html) | values)
    assert response.status_code == 200
    assert "<html" not in response.text
    return response.text


def test_label_is_stored_with_queue_and_reason(app: Flask, client: FlaskClient) -> None:
    (one,) = keep(app)
    html = show(client)
    assert "text A0" in html
    assert title(html) == "Text 1 of 1"
    assert buttons(html) == [("positive", "1"), ("negative", "2")]
    after = post(client, html, label="negative")
    assert "Saved as negative. The model predicted positive." in after
    assert title(after) == "End of this round"
    (entry,) = stored(client)
    assert (entry["prediction_id"], entry["label"], entry["source"]) == (
        *(one.id, "negative", "queue-random"),
    )
    stats = client.get("/v1/feedback/stats").get_json()
    (measured,) = stats["measured"]
    assert (measured["accuracy"]["count"], measured["accuracy"]["total"]) == (0, 1)


def test_reason_is_shown_and_prediction_of_random_items_hidden(
    app: Flask, client: FlaskClient
) -> None:
    keep(app)
    keep(app, first="y", prediction=prediction("positive", 0.6, UNSURE))
    (suspect,) = keep(app, first="z")
    client.post("/v1/feedback", json={"prediction_id": suspect.id, "label": "negative"})
    pages = [show(client)]
    pages += [post(client, pages[-1], skip="1")]
    pages += [post(client, pages[-1], skip="1")]
    plain = [" ".join(re.sub("<[^>]*>", "", page).split()) for page in pages]
    assert "Random: measures the accuracy. The prediction is hidden" in plain[0]
    assert "90" not in plain[0]
    assert "Unsure: the most probable label is positive (60.0 %)." in plain[1]
    assert (
        "Suspected wrong label: it was labelled negative, but the model says positive (90.0 %)."
    ) in plain[2]
    assert [title(page) for page in pages] == [f"Text {n} of 3" for n in (1, 2, 3)]


def test_skip_and_undo_go_forward_and_back(app: Flask, client: FlaskClient) -> None:
    keep(app, 3)
    first = show(client)
    second = post(client, first, skip="1")
    third = post(client, second, label="positive")
    assert len({fields(page)["item"] for page in (first, second, third)}) == 3
    assert len(stored(client)) == 1
    again = post(client, third, "/queue/undo")
    assert stored(client) == []
    assert (fields(again)["item"], title(again)) == (fields(second)["item"], "Text 2 of 3")
    start = post(client, again, "/queue/undo")
    assert (fields(start)["item"], title(start)) == (fields(first)["item"], "Text 1 of 3")
    assert "/queue/undo" not in start
    assert fields(post(client, start, "/queue/undo"))["item"] == fields(first)["item"]


def test_reload_shows_the_same_item(app: Flask, client: FlaskClient) -> None:
    keep(app, 5)
    assert fields(show(client)) == fields(show(client))


def test_round_ends_and_skipped_items_return_in_the_next(app: Flask, client: FlaskClient) -> None:
    keep(app, ROUND + 5)
    html = show(client)
    for _ in range(ROUND):
        html = post(client, html, skip="1")
    assert title(html) == "End of this round"
    assert f"Skipped: {ROUND}." in html
    assert 'href="/queue"' in html
    assert title(post(client, html, "/queue/undo")) == f"Text {ROUND} of {ROUND}"
    assert title(show(client)) == f"Text 1 of {ROUND}"


def test_item_that_others_reviewed_is_not_stored_again(app: Flask, client: FlaskClient) -> None:
    keep(app, 2)
    html = show(client)
    post(client, html, label="negative")
    late = post(client, html, label="positive")
    assert "reviewed or deleted meanwhile" in late
    assert title(late) == "Text 1 of 1"
    assert [entry["label"] for entry in stored(client)] == ["negative"]


@pytest.mark.parametrize(
    "change", [{}, {"item": "\0"}, {"item": "x" * 22}, {"decisions": "x +! - " * 99}]
)
def test_invalid_form_shows_the_next_item(
    app: Flask, client: FlaskClient, change: dict[str, str]
) -> None:
    keep(app)
    html = post(client, show(client), **{"item": "", "label": "positive"} | change)
    assert "text A0" in html
    assert stored(client) == []


def test_unknown_label_is_rejected(app: Flask, client: FlaskClient) -> None:
    keep(app)
    response = client.post("/queue", data=fields(show(client)) | {"label": "other"})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["code"] == "unknown-label"
    assert stored(client) == []


def test_browser_without_javascript_gets_complete_pages(app: Flask, client: FlaskClient) -> None:
    keep(app, 2)
    response = client.post(
        "/queue", data=fields(show(client)) | {"label": "negative"}, headers=BROWSER
    )
    assert "<html" in response.text
    assert title(response.text) == "Text 2 of 2"
    undone = client.post("/queue/undo", data=fields(response.text), headers=BROWSER)
    assert "<html" in undone.text
    assert stored(client) == []


def test_text_is_escaped(app: Flask, client: FlaskClient) -> None:
    keep(app, text="<script>alert(1)</script> good")
    html = show(client)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; good" in html
    assert "<script>alert" not in html


def test_empty_queue_says_what_to_do(make: Make) -> None:
    html = show(make(start=False).test_client())
    assert title(html) == "Nothing to review"
    assert "--keep-predictions all --keep-texts" in html


def test_labels_noun_and_colours_are_those_of_the_bundle(make: Make) -> None:
    app = make(Classifier(any_labels.tickets()), start=False, **KEEPING)
    keep(app, prediction=prediction("bug"))
    html = show(app.test_client())
    assert title(html) == "Ticket 1 of 1"
    assert buttons(html) == [("billing", "1"), ("bug", "2"), ("praise", "3")]
    classes = re.findall(r'<button class="second ([\w-]+)" name="label"', html)
    assert classes == ["label-1", "label-2", "label-3"]


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        (["positive", "negative"], "12"),
        (["7", "6", "5", "1"], "7651"),
        (["10", "9", "8"], "123"),
        ([f"label {n}" for n in range(40)], "1234567890abcdefghijklmnopqrtvwxyz"),
    ],
)
def test_every_label_has_its_own_key(labels: list[str], keys: str) -> None:
    assert list(shortcuts(labels).values()) == list(keys)
    assert list(shortcuts(labels)) == labels[: len(keys)]
    assert not {"s", "u"} & set(keys)


def test_many_labels_all_have_a_button(make: Make) -> None:
    labels = tuple(f"label {n}" for n in range(40))

    def network(ids: NDArray[np.int64], _mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.zeros((len(ids), len(labels)), np.float32)

    app = make(model(network, labels=labels), start=False, **KEEPING)
    keep(app)
    html = show(app.test_client())
    assert re.findall(r'name="label" value="([^"]*)"', html) == list(labels)
    assert [label for label, _ in buttons(html)] == list(labels[:34])


@pytest.fixture
def job(client: FlaskClient) -> str:
    """A job with labels, of which 20 contradict the model; a random quarter hides that."""
    agree = "".join(f"good film {n},positive\n" for n in range(40))
    contradict = "".join(f"good again {n},negative\n" for n in range(20))
    sent = send(client, f"review,label\n{agree}{contradict}").get_json()
    ended(client, sent["id"])
    return str(sent["id"])


def test_rows_of_a_job_are_reviewed(client: FlaskClient, job: str) -> None:
    assert f'href="/queue?job={job}"' in client.get(f"/jobs/{job}").text
    html = show(client, job=job)
    assert f'href="/jobs/{job}">Back to films.csv' in html
    assert fields(html)["job"] == job
    after = post(client, html, label="positive")
    assert "Saved as positive. The model agrees." in after
    assert fields(after)["job"] == job
    (entry,) = stored(client)
    assert entry["source"] == "job-queue-random"
    assert entry["predicted"]
    assert "good" in str(entry["text"])
    undone = post(client, after, "/queue/undo")
    assert fields(undone)["item"] == fields(html)["item"]
    assert stored(client) == []


def test_rows_whose_label_contradicts_the_model_are_asked(client: FlaskClient, job: str) -> None:
    html, reasons = show(client, job=job), []
    while "reason" in html:
        reasons.append("Suspected" in html)
        html = post(client, html, skip="1")
    assert 0 < sum(reasons) <= 20


def test_unknown_job_is_not_found(client: FlaskClient) -> None:
    response = client.get("/queue?job=unknown")
    assert (response.status_code, problem_code(response)) == (404, "not-found")


def test_job_with_other_labels_is_rejected(make: Make, client: FlaskClient, job: str) -> None:
    other = make(model(labels=("good", "bad")), start=False, **KEEPING).test_client()
    response = other.get(f"/queue?job={job}")
    assert response.status_code == 400
    assert response.get_json()["errors"][0]["code"] == "unknown-label"


def test_job_without_stored_texts_says_that_labels_cannot_be_trained_on(make: Make) -> None:
    client = make().test_client()
    sent = send(client, "review\ngood\n").get_json()
    ended(client, sent["id"])
    html = show(client, job=sent["id"])
    assert "does not store texts" in html
    assert "Review queue</a>" not in html  # the menu
    post(client, html, label="positive")
    assert stored(client)[0]["text"] is None


def keyed(make: Make) -> Iterator[tuple[str, TestResponse]]:
    app = make(start=False, keys=WITH_CRITIC, **KEEPING)
    keep(app)
    for secret in (SHOP, CRITIC):
        yield secret, signed_in(app, secret).get("/queue")
    yield OPS, app.test_client().get("/queue", headers=bearer(OPS))


def test_only_keys_with_permission_open_the_queue(make: Make) -> None:
    statuses = {secret: response.status_code for secret, response in keyed(make)}
    assert statuses == {SHOP: 403, CRITIC: 200, OPS: 403}
    app = make(start=False, keys=WITH_CRITIC, **KEEPING)
    response = app.test_client().get("/queue?job=x")
    assert (response.status_code, response.location) == (302, "/sign-in?next=/queue?job%3Dx")
    assert "Review queue</a>" in signed_in(app, CRITIC).get("/").text
    assert "Review queue</a>" not in signed_in(app, SHOP).get("/").text
    assert "Review queue</a>" not in app.test_client().get("/sign-in").text
    for path in ("/queue", "/queue/undo"):
        assert signed_in(app, SHOP).post(path, headers=SAME_ORIGIN).status_code == 403


def test_reachable_server_without_keys_shows_no_texts(make: Make) -> None:
    app = make(start=False, host=ALL_ADDRESSES, insecure_public=True, **KEEPING)
    keep(app)
    client = app.test_client()
    for path in ("/queue", "/v1/feedback/stats", "/v1/shadow"):
        response = client.get(path)
        assert response.status_code == 403
    assert "Review queue</a>" not in client.get("/").text


@pytest.mark.security
def test_other_sites_cannot_review(make: Make) -> None:
    app = make(start=False, keys=WITH_CRITIC, **KEEPING)
    keep(app)
    client = signed_in(app, CRITIC)
    html = client.get("/queue").text
    for path in ("/queue", "/queue/undo"):
        for site in ("cross-site", "same-site"):
            response = client.post(
                path,
                data=fields(html) | {"label": "positive"},
                headers={"Sec-Fetch-Site": site},
            )
            assert response.status_code == 403
    local = make(start=False, **KEEPING).test_client()
    response = local.post("/queue", data={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403


def test_undo_deletes_only_feedback_of_the_same_key(make: Make) -> None:
    app = make(start=False, keys=WITH_CRITIC, **KEEPING)
    keep(app)
    client = signed_in(app, CRITIC)
    headers = bearer(OPS)
    repository = FeedbackRepository(app.extensions["reelsense"].jobs_worker.jobs.database)
    (other,) = repository.add([NewFeedback(text="good", label="positive", key="shop")])
    assert isinstance(other, Feedback)
    client.post("/queue/undo", data={"decisions": f"+{other.id}"}, headers=SAME_ORIGIN)
    assert len(stored(app.test_client(), **headers)) == 1
