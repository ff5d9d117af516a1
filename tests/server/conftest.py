import time
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from reelsense.server import create_app
from tests import tiny


def wait_until_ready(client: FlaskClient) -> None:
    deadline = time.monotonic() + 10
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def app() -> Flask:
    return create_app(model=tiny.classifier())


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    with app.test_client() as client:
        wait_until_ready(client)
        yield client
