"""The settings of the server, from flags, environment variables and a file, in this precedence.

Does not know what the settings are used for.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from reelsense.errors import InputError, SettingsError
from reelsense.inference.cache import CACHE_SIZE

PREFIX = "REELSENSE_"
FILE = f"{PREFIX}CONFIG"
"""Environment variable with the path of the file."""

_ONE_RATE = r"[1-9][0-9]{0,8}/(second|minute|hour|day)"
_RATE_FORMAT = "N/second, N/minute, N/hour or N/day"
RATE = re.compile(rf"{_ONE_RATE}(,{_ONE_RATE})*")

_PASSWORD_IN_URL = re.compile(r"://[^/@]*:[^/@]*@")

GROUPS = {
    "Listening": ("host", "port", "max_connections", "read_timeout", "trusted_proxies"),
    "Model": ("model", "cache_size", "workers"),
    "Request limits": (
        "max_concurrent_requests",
        "max_concurrent_bytes",
        "deadline",
        "max_texts",
        "max_characters",
        "max_body",
    ),
    "Jobs": ("max_upload", "max_rows", "max_jobs", "job_retention_hours", "database"),
    "Access": (
        "keys_file",
        "keys",
        "insecure_public",
        "rate_limit",
        "rate_limit_storage",
        "secret",
        "cors_origins",
    ),
    "Log": ("log_level", "log_format", "log_texts"),
}
"""The settings by topic, for the help."""

_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)")


def check_rate(rate: str) -> str:
    """Return `rate`. Raises InputError if it is invalid."""
    if not RATE.fullmatch(rate):
        raise InputError(
            f'invalid rate "{rate}": expected {_RATE_FORMAT}',
            code="invalid-rate",
        )
    return rate


class Settings(BaseModel):
    """The settings of a server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=5000, ge=0, le=65535, description="Port to listen on; 0 selects a free one."
    )
    model: str | None = Field(
        default=None,
        description="Name of an installed model (`reelsense models`) or folder of a bundle; by "
        "default the bundled model.",
    )
    cache_size: int = Field(
        default=CACHE_SIZE,
        ge=0,
        description="Number of predictions to cache; 0 disables the cache.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="Number of server processes. Each loads the model and gets its share of the "
        "cores.",
    )
    # Nearly all of them wait for the network; more waiting requests make better batches.
    max_concurrent_requests: int = Field(
        default=128,
        ge=1,
        le=4096,
        description="Most concurrent requests that run the model; more get 429.",
    )
    max_concurrent_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1,
        description="Most bytes of the bodies of these requests together; more get 429.",
    )
    max_texts: int = Field(default=256, ge=1, description="Most texts per request.")
    max_characters: int = Field(default=200_000, ge=1, description="Most characters per text.")
    max_body: int = Field(default=2 * 1024 * 1024, ge=1, description="Most bytes per request body.")
    max_upload: int = Field(
        default=100 * 1024 * 1024,
        ge=1,
        description="Most bytes of a file that is uploaded as a job.",
    )
    max_rows: int = Field(default=1_000_000, ge=1, description="Most rows of such a file.")
    max_jobs: int = Field(
        default=100, ge=0, description="Most jobs in the database; more get 429. 0 disables jobs."
    )
    job_retention_hours: float = Field(
        default=24.0,
        gt=0,
        le=87_600,
        description="Hours until a job that has ended is deleted, with its texts.",
    )
    database: str | None = Field(
        default=None,
        description="Database of jobs, as postgresql+psycopg://HOST/NAME; by default an SQLite "
        "file in the user's data folder.",
    )
    deadline: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds until a request that has arrived is dropped and gets 504.",
    )
    read_timeout: float = Field(
        default=30.0, gt=0, le=86_400, description="Seconds within which a request has to arrive."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Most open connections; beyond them, the one that is idle longest is closed.",
    )
    keys_file: str | None = Field(
        default=None,
        description="File with the API keys that are accepted; `reelsense key` creates it.",
    )
    keys: SecretStr | None = Field(
        default=None, description="The lines of such a file as text, separated by semicolons."
    )
    insecure_public: bool = Field(
        default=False, description="Allow other machines to use the server without a key."
    )
    rate_limit: str | None = Field(
        default=None,
        description="Most requests per key or, without keys, per address: by default "
        "1200/minute, and unlimited without keys on this machine only.",
    )
    rate_limit_storage: str = Field(
        default="memory://",
        description="Where requests are counted: memory:// (in each process) or redis://HOST:6379.",
    )
    secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Secret that signs session cookies, at least 16 characters; by default a new "
        "one at each start.",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        description="Number of proxies in front whose headers for address, scheme and host are "
        "trusted.",
    )
    cors_origins: str = Field(
        default="",
        description="Sites whose pages may use the JSON interfaces, as https://a.example "
        "https://b.example.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level to log; info includes a line per request."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Format of the log; auto: console on a terminal, else json."
    )
    log_texts: bool = Field(default=False, description="Log the texts that are scored.")

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach the server."""
        return bool(self.trusted_proxies) or not is_loopback(self.host)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: str) -> str:
        for origin in split_list(origins):
            # No patterns: flask-cors would treat some of these characters as a regular expression.
            if not re.fullmatch(r"https?://[^/\s*\\?$^()@#|+]+", origin):
                raise PydanticCustomError(
                    "origins", "Input should be origins, as https://a.example"
                )
        return origins

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, rate: str | None) -> str | None:
        if rate and not RATE.fullmatch(rate):
            raise PydanticCustomError("rate", _RATE_FORMAT)
        return rate


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """Settings, and the origin of each."""

    settings: Settings
    origins: dict[str, str]
    """Flag, environment variable or file of each setting that has one; the others are defaults."""

    def as_toml(self) -> str:
        """Return the settings as a settings file, with origins as comments, without secrets."""
        values = self.settings.model_dump(mode="json")
        lines = [_line(name, value, getattr(self.settings, name)) for name, value in values.items()]
        width = max(map(len, lines))
        return "\n".join(
            f"{line:{width}}  # {self.origins.get(name, 'default')}"
            for name, line in zip(values, lines, strict=True)
        )


def _line(name: str, value: object, original: object) -> str:
    if value is None:
        return f"# {name}: not set"
    if isinstance(original, SecretStr) or (
        isinstance(original, str) and _PASSWORD_IN_URL.search(original)
    ):
        return f"# {name}: set, but not shown"
    return f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    # JSON is valid TOML for these values, except for one character that needs an escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> EffectiveSettings:
    """Return the settings from all sources.

    Args:
        flags: Values of the command line, by name of the setting.
        environment: Environment variables; empty ones are ignored.
        file: A TOML file; by default the one that the variable REELSENSE_CONFIG names.

    Raises:
        SettingsError: Some settings are unknown or invalid; the message names each.
    """
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != FILE and value
    }
    file = file or (Path(environment[FILE]) if environment.get(FILE) else None)
    layers = [
        _read_file(file) if file else _Layer({}, {}),
        _Layer(
            {name.removeprefix(PREFIX).lower(): value for name, value in given.items()},
            {name.removeprefix(PREFIX).lower(): name for name in given},
        ),
        _Layer(flags, {name: flag(name) for name in flags}),
    ]
    faults: list[str] = []
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer.validate(faults)
    if faults:
        raise SettingsError("; ".join(faults))
    origins = {name: origin for layer in layers for name, origin in layer.names.items()}
    return EffectiveSettings(Settings.model_construct(**values), origins)


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


@dataclass(frozen=True, slots=True)
class _Layer:
    """The values of one source, and what each is called there."""

    values: Mapping[str, Any]
    names: dict[str, str]
    file: Path | None = None

    def validate(self, faults: list[str]) -> dict[str, Any]:
        """Return the converted values. If any is invalid, add to `faults` and return none."""
        try:
            if self.file:
                settings = Settings.model_validate(self.values, strict=True)
            else:
                settings = Settings.model_validate_strings(self.values)
        except ValidationError as error:
            faults += [self._fault(detail) for detail in error.errors(include_url=False)]
            return {}
        return {name: getattr(settings, name) for name in settings.model_fields_set}

    def _fault(self, error: ErrorDetails) -> str:
        key = str(error["loc"][0])
        name = f"{self.file}: {key}" if self.file else self.names[key]
        if error["type"] == "extra_forbidden":
            fault = f"{name}: unknown setting{self._suggestion(key)}"
        else:
            value = "" if is_secret(key) else f" {json.dumps(error['input'], default=str)}"
            fault = f"{name}: invalid value{value}: expected {_expected(error)}"
            if key == "secret":
                fault += ", for example from `openssl rand -base64 32`"
        if _KUBERNETES.fullmatch(name) and (key != "port" or "://" in str(error["input"])):
            fault += (
                " (Kubernetes sets this for a service named reelsense: set enableServiceLinks to "
                "false)"
            )
        return fault

    def _suggestion(self, key: str) -> str:
        near = get_close_matches(key, Settings.model_fields, n=1)
        if not near:
            return ""
        return f"; did you mean {near[0] if self.file else variable(near[0])}?"


def _expected(error: ErrorDetails) -> str:
    error_type = error["type"]
    if error_type.endswith("too_short"):
        return f"at least {error['ctx']['min_length']} characters"
    expected = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
    }.get(error_type.split("_")[0])
    prefix = "a number " if error_type.startswith(("greater", "less", "finite")) else ""
    return expected or prefix + error["msg"].removeprefix("Input should be ")


def split_list(text: str) -> list[str]:
    """Return the entries of `text`, which commas or white space separate."""
    return text.replace(",", " ").split()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_secret(name: str) -> bool:
    """Return whether a setting must not be displayed."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def _read_file(path: Path) -> _Layer:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    return _Layer(values, dict.fromkeys(values, str(path)), path)
