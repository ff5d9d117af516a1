from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.bundle import Calibration, Manifest
from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import (
    PHRASES,
    EvaluationSets,
    PairedReviews,
)
from reelsense.datasets.label_audit import Audit
from reelsense.datasets.reviews import Review
from reelsense.evaluation.behaviours import BehaviourErrors
from reelsense.evaluation.evaluate import Material, evaluate
from reelsense.evaluation.report import Report, as_card, as_page, write_report
from reelsense.evaluation.summary import as_text, calibration_as_text
from reelsense.prediction import Answers
from tests import tiny

yaml: Any = pytest.importorskip("yaml")

BERT = "google-bert/bert-base-uncased"
LOSSES = {
    "loss": [[1, 0.7], [2, 0.4]],
    "validation": [{"epoch": 1, "step": 2, "loss": 0.3, "accuracy": 0.875}],
}
ON_IMDB = {"data": imdb.NAME, "recipe": {"base": BERT, "epochs": 3}, "curves": LOSSES}
MANIFEST = Manifest(
    name="tiny",
    labels=("negative", "positive"),
    window=16,
    calibration=Calibration(temperature=1.25, reviews=77, ece_before=0.06, ece_after=0.01),
    risk_control=tiny.RISKS,
    provenance=ON_IMDB,
    version="0123456789ab",
)


class Biased:
    """Finds "good" positive, "bad" negative, and whatever holds "Shia" less positive."""

    labels = ("negative", "positive")

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        moods = [
            0.2 + 3 * ("good" in text.lower()) - 3 * ("bad" in text.lower()) - ("Shia" in text)
            for text in texts
        ]
        positive = 1 / (1 + np.exp(-np.array(moods, dtype=np.float64)))
        return np.stack([1 - positive, positive], axis=1)


def review(name: str, text: str, label: str, rating: int | None = None) -> Review:
    return Review(name, text, label, rating, group=name)


# Every text holds the word "zebra", so that none can be shown unseen.
REVIEWS = [
    *(
        review(f"test/pos/{n}_9.txt", f"Zebra {n}: good, isn't it?", "positive", 9)
        for n in range(9)
    ),
    *(review(f"test/neg/{n}_2.txt", f"Zebra {n}: bad.", "negative", 2) for n in range(9)),
    review("test/neg/9_4.txt", "<script>alert(1)</script> A good zebra & co.", "negative", 4),
    review("test/pos/9_7.txt", "A Muslim family and its bad zebra. " * 30, "positive", 7),
]
SETS = EvaluationSets(
    pairs=[PairedReviews("contrast sets", REVIEWS[:2], REVIEWS[9:11])],
    single_sentences=[*REVIEWS[:2], review("s", "a good zebra dies", "negative")],
    audit={"test/neg/9_4.txt": Audit.FLIPPED},
)


def report(manifest: Manifest = MANIFEST, *, quick: bool = False, **more: Any) -> Report:
    """A report on a biased model with everything that there is, or quick."""
    material = Material(reviews=REVIEWS, sets=SETS, training_texts={REVIEWS[0].text})
    against = None if quick else ("bag-of-words", Biased())
    found, predictions = evaluate(Biased(), material, manifest.groups, quick=quick, against=against)
    data = f"the official test part of {imdb.NAME}"
    return Report(manifest=manifest, data=data, evaluation=found, predictions=predictions, **more)


class Parsed(HTMLParser):
    """A page taken apart; fails where tags are not closed in the order they were opened."""

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
def full() -> Report:
    return report()


@pytest.fixture(scope="module")
def page(full: Report) -> str:
    return as_page(full)


def test_the_page_loads_nothing(page: str) -> None:
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


