"""Applications with API keys, and requests to them."""

import hashlib
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from reelsense.server.app import create_app
from reelsense.server.middleware.keys import Key
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import wait_until_ready

SHOP, TILL, OPS, CRITIC = (f"rs_{name * 10}" for name in ("shop", "till", "ops0", "crit"))


def line(
    name: str,
    secret: str,
    rate: str | None = None,
    *,
    admin: bool = False,
    feedback: bool = False,
) -> str:
    return Key(name, hashlib.sha256(secret.encode()).hexdigest(), rate, admin, feedback).line()


KEYS = ";".join([line("shop", SHOP), line("till", TILL, "1/day"), line("ops", OPS, admin=True)])
WITH_CRITIC = f"{KEYS};{line('critic', CRITIC, feedback=True)}"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
GOOD = {"text": "good"}
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def ready_app(**settings: Any) -> Flask:
    app = create_app(Settings(**settings), tiny.classifier())
    wait_until_ready(app.test_client())
    return app


def problem_code(answer: Response) -> str:
    """Return the problem code of `answer`, or "" if it is no problem."""
    if answer.content_type != "application/problem+json" or not answer.data:
        return ""
    value: str = answer.get_json()["code"]
    return value


PUBLIC = {
    "health.healthz",
    "health.readyz",
    "health.startedz",
    "open_inference.live",
    "open_inference.ready",
    "pages.docs",
    "pages.errors",
    "pages.llms",
    "pages.openapi",
    "pages.sign_in",
    "pages.sign_out",
    "pages.signed_in",
    "pages.swagger_ui",
    "static",
}
FILES = {"static": "/static/page.css", "pages.swagger_ui": "/docs/swagger-ui/css/swagger-ui.css"}


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """Return endpoint, method and path of every route."""
    return [
        (
            rule.endpoint,
            method,
            FILES.get(
                rule.endpoint,
                rule.rule.replace("<int:n>", "0").replace("/models/<name>", "/models/default"),
            ),
        )
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"OPTIONS"})
    ]


def sign_in(client: FlaskClient, secret: str, **more: Any) -> TestResponse:
    return client.post("/sign-in", data={"key": secret}, headers=SAME_ORIGIN, **more)
