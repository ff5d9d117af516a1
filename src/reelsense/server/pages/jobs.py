"""The pages for many reviews at once: send a file, watch it, look through the answers, download.

Each page is whole without JavaScript; with it, parts of it are asked for anew.
"""

from __future__ import annotations

from contextlib import suppress
from math import ceil
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from reelsense.errors import DatasetError, NoJobError, StoreError
from reelsense.jobs import queries
from reelsense.jobs.job import DONE, ERROR, Job
from reelsense.prediction import UNSURE
from reelsense.server.api.jobs import get_jobs_worker, receive
from reelsense.server.api.uploads import open_upload
from reelsense.server.middleware.problems import InvalidRequestError
from reelsense.server.model_holder import classifier, get_model_holder
from reelsense.server.pages import formatting, review, risks

blueprint = Blueprint("job_pages", __name__)

_ROWS = 25
"""Shown at a time."""

_RECENT = 20
"""Jobs that a browser remembers."""


@blueprint.get("/jobs")
def index() -> str:
    """Where a file is dropped."""
    get_jobs_worker()
    return _index()


@blueprint.post("/jobs", endpoint="sent")
def sent() -> AnyResponse | tuple[str, int]:
    """Take a file from a browser without JavaScript."""
    request.max_content_length = get_model_holder().settings.max_upload
    try:
        file = request.files.get("file")
    except OSError as error:  # a large one is kept in a file of its own
        raise StoreError(f"a file cannot be kept while it arrives: {error}") from error
    if file is None or not file.filename:
        return _index("Choose a file first."), 422
    risk = None
    try:
        risk = risks.asked()
        job = receive(
            open_upload(file.filename, file.mimetype, file.stream),
            request.form.get("column") or None,
            risk,
        )
    except DatasetError as error:
        return _index(str(error), risk), 422
    except InvalidRequestError as error:
        return _index(error.errors[0].detail, risk), 422
    return redirect(url_for("job_pages.show", name=job.id), 303)


@blueprint.get("/jobs/recent")
def recent() -> str:
    """Those of the jobs that a browser remembers that there are still, alone."""
    jobs = get_jobs_worker().jobs
    found = []
    for name in request.args.getlist("id")[:_RECENT]:
        with suppress(NoJobError):
            found.append(jobs.job(name))
    return render_template("recent.html", jobs=found)


@blueprint.get("/jobs/<name>")
def show(name: str) -> str:
    """A job: how far it is, what it found."""
    return render_template("job.html", **_progress(name) | _table(name))


@blueprint.get("/jobs/<name>/progress")
def progress(name: str) -> str:
    """How far it is, alone."""
    return render_template("progress.html", **_progress(name))


@blueprint.get("/jobs/<name>/table")
def table(name: str) -> str:
    """The rows that are asked for, alone."""
    return render_template("rows.html", **_table(name))


@blueprint.get("/jobs/<name>/rows/<int:n>")
def row(name: str, n: int) -> str:
    """The page for one review, with that of row `n`."""
    jobs = get_jobs_worker().jobs
    job = jobs.job(name)
    return review.page(jobs.text(job, n), job.risk, analyse=True)


@blueprint.post("/jobs/<name>/cancel")
def cancel(name: str) -> AnyResponse:
    """End a job before its end."""
    get_jobs_worker().cancel(name)
    return redirect(url_for("job_pages.show", name=name), 303)


@blueprint.post("/jobs/<name>/delete")
def remove(name: str) -> AnyResponse:
    """Delete a job, its texts and its answers."""
    get_jobs_worker().jobs.delete(name)
    get_jobs_worker().sweep_soon()
    return redirect(url_for("job_pages.index"), 303)


def _index(problem: str = "", risk: float | None = None) -> str:
    settings, offered = get_model_holder().settings, risks.choices(risk)
    return render_template("jobs.html", problem=problem, settings=settings, risks=offered)


def _progress(name: str) -> dict[str, Any]:
    jobs = get_jobs_worker().jobs
    job = jobs.job(name)
    failed = job.verdicts.get(ERROR, 0)
    in_vain = job.state == DONE and failed == job.rows
    return {
        "job": job,
        "share": job.done / job.rows,
        "failed": failed,
        "scored": job.done - failed,
        "reason": queries.most_common_error(jobs.database, job) if in_vain else None,
        "keep": get_model_holder().settings.job_retention_hours,
        "verdicts": formatting.bars(_verdicts(job.verdicts)),
        "stars": formatting.bars(_stars(job.stars)),
    }


def _verdicts(found: dict[str, int]) -> dict[str, int]:
    """The verdicts of the model in the order they are shown in; what was not scored comes last."""
    labels = [*reversed(classifier().labels), UNSURE]
    counted = {label: found.get(label, 0) for label in labels}
    return counted | ({ERROR: found[ERROR]} if ERROR in found else {})


def _stars(found: dict[str, int]) -> dict[str, int]:
    """The stars that the model knows, most first."""
    ratings = classifier().manifest.ratings
    if not ratings:
        return {}
    return {
        str(star): found.get(str(star), 0) for star in range(max(ratings), min(ratings) - 1, -1)
    }


def _table(name: str) -> dict[str, Any]:
    jobs = get_jobs_worker().jobs
    job = jobs.job(name)
    asked = _asked()

    def page(number: int) -> queries.Page:
        wanted = queries.RowQuery(**asked, offset=_ROWS * (number - 1), limit=_ROWS)
        return queries.page(jobs.database, job, wanted)

    # No page is beyond the last one that there could be, or that there is.
    number = min(max(1, request.args.get("page", 1, type=int)), ceil(job.rows / _ROWS))
    found = page(number)
    if found.total and not found.rows:
        number = ceil(found.total / _ROWS)
        found = page(number)
    return {
        "job": job,
        "asked": asked,
        "found": found,
        "number": number,
        "pages": max(1, ceil(found.total / _ROWS)),
        "labels": classifier().labels,
        "link": lambda **changes: _link(job, asked, **changes),
    }


def _asked() -> dict[str, Any]:
    """Return what the address asks for; what makes no sense is left out."""
    sort, verdict = request.args.get("sort", "n"), request.args.get("verdict", "")
    return {
        "verdict": verdict if verdict in (*classifier().labels, UNSURE, ERROR) else "",
        "search": request.args.get("search", ""),
        "sort": sort if sort in queries.SORTS else "n",
        "descending": request.args.get("descending") == "1",
    }


def _link(job: Job, asked: dict[str, Any], **changes: Any) -> str:
    """Return the address of other rows of the same job."""
    wanted = {**asked, **changes}
    wanted["descending"] = "1" if wanted["descending"] else ""
    if wanted["sort"] == "n":
        wanted["sort"] = ""
    query = urlencode({name: value for name, value in wanted.items() if value != ""})
    return url_for("job_pages.show", name=job.id) + (f"?{query}" if query else "")
