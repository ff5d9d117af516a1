"""Helpers that create jobs over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from reelsense.inference.batching import Network
from reelsense.inference.classifier import Classifier
from tests import tiny
from tests.server.conftest import Gate
from tests.waiting import wait_until

TABLE = 'id,review,label\n1,a good film,x\n2,,y\n3,"a bad, ""awful"" film",z\n4,one,two,three\n'

MANY = "review\n" + "".join(f"{'good' if n % 3 else 'bad'} film\n" for n in range(300))


def send(client: FlaskClient, body: str | bytes = TABLE, **query: str) -> TestResponse:
    parameters = {"name": "films.csv", "column": "review"} | query
    return client.post("/v1/jobs", query_string=parameters, data=body)


def ended(client: FlaskClient, name: str) -> dict[str, Any]:
    """Wait until the job has ended and return it."""

    def job() -> dict[str, Any]:
        fields: dict[str, Any] = client.get(f"/v1/jobs/{name}").get_json()
        return fields

    wait_until(lambda: job()["state"] in ("done", "failed"))
    return job()


def model(network: Network = tiny.count_moods, **fields: Any) -> Classifier:
    """Return a classifier with these fields of the manifest."""
    base = tiny.bundle()
    return Classifier(replace(base, manifest=replace(base.manifest, **fields)), network=network)


class Slow:
    """A classifier whose network waits while its gate is closed."""

    def __init__(self, **fields: Any) -> None:
        self.gate = Gate()
        self.classifier = model(self.gate, **fields)
