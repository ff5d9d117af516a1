"""The settings of the server: flags over environment over a file over defaults.

Knows values and where they come from; does not know what is done with them.
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
"""The variable that names the file."""

_ONE_RATE = r"[1-9][0-9]{0,8}/(second|minute|hour|day)"
RATE = re.compile(rf"{_ONE_RATE}(,{_ONE_RATE})*")

_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
"""In an address."""

GROUPS = {
    "Listening": ("host", "port", "max_connections", "read_timeout", "trusted_proxies"),
    "The model": ("model", "cache_size", "workers"),
    "Limits of requests": (
        "max_concurrent_requests",
        "max_concurrent_bytes",
        "deadline",
        "max_texts",
        "max_characters",
        "max_body",
    ),
    "Jobs": ("max_upload", "max_rows", "max_jobs", "job_retention_hours", "database"),
    "Who may ask": (
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
"""The settings by what they are about, for people who look for one."""

_OF_KUBERNETES = re.compile(rf"{PREFIX}(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)")


def check_rate(rate: str) -> str:
    """Return `rate`. Raises InputError if it is invalid."""
    if not RATE.fullmatch(rate):
        raise InputError(
            f'invalid rate "{rate}": expected N/second, N/minute, N/hour or N/day',
            code="invalid-rate",
        )
    return rate


class Settings(BaseModel):
    """What can be set about a server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(
        default=5000, ge=0, le=65535, description="The port to listen on; 0: any that is free."
    )
    model: str | None = Field(
        default=None,
        description="Name of an installed model (`reelsense models`) or folder of a bundle; by "
        "default the bundled model.",
    )
    cache_size: int = Field(
        default=CACHE_SIZE,
        ge=0,
        description="Answers kept for texts that come again; 0: every text is computed.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="Processes that serve, each with the whole model and its share of the cores.",
    )
    # Nearly all of them wait for the network, which finds the better batches the more there are.
    max_concurrent_requests: int = Field(
        default=128,
        ge=1,
        le=4096,
        description="Requests for the model in hand at a time; more get 429.",
    )
    max_concurrent_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1,
        description="Bytes of their bodies in hand at a time; more get 429.",
    )
    max_texts: int = Field(default=256, ge=1, description="The most texts in one request.")
    max_characters: int = Field(
        default=200_000, ge=1, description="The longest text, in characters."
    )
    max_body: int = Field(
        default=2 * 1024 * 1024, ge=1, description="The longest request body, in bytes."
    )
    max_upload: int = Field(
        default=100 * 1024 * 1024,
        ge=1,
        description="The largest file of texts that is sent as a job, in bytes.",
    )
    max_rows: int = Field(default=1_000_000, ge=1, description="The most rows of such a file.")
    max_jobs: int = Field(
        default=100, ge=0, description="Jobs kept at a time; more get 429. 0: there are no jobs."
    )
    job_retention_hours: float = Field(
        default=24.0,
        gt=0,
        le=87_600,
        description="Hours after which a job that has ended is deleted with its texts.",
    )
    database: str | None = Field(
        default=None,
        description="Where jobs are kept, as postgresql+psycopg://HOST/NAME; by default an SQLite "
        "file of the user's.",
    )
    deadline: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds after which a request that has arrived is given up.",
    )
    read_timeout: float = Field(
        default=30.0, gt=0, le=86_400, description="Seconds in which a request has to arrive."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Connections open at a time; for one more the one idle longest is closed.",
    )
    keys_file: str | None = Field(
        default=None, description="File of the API keys that open the server: `reelsense key`."
    )
    keys: SecretStr | None = Field(
        default=None, description="The same as text: lines of such a file, parted by ;."
    )
    insecure_public: bool = Field(
        default=False, description="Listen off this machine without keys."
    )
    rate_limit: str | None = Field(
        default=None,
        description="Requests of each key or, without keys, each address: 1200/minute, but none "
        "without keys on this machine alone.",
    )
    rate_limit_storage: str = Field(
        default="memory://",
        description="Where they are counted: by each process for itself, or redis://HOST:6379.",
    )
    secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Signs the cookies of those who sign in, 16 characters or more; by default new "
        "at each start.",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        description="Proxies in front, whose word on address, scheme and host is taken.",
    )
    cors_origins: str = Field(
        default="",
        description="Sites whose pages may ask, as https://a.example https://b.example.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged; info has a line for every request."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="The form of the log; auto: console on a terminal, else json."
    )
    log_texts: bool = Field(default=False, description="Log the texts that are scored.")

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach the server."""
        return bool(self.trusted_proxies) or not is_loopback(self.host)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for each in split_list(origins):
            # No patterns, as flask-cors would take some of these signs: they let others in.
            if not re.fullmatch(r"https?://[^/\s*\\?$^()@#|+]+", each):
                raise PydanticCustomError("origins", "Input should be as https://a.example")
        return origins

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, rate: str | None) -> str | None:
        try:
            return check_rate(rate) if rate else rate
        except InputError as error:
            raise PydanticCustomError("rate", "{error}", {"error": str(error)}) from None


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """Settings, and where each of them was set."""

    settings: Settings
    origins: dict[str, str]
    """The name of a flag, a variable or a file; "default" for the rest."""

    def as_toml(self) -> str:
        """Return the settings as the file that would set them; secrets are left out."""
        values = self.settings.model_dump(mode="json")
        lines = [_line(name, value, getattr(self.settings, name)) for name, value in values.items()]
        width = max(map(len, lines))
        return "\n".join(
            f"{line:{width}}  # {self.origins.get(name, 'default')}"
            for name, line in zip(values, lines, strict=True)
        )


def _line(name: str, value: object, kept: object) -> str:
    if value is None:
        return f"# {name}: not set"
    if isinstance(kept, SecretStr) or (isinstance(kept, str) and _PASSWORD.search(kept)):
        return f"# {name}: set, and not shown"
    return f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    # TOML writes these as JSON does, but for one more character that needs an escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None = None
) -> EffectiveSettings:
    """Return the settings that `flags` (by field), `environment` and `file` make.

    A variable that is empty is not set; without a `file`, REELSENSE_CONFIG names it. Raises
    SettingsError naming every flag, variable and key that is unknown or ill-typed.
    """
    given = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name != FILE and value
    }
    file = file or (Path(environment[FILE]) if environment.get(FILE) else None)
    layers = [
        _of_file(file) if file else _Layer({}, {}),
        _Layer(
            {name.removeprefix(PREFIX).lower(): value for name, value in given.items()},
            {name.removeprefix(PREFIX).lower(): name for name in given},
        ),
        _Layer(flags, {name: flag(name) for name in flags}),
    ]
    faults: list[str] = []
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer.checked(faults)
    if faults:
        raise SettingsError("; ".join(faults))
    origins = {name: origin for layer in layers for name, origin in layer.names.items()}
    return EffectiveSettings(Settings.model_construct(**values), origins)


def flag(name: str) -> str:
    """Return the flag of the field `name`."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable of the field `name`."""
    return f"{PREFIX}{name.upper()}"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values by field, and what each is called where it was set."""

    values: Mapping[str, Any]
    names: dict[str, str]
    file: Path | None = None

    def checked(self, faults: list[str]) -> dict[str, Any]:
        """Return the values as what they are; add to `faults` what is wrong with them."""
        try:
            if self.file:
                made = Settings.model_validate(self.values, strict=True)
            else:
                made = Settings.model_validate_strings(self.values)
        except ValidationError as error:
            faults += [self._fault(each) for each in error.errors(include_url=False)]
            return {}
        return {name: getattr(made, name) for name in made.model_fields_set}

    def _fault(self, error: ErrorDetails) -> str:
        key = str(error["loc"][0])
        name = f"{self.file}: {key}" if self.file else self.names[key]
        if error["type"] == "extra_forbidden":
            fault = f"{name}: there is no such setting{self._meant(key)}"
        else:
            fault = f"{name}: {_wanted(error)}"
            if is_secret(key):
                fault += ": `openssl rand -base64 32` makes one" if key == "secret" else ""
            elif error["type"] != "rate":  # which says it already
                fault += f", not {error['input']!r}"
        if _OF_KUBERNETES.fullmatch(name) and (key != "port" or "://" in str(error["input"])):
            fault += (
                " (Kubernetes sets this for a service named reelsense: set enableServiceLinks to "
                "false)"
            )
        return fault

    def _meant(self, key: str) -> str:
        near = get_close_matches(key, Settings.model_fields, n=1)
        if not near:
            return ""
        how = near[0] if self.file else variable(near[0])
        return f"; did you mean {how}?"


def _wanted(error: ErrorDetails) -> str:
    """Return what the value should be, without pydantic's words where there are plainer ones."""
    kind = error["type"]
    if kind.endswith("too_short"):
        return f"should have {error['ctx']['min_length']} characters or more"
    plain = {
        "int": "should be a whole number",
        "float": "should be a number",
        "bool": "should be true or false",
        "string": "should be text",
    }
    return plain.get(kind.split("_")[0]) or error["msg"].removeprefix("Input ")


def split_list(text: str) -> list[str]:
    """Return the entries of `text`, parted by commas or white space."""
    return text.replace(",", " ").split()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_secret(name: str) -> bool:
    """Say whether the field `name` is not to be shown."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def _of_file(path: Path) -> _Layer:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    return _Layer(values, dict.fromkeys(values, str(path)), path)
