"""The settings of the server: names, types, defaults and help.

Does not know where their values come from, nor what they are used for.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    field_validator,
)
from pydantic_core import PydanticCustomError

from reelsense.errors import InputError
from reelsense.feedback.policy import FORMAT, KeepPolicy
from reelsense.inference.cache import CACHE_SIZE

PREFIX = "REELSENSE_"  # of environment variables

_UNIX = "unix:"  # prefix of the path of a socket

_ONE_RATE = r"[1-9][0-9]{0,8}/(second|minute|hour|day)"
RATE_FORMAT = "N/second, N/minute, N/hour or N/day"
ROOT_PATH = r"(/[A-Za-z0-9._~-]+)+"
RATE = re.compile(rf"{_ONE_RATE}(,{_ONE_RATE})*")

# The settings by topic, for the help.
GROUPS = {
    "Listening": (
        *("host", "port", "max_connections", "read_timeout"),
        *("trusted_proxies", "root_path"),
    ),
    "Model": (
        *("model", "models", "allow_label_change", "shadow", "shadow_share"),
        *("cache_size", "workers"),
    ),
    "Request limits": (
        *("max_concurrent_requests", "max_concurrent_bytes", "deadline"),
        *("max_texts", "max_characters", "max_body"),
    ),
    "Jobs": (
        *("max_upload", "max_rows", "max_jobs", "max_jobs_per_key", "max_jobs_bytes"),
        *("job_retention_hours", "database"),
    ),
    "Stored predictions": ("keep_predictions", "keep_texts", "keep_days"),
    "Access": (
        *("keys_file", "keys", "insecure_public", "rate_limit", "rate_limit_storage"),
        *("secret", "cors_origins"),
    ),
    "Log and traces": ("log_level", "log_format", "log_texts", "otlp_endpoint"),
}

URL_SETTINGS = ("database", "otlp_endpoint", "rate_limit_storage")
"""Settings whose value may contain a password."""

_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """The settings of a server. Their docstrings are the help of the flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on: a name, an IP address, or unix:PATH for a Unix domain socket."""
    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    """Port to listen on; 0 selects a free one."""
    model: str | None = None
    """Name of an installed model (`reelsense models`) or folder of a bundle; by default the bundled
    model. For several models, each with the name that requests select it by: NAME=MODEL, repeated
    on the command line, separated by commas elsewhere. The first one is the default."""
    models: str | None = None
    """Directory of model versions (`reelsense models`), in place of --model: serve its champion and
    follow changes of it."""
    allow_label_change: bool = False
    """Accept a model update with other labels, on which clients may depend."""
    shadow: str | None = None
    """Model that scores a share of the texts for comparison: an alias or version of --models, such
    as challenger, or as for --model."""
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the texts that the shadow model scores."""
    cache_size: NonNegativeInt = CACHE_SIZE
    """Number of predictions to cache; 0 disables the cache."""
    workers: PositiveInt = 1
    """Number of server processes. Each loads the model and gets its share of the cores."""
    # Nearly all of them wait for the network; more waiting requests make better batches.
    max_concurrent_requests: Annotated[int, Field(ge=1, le=4096)] = 128
    """Maximum number of concurrent requests that run the model; more get 429."""
    max_concurrent_bytes: PositiveInt = 4 * 1024 * 1024
    """Maximum total size of the bodies of concurrent requests that run the model, in bytes; more
    get 429."""
    max_texts: PositiveInt = 256
    """Maximum number of texts per request."""
    max_characters: PositiveInt = 200_000
    """Maximum characters per text."""
    max_body: PositiveInt = 2 * 1024 * 1024
    """Maximum size of a request body, in bytes."""
    max_upload: PositiveInt = 100 * 1024 * 1024
    """Maximum size of a file that is uploaded as a job, in bytes."""
    max_rows: PositiveInt = 1_000_000
    """Maximum rows of a file that is uploaded as a job."""
    max_jobs: NonNegativeInt = 100
    """Maximum number of jobs in the database; more get 429. 0 disables jobs."""
    max_jobs_per_key: PositiveInt = 25
    """Maximum number of jobs in the database that one API key has created; more get 429."""
    max_jobs_bytes: PositiveInt = 10 * 1024**3
    """Maximum size of the rows of all jobs, in bytes; beyond it, uploads get 507."""
    job_retention_hours: Annotated[float, Field(gt=0, le=87_600)] = 24.0
    """Hours after the end of a job until it is deleted with its texts."""
    database: str | None = None
    """Database of jobs, predictions and feedback, for example postgresql+psycopg://HOST/NAME; by
    default an SQLite file in $XDG_STATE_HOME/reelsense (~/.local/state/reelsense)."""
    keep_predictions: str = "none"
    """Predictions to store in the database: all, unsure, sample:RATE (such as sample:0.01) or
    none."""
    keep_texts: bool = False
    """Store the texts of predictions and feedback; otherwise only their hashes."""
    keep_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """Days after which stored predictions and feedback are deleted; by default they are kept until
    `reelsense feedback forget`."""
    deadline: _Seconds = 60.0
    """Time limit for processing a request, in seconds; then it gets 504."""
    read_timeout: _Seconds = 30.0
    """Time limit for receiving a request, in seconds; then it gets 408."""
    max_connections: PositiveInt = 1000
    """Maximum number of open connections; beyond it, the longest idle connection is closed."""
    keys_file: str | None = None
    """File with the API keys that are accepted; `reelsense key` creates it."""
    keys: SecretStr | None = None
    """Content of a keys file (see --keys-file), with lines separated by semicolons."""
    insecure_public: bool = False
    """Allow other machines to use the server without a key."""
    rate_limit: str | None = None
    """Maximum requests per key or, without keys, per address: by default 1200/minute, and unlimited
    without keys on this machine only."""
    rate_limit_storage: str = "memory://"
    """Where requests are counted: memory:// (in each process) or redis://HOST:6379."""
    secret: SecretStr | None = Field(default=None, min_length=16)
    """Secret that signs session cookies, at least 16 characters; by default random at each start,
    so that sessions end with a restart."""
    trusted_proxies: NonNegativeInt = 0
    """Number of reverse proxies whose X-Forwarded-For, -Proto, -Host and -Prefix headers are
    trusted."""
    root_path: str = ""
    """Path prefix under which a reverse proxy serves the pages and the API, for example
    /reviews."""
    cors_origins: str = ""
    """Origins allowed by CORS, separated by spaces or commas, for example https://a.example
    https://b.example."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level to log; info includes a line per request."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """Format of the log; auto: console on a terminal, otherwise json."""
    log_texts: bool = False
    """Log the texts that are scored."""
    otlp_endpoint: str | None = None
    """Base URL of an OpenTelemetry collector that gets spans for each request, for example
    http://localhost:4318 (OTLP over HTTP; needs the extra otel)."""

    @property
    def socket_path(self) -> str | None:
        """Path of the Unix domain socket to listen on; None: `host` and `port` are used."""
        return self.host.removeprefix(_UNIX) if self.host.startswith(_UNIX) else None

    @property
    def is_reachable(self) -> bool:
        """Whether other machines can reach the server."""
        return bool(self.trusted_proxies) or not is_loopback(self.host)

    @field_validator("host")
    @classmethod
    def _normalize_host(cls, host: str) -> str:
        """Remove the brackets of an IPv6 address, and slashes as in unix:///PATH."""
        if not host.startswith(_UNIX):
            return re.sub(r"\A\[([^][]*:[^][]*)\]\Z", r"\1", host)
        path = re.sub(r"^/+", "/", host.removeprefix(_UNIX))
        if not path or "\0" in path:
            raise PydanticCustomError(
                "socket", "Input should be unix:PATH, such as unix:/run/x.sock"
            )
        return f"{_UNIX}{path}"

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: str) -> str:
        for origin in split_list(origins):
            # No patterns: flask-cors would treat some of these characters as a regular expression.
            if not re.fullmatch(r"https?://[^/\s*\\?$^()@#|+]+", origin):
                raise PydanticCustomError(
                    "origins", "Input should be origins, for example https://a.example"
                )
        return origins

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, path: str) -> str:
        if not re.fullmatch(rf"({ROOT_PATH})?/?", path):
            raise PydanticCustomError("path", "Input should be a path, for example /reviews")
        return path.rstrip("/")

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url and not re.fullmatch(r"https?://[^/\s]+\S*", url):
            raise PydanticCustomError(
                "url", "Input should be a URL, for example http://localhost:4318"
            )
        return url

    @field_validator("keep_predictions")
    @classmethod
    def _check_policy(cls, policy: str) -> str:
        try:
            KeepPolicy.parse(policy)
        except InputError as error:
            raise PydanticCustomError("policy", FORMAT) from error
        return policy

    @property
    def uses_database(self) -> bool:
        """Whether the server cannot do what it is configured for without the database."""
        return bool(self.max_jobs) or self.keep_predictions != "none"

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, rate: str | None) -> str | None:
        if rate and not RATE.fullmatch(rate):
            raise PydanticCustomError("rate", RATE_FORMAT)
        return rate


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def is_secret(name: str) -> bool:
    """Return whether a setting must not be displayed."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def split_list(text: str) -> list[str]:
    """Return the entries of `text`, which commas or white space separate."""
    return text.replace(",", " ").split()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host.startswith(_UNIX):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
