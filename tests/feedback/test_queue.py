import time
import tracemalloc
from random import Random
from typing import Any

import pytest

from reelsense.feedback import queries
from reelsense.feedback.queries import FeedbackQuery
from reelsense.feedback.queue import REASONS, PredictionQueue, QueueItem, next_item
from reelsense.feedback.records import Feedback, KeptPrediction, NewFeedback, new_id
from reelsense.feedback.repository import FeedbackRepository
from reelsense.jobs.database import Database
from reelsense.prediction import UNSURE
from tests import databases
from tests.feedback.made import kept, prediction

DRAWN, NOT_DRAWN = "A", "z"  # first characters of ids


def stored(repository: FeedbackRepository, first: str = NOT_DRAWN, **fields: Any) -> str:
    """Store a prediction whose id begins with `first`, and return the id."""
    made = kept(id=first + new_id()[1:], **fields)
    repository.add_predictions([made])
    return made.id


def give(repository: FeedbackRepository, id_: str, label: str, source: str = "page") -> Feedback:
    (outcome,) = repository.add([NewFeedback(id_, None, label, source=source)])
    assert isinstance(outcome, Feedback)
    return outcome


@pytest.fixture
def queue(database: Database) -> PredictionQueue:
    return PredictionQueue(database, "1")


def waiting(queue: PredictionQueue) -> dict[str, list[str]]:
    """Return the keys that are waiting, for the reasons that have some."""
    return {reason: keys for reason, keys in queue.keys([], 100).items() if keys}


UNSURE_ONE: dict[str, Any] = {"prediction": prediction("positive", 0.6, UNSURE)}


