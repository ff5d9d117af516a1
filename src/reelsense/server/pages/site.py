"""The remaining pages: sign-in, API documentation and error types."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources
from typing import cast

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    jsonify,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask_openapi3 import OpenAPI
from werkzeug.wrappers import Response as AnyResponse

from reelsense import __version__
from reelsense.errors import NotReadyError
from reelsense.server.api import openapi
from reelsense.server.middleware import sessions
from reelsense.server.middleware.auth import may_review, unauthorized
from reelsense.server.middleware.cross_site import require_same_origin
from reelsense.server.middleware.problem_types import FIELD_CODES, PROBLEM_TYPES
from reelsense.server.model_holder import classifier
from reelsense.server.pages import formatting
from reelsense.server.state import get_state, state_of
from reelsense.summary.labels import display_order, label_class

blueprint = Blueprint("pages", __name__)

_FILTERS = {
    "percent": formatting.percent,
    "percent_positive": formatting.percent_positive,
    "signed": formatting.signed,
    "duration": formatting.duration,
    "file_size": formatting.file_size,
    "display_order": display_order,
    "label_class": label_class,
    "timestamp": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%-d %B, %H:%M} UTC",
}

# A path on this server. "//host" and "/\host" would lead to another one.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")

_MAX_FORM = 8192  # bytes of the sign-in form

_SWAGGER_UI = resources.files("flask_openapi3_swagger") / "templates" / "swagger"


def configure_templates(app: Flask) -> None:
    """Add the filters and global variables of the templates to `app`."""
    app.context_processor(_model_variables)
    app.jinja_env.filters |= _FILTERS
    app.jinja_env.globals["version"] = __version__
    settings, policy = state_of(app).settings, state_of(app).keep_policy
    app.jinja_env.globals["jobs_enabled"] = bool(settings.max_jobs)
    app.jinja_env.globals["queue_enabled"] = settings.keep_texts and not policy.keeps_nothing
    app.jinja_env.globals["may_review"] = may_review


def _model_variables() -> dict[str, object]:
    """Return the variables on the served model that all templates have.

    `model` is its manifest; None while no model is ready.
    """
    try:
        manifest = classifier().manifest
    except NotReadyError:
        return {"model": None, "noun": "text", "nouns": "texts", "labels": []}
    labels = display_order(manifest.labels)
    return {"model": manifest, "noun": manifest.noun, "nouns": manifest.nouns, "labels": labels}


@blueprint.get("/sign-in")
def sign_in() -> str | AnyResponse:
    """Show the form for the API key, or redirect if the server has no keys."""
    if not get_state().authenticator.keys:
        return redirect(url_for("review_page.index"))
    return render_template("sign-in.html", problem="")


@blueprint.post("/sign-in")
def signed_in() -> AnyResponse:
    """Exchange an API key for a session cookie."""
    require_same_origin()
    # Anyone can send this form, also compressed.
    request.max_content_length = request.max_form_memory_size = _MAX_FORM
    key = get_state().authenticator.find(request.form.get("key", "").strip())
    if key is None or key.admin:
        sessions.end()
        problem = (
            "This is an admin key, which is not valid for the pages. Use another key."
            if key
            else "Invalid key. Check it, or ask the operator of the server for a key."
        )
        response = Response(render_template("sign-in.html", problem=problem), 401)
        response.headers.extend(unauthorized().get_headers())
        response.content_type = "text/html; charset=utf-8"
        return response
    sessions.begin(key)
    target = request.form.get("next", "")
    return redirect(target if _LOCAL_PATH.fullmatch(target) else url_for("review_page.index"))


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """End the session, also for copies of its cookie."""
    require_same_origin()
    sessions.end()
    return redirect(url_for("pages.sign_in"))


@blueprint.get("/openapi.json", endpoint="openapi")
def openapi_document() -> Response:
    """Return the OpenAPI document. Cached: building it takes as long as a hundred predictions."""
    app = cast(OpenAPI, current_app)
    if "reelsense.openapi" not in app.extensions:
        app.extensions["reelsense.openapi"] = openapi.document(app)
    document = app.extensions["reelsense.openapi"]
    if request.script_root:  # Swagger UI and generated clients send requests to this URL
        document = {**document, "servers": [{"url": request.script_root}]}
    return jsonify(document)


@blueprint.get("/llms.txt")
def llms() -> Response:
    """Describe the server to language models (llmstxt.org)."""
    return Response(render_template("llms.txt"), mimetype="text/plain")


@blueprint.get("/docs")
def docs() -> str:
    """Show the interactive API documentation."""
    return render_template("docs.html")


@blueprint.get("/docs/errors")
def errors() -> str:
    """Explain the problem types and the codes of fields."""
    return render_template("errors.html", problem_types=PROBLEM_TYPES.values(), fields=FIELD_CODES)


@blueprint.get("/docs/swagger-ui/<path:name>")
def swagger_ui(name: str) -> Response:
    """Return a file of Swagger UI, which is served from here rather than from a CDN."""
    return send_from_directory(str(_SWAGGER_UI), name, max_age=86400)
