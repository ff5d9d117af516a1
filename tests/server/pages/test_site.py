import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.server.app import create_app
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GOOD_AND_BAD = "A good film. The end is bad."


def page(client: FlaskClient, text: str, path: str = "/", status: int = 200) -> str:
    answer = client.post(path, data={"text": text}, headers=BROWSER)
    assert answer.status_code == status
    return answer.get_data(as_text=True)


def test_the_page_and_what_it_loads_come_from_here_and_are_light(client: FlaskClient) -> None:
    size = 0
    text = ""
    for path in ("/", "/jobs"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"
        text += answer.get_data(as_text=True)
    loaded = set(re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', text))
    assert {path.rpartition("/")[2] for path in loaded} == {
        "frame.css",
        "icon.svg",
        "jobs.js",
        "page.css",
        "review.js",
    }
    for path in loaded:
        with client.get(path) as file:
            assert file.status_code == 200
            text += file.get_data(as_text=True)
    size = len(text.encode())
    assert size < 60_000
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|[\"'(]//|@import", text)


def test_without_javascript_a_form_gets_the_answer_and_what_carries_it(
    client: FlaskClient,
) -> None:
    text = page(client, GOOD_AND_BAD + "\r\n\r\nA great one.")
    assert "\nA good film. The end is bad.\n\nA great one.</textarea>" in text
    assert '<p class="verdict" id="verdict">positive</p>' in text
    assert "The probability of that is 88.0 %" in text
    assert text.count('class="s for s4') == 2
    assert text.count('class="s against s4') == 1
    assert "Without this: 98.2 % positive. Weight \u22122.00" in text
    assert text.count("<p><span") == 2  # paragraphs


def test_the_parts_that_javascript_asks_for(client: FlaskClient) -> None:
    for path, part in (("/answer", 'id="verdict"'), ("/explanation", 'id="review"')):
        text = page(client, GOOD_AND_BAD, path)
        assert part in text
        assert "<html" not in text


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_blank_review_is_refused_in_words(client: FlaskClient, text: str) -> None:
    assert "Write or paste a review first" in page(client, text, status=422)
    answer = client.post("/answer", data={"text": text})
    assert answer.get_json()["errors"][0]["detail"] == "Write or paste a review first."


def test_a_review_that_is_too_long_or_holds_nothing_to_read(app: Flask) -> None:
    small = create_app(Settings(max_characters=10), tiny.classifier())
    client = small.test_client()
    wait_until_ready(client)
    assert "longer than 10 characters" in page(client, "good " * 3, status=422)
    assert "holds nothing that the model can read" in page(client, "\u200b", status=422)


def test_markup_in_a_review_stays_text(client: FlaskClient) -> None:
    text = page(client, "<script>alert(1)</script> A good film.")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_long_review_in_a_form(client: FlaskClient) -> None:
    assert '<p class="verdict"' in page(client, "good film \U0001f600. " * 1500)


@pytest.fixture
def cautious() -> FlaskClient:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)
    return client


OFFERED = [("", "At most 2 %"), ("0.1", "At most 10 %")]
"""Of 1 % the model can promise nothing."""


def choices(text: str) -> list[tuple[str, str]]:
    found = re.findall(r'<option value="([^"]*)"[^>]*>(.+?) of the decided answers wrong<', text)
    return [(value, name) for value, name in found]


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_the_risk_is_chosen_of_those_that_the_model_can_keep_to(
    client: FlaskClient, cautious: FlaskClient, path: str
) -> None:
    assert choices(cautious.get(path).text) == OFFERED
    assert '<option value="" selected>' in cautious.get(path).text
    assert 'name="risk"' not in client.get(path).text  # it has no thresholds


@pytest.mark.parametrize(
    ("risk", "verdict", "line"),
    [
        ("", "unsure", "Unsure below 90.0 %: at most 2 % of what is decided may be wrong."),
        ("0.1", "positive", "Unsure of nothing: at most 10 % of what is decided may be wrong."),
        ("0.05", "unsure", "Unsure below 90.0 %: at most 5 % of what is decided may be wrong."),
        ("0.005", "unsure", "Unsure of everything: this model cannot keep to 0.5 % of wrong"),
    ],
)
def test_the_line_of_unsure_is_that_of_the_risk(
    cautious: FlaskClient, risk: str, verdict: str, line: str
) -> None:
    form = {"text": "good film", "risk": risk}
    for path in ("/", "/answer"):
        text = cautious.post(path, data=form).text
        assert f'<p class="verdict" id="verdict">{verdict}</p>' in text
        assert line in text
    text = cautious.post("/", data=form).text
    assert f'<option value="{risk}" selected>' in text
    assert cautious.post("/explanation", data=form).status_code == 200


def test_the_line_of_unsure_stands_beside_a_sure_answer_too(cautious: FlaskClient) -> None:
    text = page(cautious, "great good film")
    assert '<p class="verdict" id="verdict">positive</p>' in text
    assert "Unsure below 90.0 %: at most 2 %" in text


@pytest.fixture
def grouped() -> FlaskClient:
    client = create_app(model=tiny.grouped_classifier()).test_client()
    wait_until_ready(client)
    return client


@pytest.mark.parametrize(
    ("text", "risk", "verdict", "line"),
    [
        ("good film", "", "unsure", "Unsure of everything: this model cannot keep to 2 % of"),
        ("good film", "0.1", "positive", "Unsure below 70.0 %: at most 10 % of what is decided"),
        ("the good film was great", "", "positive", "Unsure below 90.0 %: at most 2 % of what is"),
        ("the good film was great", "0.1", "positive", "Unsure of nothing: at most 10 % of what"),
    ],
)
def test_the_line_of_unsure_is_that_of_the_length_of_the_text(
    grouped: FlaskClient, text: str, risk: str, verdict: str, line: str
) -> None:
    found = grouped.post("/answer", data={"text": text, "risk": risk}).text
    assert f'<p class="verdict" id="verdict">{verdict}</p>' in found
    assert line in found


def test_a_risk_is_offered_if_texts_of_some_length_can_be_decided_at_it(
    grouped: FlaskClient,
) -> None:
    assert choices(grouped.get("/").text) == OFFERED


@pytest.mark.parametrize("risk", ["2", "nan", "much", "0"])
def test_what_is_no_risk_is_refused(cautious: FlaskClient, risk: str) -> None:
    answer = cautious.post("/", data={"text": "good film", "risk": risk})
    assert answer.status_code == 422
    assert "The risk is a share between 0 and 1" in answer.text


def test_unsure_is_shown_as_such(cautious: FlaskClient) -> None:
    text = page(cautious, "good bad film")
    assert '<p class="verdict" id="verdict">unsure</p>' in text
    assert "It leans" in text


def test_a_model_without_thresholds_is_never_unsure_and_says_nothing_of_risks(
    client: FlaskClient,
) -> None:
    assert "nsure" not in page(client, "good bad film").partition('id="answer"')[2]
    refused = client.post("/", data={"text": "good film", "risk": "0.1"})
    assert (refused.status_code, "no thresholds" in refused.text) == (422, True)


def test_other_labels_have_bars_and_no_gauge() -> None:
    app = create_app(model=tiny.classifier(("ham", "spam")))
    client = app.test_client()
    wait_until_ready(client)
    text = page(client, "A good film. The end is bad.")
    assert 'class="gauge"' not in text
    assert "<dt>ham</dt>" in text
    assert "speaks for" in text


def test_an_example_is_in_the_page_when_asked_for(client: FlaskClient) -> None:
    assert "I went in expecting little" in client.get("/?example=A+rave").text
    assert client.get("/?example=none").status_code == 200


def test_errors_are_pages_for_people_and_documents_for_programs(client: FlaskClient) -> None:
    found = client.get("/nowhere", headers=BROWSER)
    assert (found.status_code, found.mimetype) == (404, "text/html")
    assert "Not found" in found.text
    for path, headers in (("/nowhere", {"Accept": "*/*"}), ("/v1/jobs/none", BROWSER)):
        assert client.get(path, headers=headers).mimetype == "application/problem+json"


def test_who_signs_in_comes_to_where_they_wanted(client: FlaskClient) -> None:
    from reelsense.server.middleware import api_keys

    secret, key = api_keys.make("shop")
    app = create_app(Settings.model_validate({"keys": key.line()}), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    sent = client.get("/jobs/some?verdict=unsure")
    assert sent.location == "/sign-in?next=/jobs/some?verdict%3Dunsure"
    assert 'value="/jobs/some?verdict=unsure"' in client.get(sent.location).text

    def landed(wanted: str) -> str | None:
        form = {"key": secret, "next": wanted}
        return client.post(
            "/sign-in", data=form, headers={"Sec-Fetch-Site": "same-origin"}
        ).location

    assert landed("/jobs/some?verdict=unsure") == "/jobs/some?verdict=unsure"
    for elsewhere in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb"):
        assert landed(elsewhere) == "/"
