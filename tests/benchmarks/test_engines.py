import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine_setups import BASELINE, OURS, EngineSetup, batching_strategies, fastest_strategy
from engines import TokenizedTexts, Workload
from engines_report import EngineResults, Report
from products import Product, best_rates, operations, peaks


def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Label 1 for odd sums."""
    odd = (ids * mask).sum(axis=1) % 2
    return np.stack([1 - odd, odd], axis=1).astype(np.float32)


def results(name: str, rate: float, precision: str = "int8") -> EngineResults:
    setup = EngineSetup(name, precision, network, [network, network])
    labels = [np.array([0, 1, 1])]
    strategy = batching_strategies(setup, 0)[0]
    return EngineResults(setup, strategy, [rate], [0.1], [2.0], [9.0], labels)


@pytest.fixture
def report() -> Report:
    rates = {
        "int8": {"A": 800.0, "B": 900.0, "C": 1000.0, "D": 100.0},
        "fp32": {"A": 100.0, "B": 200.0},
    }
    engines = [results(BASELINE, 20.0, "fp32"), results(OURS, 110.0)]
    return Report("a machine", engines, rates, operations=5e9, tokens=250.0)


def test_operations_are_the_sum_over_layers() -> None:
    config = {"hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 2}
    full = 5 * (8 * 4 + 4 * 2 * 3 + 4 * 5 * 2)
    last = 5 * 4 * 4 + 4 * 4 + 4 * 2 * 3 + 4 * 5 * 2
    heads = 2 * 4 + 2 * 2 * 7
    assert operations(config, 7, [5]) == full + last + heads
    assert operations(config, 7, [5, 5]) == 2 * (full + last + heads)


def test_peak_is_the_third_best_rate() -> None:
    by_precision = peaks({"int8": {"A": 8.0, "B": 9.0, "C": 7.0, "D": 1.0}, "bf16": {"A": 1.0}})
    assert set(by_precision) == {"int8"}
    assert (by_precision["int8"].rate, by_precision["int8"].best) == (7.0, 9.0)


def test_best_rates_are_the_best_medians() -> None:
    small, large = (Product("A", "int8", size, list) for size in (8, 16))
    assert best_rates([(small, [1.0, 5.0, 2.0]), (large, [3.0, 3.0])]) == {"int8": {"A": 3.0}}
    assert small.rate(0.0) > 0


def test_batching_strategies_are_tried_for_other_engines_only() -> None:
    ours, other = results(OURS, 1.0).setup, results(BASELINE, 1.0).setup
    assert [strategy.name for strategy in batching_strategies(ours, 0)] == ["as served"]
    assert len({strategy.name for strategy in batching_strategies(other, 0)}) == 8
    assert fastest_strategy(other, 0, [[1, 2, 3]]).name.startswith(("512", "1024", "2048", "4096"))


def test_workload_measures_everything_and_averages_windows() -> None:
    reviews = TokenizedTexts([[1], [3], [2], [2]], [3, 1])
    engine = results(BASELINE, 1.0)
    workload = Workload(reviews=reviews, short=[1], window=[1, 2], pad=0, labels=2, seconds=0.0)
    workload.measure(engine)
    assert len(engine.reviews_per_s) == len(engine.cpu_s) == 2
    assert len(engine.short_ms) == len(engine.window_ms) == len(engine.labels) == 2
    assert engine.labels[-1].tolist() == [1, 0]


def test_report_has_goals_tables_json_and_chart(report: Report, tmp_path: Path) -> None:
    assert [goal.measured for goal in report.goals()] == [5.5, 110 * 5 / 800, 110 * 5 / 1000]
    text = report.section()
    assert "| **reelsense (OpenVINO, int8)** | 110 | 5.50 | 69% of int8 |" in text
    assert "| **peak** | - | - | 800 |" in text
    assert "is 62% of the int8 peak, and 8 x is 100%; the peak itself is 8.0 x." in text
    assert text.index(OURS) < text.index(f"| {BASELINE}")

    content = json.loads(json.dumps(report.as_json()))
    assert (content["short_review_ms"], content["network_reviews_per_s"]) == (2.0, 110.0)
    assert content["network_cpu_s_per_review"] == 0.1
    assert content["limits"] == {"int8": 800.0}

    report.draw(2, tmp_path / "images" / "engines.png")
    assert (tmp_path / "images" / "engines.png").stat().st_size > 1000


def test_report_without_three_libraries_has_no_peak(report: Report) -> None:
    few = Report("", report.engines, {"int8": {"A": 1.0}}, 1.0, 1.0)
    assert [goal.measured for goal in few.goals()][1:] == [None, None]
    assert "Too few" in few.section()
