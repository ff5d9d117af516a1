import re

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from reelsense.feedback.records import text_hash
from tests import tiny
from tests.server.conftest import Make
from tests.server.jobs import model
from tests.server.secured import CRITIC, OPS, SAME_ORIGIN, SHOP, WITH_CRITIC, bearer, sign_in

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def app(make: Make) -> Flask:
    return make(start=False, keep_predictions="all")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def fields(html: str) -> dict[str, str]:
    """Return the hidden fields of the form for feedback."""
    form = html.split('id="feedback"')[1].split("</form>")[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


def labels(html: str) -> list[str]:
    return re.findall(r'name="label" value="(\w+)">', html)


def answer(client: FlaskClient, text: str = "good film") -> str:
    response = client.post("/answer", data={"text": text})
    assert response.status_code == 200
    return response.text


def stored(client: FlaskClient, **headers: str) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = client.get("/v1/feedback", headers=headers).get_json()[
        "feedback"
    ]
    return entries


def test_answer_asks_for_feedback_on_stored_prediction(client: FlaskClient) -> None:
    html = answer(client)
    assert labels(html) == ["positive", "negative"]  # the predicted one first
    assert re.fullmatch(r"[\w-]{22}", fields(html)["prediction_id"])
    response = client.post("/feedback", data=fields(html) | {"label": "negative"})
    assert response.status_code == 200
    assert "Saved as negative." in response.text
    assert "<html" not in response.text
    (entry,) = stored(client)
    assert (entry["label"], entry["source"]) == ("negative", "page")
    assert entry["predicted"]
    assert entry["text_hash"] == text_hash("good film")


def test_unsure_answer_asks_for_label(make: Make) -> None:
    client = make(tiny.cautious_classifier(), start=False).test_client()
    html = answer(client, "film")
    assert "Which label is correct?" in html
    assert labels(html) == ["positive", "negative"]
    assert "Yes, " not in html


def test_undo_deletes_feedback_and_asks_again(client: FlaskClient) -> None:
    html = answer(client)
    given = client.post("/feedback", data=fields(html) | {"label": "negative"}).text
    assert fields(given)["id"] == stored(client)[0]["id"]
    asked = client.post("/feedback/undo", data=fields(given)).text
    assert fields(asked) == fields(html)
    assert labels(asked) == labels(html)
    assert stored(client) == []


def test_browser_without_javascript_gets_complete_pages(client: FlaskClient) -> None:
    html = client.post("/review", data={"text": "good\r\nfilm"}, headers=BROWSER).text
    hidden = fields(html)
    assert hidden["text"] == "good\nfilm"
    assert hidden["prediction_id"] == ""  # explanations are not stored
    given = client.post("/feedback", data=hidden | {"label": "positive"}, headers=BROWSER)
    assert "<html" in given.text
    assert "Saved as positive." in given.text
    assert [entry["text_hash"] for entry in stored(client)] == [text_hash("good film")]
    assert "<html" in client.post("/feedback/undo", data=fields(given.text), headers=BROWSER).text


def test_text_is_escaped(client: FlaskClient) -> None:
    html = answer(client, 'good "><script>film')
    assert "<script>" not in html
    assert fields(html)["text"] == "good &#34;&gt;&lt;script&gt;film"


@pytest.mark.parametrize(
    "change", [{"label": "other"}, {"label": ""}, {"text": " "}, {"text": "x" * 200_001}]
)
def test_invalid_feedback_is_rejected(client: FlaskClient, change: dict[str, str]) -> None:
    sent = {"text": "good", "label": "negative", "prediction_id": "x" * 40} | change
    assert client.post("/feedback", data=sent).status_code == 422
    assert stored(client) == []


def test_invalid_prediction_id_is_ignored(client: FlaskClient) -> None:
    sent = {"text": "good", "label": "negative", "prediction_id": "x" * 40}
    assert client.post("/feedback", data=sent).status_code == 200
    assert stored(client)[0]["prediction_id"] is None


def test_many_labels_are_a_list(make: Make) -> None:
    names = tuple("abcdef")

    def network(ids: NDArray[np.int64], _mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.eye(1, 6, 2, np.float32).repeat(len(ids), 0)

    app = make(model(network, labels=names), start=False)
    html = answer(app.test_client(), "film")
    assert re.findall(r"<option(?: selected)?>(\w)</option>", html) == list(names)
    assert "<option selected>c</option>" in html
    assert labels(html) == []


def signed_in(app: Flask, secret: str) -> FlaskClient:
    client = app.test_client()
    assert sign_in(client, secret).status_code == 302
    return client


def test_only_keys_with_permission_are_asked(make: Make) -> None:
    app = make(start=False, keys=WITH_CRITIC)

    def asked(secret: str) -> tuple[bool, TestResponse]:
        client = signed_in(app, secret)
        html = client.post("/answer", data={"text": "good"}, headers=SAME_ORIGIN).text
        sent = {"text": "good", "label": "positive"}
        return 'id="feedback"' in html, client.post("/feedback", data=sent, headers=SAME_ORIGIN)

    is_asked, response = asked(SHOP)
    assert (is_asked, response.status_code) == (False, 403)
    is_asked, response = asked(CRITIC)
    assert (is_asked, response.status_code) == (True, 200)
    assert [entry["key"] for entry in stored(app.test_client(), **bearer(OPS))] == ["critic"]


def test_other_sites_cannot_give_feedback(make: Make) -> None:
    client = signed_in(make(start=False, keys=WITH_CRITIC), CRITIC)
    sent = {"text": "good", "label": "positive"}
    for path in ("/feedback", "/feedback/undo"):
        response = client.post(path, data=sent, headers={"Sec-Fetch-Site": "cross-site"})
        assert response.status_code == 403
