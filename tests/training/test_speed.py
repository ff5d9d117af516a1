import pytest

from reelsense.training.speed import StepTimer


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.5, "the remaining 100 steps take about 50 s"),
        (2.0, "the remaining 100 steps take about 3 min"),
    ],
)
def test_step_timer_estimates_once_without_the_first_step(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: str
) -> None:
    times = iter(100 + n * seconds for n in range(20))
    monkeypatch.setattr("reelsense.training.speed.time.monotonic", lambda: next(times))
    timer = StepTimer()
    estimates = [timer.estimate(105 - n) for n in range(12)]
    assert estimates == ["", "", "", "", "", expected, *[""] * 6]


def test_step_timer_is_silent_at_the_end_of_a_run() -> None:
    timer = StepTimer()
    assert not any(timer.estimate(5 - n) for n in range(6))
