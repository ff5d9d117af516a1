from dataclasses import replace

import pytest

from reelsense.bundle import Bundle
from reelsense.datasets.reviews import Review
from reelsense.datasets.text_hashes import hash_texts
from reelsense.errors import InputError
from reelsense.evaluation.calibrate import ValidationSet, calibrate
from reelsense.evaluation.unseen import check_unseen
from tests import tiny


def reviews(seen: int, count: int) -> list[Review]:
    """Return `count` reviews; the model was trained on the first ones."""
    texts = [f"{'Seen' if n < seen else 'New'} good film {n}" for n in range(count)]
    return [Review(str(n), text, "positive", None, text) for n, text in enumerate(texts)]


@pytest.fixture
def bundle() -> Bundle:
    return replace(
        tiny.bundle(), training_texts=hash_texts(f"seen good film {n}" for n in range(100))
    )


@pytest.mark.parametrize(
    ("seen", "count", "known"),
    [(0, 5, False), (2, 200, False), (0, 0, False), (1, 5, True), (3, 200, True)],
)
def test_check_unseen_rejects_more_than_1_percent_of_training_texts(
    bundle: Bundle, seen: int, count: int, known: bool
) -> None:
    check_unseen(tiny.bundle(), "a set", reviews(seen, count))
    if not known:
        check_unseen(bundle, "a set", reviews(seen, count))
        return
    with pytest.raises(InputError) as raised:
        check_unseen(bundle, "a set", reviews(seen, count))
    assert raised.value.code == "trained-on-texts"
    assert f"{seen} of the {count} texts of a set" in str(raised.value)


def test_calibrate_rejects_training_texts_without_force(bundle: Bundle) -> None:
    sets = [ValidationSet("a set", reviews(9, 20))]
    with pytest.raises(InputError) as raised:
        calibrate(bundle, tiny.classifier(), sets)
    assert raised.value.code == "trained-on-texts"
    calibrated = calibrate(bundle, tiny.classifier(), sets, force=True)
    assert calibrated.manifest.calibration is not None
    assert calibrated.training_texts == bundle.training_texts
