"""The pages beside those for one review, for many and about the model: sign-in, documentation."""

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
    session,
    url_for,
)
from flask_openapi3 import OpenAPI
from werkzeug.wrappers import Response as AnyResponse

from reelsense import __version__
from reelsense.server.api import openapi
from reelsense.server.middleware.auth import unauthorized
from reelsense.server.middleware.authenticator import get_authenticator
from reelsense.server.middleware.cross_site import require_same_origin
from reelsense.server.middleware.problem_types import FIELD_CODES, PROBLEM_TYPES
from reelsense.server.pages import formatting
from reelsense.server.state import state_of

blueprint = Blueprint("pages", __name__)

_FILTERS = {
    "percent": formatting.percent,
    "share": formatting.share,
    "counted": formatting.counted,
    "signed": formatting.signed,
    "duration": formatting.duration,
    "size": formatting.size,
    "moment": lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%-d %B, %H:%M} UTC",
}

_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")

_SWAGGER_UI = resources.files("flask_openapi3_swagger") / "templates" / "swagger"


def register(app: Flask) -> None:
    """Let the templates of `app` have what they use."""
    app.jinja_env.filters |= _FILTERS
    app.jinja_env.globals["version"] = __version__
    app.jinja_env.globals["jobs_kept"] = bool(state_of(app).settings.max_jobs)


@blueprint.get("/sign-in")
def sign_in() -> str | AnyResponse:
    """A form for the key, where the server has keys."""
    if not get_authenticator().keys:
        return redirect(url_for("review_page.index"))
    return render_template("sign-in.html", problem="")


@blueprint.post("/sign-in", endpoint="signed_in")
def signed_in() -> AnyResponse:
    """Give the browser a cookie in exchange for a key."""
    require_same_origin()
    key = get_authenticator().find(request.form.get("key", "").strip())
    session.clear()
    if key is None or key.admin:
        problem = (
            "This is an admin key: it opens /metrics and /admin, and not the page."
            if key
            else "This key is not known here."
        )
        refused = Response(render_template("sign-in.html", problem=problem), 401)
        refused.headers.extend(unauthorized().get_headers())
        refused.content_type = "text/html; charset=utf-8"
        return refused
    session.permanent = True
    session["key"] = [key.name, key.digest[:16]]
    wanted = request.form.get("next", "")
    # A path of this site alone: no other host, whichever way browsers read a slash.
    return redirect(wanted if _PATH.fullmatch(wanted) else url_for("review_page.index"))


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """Take the cookie back."""
    require_same_origin()
    session.clear()
    return redirect(url_for("pages.sign_in"))


@blueprint.get("/openapi.json", endpoint="openapi")
def contract() -> Response:
    """The contract. Made once: it takes as long as a hundred answers."""
    app = cast(OpenAPI, current_app)
    if "reelsense.contract" not in app.extensions:
        app.extensions["reelsense.contract"] = openapi.document(app)
    return jsonify(app.extensions["reelsense.contract"])


@blueprint.get("/docs")
def docs() -> str:
    """The contract, to read and to try."""
    return render_template("docs.html")


@blueprint.get("/docs/errors")
def errors() -> str:
    """What each kind of error means."""
    return render_template("errors.html", kinds=PROBLEM_TYPES.values(), fields=FIELD_CODES)


@blueprint.get("/docs/swagger-ui/<path:name>")
def swagger_ui(name: str) -> Response:
    """A file of Swagger UI."""
    return send_from_directory(str(_SWAGGER_UI), name, max_age=86400)
