import re
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.inference.classifier import Classifier
from reelsense.server.app import create_app
from reelsense.server.middleware import keys
from reelsense.server.settings import Settings
from tests import any_labels, tiny
from tests.server.conftest import wait_until_ready

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GOOD_AND_BAD = "A good film. The end is bad."


def page(client: FlaskClient, text: str, path: str = "/review", status: int = 200) -> str:
    response = client.post(path, data={"text": text}, headers=BROWSER)
    assert response.status_code == status
    return response.text


def test_pages_load_only_small_local_files(client: FlaskClient) -> None:
    text = ""
    for path in ("/", "/jobs"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"
        text += answer.get_data(as_text=True)
    files = set(re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', text))
    assert {path.rpartition("/")[2] for path in files} == {
        "frame.css",
        "icon.svg",
        "jobs.js",
        "page.css",
        "review.js",
    }
    for path in files:
        with client.get(path) as file:
            assert file.status_code == 200
            text += file.get_data(as_text=True)
    assert len(text.encode()) < 60_000
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|[\"'(]//|@import", text)


def test_form_without_javascript_returns_prediction_and_explanation(
    client: FlaskClient,
) -> None:
    text = page(client, GOOD_AND_BAD + "\r\n\r\nA great one.")
    assert "\nA good film. The end is bad.\n\nA great one.</textarea>" in text
    assert '<p class="verdict" id="verdict">positive</p>' in text
    assert "Confidence: 88.0 %" in text
    assert text.count('class="s for s3') == 3  # two sentences and the legend
    assert text.count('class="s against s3') == 2
    assert "Without this sentence: 98.2 % positive. Weight \u22122.00" in text
    assert text.count("<p><span") == 2  # paragraphs
    assert re.search(r"\([1-9]\d* forward passes\)", text)


def test_answer_and_explanation_return_parts_of_page(client: FlaskClient) -> None:
    for path, part in (("/answer", 'id="verdict"'), ("/explanation", 'id="review"')):
        text = page(client, GOOD_AND_BAD, path)
        assert part in text
        assert "<html" not in text


@pytest.mark.parametrize("text", ["", "  \n"])
def test_blank_review_is_rejected(client: FlaskClient, text: str) -> None:
    assert "Write or paste the text first" in page(client, text, status=422)
    answer = client.post("/answer", data={"text": text})
    assert answer.get_json()["errors"][0]["detail"] == "Write or paste the text first."


def test_too_long_or_unreadable_review_is_rejected(app: Flask) -> None:
    small = create_app(Settings(max_characters=10), tiny.classifier())
    client = small.test_client()
    wait_until_ready(client)
    assert "15 characters; the limit is 10" in page(client, "good " * 3, status=422)
    assert "contains no readable characters" in page(client, "\u200b", status=422)


def test_markup_in_review_is_escaped(client: FlaskClient) -> None:
    text = page(client, "<script>alert(1)</script> A good film.")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_long_review_is_accepted(client: FlaskClient) -> None:
    assert '<p class="verdict"' in page(client, "good film \U0001f600. " * 1500)


def test_explanation_lists_aspects(client: FlaskClient) -> None:
    html = page(client, "The music is good &amp; fine. The <b>plot</b> was bad.")
    items = re.findall(r"<li><strong>(\w+)</strong> <span .*?>(\w+)</span> <q.*?>(.*?)</q>", html)
    assert items == [
        ("music", "positive", "The music is good"),
        ("story", "negative", "The &lt;b&gt;plot&lt;/b&gt; was bad"),
    ]
    assert 'id="aspects"' not in page(client, "A good film.")


def test_explanation_of_other_labels_has_no_aspects() -> None:
    client = create_app(model=tiny.classifier(("bad", "good"))).test_client()
    wait_until_ready(client)
    assert 'id="aspects"' not in page(client, "The music is good.")


@pytest.fixture
def cautious() -> FlaskClient:
    client = create_app(model=tiny.cautious_classifier()).test_client()
    wait_until_ready(client)
    return client


CHOICES = [("", "2 %"), ("0.1", "10 %")]  # the model cannot meet 1 %


def choices(text: str) -> list[tuple[str, str]]:
    return re.findall(r'<option value="([^"]*)"[^>]*>(.+?)</option>', text)


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_form_offers_risks_that_model_can_meet(
    client: FlaskClient, cautious: FlaskClient, path: str
) -> None:
    assert choices(cautious.get(path).text) == CHOICES
    assert '<option value="" selected>' in cautious.get(path).text
    assert 'name="risk"' not in client.get(path).text  # it has no thresholds


@pytest.mark.parametrize("path", ["/", "/jobs", "/model"])
def test_pages_say_that_every_verdict_is_unsure(cautious: FlaskClient, path: str) -> None:
    bundle = tiny.bundle()
    control = replace(tiny.RISKS, default_risk=0.01)
    bundle = replace(bundle, manifest=replace(bundle.manifest, risk_control=control))
    client = create_app(model=Classifier(bundle, network=tiny.count_moods)).test_client()
    wait_until_ready(client)
    assert bundle.manifest.abstention() in client.get(path).text
    assert "Every verdict is unsure" not in cautious.get(path).text


@pytest.mark.parametrize(
    ("risk", "verdict", "note"),
    [
        ("", "unsure", "Unsure below 90.0 %, to meet a target error rate of 2 %."),
        ("0.1", "positive", "Never unsure: a target error rate of 10 % needs no threshold"),
        ("0.05", "unsure", "Unsure below 90.0 %, to meet a target error rate of 5 %."),
        ("0.005", "unsure", "Always unsure: no threshold is known to meet a target error rate"),
    ],
)
def test_threshold_note_matches_risk(
    cautious: FlaskClient, risk: str, verdict: str, note: str
) -> None:
    form = {"text": "good film", "risk": risk}
    for path in ("/review", "/answer"):
        text = cautious.post(path, data=form).text
        assert f'<p class="verdict" id="verdict">{verdict}</p>' in text
        assert note in text
    text = cautious.post("/review", data=form).text
    assert f'<option value="{risk}" selected>' in text
    assert cautious.post("/explanation", data=form).status_code == 200


def test_threshold_note_is_shown_for_certain_predictions(cautious: FlaskClient) -> None:
    text = page(cautious, "great good film")
    assert '<p class="verdict" id="verdict">positive</p>' in text
    assert "Unsure below 90.0 %, to meet a target error rate of 2 %" in text


@pytest.fixture
def grouped() -> FlaskClient:
    client = create_app(model=tiny.grouped_classifier()).test_client()
    wait_until_ready(client)
    return client


@pytest.mark.parametrize(
    ("text", "risk", "verdict", "note"),
    [
        ("good film", "", "unsure", "Always unsure: no threshold is known to meet a target error"),
        (
            "good film",
            "0.1",
            "positive",
            "Unsure below 70.0 %, to meet a target error rate of 10 %",
        ),
        (
            "the good film was great",
            "",
            "positive",
            "Unsure below 90.0 %, to meet a target error rate of 2 %",
        ),
        (
            "the good film was great",
            "0.1",
            "positive",
            "Never unsure: a target error rate of 10 % needs no threshold",
        ),
    ],
)
def test_threshold_note_depends_on_text_length(
    grouped: FlaskClient, text: str, risk: str, verdict: str, note: str
) -> None:
    answer = grouped.post("/answer", data={"text": text, "risk": risk}).text
    assert f'<p class="verdict" id="verdict">{verdict}</p>' in answer
    assert note in answer


def test_form_offers_risks_that_model_can_meet_for_some_lengths(
    grouped: FlaskClient,
) -> None:
    assert choices(grouped.get("/").text) == CHOICES


@pytest.mark.parametrize("risk", ["2", "nan", "much", "0"])
def test_invalid_risk_is_rejected(cautious: FlaskClient, risk: str) -> None:
    answer = cautious.post("/review", data={"text": "good film", "risk": risk})
    assert answer.status_code == 422
    assert f"invalid risk &#34;{risk}&#34;" in answer.text


def test_unsure_verdict_names_most_probable_label(cautious: FlaskClient) -> None:
    text = page(cautious, "good bad film")
    assert '<p class="verdict" id="verdict">unsure</p>' in text
    assert "Most probable label: " in text


def test_model_without_thresholds_is_never_unsure(
    client: FlaskClient,
) -> None:
    assert "nsure" not in page(client, "good bad film").partition('id="answer"')[2]
    response = client.post("/review", data={"text": "good film", "risk": "0.1"})
    assert (response.status_code, "no decision thresholds" in response.text) == (422, True)


def test_other_labels_have_bars_instead_of_gauge() -> None:
    app = create_app(model=tiny.classifier(("ham", "spam")))
    client = app.test_client()
    wait_until_ready(client)
    text = page(client, "A good film. The end is bad.")
    assert 'class="gauge"' not in text
    assert "<dt>ham</dt>" in text
    assert "supports" in text


@pytest.fixture
def tickets() -> FlaskClient:
    client = create_app(model=Classifier(any_labels.tickets())).test_client()
    wait_until_ready(client)
    return client


def test_example_parameter_fills_form(tickets: FlaskClient, client: FlaskClient) -> None:
    text = tickets.get("/?example=bug").text
    assert f">\n{any_labels.EXAMPLES['bug']}</textarea>" in text
    assert re.findall(r"example=(\w+)", text) == ["billing", "bug", "praise"]
    assert client.get("/?example=none").status_code == 200
    assert "example=" not in client.get("/").text  # the model has none


def test_pages_use_title_and_unit_of_the_model(tickets: FlaskClient) -> None:
    assert "<h1>Who answers this ticket?</h1>" in tickets.get("/").text
    assert "Analyse a file of tickets" in tickets.get("/jobs").text
    assert "Write or paste the ticket first" in page(tickets, "", status=422)
    for path in ("/", "/jobs", "/model"):
        assert not re.search(r"review|positive|negative", shown_text(tickets.get(path).text))


def shown_text(html: str) -> str:
    return re.sub(r"<script.*?</script>|<[^>]*>", " ", html, flags=re.DOTALL)


def test_errors_are_html_for_browsers_only(client: FlaskClient) -> None:
    response = client.get("/nowhere", headers=BROWSER)
    assert (response.status_code, response.mimetype) == (404, "text/html")
    assert "Not found" in response.text
    for path, headers in (("/nowhere", {"Accept": "*/*"}), ("/v1/jobs/none", BROWSER)):
        assert client.get(path, headers=headers).mimetype == "application/problem+json"


def test_sign_in_redirects_to_requested_local_page(client: FlaskClient) -> None:
    secret, key = keys.make("shop")
    app = create_app(Settings.model_validate({"keys": key.line()}), tiny.classifier())
    client = app.test_client()
    wait_until_ready(client)
    response = client.get("/jobs/some?verdict=unsure")
    assert response.location == "/sign-in?next=/jobs/some?verdict%3Dunsure"
    assert 'value="/jobs/some?verdict=unsure"' in client.get(response.location).text

    def redirected(target: str) -> str | None:
        form = {"key": secret, "next": target}
        return client.post(
            "/sign-in", data=form, headers={"Sec-Fetch-Site": "same-origin"}
        ).location

    assert redirected("/jobs/some?verdict=unsure") == "/jobs/some?verdict=unsure"
    for target in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb"):
        assert redirected(target) == "/"


def test_page_of_sent_form_can_be_reloaded(client: FlaskClient) -> None:
    form = page(client, "good")
    assert 'action="/review"' in form
    assert client.get("/review").text == client.get("/").text
    assert '<a class="brand" href="/">' in form


@pytest.mark.parametrize("root", ["", "/reviews"])
def test_llms_txt_links_to_pages_of_this_server(root: str) -> None:
    client = create_app(Settings(root_path=root), tiny.classifier()).test_client()
    wait_until_ready(client)
    answer = client.get("/llms.txt")
    assert answer.mimetype == "text/plain"
    assert answer.text.startswith("# reelsense\n\n> ")
    assert f"`POST {root}/v1/predict`" in answer.text
    links = re.findall(r"\]\((.*?)\)", answer.text)
    assert len(links) == 6
    for link in links:
        assert link.startswith(f"{root}/")
        assert client.get(link.removeprefix(root)).status_code == 200
