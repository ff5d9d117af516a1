import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray

from reelsense.bundle import Bundle
from reelsense.inference.batching import OnBatch
from reelsense.inference.classifier import Classifier
from reelsense.server.app import create_app
from reelsense.server.model_holder import ModelHolder
from reelsense.server.model_source import ModelSource, create_classifier
from reelsense.server.settings import Settings
from reelsense.server.state import AppState
from tests import tiny

Make = Callable[..., Flask]


@pytest.fixture(autouse=True, scope="module")
def closed_models() -> Iterator[None]:
    """Close the models of a module's applications: hundreds of watching threads slow down tests."""
    opened: list[ModelHolder] = []
    init = ModelHolder.__init__

    def tracked(holder: ModelHolder, *args: Any, **options: Any) -> None:
        init(holder, *args, **options)
        opened.append(holder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelHolder, "__init__", tracked)
        yield
    for holder in opened:
        holder.close(0)


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


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Create applications with running jobs that share a database."""
    states: list[AppState] = []

    def make(
        model: Classifier | ModelSource | Mapping[str, ModelSource] | None = None,
        *,
        start: bool = True,
        **settings: Any,
    ) -> Flask:
        values = {"database": f"sqlite:///{tmp_path / 'jobs.db'}"} | settings
        app = create_app(Settings.model_validate(values), model or tiny.star_classifier())
        wait_until_ready(app.test_client())
        states.append(app.extensions["reelsense"])
        if start:
            states[-1].jobs_worker.start()
        return app

    yield make
    for state in states:
        state.feedback_writer.close()
        state.jobs_worker.close()


class BundleSource:
    """A model source with a bundle that never changes."""

    def __init__(self, bundle: Bundle, settings: Settings | None = None) -> None:
        self._bundle, self._settings = bundle, settings or Settings()

    def poll(self) -> object:
        return None

    def load(self, on_batch: OnBatch) -> Classifier:
        return create_classifier(self._bundle, self._settings, on_batch)


class ChangingSource:
    """A model source whose classifier the tests change."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def poll(self) -> object:
        return self.classifier

    def load(self, on_batch: OnBatch) -> Classifier:
        return self.classifier


class Gate:
    """A network that waits while it is closed, and counts the rows that it reads."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.rows = 0

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        self.rows += len(ids)
        assert self.open.wait(20)
        return tiny.count_moods(ids, mask)


def gated(**settings: object) -> tuple[Flask, Gate]:
    """Return a ready application whose network now waits, and its gate."""
    gate = Gate()
    app = create_app(Settings.model_validate(settings), Classifier(tiny.bundle(), network=gate))
    wait_until_ready(app.test_client())
    gate.open.clear()
    gate.rows = 0
    return app, gate
