"""The command `reelsense doctor`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reelsense.cli import options
from reelsense.cli.output import STDOUT, json_output, write_result
from reelsense.errors import ReelsenseError
from reelsense.text.controls import escape_controls

if TYPE_CHECKING:
    from reelsense.server.settings import Settings

# Instruction sets that int8 networks use, as Linux calls them.
_FEATURES = r"\b(avx2|avx_vnni|avx512f|avx512_vnni|amx_int8|amx_bf16|asimddp|i8mm|sve2?)\b"


@dataclass(frozen=True, slots=True)
class _Check:
    """The result of a check: `status` is ok, warning or failed."""

    name: str
    status: str
    detail: str


class _DoctorWarning(Exception):  # noqa: N818  # not an error
    """A condition that the user should know about, and that may be intended."""


@click.command(short_help="Check the installation, the model and the server's surroundings.")
@json_output
@options.model
def doctor(json_file: Path | None, model: str | None) -> None:
    """Check versions, processor, model, a prediction, and what the server needs.

    Changes nothing. The server's settings are those of environment variables and of the file in
    REELSENSE_CONFIG. The exit code is 1 if a check failed.
    """
    checks: list[_Check] = []
    for name, check in _checks(model):
        checks.append(_run(name, check))
        click.echo(_line(checks[-1]), err=json_file == STDOUT)
    write_result(json_file, {"checks": list(map(asdict, checks))})
    sys.exit(any(check.status == "failed" for check in checks))


def _checks(model: str | None) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("system", _system),
        ("packages", _packages),
        ("processor", _processor),
        ("model", lambda: _model(model)),
        ("prediction", lambda: _prediction(model)),
        ("folders", _folders),
        ("settings", lambda: _check_settings(_settings())),
        ("address", lambda: _address(_settings())),
        ("database", lambda: _database(_settings())),
    ]


def _run(name: str, check: Callable[[], str]) -> _Check:
    try:
        return _Check(name, "ok", check())
    except _DoctorWarning as warning:
        return _Check(name, "warning", str(warning))
    except Exception as error:  # noqa: BLE001  # the other checks may find the cause
        return _Check(name, "failed", str(error) or repr(error))


def _line(check: _Check) -> str:
    colour = {"ok": "green", "warning": "yellow", "failed": "red"}[check.status]
    status = click.style(f"{check.status:8}", fg=colour)
    return f"{status} {check.name:11} {escape_controls(check.detail)}"


def _system() -> str:
    return f"Python {platform.python_version()}, {platform.platform()}"


def _packages() -> str:
    """Return the versions of the required packages, and of those of extras that are installed."""
    names = {
        re.split(r"[^\w.-]", requirement)[0]
        for requirement in requires("reelsense") or ()
        if not re.search(r"extra == .(dev|bench)", requirement)
    }
    found = ["reelsense " + version("reelsense")]
    for name in sorted(names, key=str.casefold):
        try:
            found += [] if name == "reelsense" else [f"{name} {version(name)}"]
        except PackageNotFoundError:  # of an extra
            continue
    return ", ".join(found)


def _processor() -> str:
    from reelsense.inference.engine import available_cores, without_telemetry

    without_telemetry()
    import openvino

    core = openvino.Core()
    model = core.get_property("CPU", "FULL_DEVICE_NAME")
    types = sorted(set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")) - {"EXPORT_IMPORT"})
    info = Path("/proc/cpuinfo")
    features = sorted(set(re.findall(_FEATURES, info.read_text()))) if info.exists() else []
    return f"{model}, {available_cores()} cores, {' '.join([*types, *features])}"


def _model(model: str | None) -> str:
    from reelsense import registry
    from reelsense.bundle import read_bundle

    folder = registry.find(model)
    manifest = read_bundle(folder).manifest
    return f"{manifest.name} {manifest.version}, all files verified ({folder})"


def _prediction(model: str | None) -> str:
    from reelsense.inference.classifier import Classifier

    started = time.perf_counter()
    classifier = Classifier.load(model)
    loaded = time.perf_counter()
    classifier.predict(["A joy from the first scene to the last."])
    first = time.perf_counter()
    [prediction] = classifier.predict(["A joy from the last scene to the first."])
    second = time.perf_counter()
    return (
        f"{prediction.label} {prediction.score:.1%} in {(second - first) * 1000:.1f} ms, the first "
        f"in {(first - loaded) * 1000:.1f} ms; loaded in {loaded - started:.1f} s"
    )


def _folders() -> str:
    """Check the folders for temporary files and for the default database."""
    import tempfile

    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    except RuntimeError as error:  # a user id without a home folder, as in a container
        raise _DoctorWarning("no home folder: set XDG_STATE_HOME, or --database") from error
    details = []
    for folder in (Path(tempfile.gettempdir()), state):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OSError(f"{existing} is not writable: expected a folder for {folder}")
        details.append(f"{folder}: {shutil.disk_usage(existing).free / 1e9:,.1f} GB free")
    return ", ".join(details)


def _settings() -> Settings:
    try:
        import reelsense.server  # noqa: F401  # checks the extra
    except ImportError as error:
        raise _DoctorWarning(f"not checked: {error}") from error
    from reelsense.cli.setting_flags import effective_settings

    return effective_settings(None, {}).settings


def _check_settings(settings: Settings) -> str:
    from reelsense.server.process.run import check_start

    check_start(settings)
    return "the server can start with the settings of the environment"


def _address(settings: Settings) -> str:
    from reelsense.server.process.address import bind_address, check_free

    if settings.socket_path:
        return f"{settings.host}: not checked"  # the check would remove a stale socket
    try:
        check_free(settings)
    except ReelsenseError as error:
        raise _DoctorWarning(str(error)) from error
    return f"{bind_address(settings)} is free"


def _database(settings: Settings) -> str:
    from reelsense.jobs.database import REVISION, stored_revision
    from reelsense.jobs.engine import default_url
    from reelsense.text.urls import without_secrets

    if not settings.max_jobs:
        return "not used: --max-jobs is 0"
    url = settings.database or default_url()
    revision, name = stored_revision(url), without_secrets(url)
    if revision is None:
        return f"{name}: new, created when the server starts"
    if revision > REVISION:
        raise ReelsenseError(
            f"{name} was written by a newer version of reelsense (schema {revision}, expected "
            f"{REVISION}): upgrade reelsense or use another database"
        )
    migrated = "" if revision == REVISION else f", migrated to {REVISION} when the server starts"
    return f"{name}: schema {revision}{migrated}"
