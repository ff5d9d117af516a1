"""Storage of predictions and feedback, in SQLite and PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from reelsense.errors import FeedbackError, NoPredictionError, StoreError
from reelsense.feedback.records import Feedback, NewFeedback, Predicted, text_hash
from reelsense.feedback.repository import FeedbackRepository, _used_keys
from reelsense.jobs.database import Database
from reelsense.jobs.models import feedback, predictions
from tests.feedback.made import kept
from tests.jobs.conftest import Time


def added(repository: FeedbackRepository, item: NewFeedback) -> Feedback:
    (outcome,) = repository.add([item])
    assert isinstance(outcome, Feedback)
    return outcome


def count(database: Database) -> int:
    with database.reading() as connection:
        return len(connection.execute(select(feedback.c.id)).all())


def test_predictions_are_stored_with_text(
    repository: FeedbackRepository, database: Database
) -> None:
    prediction = kept("A joy.\0", share=0.5)
    repository.add_predictions([prediction, kept()])
    with database.reading() as connection:
        query = select(predictions).where(predictions.c.id == prediction.id)
        row = connection.execute(query).mappings().one()
    assert dict(row) == {
        "id": prediction.id,
        "created": prediction.created,
        "share": 0.5,
        "text": "A joy.\ufffd",
        "text_hash": text_hash("A joy.\0"),
        "model": "tiny",
        "version": "1",
        "label": "positive",
        "verdict": "positive",
        "score": 0.9,
        "stars": 8.5,
        "probabilities": prediction.prediction.probabilities,
    }


def test_texts_are_not_stored_without_keep_texts(database: Database) -> None:
    repository = FeedbackRepository(database)
    repository.add_predictions([kept("A secret.")])
    entry = added(repository, NewFeedback(text="A secret.", label="negative"))
    assert (entry.text, entry.text_hash) == (None, text_hash("A secret."))
    with database.reading() as connection:
        assert connection.execute(select(predictions.c.text, predictions.c.text_hash)).all() == [
            (None, text_hash("A secret."))
        ]


def test_feedback_refers_to_prediction(repository: FeedbackRepository, now: Time) -> None:
    prediction = kept("A joy.")
    repository.add_predictions([prediction])
    item = NewFeedback(prediction.id, None, "negative", 2.5, "no\0", "till", "shop")
    entry = added(repository, item)
    assert entry == Feedback(
        id=entry.id,
        created=now(),
        prediction_id=prediction.id,
        text_hash=text_hash("A joy."),
        text="A joy.",
        label="negative",
        stars=2.5,
        comment="no\ufffd",
        source="till",
        key="shop",
        predicted=Predicted("tiny", "1", "positive", 0.9, "positive", 8.5),
    )


def test_feedback_on_unknown_prediction_is_rejected(
    repository: FeedbackRepository, database: Database
) -> None:
    missing, stored = repository.add(
        [NewFeedback(prediction_id="x", label="a"), NewFeedback(text="b", label="a")]
    )
    assert isinstance(missing, NoPredictionError)
    assert missing.code == "no-such-prediction"
    assert isinstance(stored, Feedback)
    assert count(database) == 1


def test_feedback_with_text_outlives_dropped_prediction(repository: FeedbackRepository) -> None:
    entry = added(repository, NewFeedback(prediction_id="x", text="A joy.", label="a"))
    assert (entry.prediction_id, entry.text, entry.predicted) == ("x", "A joy.", None)


def test_idempotency_key_stores_once(repository: FeedbackRepository, database: Database) -> None:
    item = NewFeedback(text="A joy.", label="positive", idempotency_key="k")
    first, same = repository.add([item, item])
    (later,) = repository.add([item])
    assert first == same == later
    assert count(database) == 1
    assert added(repository, replace(item, key="other")) != first
    assert added(repository, replace(item, idempotency_key=None)) != first
    assert count(database) == 3


def test_reused_idempotency_key_is_rejected(repository: FeedbackRepository) -> None:
    item = NewFeedback(text="A joy.", label="positive", idempotency_key="k")
    added(repository, item)
    for changed in (replace(item, label="negative"), replace(item, text="a joy.")):
        (outcome,) = repository.add([changed])
        assert isinstance(outcome, FeedbackError)
        assert outcome.code == "reused-key"


def test_idempotency_key_survives_race(
    repository: FeedbackRepository, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = NewFeedback(text="A joy.", label="positive", idempotency_key="k")
    first = added(repository, item)
    module = "reelsense.feedback.repository"
    answers: Iterator[dict[str, object]] = iter([{}])
    monkeypatch.setattr(
        f"{module}._used_keys", lambda *args: next(answers, None) or _used_keys(*args)
    )
    other, same = repository.add([NewFeedback(text="other", label="a"), item])
    assert same == first
    assert isinstance(other, Feedback)
    assert count(database) == 2


def test_remove_requires_same_key(repository: FeedbackRepository, database: Database) -> None:
    entry = added(repository, NewFeedback(text="A joy.", label="a", key="shop"))
    assert not repository.remove(entry.id, None)
    assert not repository.remove(entry.id, "till")
    assert not repository.remove("x", "shop")
    assert repository.remove(entry.id, "shop")
    assert count(database) == 0
    unnamed = added(repository, NewFeedback(text="A joy.", label="a"))
    assert not repository.remove(unnamed.id, "shop")
    assert repository.remove(unnamed.id, None)


ANY = st.text(st.characters(codec=None), max_size=40)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.builds(
        NewFeedback, text=ANY, label=st.none() | st.just("a"), stars=st.none() | st.floats(1, 10),
        comment=st.none() | ANY, source=ANY, key=st.none() | st.just("k"),
        idempotency_key=st.none() | ANY,
    )
)  # fmt: skip
def test_any_feedback_is_stored(repository: FeedbackRepository, item: NewFeedback) -> None:
    (outcome,) = repository.add([item])
    if isinstance(outcome, FeedbackError):  # another example has used the key
        assert outcome.code == "reused-key"
    else:
        assert (outcome.label, outcome.stars) == (item.label, item.stars)


def test_full_disk_is_store_error(
    repository: FeedbackRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Database) -> None:
        raise StoreError("full", code="disk-full")

    monkeypatch.setattr(Database, "check_space", full)
    with pytest.raises(StoreError):
        repository.add_predictions([kept()])
    with pytest.raises(StoreError):
        repository.add([NewFeedback(text="a", label="b")])
