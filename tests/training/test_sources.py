from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reelsense.datasets.evaluation_sets import AUGMENTED, PHRASES, SENTENCES
from reelsense.datasets.feedback import TrainingFeedback, is_held_out
from reelsense.datasets.labelled import LabelledData
from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.training.examples import Example
from reelsense.training.recipe import Stage
from reelsense.training.sources import (
    UNLABELLED,
    TrainingData,
    stage_examples,
    texts_to_score,
)
from reelsense.training.teachers import LogitStore
from tests.conftest import LABELS
from tests.datasets.test_evaluation_sets import TRAINING_FILES, write
from tests.training.conftest import code, write_examples


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    """24 labelled reviews, 12 without a label, edited reviews and sentences."""
    words = (("good", "positive"), ("bad", "negative"), ("neither", ""))
    rows = [f"{word} film {n},{label}" for n in range(12) for word, label in words]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *rows]))
    write(tmp_path / "sets", TRAINING_FILES)
    return TrainingData(LabelledData(tmp_path / "mine.csv"), tmp_path / "sets")


def stage(**data: float) -> Stage:
    return Stage(name="tiny", base="", lengths=(16,), data=data)  # type: ignore[arg-type]  # names


def test_stage_examples_repeat_and_sample(data: TrainingData) -> None:
    count = len(data.split.train)
    examples = stage_examples(stage(reviews=2.5), data)
    assert len(examples) == 2 * count + round(count / 2)
    assert {example.text for example in examples} == {review.text for review in data.split.train}
    assert stage_examples(stage(reviews=2.5), data) == examples


def test_examples_exclude_validation_texts(data: TrainingData) -> None:
    validation = {review.text for review in data.split.validation}
    assert validation
    names = ("reviews", "unlabelled", "edited", "sentences")
    texts = {example.text for name in names for example in data.examples(name)}
    assert texts.isdisjoint(validation)


def test_edited_reviews_of_validation_texts_are_excluded(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = data.examples("edited")
    assert {example.source for example in everything} == {AUGMENTED}
    avoided = everything[0].text.upper() + "!!"
    monkeypatch.setattr(LabelledData, "held_out_texts", lambda _: {avoided})
    left = replace(data).examples("edited")
    assert len(left) == len(everything) - 2


def test_sentences_are_among_the_phrases(data: TrainingData) -> None:
    phrases, sentences = data.examples("phrases"), data.examples("sentences")
    assert {example.source for example in phrases} == {PHRASES}
    assert {example.source for example in sentences} == {SENTENCES}
    assert {example.text for example in sentences} <= {example.text for example in phrases}


def test_unlabelled_texts_get_the_labels_of_the_teacher(data: TrainingData) -> None:
    store = LogitStore(tuple(LABELS))
    texts = [example.text for example in data.examples("unlabelled")]
    store.add(texts, np.array([[0.0, np.log(3.0)]] * len(texts)))
    examples = stage_examples(stage(unlabelled=1, reviews=1), data, store)
    taught = [example for example in examples if example.source == UNLABELLED]
    assert len(taught) == len(texts) == 12
    for example in taught:
        assert example.target == pytest.approx((0.25, 0.75), abs=1e-3)
        assert example.teacher == pytest.approx((0, 1.0986), abs=1e-3)
    assert all(example.teacher == () for example in examples if example.source != UNLABELLED)


def test_unlabelled_texts_need_a_teacher(data: TrainingData) -> None:
    with code("no-teacher"):
        stage_examples(stage(unlabelled=1), data)


def test_extra_files_are_used_without_being_in_the_recipe(
    data: TrainingData, tmp_path: Path
) -> None:
    extra = [Example("a soft one", (0.3, 0.7), 5, "mine")]
    write_examples(tmp_path / "extra.jsonl", extra, LABELS)
    with code("missing-source"):
        data.examples("extra")
    given = TrainingData(data.source, None, [tmp_path / "extra.jsonl"])
    assert stage_examples(stage(reviews=1), given)[-1:] == extra


def test_edited_reviews_need_the_evaluation_sets(data: TrainingData) -> None:
    with code("missing-source"):
        TrainingData(data.source).examples("edited")


def test_teachers_score_the_originals_of_noisy_texts(data: TrainingData) -> None:
    examples = data.examples("noisy")
    originals = {example.text: example for example in data.examples("reviews")}
    changed = [example for example in examples if example.teacher_texts[0] in originals]
    assert len(changed) > len(originals) / 2
    assert all(example.text != example.teacher_texts[0] for example in changed)
    assert all(example.target == originals[example.teacher_texts[0]].target for example in changed)
    assert texts_to_score(stage(noisy=1), data) == [
        example.teacher_texts[0] for example in examples
    ]


def test_identity_sentences_get_the_mean_logits_of_their_set(data: TrainingData) -> None:
    examples = data.examples("identity")
    texts = texts_to_score(stage(identity=1), data)
    store = LogitStore(tuple(LABELS))
    store.add(texts, np.array([[0.0, len(text) / 10] for text in texts]))
    taught = stage_examples(stage(identity=1), data, store)
    assert len(taught) == len(examples) > 100
    for example in taught[:50]:
        assert example.text in example.teacher_texts
        mean = sum(len(text) for text in example.teacher_texts) / len(example.teacher_texts) / 10
        assert example.teacher == pytest.approx((0, mean), rel=1e-2)
        assert example.target[1] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-2)


