from __future__ import annotations

import gzip
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from reelsense.bundle import CARD, DEFAULT_BUNDLE, EVALUATION, write_bundle
from reelsense.inference.classifier import Classifier
from reelsense.report.record import EvaluationRecord, Plot
from reelsense.report.results import (
    ClassificationMetrics,
    Evaluation,
    LabelErrors,
    SelectiveResult,
    Share,
)
from reelsense.server.app import create_app
from reelsense.server.model_source import poll
from reelsense.server.pages.card import read_card
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready

CARD_TEXT = (DEFAULT_BUNDLE / CARD).read_text()
PLOT = "/model/plots/reliability.svg"


def share(count: int, total: int) -> Share:
    return Share(count, total, count / total, 0.0, 1.0)


RECORD = EvaluationRecord(
    model="tiny",
    version="0",
    data="the official test part of films",
    reelsense="1",
    evaluation=Evaluation(
        metrics=ClassificationMetrics(
            reviews=10,
            labels=("negative", "positive"),
            accuracy=0.9399,
            macro_f1=0.94,
            auroc=0.98,
            log_loss=0.2,
            ece=0.0076,
            confusion=[[5, 0], [1, 4]],
        ),
        label_views=[],
        accuracy_at_80_coverage=share(8, 8),
        selective=[
            SelectiveResult(0.01, (None,), share(0, 10), share(0, 1)),
            SelectiveResult(0.02, (0.9,), share(7, 10), share(1, 7)),
        ],
        selective_by_length=[],
        by_length=[],
        by_rating=[],
        star_mae=1.234,
        label_changes=[],
        pairs=[],
        single_sentences=None,
        behaviours=None,
        identity=[],
        comparison=None,
        label_errors=LabelErrors(0, 0, 0, []),
        mistakes=[],
        explanations=None,
    ),
    plots=(
        Plot("reliability", "probabilities", "Calibration & <b>", 480, 422, "<svg>1</svg>"),
        Plot("training", "training", "Training loss", 480, 288, "<svg>2</svg>"),
    ),
)
EVALUATION_TEXT = RECORD.to_json()


