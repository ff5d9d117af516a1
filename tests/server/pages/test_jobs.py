"""The pages of jobs, without a browser."""

from __future__ import annotations

import errno
import html
import io
import re
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask.testing import FlaskClient

from tests import tiny
from tests.server.conftest import ChangingSource, Make
from tests.server.jobs import TABLE, ended, send
from tests.waiting import wait_until


@pytest.fixture
def client(make: Make) -> FlaskClient:
    return make().test_client()


def test_recent_page_lists_existing_jobs(
    client: FlaskClient,
) -> None:
    first, second = [send(client, name=name).get_json()["id"] for name in ("a.csv", "<b>.csv")]
    listed = client.get(f"/jobs/recent?id={second}&id=guessed&id={first}").text
    assert listed.index("&lt;b&gt;.csv") < listed.index("a.csv")
    assert listed.count("<li") == 2
    assert client.delete(f"/v1/jobs/{first}").status_code == 204
    assert "a.csv" not in client.get(f"/jobs/recent?id={first}").text
    assert client.get("/jobs/recent").text.strip() == ""


def test_job_page_shows_expiry(make: Make) -> None:
    client = make(job_retention_hours=30).test_client()
    name = send(client).get_json()["id"]
    ended(client, name)
    match = re.search(r"Will be deleted on (.+?)\.", client.get(f"/jobs/{name}").text)
    assert match is not None
    expires = datetime.fromisoformat(client.get(f"/v1/jobs/{name}").get_json()["expires"])
    assert match[1] == f"{expires:%-d %B, %H:%M} UTC"


@pytest.mark.parametrize(
    ("body", "title", "reason"),
    [
        ("review,n\n" + ",1\n" * 1200, "None of the 1,200 rows could be scored", "Reason: "),
        (
            "review,n\n,1\n,2\n3\n",
            "None of the 3 rows could be scored",
            "Most frequent reason (2 rows): ",
        ),
        ("review,n\n,1\n", "The only row could not be scored", "Reason: "),
    ],
)
def test_job_without_predictions_shows_reason(
    client: FlaskClient, body: str, title: str, reason: str
) -> None:
    name = send(client, body).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}").text
    assert f"<strong>{title}</strong>" in page
    assert f"{reason}&#39;review&#39; is blank." in page
    assert "Verdicts</h2>" not in page
    assert "Stars</h2>" not in page
    assert "<strong>Done" not in page


def test_job_with_one_scored_row_is_done(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}").text
    assert "<strong>Done</strong>" in page
    assert "2 rows could not be scored" in page
    assert "Verdicts</h2>" in page


def test_form_sets_risk_of_job(make: Make) -> None:
    client = make(tiny.cautious_classifier()).test_client()
    form = {"column": "review", "risk": "0.1", "file": (io.BytesIO(TABLE.encode()), "a.csv")}
    sent = client.post("/jobs", data=form)
    name = str(sent.location).rpartition("/")[2]
    assert ended(client, name)["verdicts"] == {"positive": 1, "negative": 1, "error": 2}
    assert client.get(f"/v1/jobs/{name}").get_json()["risk"] == 0.1
    assert "target error rate 10 %" in client.get(sent.location).text
    assert '<option value="0.1" selected>' in client.get(f"{sent.location}/rows/0").text
    form = {"column": "none", "risk": "0.1", "file": (io.BytesIO(TABLE.encode()), "a.csv")}
    assert '<option value="0.1" selected>' in client.post("/jobs", data=form).text


def test_form_creates_job(client: FlaskClient) -> None:
    form = {"file": (io.BytesIO(TABLE.encode()), "films.csv"), "column": "review"}
    answer = client.post("/jobs", data=form)
    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "films.csv" in page
    form = {"file": (io.BytesIO(b"id,film\n1,a good film\n"), "films.csv")}
    wrong = client.post("/jobs", data=form)
    assert wrong.status_code == 422
    assert "films.csv: no column is called text or review" in wrong.text
    empty = client.post("/jobs", data={"column": "text"}, content_type="multipart/form-data")
    assert "Choose a file first" in empty.text


