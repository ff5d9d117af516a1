from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from reelsense.datasets.evaluation_sets import PHRASES
from reelsense.evaluation.card import render_card
from reelsense.report.page import render_report
from reelsense.report.record import EvaluationRecord
from tests import tiny
from tests.evaluation import records
from tests.evaluation.records import BERT, MANIFEST, negation

yaml: Any = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def record() -> EvaluationRecord:
    return records.make()


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    content = yaml.safe_load(front)
    assert isinstance(content, dict)
    return content


def tables(card: str) -> list[list[str]]:
    """Return the rows of each table."""
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)]


def test_card_states_origin_and_licences(record: EvaluationRecord) -> None:
    card = render_card(record, MANIFEST)
    front = front_matter(card)
    assert front["base_model"] == BERT
    assert front["language"] == "en"
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == record.data
    assert result["metrics"][0] == {"type": "accuracy", "value": 0.9}
    terms = card.partition("## Terms")[2]
    assert "Maas et al. 2011" in terms
    assert "states no licence" in terms
    assert f"{BERT}, Apache-2.0" in terms


def test_card_and_report_say_that_every_verdict_is_unsure(record: EvaluationRecord) -> None:
    manifest = replace(MANIFEST, risk_control=replace(tiny.RISKS, default_risk=0.01))
    reason = manifest.abstention()
    limits = render_card(record, manifest).partition("## Limits")[2].partition("##")[0]
    assert reason in limits
    assert reason in render_report(record, manifest)
    assert "Every verdict is unsure" not in render_card(record, MANIFEST)


def test_card_lists_additional_training_data(record: EvaluationRecord) -> None:
    manifest = replace(
        MANIFEST,
        provenance={
            **MANIFEST.provenance,
            "read": {"texts": 70_000, "steps": 1_300},
            "extra_examples": {PHRASES: 67_349, "mine": 3},
        },
    )
    card = render_card(record, manifest)
    assert "(masked language modelling) on 70,000 texts for 1,300 steps, fine-tuned" in card
    assert "\n- mine (3)\n" in card
    assert "\n- phrases and sentences of SST-2 (67,349; Socher et al. 2013" in card
    assert "Training data beside" not in render_card(record, MANIFEST)


def test_card_does_not_invent_terms(record: EvaluationRecord) -> None:
    provenance: Any = {"data": "mine.csv", "recipe": {"base": "somebody/bert"}}
    card = render_card(record, replace(MANIFEST, provenance=provenance))
    assert front_matter(card)["base_model"] == "somebody/bert"
    terms = card.partition("## Terms")[2]
    assert "mine.csv; check its terms" in terms
    assert "see its source for the licence" in terms
    for absent in ("Maas", "Apache", "stanfordnlp"):
        assert absent not in card
    assert "**Data**: not recorded" in render_card(record, replace(MANIFEST, provenance={}))


@pytest.mark.parametrize(
    "name", ["a: b", "on", "1.0", "x # y", "*x", 'the "best"', "C:\\data", "é"]
)
def test_card_front_matter_quotes_names(record: EvaluationRecord, name: str) -> None:
    manifest = replace(MANIFEST, name=name, provenance={"recipe": {"base": name}})
    front = front_matter(render_card(replace(record, data=name), manifest))
    (model,) = front["model-index"]
    assert front["base_model"] == model["name"] == name
    assert model["results"][0]["dataset"]["name"] == name


@pytest.mark.parametrize(
    ("options", "dataset", "load", "licence"),
    [
        ({}, "custom", 'Classifier.load("FOLDER")', None),
        (
            {"on_imdb": True, "published_as": "default"},
            "stanfordnlp/imdb",
            "Classifier.load()",
            "apache-2.0",
        ),
        (
            {"on_imdb": True, "published_as": "accurate"},
            "stanfordnlp/imdb",
            'Classifier.load("accurate")',
            "apache-2.0",
        ),
    ],
)
def test_card_states_dataset_licence_and_use(
    record: EvaluationRecord, options: Any, dataset: str, load: str, licence: str | None
) -> None:
    card = render_card(record, MANIFEST, **options)
    front = front_matter(card)
    assert front["datasets"] == ["stanfordnlp/imdb"]
    assert front["model-index"][0]["results"][0]["dataset"]["type"] == dataset
    assert front.get("license") == licence
    assert load in card


def test_card_states_limits(record: EvaluationRecord) -> None:
    card = render_card(record, MANIFEST)
    limits = card.partition("## Limits")[2].partition("\n## ")[0]
    assert "**It is sensitive to identity terms.**" in limits
    held_out = {
        row.category: row
        for row in record.evaluation.identity
        if (row.source, row.terms) == ("templates", "held-out")
    }
    assert f"religion, in templates: {held_out['religion'].changed}; lowest Shia" in limits
    assert held_out["ethnicity"].changed.count == 0
    assert "ethnicity" not in limits
    assert "on single sentences some are missed" in limits
    errors = negation(record).errors
    assert f"| negation | {errors} | 8% | {errors.total} |" in card
    on_test, on_sentences = tables(card)[1:3]
    assert [row.split("|")[-2].strip() for row in on_test[2:]] == ["", "**no**", "unclear"]
    assert "unreachable" in on_test[2]
    assert on_sentences != on_test
    fair = replace(record.evaluation, identity=[held_out["ethnicity"]])
    assert "identity" not in render_card(replace(record, evaluation=fair), MANIFEST)


def test_card_is_valid_markdown_without_texts(record: EvaluationRecord) -> None:
    card = render_card(record, MANIFEST)
    assert "zebra" not in card.lower()
    for absent in ("\n\n\n", "{%", "{{"):
        assert absent not in card
    assert len(tables(card)) == 7
    for table in tables(card):
        assert len({row.count("|") for row in table}) == 1
        assert set(table[1]) == {"|", "-"}


def test_card_shows_length_groups(record: EvaluationRecord) -> None:
    manifest = records.GROUPED_MANIFEST
    card = render_card(records.make(manifest, records.WordCounting(), quick=False), manifest)
    assert card.count("\nSentence, up to 4 tokens:\n") == 2
    assert card.count("\nLong:\n") == 2
    assert "\nLong: calibrated on " in card
    assert len(tables(card)) == len(tables(render_card(record, MANIFEST))) + 3 + 1
    for table in tables(card):
        assert len({row.count("|") for row in table}) == 1
    assert "\n\n\n" not in card
    assert "for which they were not fitted" not in card


def test_card_shows_star_mae_if_known(record: EvaluationRecord) -> None:
    starred = replace(record, evaluation=replace(record.evaluation, star_mae=1.234))
    assert "(star MAE) is 1.23." in render_card(starred, MANIFEST)
    assert "star MAE" not in render_card(record, MANIFEST)