class Page(HTMLParser):
    """The tags and the text of a page. Fails if tags are not closed in the order of opening."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "input", "br", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def values(self, attribute: str) -> list[str]:
        return [
            attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes
        ]


def make_client(
    card: str = CARD_TEXT,
    evaluation: str | None = EVALUATION_TEXT,
    labels: tuple[str, ...] = ("negative", "positive"),
    **settings: Any,
) -> FlaskClient:
    """Return a client of a server whose model has this card and evaluation."""
    bundle = tiny.bundle(labels)
    manifest = replace(bundle.manifest, risk_control=tiny.RISKS)
    bundle = replace(bundle, manifest=manifest, card=card, evaluation=evaluation)
    model = Classifier(bundle, network=tiny.count_moods)
    client = create_app(Settings.model_validate(settings), model).test_client()
    wait_until_ready(client)
    return client


def model_page(**more: Any) -> Page:
    response = make_client(**more).get("/model")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return Page(response.text)


def test_model_page_shows_metrics_limitations_plots_and_card_in_order() -> None:
    page = model_page()
    positions = [
        page.text.index(text)
        for text in (
            "Gives a text one of the labels",
            "93.99 % of 10 texts got the right label (95 % interval 59.6 % to 98.2 %)",
            "coverage",
            "at a target error rate of 2 %",
            "70.0 %",
            "selective error",
            "14.3 %",
            "star MAE",
            "0.0 MB",
            "evaluated on the official test part of films",
            "Words of identity sway it.",
            "Calibration & <b>",
            "Training loss",
            "On single sentences by critics",
            "Learning Word Vectors",
        )
    ]
    assert positions == sorted(positions)
    assert "base_model" not in page.text  # in the front matter
    assert page.text.count("Words of identity sway it.") == 1


def test_model_page_is_accessible_and_has_no_inline_code() -> None:
    page = model_page()
    assert not page.all("script")
    assert not page.all("style")
    assert not page.values("style")
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert len(page.all("h1")) == 1
    assert set(page.values("aria-labelledby")) <= set(ids)
    fragments = {href[1:] for href in page.values("href") if href.startswith("#")}
    assert {"plots", "card-summary", "card-1"} <= fragments <= set(ids)
    frames = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert len(frames) == len(page.all("table")) == 5
    assert {(frame["tabindex"], frame["role"]) for frame in frames} == {("0", "region")}
    assert len({frame["aria-label"] for frame in frames}) == 5
    for picture in page.all("img"):
        assert picture["loading"] == "lazy"
        assert picture["alt"]
        assert int(picture["width"] or 0) > int(picture["height"] or 0) / 2 > 0


def test_thresholds_are_listed_by_length() -> None:
    client = create_app(model=tiny.grouped_classifier()).test_client()
    wait_until_ready(client)
    page = Page(client.get("/model").text)
    text = "".join(page.text.split())
    assert "sentence(upto4)long(above4)" in text
    never, always = "notreachable(alwaysunsure)", "0(neverunsure)"
    assert f"1%{never}{never}2%{never}90.0%10%70.0%{always}" in text
    assert "#lengths" in page.values("href")
    assert "Decision thresholds" not in model_page().text


def test_plots_are_served_unchanged() -> None:
    client = make_client()
    page = Page(client.get("/model").text)
    responses = [client.get(picture["src"] or "") for picture in page.all("img")]
    assert [response.mimetype for response in responses] == ["image/svg+xml"] * 2
    assert [response.text for response in responses] == [plot.svg for plot in RECORD.plots]
    assert {"/model/report#probabilities", "/model/report#training"} <= set(page.values("href"))


@pytest.mark.parametrize("path", ["/model/report", PLOT, "/model/MODEL_CARD.md"])
def test_content_of_bundle_is_sandboxed_and_cached(path: str) -> None:
    client = make_client()
    answer = client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "script" not in policy
    assert policy.endswith("sandbox allow-same-origin")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Content-Security-Policy"] == policy
    compressed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(compressed.data) == answer.data
    assert client.get(path, headers={"Accept-Encoding": "gzip;q=0"}).data == answer.data
    assert compressed.headers["ETag"] != answer.headers["ETag"]
    assert compressed.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"


def test_report_is_rendered_and_card_is_served_unchanged() -> None:
    client = make_client()
    report, card = client.get("/model/report"), client.get("/model/MODEL_CARD.md")
    assert report.content_type == "text/html; charset=utf-8"
    assert "Evaluation of tiny" in report.text
    assert "<strong>93.99%</strong>accuracy" in report.text
    assert card.content_type == "text/plain; charset=utf-8"
    assert card.text == CARD_TEXT


def test_report_is_rendered_once_per_model(monkeypatch: pytest.MonkeyPatch) -> None:
    renderings = []

    def render(record: EvaluationRecord, _: object) -> str:
        renderings.append(record)
        return f"report {len(renderings)}"

    monkeypatch.setattr("reelsense.server.pages.model.render_report", render)
    first, second = make_client(), make_client()
    texts = [client.get("/model/report").text for client in (first, first, second, first)]
    assert texts == ["report 1", "report 1", "report 2", "report 1"]


def test_unknown_plot_is_404() -> None:
    assert make_client().get("/model/plots/elsewhere.svg").status_code == 404


@pytest.mark.parametrize("evaluation", [None, "{}", "no JSON"])
def test_model_page_without_readable_evaluation_shows_card(evaluation: str | None) -> None:
    page = model_page(evaluation=evaluation)
    assert "--update-card" in page.text
    assert "Words of identity sway it." in page.text
    assert not page.all("img")
    assert "/model/report" not in page.values("href")
    for path in ("/model/report", PLOT):
        assert make_client(evaluation=evaluation).get(path).status_code == 404


def test_model_page_without_evaluation_shows_accuracy_of_manifest() -> None:
    bundle = tiny.bundle()
    manifest = replace(bundle.manifest, metrics={"test": {"reviews": 9, "accuracy": 0.8765}})
    model = Classifier(replace(bundle, manifest=manifest), network=tiny.count_moods)
    client = create_app(model=model).test_client()
    wait_until_ready(client)
    assert "87.65 %" in client.get("/model").text


def test_model_page_with_empty_card() -> None:
    page = model_page(card="# tiny\n", evaluation=None, labels=("like <b>", "dislike"))
    assert "Classifies texts as like <b>, dislike, with a probability." in page.text
    assert "The model card does not state any." in page.text
    assert "accuracy" not in page.text
    assert model_page(card="", evaluation=None).text.count("tiny") == 1


def test_model_page_shows_version_unless_card_does() -> None:
    assert "Version 0\n" in model_page(card="# tiny\nA model.\n", evaluation=None).text
    assert "Version 0\n" not in model_page(card="# tiny\nA model, 0.\n", evaluation=None).text


HOSTILE = """---
name: <script>alert(0)</script>
---
# <script>alert(1)</script>
> # A quoted title
>
> noted