def test_form_without_disk_space_is_507(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", broken)
    answer = client.post("/jobs", data={"file": (io.BytesIO(TABLE.encode()), "films.csv")})
    assert answer.status_code == 507
    assert "/docs/errors#storage" in answer.text


def test_job_page_filters_sorts_and_searches(
    client: FlaskClient,
) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}?verdict=negative&sort=stars&descending=1").text
    assert "a bad, &#34;awful&#34; film" in page
    assert "a good film" not in page
    assert "1 row<" in page
    assert "No matching rows" in client.get(f"/jobs/{name}?search=zzz").text
    assert "is blank" in client.get(f"/jobs/{name}?verdict=error").text
    assert client.get(f"/jobs/{name}?sort=nonsense&page=x").status_code == 200
    text = client.get(f"/jobs/{name}/rows/0").text
    assert "\na good film</textarea>" in text
    assert client.get(f"/jobs/{name}/rows/9").status_code == 404
    assert client.post(f"/jobs/{name}/delete").status_code == 303
    deleted = client.get(f"/jobs/{name}", headers={"Accept": "text/html"})
    assert deleted.status_code == 404
    assert "No such job" in deleted.text


def test_markup_in_file_is_escaped(client: FlaskClient) -> None:
    evil = "<script>alert(1)</script>"
    name = send(client, f"review,{evil}\n{evil} good,x\n", name=f"{evil}.csv").get_json()["id"]
    ended(client, name)
    assert evil not in client.get(f"/jobs/{name}").text


def test_row_page_links_back_to_job_with_its_filters(make: Make) -> None:
    client = make(tiny.cautious_classifier()).test_client()
    name = send(client, "review\n" + "a good film\n" * 60, name="<films>.csv").get_json()["id"]
    ended(client, name)
    query = {
        "verdict": "unsure",
        "search": "a good",
        "sort": "positive",
        "descending": "1",
        "page": "2",
    }
    for part in ("", "/table"):
        page = client.get(f"/jobs/{name}{part}", query_string=query).text
        table = page.rpartition("<table")[2]
        rows = re.findall(r'href="(/jobs/[^"]+/rows/\d+\?[^"]+)"', table)
        assert len(rows) == 25
        row = client.get(html.unescape(rows[0])).text
        (back,) = re.findall(r'<a href="([^"]+)">Back to &lt;films&gt;.csv</a>', row)
        address = urlsplit(html.unescape(back))
        assert address.path == f"/jobs/{name}"
        assert dict(parse_qsl(address.query)) == query
        assert ' aria-sort="descending"' in client.get(html.unescape(back)).text
    assert "Back to" not in client.get("/").text


def test_row_page_without_filters_links_to_first_page_of_job(client: FlaskClient) -> None:
    name = send(client).get_json()["id"]
    ended(client, name)
    row = client.get(f"/jobs/{name}/rows/0?page=x&sort=wrong").text
    assert f'<a href="/jobs/{name}?page=1">Back to' in row
    assert "row 1)" in row


def test_job_page_uses_labels_and_ratings_of_its_model(make: Make) -> None:
    source = ChangingSource(tiny.star_classifier())
    client = make(source, allow_label_change=True).test_client()
    name = send(client).get_json()["id"]
    ended(client, name)
    before = client.get(f"/jobs/{name}").text
    bars = re.findall(r'<dt>(?:<a[^>]*>)?([\w ]+).*?<dd class="number">(\d+)', before, re.DOTALL)
    counts = {"positive": 1, "negative": 1, "unsure": 0, "not scored": 2}
    stars = {str(n): int(n in (2, 8)) for n in range(10, 0, -1)}
    assert [(label, int(count)) for label, count in bars] == [*counts.items(), *stars.items()]
    assert re.findall(r"<option>(\w+)</option>", before) == [
        *("positive", "negative", "unsure"),
        "label",  # to group by; "id" is selected
    ]
    source.classifier = tiny.classifier(("bad", "good"))
    wait_until(lambda: client.get("/v1/info").get_json()["model"]["labels"] == ["bad", "good"])
    assert client.get(f"/jobs/{name}").text == before


