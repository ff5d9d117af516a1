import pytest

from load import Client, Endpoint, Load, LoadError, measure, percentile, wait_for_answer
from tests.benchmarks.echo import echo
from tests.waiting import wait_until


class FakeMeter:
    """A server that uses one processor second between two calls."""

    calls = 0

    def cpu_seconds(self) -> float:
        self.calls += 1
        return float(self.calls)

    def memory_mb(self) -> float:
        return 7.0


def test_measure_returns_rate_and_latency_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.MIN_ANSWERS", 1)
    with echo(seconds=0.05) as server, Load(server.endpoint(), clients=4) as load:
        metrics = measure(load, FakeMeter(), seconds=0.5)
    assert 8 < metrics.reviews_per_s <= 81
    assert 0.05 <= metrics.p50_s <= metrics.p95_s <= metrics.p99_s < 1
    assert metrics.cpu_s == pytest.approx(1 / metrics.answers)
    assert 0 < metrics.client_cpu_s < 0.02
    assert metrics.peak_mb == 7
    assert not metrics.errors


def test_measure_goes_on_until_there_are_enough_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.MIN_ANSWERS", 20)
    with echo(seconds=0.01) as server, Load(server.endpoint(), clients=1) as load:
        metrics = measure(load, FakeMeter(), seconds=0.05)
    assert metrics.answers >= 20


def test_load_clients_share_the_request_numbers() -> None:
    with echo() as server, Load(server.endpoint(), clients=3, first=5) as load:
        wait_until(lambda: len(load.answers) >= 30)
    numbers = sorted(answer.number for answer in load.answers)
    assert numbers == list(range(5, 5 + len(numbers)))
    assert sorted(map(int, server.texts)) == numbers
    assert server.connections == 3


def test_client_reconnects_if_the_server_closes_the_connection() -> None:
    with echo(closes=True) as server, Load(server.endpoint(), clients=1) as load:
        wait_until(lambda: len(load.answers) >= 5)
    assert not [answer.error for answer in load.answers if answer.error]
    assert server.connections >= 5


def test_measure_counts_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.MIN_ANSWERS", 1)
    with echo(fails=True) as server, Load(server.endpoint(), clients=1) as load:
        with pytest.raises(LoadError, match="status 500"):
            measure(load, FakeMeter(), seconds=0.1)
        server.fails = False
        metrics = measure(load, FakeMeter(), seconds=0.3)
    assert metrics.answers
    assert {answer.label for answer in load.answers} == {"", "positive"}


def test_answer_without_label_is_an_error() -> None:
    with echo() as server:
        request = server.endpoint().request
        endpoint = Endpoint(server.port, request, label=lambda body: str(body[1000]))
        with Load(endpoint, clients=1) as load:
            wait_until(lambda: load.answers)
    assert "IndexError" in load.answers[0].error


def test_wait_for_answer_fails_without_server() -> None:
    with echo() as server:
        endpoint = server.endpoint()
    with pytest.raises(LoadError, match="ended before it answered"):
        wait_for_answer(endpoint, alive=lambda: False, timeout=1)
    with pytest.raises(LoadError, match="ConnectionRefusedError"):
        wait_for_answer(endpoint, alive=lambda: True, timeout=0.05)
    with pytest.raises(LoadError):
        Client(endpoint.port).send(endpoint.request(0))


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value
