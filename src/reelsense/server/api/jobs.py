"""Routes of /v1/jobs: files of texts that are scored in the background."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from flask import Response, g, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from werkzeug.exceptions import HTTPException, NotFound

from reelsense.errors import DatasetError, InputError, TooManyJobsError
from reelsense.jobs import queries
from reelsense.jobs.job import Job, JobLimits, NewJob, check_ended
from reelsense.jobs.repository import JobRepository
from reelsense.server.api.constraints import Risk
from reelsense.server.api.openapi import (
    empty_responses,
    json_response,
    json_responses,
    table_responses,
)
from reelsense.server.api.schemas import JobRows, JobSchema, PreviewSchema
from reelsense.server.api.uploads import (
    MEDIA_TYPES,
    Upload,
    open_upload,
    preview_upload,
    resolve_column,
    upload_format,
)
from reelsense.server.jobs_worker import JobsWorker
from reelsense.server.middleware.field_errors import FieldError, InvalidRequestError
from reelsense.server.middleware.request_context import call_context
from reelsense.server.model_holder import classifier
from reelsense.server.scoring import threshold
from reelsense.server.state import get_state
from reelsense.tables.reading import EXCEL, FileFormat, ReadOptions
from reelsense.tables.records import Quoting
from reelsense.tables.writing import OutputSchema, encode
from reelsense.text.clean import printable

blueprint = APIBlueprint("jobs", __name__, url_prefix="/v1", abp_tags=[Tag(name="jobs")])

_UPLOAD_WAIT = 2.0  # seconds to wait for another upload to finish, which occupies a thread

_FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, without encoding as a form.",
        "content": {
            media_type: {"schema": {"type": "string", "minLength": 1}} for media_type in MEDIA_TYPES
        },
    }
}


class QueryModel(BaseModel):
    """Base class of path and query parameters. Strings are converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobPath(QueryModel):
    """The job in the path of a request."""

    id: str = Field(description="Id of the job. Anyone who knows it can read the job.")


class FileQuery(QueryModel):
    """How an uploaded file is written."""

    name: str = Field(
        default="", description="File name. Its extension, such as .csv, determines the format."
    )
    encoding: str | None = Field(
        default=None,
        description="Encoding of the file, such as windows-1252 or utf-16. Default: the charset of "
        "Content-Type, otherwise UTF-8.",
    )
    delimiter: str | None = Field(
        default=None, description="Character between the columns of a .csv. Default: detected."
    )
    quoting: Quoting | None = Field(
        default=None,
        description="How a .csv writes a quote inside a quoted field: doubled, backslash, or none "
        "if it has no quoted fields. Default: detected.",
    )
    header: bool = Field(
        default=True, description="Whether the first line contains the names of the columns."
    )
    sheet: str | None = Field(default=None, description="Sheet of an .xlsx. Default: the first.")

    def open(self) -> Upload:
        """Open the body of the request."""
        options = ReadOptions(
            None, self.encoding, self.delimiter, self.quoting, self.header, self.sheet
        )
        return open_upload(
            self.name,
            request.mimetype,
            request.stream,
            options,
            charset=request.mimetype_params.get("charset"),
            check=call_context().check,
        )


class CreateJobQuery(FileQuery):
    """Parameters of a new job."""

    column: str | None = Field(
        default=None,
        max_length=1000,
        description="Name or number (from 1) of the column that contains the texts. Default: the "
        "only column, or one with a usual name such as text or review.",
    )
    risk: Risk | None = Field(default=None, description="Target error rate, as in /v1/predict.")


class PreviewQuery(FileQuery):
    """Parameters of a preview."""

    cut: bool = Field(
        default=False,
        description="Set to true if the body is only the beginning of the file: its last row may "
        "be incomplete.",
    )


class ResultQuery(QueryModel):
    """The format of a result."""

    format: (
        Annotated[
            Literal["csv", "tsv", "jsonl"], BeforeValidator(lambda value: value.removeprefix("."))
        ]
        | None
    ) = Field(
        default=None,
        description="csv, tsv or jsonl. Default: the format of the file, and csv for .txt.",
    )


class FilterQuery(QueryModel):
    """Filter of the rows of a job."""

    verdict: str = Field(
        default="", description="A label, unsure, or error for rows that could not be scored."
    )
    search: str = Field(default="", description="Only rows of which a cell contains this string.")
    column: str = Field(
        default="", description="Only rows with the value of ?value= in this column, as in groups."
    )
    value: str = Field(default="", description="Value of ?column=; default: blank.")