def test_the_page_has_every_section_and_leads_to_it(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert sections(page) == [
        *("answers", "probabilities", "unsure", "labels", "parts", "robustness", "behaviours"),
        *("fairness", "comparison", "mistakes", "making"),
    ]
    parsed = Parsed(page)
    targets = [attributes["href"] for tag, attributes in parsed.tags if tag == "a"]
    assert [f"#{name}" for name in sections(page)] + ["MODEL_CARD.md"] == targets
    pictures = [tag for tag, _ in parsed.tags].count("svg")
    assert pictures == [tag for tag, _ in parsed.tags].count("figure") == 5 + 1 + 7
    for shown in ("held-out loss", "87.5%", "contrast sets, 2 pairs", "zebra", BERT, "<td>77</td>"):
        assert shown in page


def test_a_text_cannot_become_markup(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; A good zebra &amp; co." in page


def test_without_texts(full: Report, page: str) -> None:
    hidden = as_page(replace(full, texts=False))
    assert any(changes.source == "reviews" for changes in full.evaluation.identity)
    assert "zebra" not in hidden.lower()
    assert "test/pos/9_7.txt" in hidden
    assert sections(hidden) == sections(page)


def test_the_same_figures_give_the_same_page(page: str) -> None:
    assert as_page(report()) == page


def test_a_bare_bundle() -> None:
    """Neither calibration nor thresholds, nothing known of its making, and measured in a hurry."""
    bare = report(Manifest(name="bare", labels=Biased.labels, window=16), quick=True)
    page = as_page(bare)
    Parsed(page)
    assert sections(page) == [
        "answers",
        "probabilities",
        "unsure",
        "labels",
        "parts",
        "mistakes",
        "making",
    ]
    assert page.count("reelsense calibrate") == 2
    assert "held-out loss" not in page
    assert "SST-2" not in page
    card = as_card(bare)
    assert "base_model" not in front_matter(card)
    for absent in ("None", "Thresholds", "Robustness", "identity", "fine-tuned"):
        assert absent not in card


def test_three_labels() -> None:
    class Three:
        labels = ("bad", "good", "mixed")

        def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
            sure = [text.split()[0] for text in texts]
            return np.array(
                [[0.7 if word == one else 0.15 for one in self.labels] for word in sure]
            )

    reviews = [review(f"{n}", f"{word} film", word) for n, word in enumerate(Three.labels * 5)]
    found, predictions = evaluate(Three(), Material(reviews=reviews), MANIFEST.groups)
    manifest = replace(MANIFEST, labels=Three.labels, provenance={"data": "mine.csv"})
    made = Report(manifest=manifest, data="mine.csv", evaluation=found, predictions=predictions)
    page, card = as_page(made), as_card(made)
    Parsed(page)
    assert "every answer is right" in page
    assert "answered mixed" in page
    assert "fairness" not in sections(page)
    assert "one of the labels bad, good, mixed" in card
    for absent in ("AUROC", "identity"):
        assert absent not in page
        assert absent not in card


def negation(made: Report) -> BehaviourErrors:
    assert made.evaluation.behaviours is not None
    return next(each for each in made.evaluation.behaviours.errors if each.name == "negation")


def test_the_page_sets_figures_beside_their_targets(full: Report, page: str) -> None:
    row = page[page.index('<th scope="row">negation<br>') :].partition("</tr>")[0]
    assert str(negation(full).errors) in row
    assert "8% or less: missed" in row
    assert f"negation ({100 * negation(full).errors.value:.1f}% of the labels are wrong)" in page
    row = page[page.index('<th scope="row">repeated twice<br>') :].partition("</tr>")[0]
    assert "4% or less: met" in row
    assert "15% or less: met" in page
    assert "facts<br>" in page


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    found = yaml.safe_load(front)
    assert isinstance(found, dict)
    return found


def tables(card: str) -> list[list[str]]:
    """The rows of each of a card's tables."""
    found = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    return [table.splitlines() for table in found]


def test_the_card_says_where_it_comes_from(full: Report) -> None:
    card = as_card(full)
    front = front_matter(card)
    assert front["base_model"] == BERT
    assert front["language"] == "en"
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == full.data
    assert result["metrics"][0] == {"type": "accuracy", "value": 0.9}
    terms = card.partition("## Terms")[2]
    assert "Maas et al. 2011" in terms
    assert "states no licence" in terms
    assert f"{BERT}, Apache-2.0" in terms


def test_the_card_says_what_else_it_learned_from(full: Report) -> None:
    provenance = MANIFEST.provenance | {
        "read": {"texts": 70_000, "steps": 1_300},
        "extra_examples": {PHRASES: 67_349, "mine": 3},
    }
    card = as_card(replace(full, manifest=replace(MANIFEST, provenance=provenance)))
    assert (
        "which read on in 70,000 texts for 1,300 steps, guessing hidden words, fine-tuned" in card
    )
    assert "\n- mine (3)\n" in card
    assert "\n- phrases and sentences of SST-2 (67,349; Socher et al. 2013" in card
    assert "learned from:" not in as_card(full)


def test_the_terms_of_other_data_and_bases_are_not_made_up(full: Report) -> None:
    made = replace(MANIFEST, provenance={"data": "mine.csv", "recipe": {"base": "somebody/bert"}})
    card = as_card(replace(full, manifest=made))
    assert front_matter(card)["base_model"] == "somebody/bert"
    terms = card.partition("## Terms")[2]
    assert "mine.csv; its terms are yours to know" in terms
    assert "whose terms are where it came from" in terms
    for absent in ("Maas", "Apache", "stanfordnlp"):
        assert absent not in card
    unknown = as_card(replace(full, manifest=replace(MANIFEST, provenance={})))
    assert "**Data**: not recorded" in unknown


@pytest.mark.parametrize(
    "name", ["a: b", "on", "1.0", "x # y", "*x", 'the "best"', "C:\\data", "é"]
)
def test_no_name_breaks_the_front_matter(full: Report, name: str) -> None:
    provenance = {"recipe": {"base": name}}
    made = replace(full, data=name, manifest=replace(MANIFEST, name=name, provenance=provenance))
    front = front_matter(as_card(made))
    (model,) = front["model-index"]
    assert front["base_model"] == model["name"] == name
    assert model["results"][0]["dataset"]["name"] == name


def test_the_card_tells_what_was_learned_from_what_was_measured_on(full: Report) -> None:
    """And the project's own models from others: they are loaded by their names."""
    theirs, ours = as_card(full), as_card(replace(full, on_imdb=True, published_as="default"))
    accurate = as_card(replace(full, on_imdb=True, published_as="accurate"))
    for card, measured_on, load in (
        (theirs, "custom", 'Classifier.load("FOLDER")'),
        (ours, "stanfordnlp/imdb", "Classifier.load()"),
        (accurate, "stanfordnlp/imdb", 'Classifier.load("accurate")'),
    ):
        front = front_matter(card)
        assert front["datasets"] == ["stanfordnlp/imdb"]
        assert front["model-index"][0]["results"][0]["dataset"]["type"] == measured_on
        assert load in card
    assert front_matter(ours)["license"] == front_matter(accurate)["license"] == "apache-2.0"
    assert "license" not in front_matter(theirs)


def test_the_card_says_what_is_bad(full: Report) -> None:
    """Of the answers that risk 2 % decides, more are wrong than it allows; and the bias."""
    card = as_card(full)
    limits = card.partition("## Limits")[2].partition("\n## ")[0]
    assert "**It is sensitive to identity terms.**" in limits
    validation = {
        each.category: each
        for each in full.evaluation.identity
        if (each.source, each.terms) == ("templates", "held-out")
    }
    assert f"religion, in templates: {validation['religion'].changed}; lowest Shia" in limits
    assert validation["ethnicity"].changed.count == 0
    assert "ethnicity" not in limits
    assert "on single sentences they fail" in limits
    assert f"| negation | {negation(full).errors} | 8% | {negation(full).errors.total} |" in card
    on_test, on_sentences = tables(card)[1:3]
    assert [row.split("|")[-2].strip() for row in on_test[2:]] == ["", "**no**", "unclear"]
    assert "out of reach" in on_test[2]
    assert on_sentences != on_test
    fair = replace(full.evaluation, identity=[validation["ethnicity"]])
    assert "identity" not in as_card(replace(full, evaluation=fair))


def test_the_card_is_markdown_and_without_texts(full: Report) -> None:
    card = as_card(full)
    assert "zebra" not in card.lower()
    assert "\n\n\n" not in card
    assert "{%" not in card
    assert "{{" not in card
    found = tables(card)
    assert len(found) == 7
    for table in found:
        assert len({row.count("|") for row in table}) == 1
        assert set(table[1]) == {"|", "-"}


def test_both_are_written(tmp_path: Path) -> None:
    made, folder = report(quick=True), tmp_path / "new" / "folder"
    write_report(folder, made)
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written == {"index.html": as_page(made), "MODEL_CARD.md": as_card(made)}


def test_a_text_that_no_file_can_hold(tmp_path: Path) -> None:
    """JSON's escapes bring half a surrogate pair into a text."""
    odd = [REVIEWS[0], review("odd", "a bad \ud800 zebra", "positive"), *REVIEWS[9:11]]
    found, predictions = evaluate(Biased(), Material(reviews=odd), quick=True)
    made = Report(manifest=MANIFEST, data="odd.jsonl", evaluation=found, predictions=predictions)
    write_report(tmp_path, made)
    assert "a bad \ufffd zebra" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_an_audit_is_explained_where_there_is_one(full: Report, page: str) -> None:
    doubles = [each for each in full.evaluation.label_views if each.name != "audited labels"]
    assert len(doubles) == 2
    unaudited = replace(full.evaluation, label_views=doubles)
    assert "Northcutt" in page
    assert "Northcutt" not in as_page(replace(full, evaluation=unaudited))


def test_the_summary_for_the_terminal(full: Report) -> None:
    text = as_text(full.evaluation)
    for line in (
        r"reviews +20",
        r"accuracy +90\.00%",
        r"accuracy, audited labels +95\.00%",
        r"negative +9 +1",
        r"risk 1\.0% +out of reach",
        r"risk 10\.0% +100\.0% decided, 10\.00% of them wrong",
        r"contrast sets: both right +100\.0% .*",
        r"religion, held-out terms, templates +[\d.]+% .*, target 15% or less",
        r"typos +[\d.]+% .*, target 4% or less",
        r"negation +[\d.]+% .*, target 8% or less",
        r"slang +[\d.]+% \([^,]*\)",
        r"facts +[\d.]+% .*",
        r"McNemar's exact p +1",
    ):
        assert re.search(f"^{line}$", text, re.MULTILINE), line
    quick = as_text(report(quick=True).evaluation)
    for absent in ("flips", "edited", "SST-2", "identity", "McNemar"):
        assert absent in text
        assert absent not in quick


def test_the_summary_of_a_calibration() -> None:
    text = calibration_as_text(MANIFEST)
    for line in (
        r"held-out reviews +77",
        r"temperature +1\.250",
        r"calibration error before +6\.00%",
        r"risk 1\.0%: decided +nothing: out of reach",
        r"risk 2\.0%: decided +from 90\.0% on",
        r"risk 10\.0%: decided +everything",
    ):
        assert re.search(f"^{line}$", text, re.MULTILINE), line
    assert calibration_as_text(tiny.bundle().manifest) == "not calibrated"


def test_the_summary_of_a_calibration_by_length() -> None:
    fitted = Calibration(temperature=2, data="lines", reviews=9, ece_before=0.1, ece_after=0.02)
    group = replace(tiny.SENTENCES, calibration=fitted)
    text = calibration_as_text(replace(MANIFEST, length_groups=(group,)))
    first, second, default = text.split("\n\n")
    assert first.startswith("calibration, sentence (up to 4 tokens)\n")
    assert re.search(r"^from +lines$", first, re.MULTILINE)
    assert re.search(r"^risk 10\.0%: decided +from 70\.0% on$", first, re.MULTILINE)
    assert second.startswith("calibration, long\n")
    assert re.search(r"^temperature +1\.250$", second, re.MULTILINE)
    assert re.fullmatch(r"where no risk is named +2\.0%", default)


class Counting(Biased):
    """Counts words as tokens."""

    def answers(self, texts: Sequence[str]) -> Answers:
        tokens = np.array([len(text.split()) for text in texts])
        return Answers(self.predict_proba(texts), None, tokens)


GROUPED = replace(MANIFEST, length_groups=(tiny.SENTENCES,))


@pytest.fixture(scope="module")
def by_length() -> Report:
    material = Material(reviews=REVIEWS, sets=SETS)
    found, predictions = evaluate(Counting(), material, GROUPED.groups)
    return Report(manifest=GROUPED, data="films", evaluation=found, predictions=predictions)


def test_the_page_has_calibration_and_coverage_by_length(by_length: Report, page: str) -> None:
    grouped = as_page(by_length)
    Parsed(grouped)
    assert grouped.count("<h4>Sentence, up to 4 tokens</h4>") == 2  # of the reviews and of SST-2
    assert grouped.count("<h4>Long</h4>") == 2
    assert '<th scope="row">Sentence, up to 4 tokens</th><td>2.00</td>' in grouped
    assert '<th scope="row">Long</th><td>1.25</td>' in grouped
    assert "which the thresholds were not found for" not in grouped
    assert "<td>70.0% / any</td>" in grouped
    assert "<h4>" not in page
    assert "which the thresholds were not found for" in page


def test_the_card_has_calibration_and_coverage_by_length(by_length: Report, full: Report) -> None:
    card = as_card(by_length)
    assert card.count("\nSentence, up to 4 tokens:\n") == 2
    assert card.count("\nLong:\n") == 2
    assert "\nLong: calibrated on " in card
    assert len(tables(card)) == len(tables(as_card(full))) + 3 + 1
    for table in tables(card):
        assert len({row.count("|") for row in table}) == 1
    assert "\n\n\n" not in card
    assert "which they were not found for" not in card


def test_stars_where_the_model_has_them(full: Report, page: str) -> None:
    starred = replace(full, evaluation=replace(full.evaluation, star_mae=1.234))
    assert "<strong>1.23</strong>stars off on average" in as_page(starred)
    assert "The expected star rating is off by 1.23 on average." in as_card(starred)
    assert "stars off" not in page
    assert "star rating" not in as_card(full)
    assert "\n\n\n" not in as_card(starred)
