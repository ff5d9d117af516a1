"""The page of the review queue: people check one prediction after the other.

Works without JavaScript too. The form contains what was decided in the current round, so the server
keeps no state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, render_template, request

from reelsense.feedback.queue import RANDOM, PredictionQueue, QueueItem, ReviewQueue, next_item
from reelsense.feedback.records import NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.feedback.row_queue import RowQueue
from reelsense.jobs.job import Job
from reelsense.server.api.feedback import check_label, key_name, store
from reelsense.server.middleware.field_errors import FieldError, invalid
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier
from reelsense.server.pages.review import is_navigation
from reelsense.server.state import get_state
from reelsense.summary.labels import display_order

blueprint = Blueprint("queue_page", __name__)

ROUND = 50  # decisions

SAVED, SKIPPED = "+", "-"  # before the id of the feedback, and before the key of the item
_DECISION = re.compile(rf"[{SAVED}{SKIPPED}][A-Za-z0-9_-]{{1,22}}")

_KEYS = "1234567890abcdefghijklmnopqrtvwxyz"  # of the labels; s skips and u undoes


@blueprint.get("/queue")
def index() -> str:
    """Show the first item of a round; `?job=` selects the rows of a job."""
    return _rendered([])


@blueprint.post("/queue")
def decide() -> str:
    """Store the label that the user has chosen, or skip the item, and show the next one."""
    job = _job()
    queue, decisions = _queue(job), _decisions()
    item = queue.find(request.form.get("item", ""))
    label = request.form.get("label")
    if item is None:
        return _rendered(decisions, "This item was reviewed or deleted meanwhile.")
    if label is None:
        return _rendered([*decisions, SKIPPED + item.key], "Skipped.")
    check_label(label)
    stored = store(
        NewFeedback(
            prediction_id=queue.prediction_id(item),
            text=item.text if job else None,  # otherwise the prediction has it
            label=label,
            source=f"{queue.name}-{item.reason}",
            key=key_name(),
        )
    )
    return _rendered([*decisions, SAVED + stored.id], _confirmation(item, label))


@blueprint.post("/queue/undo")
def undo() -> str:
    """Withdraw the last decision, and show its item again."""
    decisions = _decisions()
    if decisions and (last := decisions.pop()).startswith(SAVED):
        repository = FeedbackRepository(get_state().jobs_worker.jobs.database)
        repository.remove(last.removeprefix(SAVED), key_name())
    return _rendered(decisions, "Undone.")


def _rendered(decisions: Sequence[str], message: str = "") -> str:
    """Return the HTML of the next item, as a complete page if a browser navigates to it."""
    job = _job()
    skipped = [entry[1:] for entry in decisions if entry.startswith(SKIPPED)]
    item, left = next_item(_queue(job), len(decisions), skipped, ROUND - len(decisions))
    labels = display_order(classifier().manifest.labels)
    return render_template(
        "queue.html" if is_navigation() or request.method == "GET" else "queue-item.html",
        item=item,
        number=len(decisions) + 1,
        total=len(decisions) + left,
        decisions=" ".join(decisions),
        saved=len(decisions) - len(skipped),
        skipped=len(skipped),
        message=message,
        job=job,
        shortcuts=shortcuts(labels),
        keeps_texts=get_state().settings.keep_texts,
    )


def shortcuts(labels: Sequence[str]) -> dict[str, str]:
    """Return the key of each label: its own digit, or a key in the order of the labels.

    Labels beyond the 34th have none.
    """
    if all(len(label) == 1 and label in _KEYS[:10] for label in labels):
        return {label: label for label in labels}
    return dict(zip(labels, _KEYS, strict=False))


def _confirmation(item: QueueItem, label: str) -> str:
    """Return what was stored and, if it was hidden, what the model had predicted."""
    if item.reason != RANDOM:
        return f"Saved as {label}."
    agreement = "The model agrees" if item.label == label else f"The model predicted {item.label}"
    return f"Saved as {label}. {agreement}."


def _decisions() -> list[str]:
    """Return the decisions of the current round, in the form of the current request."""
    entries = request.form.get("decisions", "").split()[:ROUND]
    return [entry for entry in entries if _DECISION.fullmatch(entry)]


def _job() -> Job | None:
    name = request.values.get("job")
    return get_state().jobs_worker.jobs.job(name) if name else None


def _queue(job: Job | None) -> ReviewQueue:
    """Return the queue of the rows of `job`, or of the stored predictions."""
    jobs = get_state().jobs_worker.jobs
    manifest = classifier(call_context().remaining or 0).manifest
    if job is None:
        return PredictionQueue(jobs.database, manifest.version)
    queue = RowQueue(jobs, job)
    if set(job.labels) != set(manifest.labels):
        detail = f"was scored with other labels than {', '.join(manifest.labels)}"
        raise invalid([FieldError(pointer="?job", code="unknown-label", detail=detail)])
    return queue
