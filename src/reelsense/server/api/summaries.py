"""The route /v1/jobs/ID/summary: what the rows of a job say, by group and over time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field, RootModel

from reelsense.jobs.job import Job
from reelsense.jobs.queries import RowQuery, check_column
from reelsense.jobs.summaries import job_summary
from reelsense.server.api.jobs import FilterQuery, JobPath, attachment, get_jobs, naming
from reelsense.server.api.openapi import json_response, json_responses
from reelsense.summary.export import to_csv
from reelsense.summary.page import Source, render_report
from reelsense.summary.results import Summary

blueprint = APIBlueprint("summaries", __name__, url_prefix="/v1", abp_tags=[Tag(name="jobs")])


class SummarySchema(RootModel[Summary]):
    """The summary of the rows of a job that match the filters."""


class SummaryQuery(FilterQuery):
    """Filter, group column and format of a summary."""

    group: str | None = Field(
        default=None,
        description="The column to group by. Default: the first one with "
        "names that repeat, rather than dates or ratings.",
    )
    label: str | None = Field(
        default=None,
        description="The label whose share is compared. Default: positive, or the first label.",
    )
    format: Literal["json", "csv", "html"] = Field(
        default="json",
        description="json, csv (one row per group) or html (a self-contained report).",
    )


@blueprint.get(
    "/jobs/<id>/summary",
    operation_id="job_summary",
    responses=json_responses(
        SummarySchema, 400, 404, 409, 422, 507, others=("text/csv", "text/html")
    ),
)
def summary(path: JobPath, query: SummaryQuery) -> Response:
    """Summarize the rows that are done: groups, trend, aspects, findings and rows worth reading.

    Works while the job is running. Shares are between 0 and 1, and intervals have 95 % confidence.
    """
    job = get_jobs().job(path.id)
    result = summary_of(job, query)
    name = f"{Path(job.name).stem}-summary.{query.format}"
    if query.format == "json":
        return json_response(SummarySchema(result))
    if query.format == "csv":
        response = Response(to_csv(result), mimetype="text/csv")
    else:
        source = Source(job.name, job.needed_model, _in_words(query))
        response = Response(render_report(result, source), mimetype="text/html")
    response.headers["Content-Disposition"] = attachment(name)
    return response


def summary_of(job: Job, query: SummaryQuery) -> Summary:
    """Return the summary of the rows of `job` that match `query`."""
    rows = RowQuery(
        verdict=query.verdict, search=query.search, column=query.column, value=query.value
    )
    database = get_jobs().database
    for name in ("column", "group"):
        with naming(f"?{name}"):
            check_column(database, job, getattr(query, name))
    with naming("?label"):
        return job_summary(database, job, rows, query.group, query.label)


def _in_words(query: FilterQuery) -> str:
    """Return the filters of a report."""
    parts = {
        "verdict": query.verdict,
        "containing": query.search and f"\u201c{query.search}\u201d",
        query.column: query.column and (query.value or "(blank)"),
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value)
