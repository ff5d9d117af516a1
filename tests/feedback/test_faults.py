"""A real server that is killed, and whose database is down, locked or full. A slow test."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from reelsense.feedback import queries
from reelsense.feedback.queries import FeedbackQuery
from reelsense.jobs.database import Database
from tests import databases, tiny_network
from tests.processes import ask, server
from tests.server.process.test_faults import metrics, port_of
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

on_postgresql = pytest.mark.parametrize("url", [databases.SERVER], indirect=True)
on_sqlite = pytest.mark.parametrize("url", [databases.SQLITE], indirect=True)


@pytest.fixture
def options(url: str, tmp_path: Path) -> list[str]:
    """Options of a server with a tiny model that stores all predictions in an empty database."""
    tiny_network.write(tmp_path / "model", "tiny")
    more = ["--keep-predictions", "all", "--keep-texts", "--log-level", "warning"]
    return [f"--database={url}", f"--model={tmp_path / 'model'}", "--deadline", "3", *more]


@contextmanager
def killed(options: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server in a process group that is killed at the end, at the latest."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "reelsense", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        wait_until(lambda: ask(f"{match[0]}/readyz").status == 200, 60)
        yield match[0], process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


def post(connection: http.client.HTTPConnection, path: str, body: object) -> tuple[int, bytes]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def acknowledged(address: str, client: int) -> Iterator[str]:
    """Give feedback on predictions and texts until the server dies; yield the stored ids."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=60)
    with closing(connection):
        for n in range(1_000_000):
            body: dict[str, object] = {"text": f"good film {client} {n}", "label": "negative"}
            try:
                if n % 4 == 0:
                    _, raw = post(connection, "/v1/predict", {"text": body.pop("text")})
                    body["prediction_id"] = json.loads(raw)["predictions"][0]["prediction_id"]
                status, raw = post(connection, "/v1/feedback", body)
            except (OSError, http.client.HTTPException):
                return
            assert status == 201, raw
            yield json.loads(raw)["id"]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigkill_loses_no_acknowledged_feedback(url: str, options: list[str], workers: int) -> None:
    ids: list[str] = []
    with (
        killed([*options, f"--workers={workers}"]) as (address, process),
        ThreadPoolExecutor(32) as pool,
    ):
        clients = [
            pool.submit(lambda client: ids.extend(acknowledged(address, client)), n)
            for n in range(32)
        ]
        wait_until(lambda: len(ids) >= 400, 120)
        os.killpg(process.pid, signal.SIGKILL)
        for client in clients:
            client.result()
    with closing(Database(url)) as database:
        stored = {entry.id: entry for entry in queries.each(database, FeedbackQuery())}
        assert set(ids) <= stored.keys()
        assert len(stored) <= len(ids) + 32
        assert sum(entry.predicted is not None for entry in stored.values()) >= len(ids) // 5
    with server(*options) as (address, _):  # the database is intact
        assert ask(f"{address}/v1/feedback", {"text": "a", "label": "negative"}).status == 201


def predicted(address: str, count: int = 30) -> float:
    """Check that predictions succeed, and return the duration of the slowest, in seconds."""
    slowest = 0.0
    for n in range(count):
        begun = time.monotonic()
        answer = ask(f"{address}/v1/predict", {"text": f"good film {n}"})
        slowest = max(slowest, time.monotonic() - begun)
        assert answer.status == 200
    return slowest


def give(address: str) -> int:
    return ask(f"{address}/v1/feedback", {"text": "good film", "label": "negative"}).status


def dropped(address: str) -> float:
    return metrics(address)['reelsense_kept_predictions_total{outcome="dropped"}']


@on_postgresql
def test_stopped_database_fails_no_prediction(
    options: list[str], database_server: databases.DatabaseServer
) -> None:
    with server(*options) as (address, _):
        assert give(address) == 201
        database_server.stop()
        try:
            assert predicted(address) < 2
            assert give(address) == 507
            wait_until(lambda: dropped(address) > 0)
        finally:
            database_server.start()
        wait_until(lambda: give(address) == 201, 30)
        count = metrics(address)['reelsense_kept_predictions_total{outcome="stored"}']
        # The writer drops predictions for a second after an error.
        wait_until(
            lambda: (
                predicted(address, 1)
                and metrics(address)['reelsense_kept_predictions_total{outcome="stored"}'] > count
            )
        )


@on_sqlite
def test_locked_database_delays_no_prediction(url: str, options: list[str]) -> None:
    with server(*options) as (address, _):
        assert give(address) == 201
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert predicted(address) < 2
            assert give(address) == 504  # after --deadline
            assert predicted(address) < 2
            other.execute("ROLLBACK")
        assert give(address) == 201
        wait_until(
            lambda: metrics(address)['reelsense_kept_predictions_total{outcome="stored"}'] == 60
        )
        assert dropped(address) == 0


FULL = {
    databases.SQLITE: """
        CREATE TRIGGER full_{table} BEFORE INSERT ON {table}
        BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END""",
    databases.SERVER: """
        CREATE OR REPLACE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_{table} BEFORE INSERT ON {table} EXECUTE FUNCTION is_full()""",
}


@contextmanager
def full(url: str) -> Iterator[None]:
    """Reject new rows in the database, as a full disk does."""
    engine = create_engine(url)
    suffix = "" if url.startswith(databases.SQLITE) else " ON {table}"
    with engine.begin() as connection:
        for table in ("predictions", "feedback"):
            statement = FULL[url.split(":")[0].split("+")[0]].format(table=table)
            connection.execute(text(statement))
    try:
        yield
    finally:
        with engine.begin() as connection:
            for table in ("predictions", "feedback"):
                connection.execute(text(f"DROP TRIGGER full_{table}{suffix.format(table=table)}"))
        engine.dispose()


def test_full_database_fails_no_prediction(url: str, options: list[str]) -> None:
    with server(*options) as (address, _):
        assert give(address) == 201
        with full(url):
            assert predicted(address) < 2
            assert give(address) == 507
            wait_until(lambda: dropped(address) > 0)
        assert give(address) == 201


def test_many_clients_give_feedback_without_errors(url: str, options: list[str]) -> None:
    statuses: Counter[int] = Counter()
    lock = threading.Lock()
    with server(*options) as (address, _):
        predicted(address, 1)

        def send(client: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=60)
            with closing(connection):
                for n in range(40):
                    body = {"text": f"good film {client} {n}", "label": "negative"}
                    status, _ = post(connection, "/v1/feedback", body)
                    with lock:
                        statuses[status] += 1

        begun = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(send, range(32)))
        print(f"{1280 / (time.monotonic() - begun):,.0f} requests per second from 32 clients")
        assert statuses == {201: 1280}
    with closing(Database(url)) as database:
        assert queries.stats(database).total == 1280
