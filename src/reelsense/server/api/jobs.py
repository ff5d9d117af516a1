"""Jobs over HTTP, /v1/jobs: files of texts that are scored in the background."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from flask import Response, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import NotFound

from reelsense.errors import DatasetError, TooManyJobsError
from reelsense.jobs import queries
from reelsense.jobs.job import Job, NewJob, check_ended
from reelsense.jobs.repository import Jobs
from reelsense.server.api.openapi import answers, files, json_of, nothing
from reelsense.server.api.schemas import JobRow, JobRows, JobSchema, OneOf, PreviewSchema
from reelsense.server.api.uploads import MEDIA_TYPES, Upload, preview, upload, with_texts
from reelsense.server.jobs_worker import JobsWorker
from reelsense.server.middleware.problems import FieldError, InvalidRequestError
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier, get_model_holder
from reelsense.server.scoring import threshold
from reelsense.server.state import get_state
from reelsense.tables.writing import writer
from reelsense.text.clean import printable

blueprint = APIBlueprint("jobs", __name__, url_prefix="/v1", abp_tags=[Tag(name="jobs")])

MEDIA = {".csv": "text/csv", ".tsv": "text/tab-separated-values", ".jsonl": "application/jsonl"}

_PATIENCE = 2.0
"""Seconds that a file waits for another to be taken in."""

_CHUNK = 256 * 1024
"""Characters of a result, some, that are sent at a time."""

_TABLE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file as it is.",
        "content": {kind: {"schema": {"type": "string", "minLength": 1}} for kind in MEDIA_TYPES},
    }
}


class _Query(BaseModel):
    """What comes in the address, as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobId(_Query):
    """Which job."""

    id: str = Field(description="Of the job. Whoever knows it may read it.")


_ENCODING: Any = Field(
    default=None, description="Of the file, as windows-1252 or utf-16; by default UTF-8."
)


class New(_Query):
    """What there is to say of a file."""

    name: str = Field(
        default="", description="Of the file; its ending says of which kind it is, .csv for one."
    )
    column: str | None = Field(
        default=None, description="Of the texts; by default text, or the only one there is."
    )
    risk: float | None = Field(default=None, gt=0, lt=1, description="As of /v1/predict.")
    encoding: str | None = _ENCODING


class Glance(_Query):
    """What there is to say of the beginning of a file."""

    name: str = ""
    encoding: str | None = _ENCODING
    cut: bool = Field(default=False, description="The file goes on; its last row may be half.")


_KINDS = OneOf("csv", "tsv", "jsonl", pattern=r"^\.?(csv|tsv|jsonl)$")


class ResultAs(_Query):
    """The form of a result."""

    kind: Annotated[str, _KINDS] | None = Field(
        default=None,
        description="csv, tsv or jsonl; by default that of the file, and csv of a .txt.",
    )


class Wanted(_Query):
    """Which rows to list."""

    verdict: str = Field(default="", description="A label, unsure, or error: not scored.")
    search: str = Field(default="", description="What is to be in the text.")
    sort: Annotated[str, OneOf(*queries.SORTS)] = "n"
    descending: bool = False
    offset: int = Field(default=0, ge=0, le=1_000_000_000)
    limit: int = Field(default=50, ge=0, le=500)


def get_jobs_worker() -> JobsWorker:
    """Return the jobs of the current application. Raises NotFound if it has none."""
    if not get_model_holder().settings.max_jobs:
        raise NotFound("there are no jobs on this server")
    return get_state().jobs_worker


@blueprint.post(
    "/jobs",
    operation_id="create_job",
    responses=answers(JobSchema, 400, 408, 413, 415, 422, 503, 507, status=202),
    openapi_extensions=_TABLE,
)
def create(query: New) -> Response:
    """Send a file of texts, to be scored in the background.

    It is worked on when nothing else waits, and goes on after a restart of the server. Ask for the
    job until its state is done; then for its result.
    """
    request.max_content_length = get_model_holder().settings.max_upload
    sent = upload(query.name, request.mimetype, request.stream, query.encoding)
    job = receive(sent, query.column, query.risk)
    answer = json_of(told(job))
    answer.status_code = 202
    answer.headers["Location"] = url_for("jobs.show", id=job.id)
    return answer


def receive(sent: Upload, column: str | None, risk: float | None) -> Job:
    """Keep what is `sent` as a job.

    Raises InvalidRequestError if it is no table that can be scored, TooManyJobsError if there are
    as many jobs as are kept, StoreError.
    """
    behind, settings = get_jobs_worker(), get_model_holder().settings
    # A worker that has just taken the place of another may be loading yet.
    manifest = classifier(call_context().left or 0).manifest
    threshold(manifest, risk, "?risk")
    try:
        column, rows = with_texts(sent, column)
        new = NewJob(sent.name, sent.suffix, column, risk, manifest.name)
        # Not for long: who waits holds a thread.
        if not behind.receiving.acquire(timeout=_PATIENCE):
            raise TooManyJobsError("another file is being taken in", 10)
        try:
            if behind.jobs.count() >= settings.max_jobs:
                raise TooManyJobsError("as many jobs are kept as may be", 60)
            job = behind.jobs.receive(new, rows, settings.max_rows)
        finally:
            behind.receiving.release()
    except DatasetError as error:
        raise unusable(error) from error
    behind.wake()
    return job


