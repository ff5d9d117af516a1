import json
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelsense.inference.classifier import Classifier
from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import Make, wait_until_ready

JSON = "application/json"
DEFAULTS = Settings()


def test_predict_one_text(client: FlaskClient) -> None:
    answer = client.post("/v1/predict", json={"text": "a good film"})
    assert answer.status_code == 200
    assert answer.is_json
    body = answer.get_json()
    assert body["model"] == {"name": "tiny", "version": "0"}
    (prediction,) = body["predictions"]
    assert list(prediction) == [
        "verdict", "label", "score", "threshold", "positive", "negative", "tokens"
    ]  # fmt: skip
    assert prediction["label"] == "positive"
    assert prediction["score"] == prediction["positive"] == pytest.approx(0.8808, abs=1e-4)
    assert prediction["negative"] == pytest.approx(0.1192, abs=1e-4)
    assert prediction["tokens"] == {"total": 3, "scored": 3}


def test_predict_keeps_order_of_texts(client: FlaskClient) -> None:
    texts = ["good film", "bad film", "the good, the bad, the awful " * 30]
    predictions = client.post("/v1/predict", json={"texts": texts}).get_json()["predictions"]
    assert [p["label"] for p in predictions] == ["positive", "negative", "negative"]
    assert predictions[2]["tokens"]["scored"] == predictions[2]["tokens"]["total"] > 200


def test_predict_applies_risk() -> None:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)

    def predict(**more: float) -> tuple[object, object, list[str]]:
        texts = ["a good film", "a good, good film"]
        body = client.post("/v1/predict", json={"texts": texts} | more).get_json()
        verdicts = [prediction["verdict"] for prediction in body["predictions"]]
        return body["risk"], body["threshold"], verdicts

    assert predict() == predict(risk=0.02) == (0.02, 0.9, ["unsure", "positive"])
    assert predict(risk=0.2) == (0.2, 0.0, ["positive", "positive"])
    assert predict(risk=0.01) == (0.01, None, ["unsure", "unsure"])


@pytest.mark.parametrize(("default", "warned"), [(0.01, True), (0.02, False), (None, False)])
def test_responses_warn_of_a_default_risk_that_the_model_cannot_meet(
    default: float | None, warned: bool
) -> None:
    control = replace(tiny.RISKS, default_risk=default)
    bundle = tiny.bundle()
    bundle = replace(bundle, manifest=replace(bundle.manifest, risk_control=control))
    client = create_app(model=Classifier(bundle, network=tiny.count_moods)).test_client()
    wait_until_ready(client)
    reason = bundle.manifest.abstention() if warned else None
    assert client.get("/v1/info").get_json()["model"].get("warning") == reason
    body = client.post("/v1/predict", json={"text": "a good film"}).get_json()
    assert body.get("warning") == reason
    body = client.post("/v1/predict", json={"text": "a good film", "risk": 0.005}).get_json()
    assert "0.5 %. The lowest rate that it can meet is 2 %" in body["warning"]
    assert (body["threshold"], body["predictions"][0]["verdict"]) == (None, "unsure")


@pytest.fixture
def grouped() -> FlaskClient:
    client = create_app(model=tiny.grouped_classifier()).test_client()
    wait_until_ready(client)
    return client


def test_predict_returns_threshold_of_each_text(grouped: FlaskClient) -> None:
    def predict(**more: float) -> tuple[object, list[tuple[object, str]]]:
        texts = ["good film", "the good film was great", ""]
        body = grouped.post("/v1/predict", json={"texts": texts} | more).get_json()
        *predictions, blank = body["predictions"]
        assert blank["error"]["code"] == "blank"
        return body["threshold"], [(row["threshold"], row["verdict"]) for row in predictions]

    # The threshold of the response is that of the longest texts.
    assert predict() == (0.9, [(None, "unsure"), (0.9, "positive")])
    assert predict(risk=0.1) == (0.0, [(0.7, "positive"), (0.0, "positive")])
    assert predict(risk=0.01) == (None, [(None, "unsure"), (None, "unsure")])


def test_explain_returns_threshold_of_text(grouped: FlaskClient) -> None:
    for text, threshold in (("good film", 0.7), ("the good film was great", 0.0)):
        body = grouped.post("/v1/explain", json={"text": text, "risk": 0.1}).get_json()
        assert body["prediction"]["threshold"] == threshold


