import pytest

from load import Client, Load, LoadError, Target, first_answer, measure, percentile
from tests.benchmarks.echo import echo
from tests.waiting import wait_until


class NoMeter:
    """A server that takes one processor second between two looks."""

    looks = 0

    def cpu_seconds(self) -> float:
        self.looks += 1
        return float(self.looks)

    def memory_mb(self) -> float:
        return 7.0


def test_rate_and_latency_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.LEAST_ANSWERS", 1)
    with echo(seconds=0.05) as server, Load(server.target(), clients=4) as load:
        figures = measure(load, NoMeter(), seconds=0.5)
    assert 8 < figures.reviews_per_s <= 81
    assert 0.05 <= figures.p50_s <= figures.p95_s <= figures.p99_s < 1
    assert figures.cpu_s == pytest.approx(1 / figures.answers)
    assert 0 < figures.client_cpu_s < 0.02
    assert figures.peak_mb == 7
    assert not figures.errors


def test_a_window_stays_open_until_enough_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.LEAST_ANSWERS", 20)
    with echo(seconds=0.01) as server, Load(server.target(), clients=1) as load:
        figures = measure(load, NoMeter(), seconds=0.05)
    assert figures.answers >= 20


def test_all_clients_walk_through_the_reviews_together() -> None:
    with echo() as server, Load(server.target(), clients=3, first=5) as load:
        wait_until(lambda: len(load.answers) >= 30)
    numbers = sorted(answer.number for answer in load.answers)
    assert numbers == list(range(5, 5 + len(numbers)))
    assert sorted(map(int, server.texts)) == numbers
    assert server.connections == 3


def test_a_connection_that_the_server_closed_is_opened_anew() -> None:
    with echo(closes=True) as server, Load(server.target(), clients=1) as load:
        wait_until(lambda: len(load.answers) >= 5)
    assert not [answer.error for answer in load.answers if answer.error]
    assert server.connections >= 5


def test_errors_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.LEAST_ANSWERS", 1)
    with echo(fails=True) as server, Load(server.target(), clients=1) as load:
        with pytest.raises(LoadError, match="status 500"):
            measure(load, NoMeter(), seconds=0.1)
        server.fails = False
        figures = measure(load, NoMeter(), seconds=0.3)
    assert figures.answers
    assert {answer.label for answer in load.answers} == {"", "positive"}


def test_an_answer_without_a_label_is_an_error() -> None:
    with echo() as server:
        target = Target(server.port, server.target().request, label=lambda body: str(body[1000]))
        with Load(target, clients=1) as load:
            wait_until(lambda: load.answers)
    assert "no label in the answer: IndexError" in load.answers[0].error


def test_nobody_listens() -> None:
    with echo() as server:
        target = server.target()
    with pytest.raises(LoadError, match="ended before it answered"):
        first_answer(target, alive=lambda: False, at_most=1)
    with pytest.raises(LoadError, match=r"no answer after 0 s: ConnectionRefusedError"):
        first_answer(target, alive=lambda: True, at_most=0.05)
    with pytest.raises(LoadError):
        Client(target.port).ask(target.request(0))


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_percentiles_are_values_that_were_seen(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value