class RowsQuery(FilterQuery):
    """Filter, order and page of the rows to list."""

    sort: queries.Sort = "n"
    descending: bool = False
    offset: int = Field(default=0, ge=0, le=1_000_000_000)
    limit: int = Field(default=50, ge=0, le=500)


def get_jobs_worker() -> JobsWorker:
    """Return the worker of the current application. Raises NotFound if jobs are disabled."""
    if not get_state().settings.max_jobs:
        raise NotFound("jobs are disabled on this server (max_jobs is 0)")
    return get_state().jobs_worker


def get_jobs() -> JobRepository:
    """Return the jobs of the current application. Raises NotFound if jobs are disabled."""
    return get_jobs_worker().jobs


def _job_response(job: Job) -> Response:
    return json_response(JobSchema.model_validate(job))


@blueprint.post(
    "/jobs",
    operation_id="create_job",
    responses=json_responses(JobSchema, 400, 408, 413, 415, 422, 503, 507, status=202),
    openapi_extensions=_FILE_BODY,
)
def create(query: CreateJobQuery) -> Response:
    """Upload a file of texts to be scored in the background.

    Jobs run when no other requests are waiting, and continue after a restart of the server. Poll
    the job until its state is done, then download its result.
    """
    request.max_content_length = get_state().settings.max_upload
    with upload_slot():
        job = receive(query.open, query.column, query.risk)
    response = _job_response(job)
    response.status_code = 202
    response.headers["Location"] = url_for("jobs.show", id=job.id)
    return response


def receive(open_file: Callable[[], Upload], column: str | None, risk: float | None) -> Job:
    """Store the upload that `open_file` opens as a new job.

    `column` contains the texts (None: one with a usual name); `risk` is the target error rate
    (None: the default of the model). Raises InvalidRequestError, TooManyJobsError,
    StorageLimitError or StoreError.
    """
    worker, settings = get_jobs_worker(), get_state().settings
    # After a restart of the process the model may still be loading.
    manifest = classifier(call_context().remaining or 0).manifest
    threshold(manifest, risk, "?risk")
    try:
        upload = open_file()
        column, rows = resolve_column(upload, column)
        columns = upload.table.columns
        header = columns.header if columns else None
        key = _key_name()
        new_job = NewJob(upload.name, upload.suffix, column, header, risk, manifest.name, key)
        job = worker.jobs.receive(
            new_job, rows, settings.max_rows, upload.max_bytes, settings.max_jobs_bytes
        )
    except DatasetError as error:
        raise _unusable_file(error) from error
    worker.wake()
    return replace(job, waiting_for=None)  # this server has the model, and soon offers it to jobs


def _key_name() -> str | None:
    return g.key.name if "key" in g else None


@contextmanager
def upload_slot() -> Iterator[None]:
    """Receive one upload at a time, to limit memory, and only if another job may be stored.

    Raises TooManyJobsError, StorageLimitError or StoreError.
    """
    worker, settings = get_jobs_worker(), get_state().settings
    limits = JobLimits(settings.max_jobs, settings.max_jobs_per_key, settings.max_jobs_bytes)
    with _one_at_a_time(worker):
        worker.jobs.check_capacity(limits, _key_name())
        yield


@contextmanager
def _one_at_a_time(worker: JobsWorker) -> Iterator[None]:
    if not worker.receiving.acquire(timeout=_UPLOAD_WAIT):
        raise TooManyJobsError("another upload is in progress: try again later", 10)
    try:
        yield
    finally:
        worker.receiving.release()


def _unusable_file(error: DatasetError) -> InvalidRequestError | HTTPException:
    if isinstance(error.__cause__, HTTPException):  # the body is too large or damaged
        return error.__cause__
    return InvalidRequestError(
        [FieldError(pointer="#", code="unusable-file", detail=printable(str(error)))]
    )


