"""The page for one review: the verdict, and what carries it. Works without JavaScript too."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request

from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction
from reelsense.server.middleware.load_shedding import limit_concurrency
from reelsense.server.middleware.problems import FieldError, InvalidRequestError, invalid
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier, get_model_holder
from reelsense.server.pages import formatting, risks
from reelsense.server.scoring import answer_all, explain_one, kept_risk

blueprint = Blueprint("review_page", __name__)

EXAMPLES = {
    "A rave": "I went in expecting little, and left having laughed more than all year. The two "
    "leads are a joy together, the script never wastes a line, and the last ten minutes had the "
    "whole row in tears. See it with someone you love.",
    "A pan": "Two hours of my life that I will not get back. The plot makes no sense, the jokes "
    "were old when my father told them, and the sound is so bad that you miss half of what is "
    "said. The dog is good. Avoid.",
    "Neither": "The first half is as good as anything she has made: quiet, funny, beautifully "
    "shot. Then it loses its nerve, and an hour of noise follows. I do not regret going, and I "
    "will not go again.",
    "Irony": "Oh, wonderful, another sequel nobody asked for. What a treat to see the same three "
    "jokes again, only louder. I could hardly wait for the end, and when it came it was the best "
    "part.",
}
"""Written for this page."""


@blueprint.get("/")
def index() -> str:
    """The page; with ?example=, an example is in it."""
    name = request.args.get("example", "")
    return page(EXAMPLES.get(name, ""))


@blueprint.post("/", endpoint="judged")
@limit_concurrency
def judged() -> str | tuple[str, int]:
    """The page with the answer and what carries it, for browsers without JavaScript."""
    text = _text()
    risk = None
    try:
        risk = risks.asked()
        found = explain_one(_checked(text), "#/text", risk, BUDGET)
    except InvalidRequestError as error:
        return page(text, risk, problem=error.errors[0].detail), 422
    return page(text, risk, why=_why(text, found), **_facts(found.prediction, risk))


@blueprint.post("/answer")
@limit_concurrency
def answer() -> str:
    """The answer alone, which the page's JavaScript puts into it."""
    risk = risks.asked()
    [found] = answer_all([_checked(_text())], ["#/text"], risk)
    return render_template("answer.html", **_facts(found, risk))


@blueprint.post("/explanation")
@limit_concurrency
def explanation() -> str:
    """What carries the answer, likewise."""
    text = _checked(_text())
    found = explain_one(text, "#/text", risks.asked(), BUDGET)
    return render_template("explanation.html", why=_why(text, found))


def page(text: str, risk: float | None = None, **more: Any) -> str:
    """Return the page with `text` in it and that `risk` chosen.

    With `judge`, it asks for the answer by itself.
    """
    offered = risks.choices(risk)
    return render_template("index.html", text=text, examples=EXAMPLES, risks=offered, **more)


def _text() -> str:
    # A form sends every line break as two characters.
    return request.form.get("text", "").replace("\r\n", "\n")


def _checked(text: str) -> str:
    """Return `text`. Raises InvalidRequestError if it is blank or too long."""
    most = get_model_holder().settings.max_characters
    if not text.strip():
        fault = FieldError(pointer="#/text", code="blank", detail="Write or paste a review first.")
    elif len(text) > most:
        detail = f"This is longer than {most:,} characters."
        fault = FieldError(pointer="#/text", code="too-long", detail=detail)
    else:
        return text
    raise invalid([fault])


def _why(text: str, found: Explanation) -> formatting.Why:
    return formatting.why(text, found, classifier().manifest.window)


def _facts(found: Prediction, risk: float | None) -> dict[str, Any]:
    return {
        "prediction": found,
        "said": formatting.in_words(found),
        "line": formatting.line(found, kept_risk(classifier().manifest, risk)),
        "gauge": formatting.gauge(found),
        "ms": call_context().elapsed * 1000,
    }
