"""Passwords in URLs do not appear in output, errors or logs."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from reelsense.cli import cli
from reelsense.errors import ReelsenseError
from reelsense.jobs.database import Database
from reelsense.server.middleware.rate_limit import check_storage
from reelsense.server.settings import Settings
from reelsense.text.urls import without_secrets

pytestmark = pytest.mark.security

SECRET = "hunter2"  # noqa: S105
URLS = [
    "redis://:hunter2@cache:6379",
    "redis://user:hunter2@cache:6379/0",
    "redis://hunter2@cache",
    "rediss://:hunter2@cache:6379?ssl_cert_reqs=none",
    "redis://cache:6379?password=hunter2",
    "redis://cache:6379/?username=a&password=hunter2#x",
    "redis://:hunter2/x@cache:6379",
    "redis://:x/hunter2@cache:6379",
    "redis://:x#hunter2@cache:6379",
    "redis://:x?hunter2@cache:6379",
    "redis://:x@hunter2@cache:6379",
    "redis://:hunter2@[::1]:6379",
    "redis+unix://:hunter2@/var/run/redis.sock",
    "redis+sentinel://:hunter2@a:26379,b:26379/master",
    "redis://:hunter2@cache:port",
    "redsi://:hunter2@cache",
    "postgresql+psycopg://user:hunter2@db.example/reviews",
    "postgresql+psycopg://user:hunter2@/reviews?host=/tmp",
    "postgresql+psycopg:///reviews?host=db&user=a&password=hunter2",
    "postgresql+psycopg://db:5432/reviews?sslpassword=hunter2",
    "mysql+pymysql://user:%68hunter2@db/reviews",
    "sqlite+pysqlcipher://:hunter2@/nowhere/reviews.db",
    "sqlite:////nowhere/reviews.db?key=hunter2",
    "user:hunter2@db",
    "://hunter2@db",
]


@pytest.mark.parametrize("url", URLS)
def test_url_is_shown_without_password(url: str) -> None:
    assert SECRET not in without_secrets(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379", "redis://cache:6379"),
        ("memory://", "memory://"),
        ("sqlite:////var/lib/jobs.db", "sqlite:////var/lib/jobs.db"),
        (
            "postgresql+psycopg://user:pw@db.example:5432/a",
            "postgresql+psycopg://db.example:5432/...",
        ),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/..."),
        ("redis://a:b@c@d", "redis://..."),
    ],
)
def test_url_is_shown_with_scheme_and_host(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize("setting", ["--database", "--rate-limit-storage"])
@pytest.mark.parametrize("url", URLS)
def test_config_does_not_show_password(url: str, setting: str) -> None:
    result = CliRunner().invoke(cli, ["config", setting, url, "--rate-limit", "1/day"])
    assert setting.lstrip("-").replace("-", "_") in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize("url", URLS)
def test_errors_do_not_show_password(url: str) -> None:
    for attempt in (
        lambda: check_storage(Settings(rate_limit_storage=url)),
        lambda: Database(url),
    ):
        message = ""
        try:
            attempt()
        except ReelsenseError as error:
            message = str(error)
        assert SECRET not in message