def test_info_lists_the_thresholds_of_each_length_group(grouped: FlaskClient) -> None:
    model = grouped.get("/v1/info").get_json()["model"]
    sentence, long = model["length_groups"]
    assert (sentence["name"], sentence["max_tokens"]) == ("sentence", 4)
    assert sentence["thresholds"] == [
        {"risk": 0.01, "score": None},
        {"risk": 0.02, "score": None},
        {"risk": 0.1, "score": 0.7},
    ]
    assert (long["name"], long["max_tokens"]) == ("long", None)
    assert long["thresholds"] == model["thresholds"]


def test_info_without_length_groups(client: FlaskClient) -> None:
    model = client.get("/v1/info").get_json()["model"]
    assert model["length_groups"] == [{"name": "all", "max_tokens": None, "thresholds": []}]


def test_predict_with_other_labels() -> None:
    client = create_app(model=tiny.classifier(labels=("no", "yes"))).test_client()
    wait_until_ready(client)
    (prediction,) = client.post("/v1/predict", json={"text": "good"}).get_json()["predictions"]
    assert prediction["label"] == "yes"
    assert list(prediction["probabilities"]) == ["no", "yes"]
    assert client.get("/predict?sentence=good").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe\xfd", 400, "the body is not JSON"),
        (b"", 400, "the body is not JSON"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (b'["good"]', 422, "the body should be an object"),
        (b'"{}"', 422, "the body should be an object"),
        (b"{}", 422, 'Send one of "text" and "texts"'),
        (b'{"text": "a", "texts": ["a"]}', 422, 'Send one of "text" and "texts"'),
        (b'{"text": 7}', 422, "text: should be a valid string, not a number"),
        (b'{"text": null}', 422, "text: should be a valid string, not null"),
        (b'{"text": ["a"]}', 422, "text: should be a valid string, not a list"),
        (b'{"text": ""}', 422, "text: should not be blank"),
        (b'{"text": " \\n\\t "}', 422, "text: should not be blank"),
        (b'{"texts": "a"}', 422, "texts: should be a valid list, not a string"),
        (b'{"texts": {"a": 1}}', 422, "texts: should be a valid list, not an object"),
        (b'{"texts": []}', 422, "texts: should have at least 1 item, not 0"),
        (b'{"texts": ["a", true]}', 422, "texts/1: should be a valid string, not a boolean"),
        (b'{"texts": ["a", "b", " "], "strict": true}', 422, "texts/2: is blank"),
        (b'{"text": "a", "Strict": true}', 422, "Strict: is not a field of this request"),
        (b'{"text": "a", "strict": 1}', 422, "strict: should be a valid boolean, not a number"),
        (json.dumps({"texts": ["a"] * (DEFAULTS.max_texts + 1)}).encode(), 422, "not 257"),
        (b'{"text": "a", "risk": "2 %"}', 422, "risk: should be a valid number, not a string"),
        (b'{"text": "a", "risk": 2}', 422, "risk: should be less than 1"),
        (b'{"text": "a", "risk": true}', 422, "risk: should be a valid number, not a boolean"),
        (b'{"text": "a", "risk": NaN}', 400, "NaN is not valid JSON"),
        (b'{"text": "a", "risk": 0.02}', 422, "no decision thresholds"),
        (b'{"text": "\\u0000"}', 422, "text: contains no readable characters"),
        (b'{"text": "a", "a text": 1}', 422, "a text: is not a field of this request"),
        (json.dumps(dict.fromkeys(map(str, range(101)))).encode(), 422, "at most 100 fields"),
    ],
)
def test_predict_rejects_invalid_bodies(
    client: FlaskClient, body: bytes, status: int, detail: str
) -> None:
    answer = client.post("/v1/predict", data=body, content_type=JSON)
    problem(answer, status, detail)
    assert client.post("/v1/predict", json={"text": "good"}).status_code == 200


def test_http_errors(client: FlaskClient) -> None:
    problem(client.post("/v1/predict", data="good"), 415, "Content-Type: application/json")
    problem(client.post("/v1/predict", data={"text": "good"}), 415, "application/json")
    big = b'{"text": "' + b"a" * DEFAULTS.max_body + b'"}'
    problem(client.post("/v1/predict", data=big, content_type=JSON), 413, "fewer or shorter texts")
    long = {"text": "a" * (DEFAULTS.max_characters + 1)}
    problem(client.post("/v1/predict", json=long), 422, "at most 200,000 characters, not 200,001")
    problem(client.get("/v1/nothing"), 404, "/openapi.json")
    answer = client.get("/v1/predict")
    problem(answer, 405, "Allow")
    assert "POST" in answer.headers["Allow"]


