"""The page for one review: the prediction and its explanation. Works without JavaScript too."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request

from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.problems import FieldError, InvalidRequestError, invalid
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier
from reelsense.server.pages import formatting
from reelsense.server.pages.risks import risk_choices, selected_risk
from reelsense.server.scoring import answer_all, effective_risk, explain_one
from reelsense.server.state import get_state

blueprint = Blueprint("review_page", __name__)

# Written for this page.
EXAMPLES = {
    "Positive": "I went in expecting little, and left having laughed more than all year. The two "
    "leads are a joy together, the script never wastes a line, and the last ten minutes had the "
    "whole row in tears. See it with someone you love.",
    "Negative": "Two hours of my life that I will not get back. The plot makes no sense, the jokes "
    "were old when my father told them, and the sound is so bad that you miss half of what is "
    "said. The dog is good. Avoid.",
    "Mixed": "The first half is as good as anything she has made: quiet, funny, beautifully "
    "shot. Then it loses its nerve, and an hour of noise follows. I do not regret going, and I "
    "will not go again.",
    "Ironic": "Oh, wonderful, another sequel nobody asked for. What a treat to see the same three "
    "jokes again, only louder. I could hardly wait for the end, and when it came it was the best "
    "part.",
}


@blueprint.get("/review")  # the address bar shows it after the form was sent without JavaScript
@blueprint.get("/")
def index() -> str:
    """Show the form; `?example=` fills in an example."""
    return page(EXAMPLES.get(request.args.get("example", ""), ""))


@blueprint.post("/review")
@limit_concurrency
def analyse() -> str | tuple[str, int]:
    """Show the form with prediction and explanation, for browsers without JavaScript."""
    text, risk = _text(), None
    try:
        risk = selected_risk()
        explanation = explain_one(_checked(text), "#/text", risk, BUDGET)
    except InvalidRequestError as error:
        return page(text, risk, problem=error.errors[0].detail), 422
    why = _explanation_view(text, explanation)
    return page(text, risk, why=why, **_prediction_view(explanation.prediction, risk))


@blueprint.post("/answer")
@limit_concurrency
def prediction_part() -> str:
    """Return the HTML of the prediction, for the JavaScript of the page."""
    risk = selected_risk()
    [prediction] = answer_all([_checked(_text())], ["#/text"], risk)
    return render_template("answer.html", **_prediction_view(prediction, risk))


@blueprint.post("/explanation")
@limit_concurrency
def explanation_part() -> str:
    """Return the HTML of the explanation, for the JavaScript of the page."""
    text = _checked(_text())
    explanation = explain_one(text, "#/text", selected_risk(), BUDGET)
    return render_template("explanation.html", why=_explanation_view(text, explanation))


def page(text: str, risk: float | None = None, **context: Any) -> str:
    """Return the page with `text` in the form and `risk` selected (None: that of the model).

    `context` has more variables for the template: `problem`, `why`, those of the prediction,
    `analyse`, with which the page submits the form by itself, and `job`, `row` and `back` (a URL)
    for a row of a job.
    """
    return render_template(
        "index.html", text=text, examples=EXAMPLES, risks=risk_choices(risk), **context
    )


def _text() -> str:
    # Browsers send every line break of a form as CR LF.
    return request.form.get("text", "").replace("\r\n", "\n")


def _checked(text: str) -> str:
    """Return `text`. Raises InvalidRequestError if it is blank or too long."""
    limit = get_state().settings.max_characters
    if not text.strip():
        code, detail = "blank", "Write or paste a review first."
    elif len(text) > limit:
        code = "too-long"
        detail = f"The review has {len(text):,} characters; the limit is {limit:,}. Shorten it."
    else:
        return text
    raise invalid([FieldError(pointer="#/text", code=code, detail=detail)])


def _explanation_view(text: str, explanation: Explanation) -> formatting.ExplanationView:
    return formatting.explanation_view(text, explanation, classifier().manifest.window)


def _prediction_view(prediction: Prediction, risk: float | None) -> dict[str, Any]:
    risk = effective_risk(classifier().manifest, risk)
    return {
        "prediction": prediction,
        "threshold_note": formatting.threshold_note(prediction, risk),
        "gauge_zone": formatting.gauge_zone(prediction),
        "milliseconds": call_context().elapsed * 1000,
    }