@blueprint.post(
    "/preview",
    operation_id="preview",
    responses=json_responses(PreviewSchema, 400, 413, 415, 422),
    openapi_extensions=_FILE_BODY,
)
def preview(query: PreviewQuery) -> Response:
    """Return the columns and first rows of a file, given its beginning."""
    worker = get_jobs_worker()
    is_excel = upload_format(query.name, request.mimetype).suffix == EXCEL
    if is_excel:  # a part of it cannot be read
        request.max_content_length = get_state().settings.max_upload
    try:
        with _one_at_a_time(worker) if is_excel else nullcontext():
            return json_response(preview_upload(query.open(), cut=query.cut))
    except DatasetError as error:
        raise _unusable_file(error) from error


@blueprint.get("/jobs/<id>", operation_id="job", responses=json_responses(JobSchema, 400, 404, 507))
def show(path: JobPath) -> Response:
    """Return the state and progress of a job."""
    return _job_response(get_jobs().job(path.id))


@blueprint.post(
    "/jobs/<id>/cancel",
    operation_id="cancel_job",
    responses=json_responses(JobSchema, 400, 404, 507),
)
def cancel(path: JobPath) -> Response:
    """Cancel a job. Rows that have been scored are kept."""
    return _job_response(get_jobs_worker().cancel(path.id))


@blueprint.delete("/jobs/<id>", operation_id="delete_job", responses=empty_responses(400, 404, 507))
def remove(path: JobPath) -> Response:
    """Delete a job in any state, with its texts and predictions."""
    delete(path.id)
    return Response(status=204)


def delete(job_id: str) -> None:
    """Delete a job in any state, and soon its texts and predictions. Raises NoJobError."""
    get_jobs().delete(job_id)
    get_jobs_worker().sweep_soon()


@blueprint.get(
    "/jobs/<id>/rows",
    operation_id="job_rows",
    responses=json_responses(JobRows, 400, 404, 422, 507),
)
def rows(path: JobPath, query: RowsQuery) -> Response:
    """List rows with their predictions, filtered and sorted. Works while the job is running."""
    return json_response(JobRows.model_validate(listed_rows(get_jobs().job(path.id), query)))


@contextmanager
def naming(pointer: str) -> Iterator[None]:
    """Map InputError to an error of the field at `pointer`."""
    try:
        yield
    except InputError as error:
        field = FieldError(pointer=pointer, code=error.code, detail=printable(str(error)))
        raise InvalidRequestError([field]) from error


def listed_rows(job: Job, query: RowsQuery) -> queries.Page:
    """Return the rows of `job` that match `query`."""
    with naming("?column"):
        queries.check_column(get_jobs().database, job, query.column)
    names = RowsQuery.model_fields  # a subclass may have more fields
    row_query = queries.RowQuery(**{name: getattr(query, name) for name in names})
    return queries.page(get_jobs().database, job, row_query)


@blueprint.get(
    "/jobs/<id>/result",
    operation_id="job_result",
    responses=table_responses(400, 404, 409, 422, 507),
)
def result(path: JobPath, query: ResultQuery) -> Response:
    """Download the file with the columns label, score, positive, verdict, stars and error added.

    Equals the output of `reelsense predict --input`. For a cancelled job it contains the rows that
    were scored.
    """
    jobs = get_jobs()
    job = jobs.job(path.id)
    check_ended(job)
    default_suffix = ".jsonl" if job.header is None else ".csv"
    if job.suffix == ".tsv":
        default_suffix = ".tsv"
    suffix = f".{query.format}" if query.format else default_suffix
    if job.header is None and suffix != ".jsonl":
        detail = f"should be jsonl, not {suffix[1:]}: rows of a JSON file may have different keys"
        field = FieldError(pointer="?format", code="wrong-value", detail=detail)
        raise InvalidRequestError([field])
    media_type = next(name for name in MEDIA_TYPES if MEDIA_TYPES[name] == suffix)
    chunks = _result_chunks(jobs, job, suffix)
    response = Response(chunks, content_type=f"{media_type}; charset=utf-8")
    response.headers["Content-Disposition"] = attachment(f"{Path(job.name).stem}-scored{suffix}")
    return response


def attachment(name: str) -> str:
    """Return the header for a download as `name`. Some clients support only ASCII (RFC 6266)."""
    ascii_name = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"


def _result_chunks(jobs: JobRepository, job: Job, suffix: str) -> Iterator[bytes]:
    added = (*job.added, "error")
    schema = OutputSchema(FileFormat(suffix), added, job.names, header=job.header or ())
    for n, chunk in enumerate(jobs.results(job)):
        yield encode(schema, chunk, header=n == 0)