def test_behaviours_are_not_scored(data: TrainingData) -> None:
    assert texts_to_score(stage(behaviours=1), data) == []
    examples = stage_examples(stage(behaviours=1), data, LogitStore(tuple(LABELS)))
    assert examples
    assert {example.teacher for example in examples} == {()}


def with_feedback(data: TrainingData, *rows: tuple[str, str]) -> TrainingData:
    """Return `data` with feedback on texts that a hash does or does not hold out."""
    reviews = [Review(text, text, label, None, text) for text, label in rows]
    held_out = [review for review in reviews if is_held_out(review.text)]
    train = [review for review in reviews if not is_held_out(review.text)]
    return replace(data, feedback=TrainingFeedback(train, held_out, [], 0))


def test_feedback_replaces_the_labels_of_its_texts(data: TrainingData) -> None:
    known, other, *_ = [r.text for r in data.split.train if not is_held_out(r.text)]
    rows = ((known.upper(), "negative"), ("a new film", "positive"))
    corrected = with_feedback(data, *rows)
    examples = stage_examples(stage(reviews=1, feedback=2.0), corrected)
    assert [e.target for e in examples if e.text == known.upper()] == [(1, 0)] * 2
    assert [e.target for e in examples if e.text == "a new film"] == [(0, 1)] * 2
    texts = [example.text for example in examples]
    assert known not in texts
    assert other in texts
    assert {e.source for e in examples if e.text == "a new film"} == {"feedback"}
    assert known not in [review.text for review in corrected.split.train]
    assert corrected.split.validation == data.split.validation


def test_held_out_feedback_is_in_no_source(data: TrainingData) -> None:
    names = ("reviews", "unlabelled", "edited", "sentences", "phrases")
    everything = [e.text for name in names for e in data.examples(name)]
    held_out = {text for text in everything if is_held_out(text)}
    assert held_out
    corrected = with_feedback(
        data, ("a new film", "positive"), *((t, "negative") for t in held_out)
    )
    texts = {e.text for name in (*names, "feedback") for e in corrected.examples(name)}
    assert texts == {"a new film", *everything} - held_out
    assert held_out.isdisjoint(corrected.unlabelled_texts())


def test_feedback_on_validation_texts_is_not_trained_on(data: TrainingData) -> None:
    validation = [review.text for review in data.split.validation]
    rows = [(text, "negative") for text in validation]
    corrected = with_feedback(data, ("a new film", "positive"), *rows)
    assert [e.text for e in corrected.examples("feedback")] == ["a new film"]


def test_teachers_do_not_score_feedback(data: TrainingData) -> None:
    corrected = with_feedback(data, ("a new film", "positive"))
    assert texts_to_score(stage(feedback=1.0), corrected) == []
    [example] = stage_examples(stage(feedback=1.0), corrected, LogitStore(tuple(LABELS)))
    assert example.teacher == ()


def test_unusable_feedback_is_an_error(data: TrainingData) -> None:
    with code("unknown-label", InputError):
        with_feedback(data, ("a new film", "fine"))
    with code("no-feedback", InputError):
        replace(data, feedback=TrainingFeedback([], [], [], 3))
    with code("missing-source"):
        stage_examples(stage(feedback=1.0), data)
