"""Which endpoints need no key, and which of the others are pages."""

from __future__ import annotations

from flask import current_app, request

# They are cheap and disclose nothing about texts. All other endpoints need a key.
_PUBLIC = {
    *("health.healthz", "health.readyz", "health.startedz"),
    *("open_inference.live", "open_inference.ready"),
    *("pages.docs", "pages.errors", "pages.llms", "pages.openapi", "pages.swagger_ui", "static"),
    *("pages.sign_in", "pages.sign_out", "pages.signed_in"),
}

_PUBLIC_BUT_LIMITED = {None, "pages.sign_in", "pages.signed_in", "pages.sign_out"}

# They show texts or feedback of other users.
_ADMIN = {"shadow.shadow", "feedback.listed", "feedback.stats"}

# The other endpoints of these blueprints answer scripts of the pages.
_PAGES = {
    *("job_pages.index", "job_pages.row", "job_pages.show"),
    *("model_page.card", "model_page.model", "model_page.report"),
    *("queue_page.index", "review_page.index"),
}

_FEEDBACK_PAGES = {"feedback_page", "queue_page"}


def is_public() -> bool:
    """Return whether the current request needs no key. Unmatched URLs need none."""
    return request.endpoint is None or request.endpoint in _PUBLIC or request.method == "OPTIONS"


def is_unlimited() -> bool:
    """Return whether rate limits do not apply to the current request. They do to signing in."""
    return is_public() and request.endpoint not in _PUBLIC_BUT_LIMITED


def needs_admin() -> bool:
    """Return whether the current request needs an admin key."""
    endpoint = request.endpoint or ""
    return endpoint.startswith("admin.") or endpoint in _ADMIN


def shows_others() -> bool:
    """Return whether the current request shows texts or feedback of other users."""
    return request.endpoint in _ADMIN or request.blueprint == "queue_page"


def gives_feedback() -> bool:
    """Return whether the current request gives or withdraws feedback, or asks for it."""
    return request.endpoint == "feedback.create" or request.blueprint in _FEEDBACK_PAGES


def runs_model() -> bool:
    """Return whether the current request runs the model."""
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, "limit_concurrency", False)


def is_page() -> bool:
    """Return whether the current request is for a page, so that a missing key leads to sign-in."""
    return request.endpoint in _PAGES
