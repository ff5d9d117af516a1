from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn")

from reelsense.bundle import Manifest
from reelsense.evaluation.card import render_card
from reelsense.evaluation.evaluate import EvaluationData, EvaluationOptions, evaluate, make_record
from reelsense.report.page import SECTIONS, render_report
from reelsense.report.record import EvaluationRecord
from tests.evaluation import records
from tests.evaluation.records import BERT, MANIFEST, REVIEWS, Biased, negation, review


class Parsed(HTMLParser):
    """A parsed page. Fails if tags are not closed in the reverse order of opening."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def values(self, attribute: str) -> list[str]:
        return [
            attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes
        ]


def sections(page: str) -> list[str]:
    return re.findall(r'<h2 id="(\w+)">', page)


@pytest.fixture(scope="module")
def record() -> EvaluationRecord:
    return records.make()


@pytest.fixture(scope="module")
def page(record: EvaluationRecord) -> str:
    return render_report(record, MANIFEST)


def test_report_loads_nothing(page: str) -> None:
    parsed = Parsed(page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint(
        {"script", "img", "image", "iframe", "object", "embed", "base", "form", "video", "audio"}
    )
    for attribute in ("src", "srcset", "data", "poster", "background", "action"):
        assert parsed.values(attribute) == []
    links = [attributes for tag, attributes in parsed.tags if tag == "link"]
    assert links == [{"rel": "icon", "href": "data:,"}]
    assert all(link.startswith("#") for link in parsed.values("xlink:href"))
    assert set(re.findall(r"url\((.)", page)) == {"#"}
    assert "@import" not in page


def test_report_has_and_links_every_section(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert sections(page) == [name for name in SECTIONS if name != "explanations"]
    parsed = Parsed(page)
    targets = [attributes["href"] for tag, attributes in parsed.tags if tag == "a"]
    assert [f"#{name}" for name in sections(page)] + ["MODEL_CARD.md"] == targets
    for text in (
        "validation loss",
        "87.5%",
        "contrast sets, 2 pairs",
        "zebra",
        BERT,
        "<td>77</td>",
    ):
        assert text in page


def test_report_contains_every_plot_in_its_section(record: EvaluationRecord, page: str) -> None:
    assert page.count("<svg") == page.count("<figure>") == len(record.plots) == 5 + 1 + 7
    assert len({plot.name for plot in record.plots}) == len(record.plots)
    for plot in record.plots:
        assert re.fullmatch(r"[a-z0-9-]+", plot.name)
        section = page.partition(f'<h2 id="{plot.section}">')[2].partition("<h2 ")[0]
        assert plot.svg in section


def test_report_escapes_texts(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; A good zebra &amp; co." in page


def test_report_without_texts(record: EvaluationRecord, page: str) -> None:
    published = render_report(record.without_texts(), MANIFEST)
    assert "zebra" not in published.lower()
    assert "test/pos/9_7.txt" in published
    assert sections(published) == sections(page)


def test_report_is_deterministic(page: str) -> None:
    assert render_report(records.make(), MANIFEST) == page


def test_report_of_uncalibrated_model() -> None:
    """The evaluation is quick, and the provenance of the model is unknown."""
    bare = Manifest(name="bare", labels=Biased.labels, window=16)
    record = records.make(bare, quick=True)
    page = render_report(record, bare)
    Parsed(page)
    assert sections(page) == [
        *("metrics", "probabilities", "unsure", "labels", "slices", "mistakes", "training")
    ]
    assert page.count("reelsense calibrate") == 2
    assert "validation loss" not in page
    assert "SST-2" not in page
    card = render_card(record, bare)
    for absent in ("None", "Thresholds", "Robustness", "identity", "fine-tuned", "base_model"):
        assert absent not in card


def test_report_and_card_for_three_labels() -> None:
    class Three:
        labels = ("bad", "good", "mixed")

        def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
            words = [text.split()[0] for text in texts]
            return np.array(
                [[0.7 if word == label else 0.15 for label in self.labels] for word in words]
            )

    reviews = [review(f"{n}", f"{word} film", word) for n, word in enumerate(Three.labels * 5)]
    results, predictions = evaluate(Three(), EvaluationData(reviews=reviews), MANIFEST.groups)
    manifest = replace(MANIFEST, labels=Three.labels, provenance={"data": "mine.csv"})
    record = make_record(results, predictions, manifest, "mine.csv")
    page, card = render_report(record, manifest), render_card(record, manifest)
    Parsed(page)
    assert "There are no errors" in page
    assert "predicted mixed" in page
    assert "fairness" not in sections(page)
    assert "bad, good, mixed" in card
    for absent in ("AUROC", "identity"):
        assert absent not in page.partition("</style>")[2]
        assert absent not in card


def test_report_compares_results_with_targets(record: EvaluationRecord, page: str) -> None:
    row = page[page.index('<th scope="row">negation<br>') :].partition("</tr>")[0]
    assert str(negation(record).errors) in row
    assert "at most 8%: missed" in row
    assert f"negation ({100 * negation(record).errors.value:.1f}%, target 8%)" in page
    row = page[page.index('<th scope="row">repeated twice<br>') :].partition("</tr>")[0]
    assert "at most 4%: met" in row
    assert "at most 15%: met" in page
    assert "facts<br>" in page


def test_report_replaces_lone_surrogates() -> None:
    odd = [REVIEWS[0], review("odd", "a bad \ud800 zebra", "positive"), *REVIEWS[9:11]]
    options = EvaluationOptions(quick=True)
    results, predictions = evaluate(Biased(), EvaluationData(reviews=odd), options=options)
    page = render_report(make_record(results, predictions, MANIFEST, "odd.jsonl"), MANIFEST)
    assert "a bad \ufffd zebra" in page
    page.encode()


def test_report_explains_audit_only_where_there_is_one(record: EvaluationRecord, page: str) -> None:
    views = [view for view in record.evaluation.label_views if view.name != "audited labels"]
    assert len(views) == 2
    unaudited = replace(record, evaluation=replace(record.evaluation, label_views=views))
    assert "Northcutt" in page
    assert "Northcutt" not in render_report(unaudited, MANIFEST)


def test_report_shows_length_groups(page: str) -> None:
    manifest = records.GROUPED_MANIFEST
    grouped = render_report(records.make(manifest, records.WordCounting()), manifest)
    Parsed(grouped)
    assert grouped.count("<h4>Sentence, up to 4 tokens</h4>") == 2  # reviews and single sentences
    assert grouped.count("<h4>Long</h4>") == 2
    assert '<th scope="row">Sentence, up to 4 tokens</th><td>2.00</td>' in grouped
    assert '<th scope="row">Long</th><td>1.25</td>' in grouped
    assert "<td>70.0% / any</td>" in grouped
    assert "<h4>" not in page
    assert "for which the thresholds were not fitted" in page
    assert "for which the thresholds were not fitted" not in grouped


def test_report_shows_star_mae_if_known(record: EvaluationRecord, page: str) -> None:
    starred = replace(record, evaluation=replace(record.evaluation, star_mae=1.234))
    assert "<strong>1.23</strong>star MAE" in render_report(starred, MANIFEST)
    assert "star MAE" not in page


def test_plots_follow_colour_scheme(record: EvaluationRecord) -> None:
    for plot in record.plots:
        assert "prefers-color-scheme:dark" in plot.svg
        assert "var(--plot-ink)" in plot.svg
        assert "<metadata>" not in plot.svg
