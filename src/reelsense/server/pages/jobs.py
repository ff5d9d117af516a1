"""The pages for files of reviews: upload, progress, results and download.

Every page works without JavaScript; with it, parts of the pages are reloaded.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.wrappers import Response as AnyResponse

from reelsense.errors import DatasetError, NoJobError, StoreError
from reelsense.jobs import queries
from reelsense.jobs.job import DONE, Job
from reelsense.prediction import ERROR
from reelsense.server.api.jobs import (
    RowsQuery,
    delete,
    get_jobs,
    get_jobs_worker,
    listed_rows,
    receive,
    upload_slot,
)
from reelsense.server.api.summaries import SummaryQuery, summary_of
from reelsense.server.api.uploads import Upload, open_upload
from reelsense.server.middleware.field_errors import InvalidRequestError
from reelsense.server.middleware.request_context import call_context
from reelsense.server.pages import review
from reelsense.server.pages.risks import risk_choices, selected_risk
from reelsense.server.state import get_state
from reelsense.summary.page import GroupSort, View, render_part
from reelsense.tables.reading import ReadOptions

blueprint = Blueprint("job_pages", __name__)

_ROWS_PER_PAGE = 25
_MAX_RECENT = 20  # jobs that a browser remembers


@blueprint.get("/jobs")
def index() -> str:
    """Show the form for a file."""
    get_jobs_worker()  # raises NotFound if jobs are disabled
    return _upload_page()


@blueprint.post("/jobs")
def sent() -> AnyResponse | tuple[str, int]:
    """Create a job from a form, for browsers without JavaScript."""
    if request.mimetype != "multipart/form-data":  # other forms would be parsed in memory
        raise UnsupportedMediaType("send a form of the type multipart/form-data")
    request.max_content_length = get_state().settings.max_upload
    with upload_slot():
        return _received()


def _received() -> AnyResponse | tuple[str, int]:
    try:
        file = request.files.get("file")
    except OSError as error:  # a large upload is buffered on disk
        raise StoreError(f"cannot store the upload: {error}") from error
    if file is None or not file.filename:
        return _upload_page("Choose a file first."), 422
    risk = None
    try:
        risk = selected_risk()
        job = receive(partial(_open, file), request.form.get("column") or None, risk)
    except DatasetError as error:
        return _upload_page(str(error), risk), 422
    except InvalidRequestError as error:
        return _upload_page(error.errors[0].detail, risk), 422
    return redirect(url_for("job_pages.show", name=job.id), 303)


def _open(file: FileStorage) -> Upload:
    return open_upload(
        file.filename or "",
        file.mimetype,
        file.stream,
        ReadOptions(),
        charset=file.mimetype_params.get("charset"),
        check=call_context().check,
    )


@blueprint.get("/jobs/recent")
def recent() -> str:
    """Return the HTML list of those jobs in `?id=` that still exist."""
    jobs = []
    for job_id in request.args.getlist("id")[:_MAX_RECENT]:
        with suppress(NoJobError):
            jobs.append(get_jobs().job(job_id))
    return render_template("recent.html", jobs=jobs)


@blueprint.get("/jobs/<name>")
def show(name: str) -> str:
    """Show the progress and the results of a job."""
    job = get_jobs().job(name)
    views = _progress_view(job) | _table_view(job) | _summary_view(job)
    return render_template("job.html", **views)


@blueprint.get("/jobs/<name>/progress")
def progress(name: str) -> str:
    """Return the HTML of the progress, for the JavaScript of the page."""
    return render_template("progress.html", **_progress_view(get_jobs().job(name)))


@blueprint.get("/jobs/<name>/summary")
def summary(name: str) -> str:
    """Return the HTML of the summary, for the JavaScript of the page."""
    return render_template("summary.html", **_summary_view(get_jobs().job(name)))


@blueprint.get("/jobs/<name>/table")
def table(name: str) -> str:
    """Return the HTML of the results, for the JavaScript of the page."""
    return render_template("rows.html", **_table_view(get_jobs().job(name)))


@blueprint.get("/jobs/<name>/rows/<int:n>")
def row(name: str, n: int) -> str:
    """Show the page for one review, filled in with row `n` and analysed; it links to the job."""
    job = get_jobs().job(name)
    filters = _given(_page_query(), page=_page_number())
    back = url_for("job_pages.show", name=name, **filters)
    text = get_jobs().text(job, n)
    return review.page(text, job.risk, analyse=True, job=job, row=n + 1, back=back)


@blueprint.post("/jobs/<name>/cancel")
def cancel(name: str) -> AnyResponse:
    """Cancel a job."""
    get_jobs_worker().cancel(name)
    return redirect(url_for("job_pages.show", name=name), 303)


@blueprint.post("/jobs/<name>/delete")
def remove(name: str) -> AnyResponse:
    """Delete a job with its texts and results."""
    delete(name)
    return redirect(url_for("job_pages.index"), 303)


def _upload_page(problem: str = "", risk: float | None = None) -> str:
    settings = get_state().settings
    return render_template(
        "jobs.html", problem=problem, settings=settings, risks=risk_choices(risk)
    )


def _progress_view(job: Job) -> dict[str, Any]:
    failed = job.verdicts.get(ERROR, 0)
    all_failed = job.state == DONE and failed == job.rows
    return {
        "job": job,
        "fraction": job.done / job.rows,
        "failed": failed,
        "scored": job.done - failed,
        "reason": queries.most_common_error(get_jobs().database, job) if all_failed else None,
        "retention_hours": get_state().settings.job_retention_hours,
    }


class PageQuery(RowsQuery):
    """What the page of a job shows: the rows, and how the groups are compared and sorted."""

    group: str | None = None
    label: str | None = None
    by: GroupSort = "rows"
    up: bool = False  # in ascending order
    all: bool = False  # groups


def _summary_view(job: Job) -> dict[str, Any]:
    """Return the summary as HTML; None before the first rows are done."""
    if not (job.done and job.labels):
        return {"job": job, "summary": None}
    query = _page_query()
    fields = {name: getattr(query, name) for name in SummaryQuery.model_fields.keys() - {"format"}}
    result = summary_of(job, SummaryQuery(**fields))

    def link(anchor: str, **changes: object) -> str:
        return url_for("job_pages.show", name=job.id, _anchor=anchor, **_given(query, **changes))

    view = View(
        sort=query.by,
        descending=not query.up,
        all_groups=query.all,
        sort_link=lambda sort: link(
            "groups", by=sort, up=int(not query.up if sort == query.by else sort == "value")
        ),
        all_link=lambda: link("groups", all=1),
        group_link=lambda value: link("results", column=result.group_column, value=value),
        verdict_link=lambda verdict: link("results", verdict=verdict),
        row_link=lambda n: url_for("job_pages.row", name=job.id, n=n, **_given(query)),
    )
    return {
        "job": job,
        "query": query,
        "summary": result,
        "part": render_part(result, view),
        "clear_link": link("summary", column="", value=""),
        "download_link": lambda name: url_for(
            "summaries.summary", id=job.id, format=name, **{k: v for k, v in fields.items() if v}
        ),
    }


def _table_view(job: Job) -> dict[str, Any]:
    query = _page_query()

    def page(number: int) -> queries.Page:
        window = {"offset": _ROWS_PER_PAGE * (number - 1), "limit": _ROWS_PER_PAGE}
        return listed_rows(job, query.model_copy(update=window))

    # A page number beyond the last page shows the last page.
    number = min(_page_number(), ceil(job.rows / _ROWS_PER_PAGE))
    results = page(number)
    if results.total and not results.rows:
        number = ceil(results.total / _ROWS_PER_PAGE)
        results = page(number)

    def link(**changes: object) -> str:
        return url_for("job_pages.show", name=job.id, **_given(query, **changes))

    def row_link(n: int) -> str:
        return url_for("job_pages.row", name=job.id, n=n, **_given(query, page=number))

    return {
        "job": job,
        "query": query,
        "results": results,
        "columns": list(dict.fromkeys(name for row in results.rows for name in row.values)),
        "number": number,
        "pages": max(1, ceil(results.total / _ROWS_PER_PAGE)),
        "link": link,
        "row_link": row_link,
    }


def _page_number() -> int:
    return max(1, request.args.get("page", 1, type=int))


def _given(query: PageQuery, **changes: object) -> dict[str, Any]:
    """Return the query parameters for `query` with `changes`, without blanks and defaults."""
    parameters = query.model_dump(exclude_defaults=True, exclude={"offset", "limit"}) | changes
    given = {name: int(value) if value is True else value for name, value in parameters.items()}
    return {name: value for name, value in given.items() if value}


def _page_query() -> PageQuery:
    """Return what the query string asks for; invalid parameters are ignored."""
    names = PageQuery.model_fields.keys() - {"offset", "limit"}
    given = {name: request.args[name] for name in names if request.args.get(name)}
    try:
        return PageQuery.model_validate(given)
    except ValidationError:
        return PageQuery()
