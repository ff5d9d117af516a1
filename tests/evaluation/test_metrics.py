import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from reelsense.datasets.reviews import Review
from reelsense.errors import InputError
from reelsense.evaluation.evaluate import as_text, evaluate
from reelsense.evaluation.metrics import measure
from tests import tiny

LABELS = ("negative", "positive")
Cases = st.lists(
    st.tuples(st.sampled_from(LABELS), st.floats(0.001, 0.999)), min_size=2, max_size=60
).filter(lambda cases: len({label for label, _ in cases}) == 2)


@given(Cases)
def test_against_scikit_learn(cases: list[tuple[str, float]]) -> None:
    truth = [label for label, _ in cases]
    positive = np.array([probability for _, probability in cases])
    table = np.stack([1 - positive, positive], axis=1)
    answers = [LABELS[n] for n in table.argmax(axis=1)]
    found = measure(truth, table, LABELS)
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, answers))
    assert found.macro_f1 == pytest.approx(reference.f1_score(truth, answers, average="macro"))
    assert found.auroc == pytest.approx(
        reference.roc_auc_score([label == "positive" for label in truth], positive)
    )
    assert found.log_loss == pytest.approx(reference.log_loss(truth, table, labels=LABELS))
    assert found.confusion == reference.confusion_matrix(truth, answers, labels=LABELS).tolist()


def test_calibration_error_by_hand() -> None:
    """Four answers at 0.9, three right: off by 0.15. Two at 0.6, both right: off by 0.4."""
    positive = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    truth = ["positive", "positive", "positive", "negative", "positive", "positive"]
    found = measure(truth, np.stack([1 - positive, positive], axis=1), LABELS)
    assert found.ece == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_three_labels_have_no_auroc() -> None:
    table = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    found = measure(["a", "b", "b"], table, ["a", "b", "c"])
    assert found.auroc is None
    assert found.confusion == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_one_class_alone_has_no_auroc() -> None:
    assert measure(["positive"], np.array([[0.2, 0.8]]), LABELS).auroc is None


def test_labels_the_model_does_not_know() -> None:
    with pytest.raises(InputError, match=r"'meh'.*the model knows \['negative', 'positive'\]"):
        measure(["meh"], np.array([[0.5, 0.5]]), LABELS)
    with pytest.raises(InputError, match="no labelled reviews"):
        measure([], np.empty((0, 2)), LABELS)


def test_evaluating_reviews_with_a_classifier() -> None:
    words = {"good": "positive", "great": "positive", "bad": "negative", "awful": "positive"}
    reviews = [Review(word, f"a {word} film", label, None, word) for word, label in words.items()]
    reviews.append(Review("unlabelled", "film", None, None, "u"))
    found = evaluate(tiny.classifier(), reviews)
    assert found.reviews == 4
    assert found.accuracy == 0.75
    assert found.confusion == [[1, 0], [1, 2]]
    shown = as_text(found)
    assert "accuracy" in shown
    assert "75.00%" in shown
