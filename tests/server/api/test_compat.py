import pytest
from flask.testing import FlaskClient


def test_original_api_response(client: FlaskClient) -> None:
    answer = client.get("/predict", query_string={"sentence": "a good & great film"})
    assert answer.status_code == 200
    assert list(answer.get_json()) == ["response"]
    response = answer.get_json()["response"]
    assert sorted(response) == ["negative", "positive", "sentence", "time_taken"]
    assert all(isinstance(value, str) for value in response.values())
    assert response["sentence"] == "a good & great film"
    assert float(response["positive"]) > 0.9
    assert float(response["positive"]) + float(response["negative"]) == pytest.approx(1)
    assert 0 <= float(response["time_taken"]) < 60


@pytest.mark.parametrize("query", ["", "?sentence=", "?sentence=%20%0A", "?text=good"])
def test_original_api_requires_sentence(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/predict{query}")
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


def test_original_api_accepts_invalid_utf8(client: FlaskClient) -> None:
    assert client.get("/predict?sentence=good%ff%fe").status_code == 200