<script>alert(2)</script> **lead** <img src=x onerror=alert(3)>

[a](javascript:alert(4)) [b](JaVaScRiPt:alert(5)) [c](data:text/html,x) [d](vbscript:x)
![tracked](https://elsewhere.example/pixel) [e](https://elsewhere.example "<b>") [f](//x.example/)
<https://elsewhere.example/?"onclick="x>

# A second title
<div style="position:fixed">

| a"><script> | b |
|:-:|--:|
| <b>1</b> | 2 |

## "><script>alert(6)</script>
## Limits & <b>
```html"><script>
</code></pre><script>alert(7)</script>
```
"""


def test_card_cannot_add_markup() -> None:
    page = model_page(card=HOSTILE)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "b", "style", "iframe", "object", "form"}
    assert len(page.all("h1")) == 1
    assert all((picture["src"] or "").startswith("/model/plots/") for picture in page.all("img"))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    external = [link for link in page.all("a") if urlsplit(link["href"] or "").netloc]
    assert len(external) == 4
    assert {link["rel"] for link in external} == {"noopener"}
    assert not re.search(r"script:|data:text", "".join(page.values("href")))
    assert [cell["class"] for cell in page.all("td")] == ["center", "right"]
    for n in (1, 2, 6, 7):
        assert (f"<script>alert({n})</script>" in page.text) == (n != 1)  # 1 is the title
    assert "noted" in page.text


def test_headings_of_card_have_unique_ids() -> None:
    card = read_card("## Use\n### Use\n## Use\n# Last\n")
    assert [(section.anchor, section.title) for section in card.sections] == [
        ("card-1", "Use"),
        ("card-3", "Use"),
        ("card-4", "Last"),
    ]
    assert 'id="card-2"' in card.sections[0].body


def test_lead_ends_with_first_paragraph() -> None:
    card = read_card("# b\n- a list\n\nlead\n\nrest\n\n## Use\n")
    assert "a list" in card.lead
    assert card.lead.endswith("<p>lead</p>\n")
    assert [section.title for section in card.sections] == ["Summary", "Use"]
    assert card.sections[0].body == "<p>rest</p>\n"


def test_front_matter_is_dropped_only_if_it_ends() -> None:
    assert read_card("---\r\na: 1\r\n---\r\n# b\nc").lead == "<p>c</p>\n"
    card = read_card("---\na: 1\n")
    assert "a: 1" in card.lead + "".join(section.body for section in card.sections)


def test_new_evaluation_reloads_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", tiny.bundle())
    before = poll(tmp_path / "bundle")
    (tmp_path / "bundle" / EVALUATION).touch()
    assert poll(tmp_path / "bundle") != before


def test_output_of_evaluate_is_model_page() -> None:
    for extra in ("yaml", "matplotlib", "cleanlab", "sklearn"):
        pytest.importorskip(extra)
    from reelsense.evaluation.card import render_card
    from tests.evaluation.records import MANIFEST, make

    record = make()
    page = model_page(card=render_card(record, MANIFEST), evaluation=record.to_json())
    assert len(page.all("img")) == len(record.plots)
    assert "90.00%" in page.text
    assert "sensitive to identity terms" in page.text