def test_invalid_query_is_same_for_get_and_head(client: FlaskClient) -> None:
    for sentence in ("", "%00"):
        assert client.head(f"/predict?sentence={sentence}").status_code == 400
        answer = client.get(f"/predict?sentence={sentence}")
        problem(answer, 400, "?sentence: ")
        assert answer.get_json()["errors"][0]["pointer"] == "?sentence"


def test_status_without_problem_type(client: FlaskClient) -> None:
    answer = client.get("/static/page.css", headers={"Range": "bytes=99999999-"})
    problem(answer, 416, "")
    assert answer.get_json()["code"] == "http-error"
    assert answer.get_json()["type"] == "about:blank"
    assert answer.get_json()["detail"]
    assert "Content-Range" in answer.headers


def test_predict_accepts_max_texts(client: FlaskClient) -> None:
    answer = client.post("/v1/predict", json={"texts": ["good"] * DEFAULTS.max_texts})
    assert len(answer.get_json()["predictions"]) == DEFAULTS.max_texts


def test_internal_error_hides_details(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("reelsense.inference.classifier.Classifier.predict_each", broken)
    answer = client.post("/v1/predict", json={"text": "good"})
    problem(answer, 500, "bug in the server")
    assert b"secret" not in answer.data
    assert "secret inside" in caplog.text


UNUSUAL = [
    "😀🎬 good",
    "a\x00b\x07 good",
    "bad \ud83d",
    "好的电影",
    "فيلم جيد",
    "<script>alert(1)</script>",
    "[MASK]",
    "[CLS] good [SEP]",
    "good " * 20_000,
    "e\u0301" * 50,
    "\u202egood",
    "\u200b",
    "&#0;",
]


@pytest.mark.parametrize("text", UNUSUAL, ids=range(len(UNUSUAL)))
def test_unusual_texts_get_200_or_422(client: FlaskClient, text: str) -> None:
    answer = client.post("/v1/predict", data=json.dumps({"text": text}), content_type=JSON)
    assert answer.status_code in (200, 422)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=200))
def test_predict_survives_any_text(client: FlaskClient, text: str) -> None:
    answer = client.post("/v1/predict", data=json.dumps({"text": text}), content_type=JSON)
    assert answer.status_code in (200, 422)


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(Json | st.fixed_dictionaries({}, optional={"text": Json, "texts": Json}))
def test_predict_survives_any_json(client: FlaskClient, body: object) -> None:
    answer = client.post("/v1/predict", data=json.dumps(body), content_type=JSON)
    assert answer.status_code in (200, 400, 422)  # 400: NaN is not valid JSON


def problem(answer: object, status: int, detail: str) -> None:
    """Check that `answer` is an RFC 9457 problem document."""
    assert answer.status_code == status  # type: ignore[attr-defined]
    assert answer.content_type == "application/problem+json"  # type: ignore[attr-defined]
    document = json.loads(answer.data)  # type: ignore[attr-defined]
    assert document["status"] == status
    assert document["title"]
    assert detail in document["detail"]


def test_predict_returns_stars() -> None:
    client = create_app(model=tiny.star_classifier()).test_client()
    wait_until_ready(client)
    (prediction,) = client.post("/v1/predict", json={"text": "good"}).get_json()["predictions"]
    assert prediction["stars"] == pytest.approx(7.966, abs=0.001)
    assert prediction["positive"] == pytest.approx(0.8808, abs=1e-4)


@pytest.mark.parametrize("name", ["inputs", "input", "review", "sentence", "Text"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/predict", ["text", "texts", "risk", "model", "strict"]),
        ("/v1/explain", ["text", "model", "risk", "budget", "aspects"]),
    ],
)
def test_unknown_field_error_names_known_fields(
    client: FlaskClient, name: str, path: str, expected: list[str]
) -> None:
    answer = client.post(path, json={name: "a good film"})
    assert answer.status_code == 422
    (error,) = [e for e in answer.get_json()["errors"] if e["code"] == "unknown-field"]
    assert error["pointer"] == f"#/{name}"
    assert error["detail"].endswith(f"expected {', '.join(expected)}")


def test_unknown_parameter_error_names_known_parameters(make: Make) -> None:
    client = make(start=False).test_client()
    answer = client.post("/v1/jobs?naem=a.csv", data=b"review\ngood\n")
    assert [error["code"] for error in answer.get_json()["errors"]] == ["unknown-field"]
    assert "expected name, encoding," in answer.get_json()["detail"]
