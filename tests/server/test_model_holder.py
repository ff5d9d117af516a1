"""Model updates of one server process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from reelsense.server.app import create_app
from reelsense.server.model_holder import ModelHolder
from reelsense.server.settings import Settings
from tests import tiny
from tests.server.conftest import ChangingSource, wait_until_ready
from tests.server.middleware.test_metrics import read_samples
from tests.waiting import wait_until

LABELS = ("negative", "positive")


class Loads:
    """A holder of a model that changes, and the outcomes of its loads."""

    def __init__(self, labels: Sequence[str], /, **options: object) -> None:
        self.source = ChangingSource(tiny.classifier(tuple(labels)))
        self.outcomes: list[bool] = []
        self.holder = ModelHolder(
            self.source,
            on_batch=lambda *_: None,
            on_load=lambda classifier: self.outcomes.append(classifier is not None),
            on_reload=lambda: None,
            **options,  # type: ignore[arg-type]
        )
        wait_until(lambda: self.outcomes)

    def swap(self, labels: Sequence[str]) -> bool:
        """Change the model. Return whether it is served."""
        count = len(self.outcomes)
        self.source.classifier = tiny.classifier(tuple(labels))
        self.holder.reload()
        wait_until(lambda: len(self.outcomes) > count)
        return self.outcomes[-1]


@pytest.fixture
def loads() -> Iterator[Callable[..., Loads]]:
    opened: list[Loads] = []

    def create(labels: Sequence[str] = LABELS, /, **options: object) -> Loads:
        opened.append(Loads(labels, **options))
        return opened[-1]

    yield create
    for model in opened:
        model.holder.close()


@pytest.mark.parametrize("labels", [("positive", "negative"), ("bad", "good")])
def test_holder_rejects_other_labels(
    loads: Callable[..., Loads], caplog: pytest.LogCaptureFixture, labels: tuple[str, ...]
) -> None:
    model = loads()
    assert not model.swap(labels)
    assert model.holder.classifier().labels == LABELS
    assert f"labels {', '.join(labels)}, expected negative, positive" in caplog.text
    assert "--allow-label-change" in caplog.text
    assert model.swap(LABELS)


@pytest.mark.parametrize("labels", [("positive", "negative"), ("bad", "good")])
def test_holder_accepts_other_labels_if_allowed(
    loads: Callable[..., Loads], labels: tuple[str, ...]
) -> None:
    model = loads(allow_label_change=True)
    assert model.swap(labels)
    assert model.holder.classifier().labels == labels


def test_holder_accepts_first_model_of_server(loads: Callable[..., Loads]) -> None:
    assert loads(("bad", "good")).outcomes == [True]


def test_holder_of_replaced_worker_rejects_other_labels(loads: Callable[..., Loads]) -> None:
    """The other workers of the server still serve the labels that it started with."""
    model = loads(("bad", "good"), labels=LABELS)
    assert model.outcomes == [False]
    assert model.swap(LABELS)


def test_rejected_labels_are_counted_and_server_stays_ready() -> None:
    source = ChangingSource(tiny.classifier())
    client = create_app(Settings(), source).test_client()
    wait_until_ready(client)
    source.classifier = tiny.classifier(("bad", "good"))
    wait_until(lambda: read_samples(client)("model_loads_total", outcome="rejected") == 1)
    assert client.get("/readyz").status_code == 200
    assert client.get("/v1/info").get_json()["model"]["labels"] == list(LABELS)


def test_app_accepts_other_labels_with_setting() -> None:
    source = ChangingSource(tiny.classifier())
    client = create_app(Settings(allow_label_change=True), source).test_client()
    wait_until_ready(client)
    source.classifier = tiny.classifier(("bad", "good"))
    wait_until(lambda: client.get("/v1/info").get_json()["model"]["labels"] == ["bad", "good"])