def test_drawn_predictions_are_random_whatever_their_verdict_and_feedback(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    ids = [stored(repository, DRAWN), stored(repository, "P", **UNSURE_ONE)]
    give(repository, ids[0], "negative")
    give(repository, ids[1], "positive")
    assert waiting(queue) == {"random": sorted(ids)}


def test_other_predictions_wait_only_if_unsure_or_contradicted(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    stored(repository, text="sure")
    confirmed = stored(repository, text="confirmed")
    give(repository, confirmed, "positive")
    unsure = stored(repository, text="unsure", **UNSURE_ONE)
    suspect = stored(repository, text="suspect")
    give(repository, suspect, "negative")
    give(repository, suspect, "negative")
    rated = stored(repository, text="rated")
    repository.add([NewFeedback(rated, stars=2)])
    assert waiting(queue) == {"unsure": [unsure], "suspect": [suspect]}
    item = queue.find(suspect)
    assert item == QueueItem(suspect, "suspect", "suspect", "positive", 0.9, "positive", "negative")
    assert queue.find(unsure) == QueueItem(unsure, "unsure", "unsure", "positive", 0.6, UNSURE)


def test_unsure_predictions_stored_by_policy_are_never_random(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    id_ = stored(repository, DRAWN, share=None, **UNSURE_ONE)
    assert waiting(queue) == {"unsure": [id_]}


def test_unsure_text_with_a_label_is_not_asked_again(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    stored(repository, text="So so.", **UNSURE_ONE)
    repository.add([NewFeedback(text="so  SO.", label="negative")])
    assert waiting(queue) == {}


def test_queue_has_predictions_of_the_version_with_text(
    database: Database, repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    stored(repository, DRAWN, version="2")
    stored(FeedbackRepository(database), DRAWN)
    assert waiting(queue) == {}


@pytest.mark.parametrize("reason", REASONS)
def test_reviewed_item_leaves_the_queue_until_undone(
    repository: FeedbackRepository, queue: PredictionQueue, reason: str
) -> None:
    id_ = stored(
        repository,
        DRAWN if reason == "random" else NOT_DRAWN,
        **(UNSURE_ONE if reason == "unsure" else {}),
    )
    if reason == "suspect":
        give(repository, id_, "negative")
    assert waiting(queue) == {reason: [id_]}
    review = give(repository, id_, "negative", f"queue-{reason}")
    assert waiting(queue) == {}
    assert queue.find(id_) is None
    repository.remove(review.id, None)
    assert waiting(queue) == {reason: [id_]}


def test_reasons_take_turns(repository: FeedbackRepository, queue: PredictionQueue) -> None:
    random = [stored(repository, DRAWN, text=f"random {n}") for n in range(5)]
    unsure = [stored(repository, text=f"unsure {n}", **UNSURE_ONE) for n in range(2)]
    suspect = [stored(repository, text=f"suspect {n}") for n in range(2)]
    for id_ in suspect:
        give(repository, id_, "negative")
    asked, skipped = [], list[str]()
    for turn in range(9):
        item, left = next_item(queue, turn, skipped, 100)
        assert item is not None
        assert next_item(queue, turn, skipped, 100) == (item, left)
        assert left == 9 - turn
        asked.append(item.reason)
        skipped.append(item.key)
    assert asked == ["random", "unsure", "suspect"] * 2 + ["random"] * 3
    assert set(skipped) == {*random, *unsure, *suspect}
    assert next_item(queue, 9, skipped, 100) == (None, 0)
    assert next_item(queue, 0, [], 4)[1] == 4


def test_order_depends_on_the_item_alone(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    for n in range(20):
        stored(repository, DRAWN, text=str(n))
    before = waiting(queue)["random"]
    for n in range(20, 40):
        stored(repository, DRAWN, text=str(n))
    known = set(before)
    assert [key for key in waiting(queue)["random"] if key in known] == before


def test_a_quarter_of_new_ids_is_drawn(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    repository.add_predictions([kept(str(n)) for n in range(2000)])
    assert 400 < len(queue.keys([], 10_000)["random"]) < 600


def test_measured_accuracy_is_that_of_all_predictions(
    database: Database, repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    """Users report wrong predictions, and reviewers prefer unsure ones: neither has an effect."""
    random = Random(1)
    truth: dict[str, str] = {}
    made: list[KeptPrediction] = []
    for n in range(1200):
        is_unsure = random.random() < 0.5
        is_right = random.random() < (0.6 if is_unsure else 0.95)
        one = kept(str(n), prediction=prediction(verdict=UNSURE if is_unsure else ""))
        made.append(one)
        truth[one.id] = "positive" if is_right else "negative"
    repository.add_predictions(made)
    wrong = [id_ for id_, label in truth.items() if label == "negative"]
    repository.add([NewFeedback(id_, None, "negative") for id_ in wrong[::2]])
    for reason in reversed(REASONS):
        keys = queue.keys([], 2000)[reason]
        source = f"queue-{reason}"
        repository.add([NewFeedback(key, None, truth[key], source=source) for key in keys])
    (measured,) = queries.stats(database).measured
    assert (measured.source, measured.model, measured.version) == ("queue-random", "tiny", "1")
    assert 240 < measured.accuracy.total < 360
    assert abs(measured.accuracy.value - (1 - len(wrong) / len(made))) < 0.09
    drawn = [truth[one.id] == "positive" for one in made if one.id[0] in "ABCDEFGHIJKLMNOP"]
    assert (measured.accuracy.count, measured.accuracy.total) == (sum(drawn), len(drawn))


def test_label_from_the_queue_prevails_in_training(
    database: Database, repository: FeedbackRepository
) -> None:
    disputed, other = stored(repository, text="A joy."), stored(repository, text="A bore.")
    give(repository, disputed, "negative")
    give(repository, other, "negative")
    review = give(repository, disputed, "positive", "queue-suspect")
    repository.add([NewFeedback(text="a JOY.", label="negative")])

    def exported() -> list[tuple[str | None, str | None]]:
        entries = queries.each(database, FeedbackQuery(for_training=True))
        return sorted((entry.text, entry.label) for entry in entries)

    assert exported() == [("A bore.", "negative"), ("A joy.", "positive")]
    repository.remove(review.id, None)
    assert len(exported()) == 3


@pytest.mark.parametrize("key", ["", "\0", "x" * 22, "x" * 9999, "\ud800"])
def test_unknown_key_is_not_found(queue: PredictionQueue, key: str) -> None:
    assert queue.find(key) is None


@pytest.mark.slow
@pytest.mark.parametrize("url", databases.BOTH, indirect=True)
def test_queue_of_100_000_predictions_is_fast_and_small(
    repository: FeedbackRepository, queue: PredictionQueue
) -> None:
    text = "A film that is neither good nor bad. " * 35
    for start in range(0, 100_000, 5000):
        numbers = range(start, start + 5000)
        repository.add_predictions(
            [kept(f"{n} {text}", **(UNSURE_ONE if n % 1000 == 0 else {})) for n in numbers]
        )
    tracemalloc.start()
    begun = time.monotonic()
    for turn in range(3):
        assert next_item(queue, turn, [], 50)[0] is not None
    seconds = time.monotonic() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 6
    assert peak < 5_000_000
