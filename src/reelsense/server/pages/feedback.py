"""The question "Was this right?" below a prediction. Works without JavaScript too."""

from __future__ import annotations

import re

from flask import Blueprint, render_template, request

from reelsense.feedback.records import ID_PATTERN, Feedback, NewFeedback
from reelsense.feedback.repository import FeedbackRepository
from reelsense.server.api.feedback import check_label, key_name, store
from reelsense.server.pages.review import checked, form_text, is_navigation
from reelsense.server.state import get_state

blueprint = Blueprint("feedback_page", __name__)


@blueprint.post("/feedback")
def give() -> str:
    """Store the label that the user has chosen."""
    check_label(request.form.get("label", ""))
    prediction_id = request.form.get("prediction_id", "")
    stored = store(
        NewFeedback(
            prediction_id=prediction_id if re.fullmatch(ID_PATTERN, prediction_id) else None,
            text=checked(form_text()),
            label=request.form["label"],
            source="page",
            key=key_name(),
        )
    )
    return _rendered(stored)


@blueprint.post("/feedback/undo")
def undo() -> str:
    """Delete the feedback, and ask again."""
    repository = FeedbackRepository(get_state().jobs_worker.jobs.database)
    repository.remove(request.form.get("id", ""), key_name())
    return _rendered(None)


def _rendered(stored: Feedback | None) -> str:
    """Return the HTML of the question or, with `stored`, of the confirmation.

    It is a complete page if a browser navigates to it, rather than a script.
    """
    return render_template(
        "feedback-page.html" if is_navigation() else "feedback.html",
        stored=stored,
        text=form_text(),
        label=request.form.get("predicted", ""),
        prediction_id=request.form.get("prediction_id", ""),
    )