def unusable(error: DatasetError) -> InvalidRequestError:
    """Return the error of a request whose file is no table that can be scored."""
    return InvalidRequestError(
        [FieldError(pointer="#", code="unusable-file", detail=printable(str(error)))]
    )


@blueprint.post(
    "/preview",
    operation_id="preview",
    responses=answers(PreviewSchema, 400, 413, 415, 422),
    openapi_extensions=_TABLE,
)
def glance(query: Glance) -> Response:
    """Show the columns and first rows of a file, of which the beginning is sent."""
    get_jobs_worker()
    sent = upload(query.name, request.mimetype, request.stream, query.encoding)
    try:
        found = preview(sent, cut=query.cut)
    except DatasetError as error:
        raise unusable(error) from error
    return json_of(PreviewSchema.model_validate(found, from_attributes=True))


@blueprint.get("/jobs/<id>", operation_id="job", responses=answers(JobSchema, 400, 404, 507))
def show(path: JobId) -> Response:
    """Say how far a job has come."""
    return json_of(told(get_jobs_worker().jobs.job(path.id)))


@blueprint.post(
    "/jobs/<id>/cancel", operation_id="cancel_job", responses=answers(JobSchema, 400, 404, 507)
)
def cancel(path: JobId) -> Response:
    """End a job before its end. What is scored by then stays."""
    return json_of(told(get_jobs_worker().cancel(path.id)))


@blueprint.delete("/jobs/<id>", operation_id="delete_job", responses=nothing(400, 404, 507))
def remove(path: JobId) -> Response:
    """Delete a job with its texts and answers, whether it has ended or not."""
    behind = get_jobs_worker()
    behind.jobs.delete(path.id)
    behind.sweep_soon()
    return Response(status=204)


@blueprint.get(
    "/jobs/<id>/rows", operation_id="job_rows", responses=answers(JobRows, 400, 404, 507)
)
def rows(path: JobId, query: Wanted) -> Response:
    """List answers, filtered and sorted, also while the job goes on."""
    jobs = get_jobs_worker().jobs
    asked = queries.RowQuery(**query.model_dump())
    found = queries.page(jobs.database, jobs.job(path.id), asked)
    return json_of(
        JobRows(
            total=found.total,
            rows=[JobRow.model_validate(each, from_attributes=True) for each in found.rows],
        )
    )


@blueprint.get(
    "/jobs/<id>/result", operation_id="job_result", responses=files(400, 404, 409, 422, 507)
)
def result(path: JobId, query: ResultAs) -> Response:
    """The rows of the file with label, score, positive, verdict, stars and error beside them.

    The same as `reelsense predict --input` makes of it. Of a job that was cancelled, as many rows
    as were scored.
    """
    jobs = get_jobs_worker().jobs
    job = jobs.job(path.id)
    check_ended(job)
    kind = f".{query.kind.lstrip('.')}" if query.kind else {".txt": ".csv"}.get(job.suffix, "")
    kind = kind or job.suffix
    if job.suffix == ".jsonl" and kind != ".jsonl":
        detail = "rows of .jsonl may differ in their keys: take it as jsonl"
        raise InvalidRequestError([FieldError(pointer="?kind", code="wrong-value", detail=detail)])
    answer = Response(_lines(jobs, job, kind), content_type=f"{MEDIA[kind]}; charset=utf-8")
    answer.headers["Content-Disposition"] = _attached(f"{Path(job.name).stem}-scored{kind}")
    return answer


def _attached(name: str) -> str:
    """Return what lets a client keep an answer as `name`; some know ASCII alone (RFC 6266)."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _lines(jobs: Jobs, job: Job, kind: str) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    table = writer(buffer, kind)
    for n, (row, added) in enumerate(jobs.results(job), start=1):
        table.write(row, added)
        if buffer.tell() >= _CHUNK or n == job.done:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()


def told(job: Job) -> JobSchema:
    """Return what is told of `job`."""
    return JobSchema(
        id=job.id,
        name=job.name,
        column=printable(job.column),
        state=job.state,
        rows=job.rows,
        done=job.done,
        seconds_left=job.seconds_left,
        risk=job.risk,
        model=job.model,
        version=job.version,
        verdicts=job.verdicts,
        stars=job.stars,
        created=_time(job.created),
        ended=_time(job.ended) if job.ended else None,
        expires=_time(job.expires) if job.expires else None,
        error=printable(job.error) if job.error else None,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
