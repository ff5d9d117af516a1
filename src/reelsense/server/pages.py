"""The web page: a text box and a verdict."""

from __future__ import annotations

from flask import Blueprint, render_template

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """The page. It asks /v1/predict and loads nothing from elsewhere."""
    return render_template("index.html")
