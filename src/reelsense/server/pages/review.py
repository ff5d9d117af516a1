"""The page for one review: the prediction and its explanation. Works without JavaScript too."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request

from reelsense.errors import NotReadyError
from reelsense.inference.aspects import has_aspects
from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction
from reelsense.server.api.v1 import predict_response
from reelsense.server.middleware.auth import may_give_feedback
from reelsense.server.middleware.field_errors import FieldError, InvalidRequestError, invalid
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier
from reelsense.server.pages import formatting
from reelsense.server.pages.risks import risk_choices, selected_risk
from reelsense.server.scoring import answer_all, effective_risk, explain_one, prediction_ids
from reelsense.server.state import get_state
from reelsense.summary.labels import display_order

blueprint = Blueprint("review_page", __name__)


@blueprint.get("/review")  # the address bar shows it after the form was sent without JavaScript
@blueprint.get("/")
def index() -> str:
    """Show the form; `?example=` fills in an example."""
    return page(_examples().get(request.args.get("example", ""), ""))


@blueprint.post("/review")
@limit_concurrency
def analyse() -> str | tuple[str, int]:
    """Show the form with prediction and explanation, for browsers without JavaScript."""
    text, risk = form_text(), None
    try:
        risk = selected_risk()
        explanation = _explain(checked(text), risk)
    except InvalidRequestError as error:
        return page(text, risk, problem=error.errors[0].detail), 422
    why = _explanation_view(text, explanation)
    return page(text, risk, why=why, **_prediction_view(explanation.prediction, risk))


@blueprint.post("/answer")
@limit_concurrency
def prediction_part() -> str:
    """Return the HTML of the prediction, for the JavaScript of the page."""
    text, risk = checked(form_text()), selected_risk()
    [prediction] = answer_all([text], ["#/text"], risk)
    return render_template("answer.html", text=text, **_prediction_view(prediction, risk))


@blueprint.post("/explanation")
@limit_concurrency
def explanation_part() -> str:
    """Return the HTML of the explanation, for the JavaScript of the page."""
    text = checked(form_text())
    explanation = _explain(text, selected_risk())
    return render_template("explanation.html", why=_explanation_view(text, explanation))


def page(text: str, risk: float | None = None, **context: Any) -> str:
    """Return the page with `text` in the form and `risk` selected (None: that of the model).

    `context` has more variables for the template: `problem`, `why`, those of the prediction,
    `analyse`, with which the page submits the form by itself, and `job`, `row` and `back` (a URL)
    for a row of a job.
    """
    return render_template(
        "index.html", text=text, examples=_examples(), risks=risk_choices(risk), **context
    )


def _examples() -> dict[str, str]:
    """Return the examples of the model, by name; none while no model is ready."""
    try:
        manifest = classifier().manifest
    except NotReadyError:
        return {}
    named_after_labels = [
        name for name in display_order(manifest.labels) if name in manifest.examples
    ]
    return {name: manifest.examples[name] for name in [*named_after_labels, *manifest.examples]}


def form_text() -> str:
    """Return the text in the form of the current request; blank if it has none."""
    # Browsers send every line break of a form as CR LF.
    return request.form.get("text", "").replace("\r\n", "\n")


def is_navigation() -> bool:
    """Return whether a browser navigates to a page, rather than a script reloading a part of it."""
    accepted = request.accept_mimetypes
    return accepted["text/html"] > accepted["application/json"]


def checked(text: str) -> str:
    """Return `text`. Raises InvalidRequestError if it is blank or too long."""
    limit = get_state().settings.max_characters
    if not text.strip():
        code, detail = "blank", f"Write or paste the {classifier().manifest.noun} first."
    elif len(text) > limit:
        code = "too-long"
        noun = classifier().manifest.noun
        detail = f"The {noun} has {len(text):,} characters; the limit is {limit:,}. Shorten it."
    else:
        return text
    raise invalid([FieldError(pointer="#/text", code=code, detail=detail)])


def _explain(text: str, risk: float | None) -> Explanation:
    aspects = has_aspects(classifier().manifest.labels)
    return explain_one(text, "#/text", risk, BUDGET, aspects=aspects)


def _explanation_view(text: str, explanation: Explanation) -> formatting.ExplanationView:
    return formatting.explanation_view(text, explanation, classifier().manifest.window)


def _prediction_view(prediction: Prediction, risk: float | None) -> dict[str, Any]:
    response = predict_response([prediction], risk)
    risk = effective_risk(classifier().manifest, risk)
    return {
        "json": response.model_dump_json(exclude_unset=True, indent=2),
        "prediction": prediction,
        "threshold_note": formatting.threshold_note(prediction, risk),
        "gauge_zone": formatting.gauge_zone(prediction),
        "shown": formatting.shown_probabilities(prediction),
        "milliseconds": call_context().elapsed * 1000,
        "asks_feedback": may_give_feedback(),
        "prediction_id": prediction_ids().get(0, ""),
    }