FILMS = "film,seen,review\n" + "".join(
    f"{film},2026-01-{n + 1:02},{mood} film\n"
    for film, moods in (("Heat", ["good"] * 25), ("Cats & Co", ["bad"] * 20 + ["good"] * 2))
    for n, mood in enumerate(moods)
)


def films(client: FlaskClient) -> str:
    name: str = send(client, FILMS).get_json()["id"]
    ended(client, name)
    return name


def test_job_page_shows_all_columns(client: FlaskClient) -> None:
    page = client.get(f"/jobs/{films(client)}").text
    table = page.rpartition("<table")[2]
    assert re.findall(r'scope="col">(\w+)</th>', table) == ["Text", "film", "seen"]
    assert '<td role="cell" class="other" data-name="seen">2026-01-01</td>' in table


def test_group_links_to_its_rows(client: FlaskClient) -> None:
    name = films(client)
    page = client.get(f"/jobs/{name}").text
    (link,) = re.findall(r'href="([^"]+)">Cats &amp; Co</a>', page)
    filtered = client.get(html.unescape(link)).text
    assert "22 rows</caption>" in filtered
    assert 'aria-label="Show all rows, not only those with film Cats &amp; Co"' in filtered
    (clear,) = re.findall(r'<ul class="chips"><li><a href="([^"]+)"', filtered)
    assert "47 rows</caption>" in client.get(html.unescape(clear)).text


def test_charts_and_findings_follow_search_and_filter(client: FlaskClient) -> None:
    name = films(client)
    for query in ("search=CATS", "column=film&value=Cats+%26+Co"):
        for part in ("", "/summary"):
            page = client.get(f"/jobs/{name}{part}?{query}").text
            bars = re.findall(r'<dt><a[^>]*>(\w+)</a></dt>.*?<dd class="number">(\d+)', page, re.S)
            assert dict(bars) == {"positive": "2", "negative": "20"}
            assert "Of 22 rows with a verdict, 9.1 % are positive (2.5 % to 27.8 %)." in page


def test_groups_are_sorted_by_their_links(client: FlaskClient) -> None:
    name = films(client)

    def order(page: str) -> list[str]:
        return re.findall(r'class="name"><a[^>]*>(\w+)', page)

    page = client.get(f"/jobs/{name}").text
    assert order(page) == ["Heat", "Cats"]
    links = re.findall(r'href="([^"]+#groups)"', page)
    assert len(links) == 6
    (share,) = [html.unescape(link) for link in links if "by=share" in link]
    page = client.get(share).text
    assert order(page) == ["Heat", "Cats"]
    (again,) = [
        html.unescape(link) for link in re.findall(r'href="([^"]+by=share[^"]*#groups)"', page)
    ]
    assert order(client.get(again).text) == ["Cats", "Heat"]


def test_job_page_groups_by_the_chosen_column(client: FlaskClient) -> None:
    name = films(client)
    page = client.get(f"/jobs/{name}?group=seen").text
    assert '<h2 id="groups">By seen</h2>' in page
    assert "<option selected>seen</option>" in page
    response = client.get(f"/jobs/{name}?group=actor", headers={"Accept": "text/html"})
    assert response.status_code == 422
    assert "actor" in response.text


def test_job_page_links_to_downloads_of_the_filtered_summary(client: FlaskClient) -> None:
    name = films(client)
    page = client.get(f"/jobs/{name}?search=heat").text
    links = [html.unescape(link) for link in re.findall(r'href="(/v1/[^"]+summary[^"]+)"', page)]
    assert len(links) == 3
    for link in links:
        assert "search=heat" in link
        assert client.get(link).status_code == 200


def test_job_page_without_other_columns_has_no_groups(client: FlaskClient) -> None:
    name = send(client, "review\na good film\n").get_json()["id"]
    ended(client, name)
    page = client.get(f"/jobs/{name}").text
    assert "Group by" not in page
    assert "Findings</h2>" in page
    assert 'id="groups"' not in page
