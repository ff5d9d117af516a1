from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from reelsense.datasets.evaluation_sets import SENTENCES, PairedReviews, TrainingSets
from reelsense.datasets.reviews import Review
from reelsense.errors import TrainingError
from reelsense.evaluation.fairness import sentence_sets, template_set
from reelsense.evaluation.identities import CATEGORIES, Category
from reelsense.training import teach
from reelsense.training.examples import Example
from reelsense.training.templates import ADJECTIVES, NOUNS
from tests.conftest import LABELS


class Teacher:
    """Finds a text as positive as `how` says; is interrupted when asked for more than `most`."""

    labels = tuple(LABELS)

    def __init__(self, how: Callable[[str], float], most: float = float("inf")) -> None:
        self.how, self.most = how, most
        self.asked: list[str] = []

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        if len(self.asked) + len(texts) > self.most:
            raise KeyboardInterrupt
        self.asked += texts
        positive = np.array([self.how(text) for text in texts])
        return np.stack([1 - positive, positive], axis=1)


def by_chance(text: str) -> float:
    """A number that each text has for itself."""
    return crc32(text.encode()) / 2**32


TEXTS = [f"text {n}" for n in range(7)]


def test_unlabelled_texts_get_what_the_teachers_say_on_average(tmp_path: Path) -> None:
    teachers = [Teacher(lambda text: 0.2 if "3" in text else 0.9), Teacher(lambda _: 0.5)]
    found = teach.unlabelled_examples(teachers, TEXTS, tmp_path / "kept")
    assert found == [
        Example(text, (0.65, 0.35) if "3" in text else (0.3, 0.7), None, teach.UNLABELLED)
        for text in TEXTS
    ]


@pytest.mark.parametrize("torn", ["", "[0.25, 0.7", "["])
def test_an_interrupted_run_asks_for_the_rest_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: str
) -> None:
    monkeypatch.setattr(teach, "_STEP", 2)
    whole = teach.unlabelled_examples([Teacher(by_chance)], TEXTS, tmp_path / "whole")
    kept = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        teach.unlabelled_examples([Teacher(by_chance, most=4)], TEXTS, kept)
    with kept.open("a") as file:
        file.write(torn)
    second = Teacher(by_chance, most=3)
    assert teach.unlabelled_examples([second], TEXTS, kept) == whole
    assert second.asked == TEXTS[4:]
    third = Teacher(by_chance, most=0)
    assert teach.unlabelled_examples([third], TEXTS, kept) == whole


@pytest.mark.parametrize("others", [TEXTS[:2], [f"other {text}" for text in TEXTS]])
def test_the_answers_to_other_texts_are_refused(tmp_path: Path, others: list[str]) -> None:
    teach.unlabelled_examples([Teacher(by_chance)], TEXTS, tmp_path / "kept")
    with pytest.raises(TrainingError, match="kept"):
        teach.unlabelled_examples([Teacher(by_chance)], others, tmp_path / "kept")


def templates(category: Category) -> tuple[str, ...]:
    return ADJECTIVES if category.nouns else NOUNS


def test_a_set_has_one_target_the_mean_over_all_of_its_words(tmp_path: Path) -> None:
    sentences = ["We saw the Polish actor there.", "An old cop walks on the stage."]
    reviews = [Review("r", " ".join(sentences), "negative", 2, "")]
    kept = tmp_path / "kept"
    found = teach.identity_examples([Teacher(by_chance)], reviews, kept, most=3)

    of_reviews = sentence_sets(sentences)
    left = {each.text: each.target for each in found}
    assert len(left) == len(found)
    assert {each.source for each in found} == {teach.SWAPPED}
    for category in CATEGORIES:
        sets = [template_set(template, category.words) for template in templates(category)]
        learned = 0
        for one in [*of_reviews[category.name], *sets]:
            targets = [left.pop(text) for text in one.values() if text in left]
            positive = np.mean([by_chance(text) for text in one.values()])
            if targets:
                learned += 1
                assert len(targets) == len(category.words)
                assert targets == [pytest.approx((1 - positive, positive), abs=1e-5)] * len(targets)
                assert len(set(targets)) == 1
        assert learned == 3 + len(of_reviews[category.name])
    assert left == {}


def review(text: str, label: str) -> Review:
    return Review(text, text, label, None, text)


def test_pairs_of_what_is_held_out_are_left_out() -> None:
    originals = [review("I slept", "negative"), review("I sang", "positive")]
    edits = [review("I woke", "positive"), review("I wept", "negative")]
    sets = TrainingSets(PairedReviews("edited", originals, edits), [review("bears", "positive")])
    found = teach.outside_examples(sets, LABELS, held_out={"I slept", "I wept"})
    assert found == [
        Example("I sang", (0.0, 1.0), source="edited"),
        Example("I wept", (1.0, 0.0), source="edited"),
        Example("bears", (0.0, 1.0), source=SENTENCES),
    ]


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_nothing_is_learned_that_fairness_is_measured_on(category: Category) -> None:
    def filled(some: Sequence[str]) -> set[str]:
        return {text for one in some for text in template_set(one, category.words).values()}

    learned = filled(templates(category))
    assert learned.isdisjoint(filled(category.templates))
    for text in learned:
        assert not text[0].islower()
        assert not re.search(r"[{}]|PERSON|\b[Aa] [AEIOUaeiou8]|\b[Aa]n [^AEIOUaeiou8]", text)
