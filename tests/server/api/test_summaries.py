"""GET /v1/jobs/ID/summary."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from flask.testing import FlaskClient

from reelsense.summary.aspects import MAX_SAMPLE
from tests import any_labels, tiny
from tests.server.conftest import BundleSource, Make
from tests.server.jobs import ended, send

FILMS = (
    "film,seen,stars,review\n"
    'Heat,2026-01-02,5,"The music is great, but the plot is bad."\n'
    "Heat,2026-01-03,1,a good film\n"
    "Cats,2026-01-04,1,a bad film\n"
    "Cats,2026-01-05,,\n"
)


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


def scored(client: FlaskClient, body: str = FILMS, **query: str) -> str:
    name: str = send(client, body, **query).get_json()["id"]
    assert ended(client, name)["state"] == "done"
    return name


def summary(client: FlaskClient, name: str, **query: str) -> dict[str, Any]:
    response = client.get(f"/v1/jobs/{name}/summary", query_string=query)
    assert response.status_code == 200
    fields: dict[str, Any] = response.get_json()
    return fields


def test_summary_has_groups_trend_aspects_and_rows(client: FlaskClient) -> None:
    fields = summary(client, scored(client))
    assert fields["columns"] == ["film", "seen", "stars"]
    assert (fields["group_column"], fields["label"]) == ("film", "positive")
    groups = {group["value"]: group for group in fields["groups"]}
    assert {name: group["rows"] for name, group in groups.items()} == {"Heat": 2, "Cats": 2}
    assert groups["Cats"]["coverage"]["total"] == 1
    assert groups["Heat"]["stars"]["low"] <= groups["Heat"]["stars"]["value"]
    assert fields["trend"]["periods"][0]["period"] == "2026-01-02"
    quotes = {
        aspect["aspect"]: [quote["text"] for quote in aspect["praise"] + aspect["criticism"]]
        for aspect in fields["aspects"]["aspects"]
    }
    assert quotes == {"music": ["The music is great"], "story": ["but the plot is bad"]}
    assert fields["aspects"]["rows"] == 4
    assert [row["n"] for row in fields["notable"]["differing"]] == [1, 0]
    assert fields["findings"][0].startswith("Of 3 rows with a verdict, ")


def test_summary_follows_filters_and_group(client: FlaskClient) -> None:
    name = scored(client)
    fields = summary(client, name, search="CATS", verdict="negative", group="seen")
    assert [group["value"] for group in fields["groups"]] == ["2026-01-04"]
    fields = summary(client, name, column="film", value="Heat", label="negative")
    assert (fields["total"]["rows"], fields["label"]) == (2, "negative")
    rows = client.get(f"/v1/jobs/{name}/rows?column=film&value=Heat").get_json()
    assert (rows["total"], [row["values"]["film"] for row in rows["rows"]]) == (2, ["Heat"] * 2)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("group=actor", 422, "no-such-column"),
        ("column=actor", 422, "no-such-column"),
        ("label=maybe", 422, "unknown-label"),
        ("format=pdf", 400, "wrong-value"),
        ("limit=1", 400, "unknown-field"),
    ],
)
def test_invalid_queries_are_rejected(
    client: FlaskClient, query: str, status: int, code: str
) -> None:
    name = scored(client)
    response = client.get(f"/v1/jobs/{name}/summary?{query}")
    [error] = response.get_json()["errors"]
    pointer = f"?{query.partition('=')[0]}"
    assert (response.status_code, error["pointer"], error["code"]) == (status, pointer, code)
    if query.startswith("column"):
        assert client.get(f"/v1/jobs/{name}/rows?{query}").status_code == status


def test_summary_of_a_waiting_job_is_409(make: Make) -> None:
    client = make(start=False).test_client()
    name = send(client, FILMS).get_json()["id"]
    response = client.get(f"/v1/jobs/{name}/summary")
    assert (response.status_code, response.get_json()["code"]) == (409, "not-ended")


def test_summary_of_an_unknown_job_is_404(client: FlaskClient) -> None:
    assert client.get("/v1/jobs/none/summary").status_code == 404


def test_summary_as_csv_and_report_are_downloads(client: FlaskClient) -> None:
    name = scored(client, name="my films.csv")
    table = client.get(f"/v1/jobs/{name}/summary?format=csv")
    assert table.mimetype == "text/csv"
    assert "my films-summary.csv".replace(" ", "%20") in table.headers["Content-Disposition"]
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert [(line["film"], line["rows"]) for line in lines] == [("Heat", "2"), ("Cats", "2")]
    report = client.get(f"/v1/jobs/{name}/summary?format=html&search=good")
    assert report.mimetype == "text/html"
    assert report.headers["Content-Disposition"].startswith("attachment; ")
    assert "containing \u201cgood\u201d" in report.text
    assert "my films.csv" in report.text


def test_aspects_of_a_large_job_are_searched_in_a_sample(make: Make) -> None:
    client = make(tiny.classifier(), max_rows=10_000).test_client()
    body = "review\n" + "The music is great.\n" * (MAX_SAMPLE + 4)
    fields = summary(client, scored(client, body))
    assert fields["aspects"]["rows"] == MAX_SAMPLE // 2 + 2
    assert [a["mentions"] for a in fields["aspects"]["aspects"]] == [MAX_SAMPLE // 2 + 2]
    assert fields["group_column"] is None


def test_summary_of_other_labels_has_their_shares(make: Make) -> None:
    client = make(BundleSource(any_labels.tickets())).test_client()
    body = "team,review\na,send a refund\na,the export is broken\nb,thanks\n"
    fields = summary(client, scored(client, body), group="team")
    assert fields["labels"] == ["billing", "bug", "praise"]
    assert (fields["label"], fields["aspects"]) == ("billing", None)
    assert set(fields["groups"][0]["shares"]) == {"billing", "bug", "praise"}
