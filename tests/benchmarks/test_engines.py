import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contenders import BASELINE, OURS, Contender, best_way, ways
from engines import Prepared, Task
from engines_report import Figures, Report
from products import Product, best_rates, limits, operations


def network(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Says yes to odd sums."""
    odd = (ids * mask).sum(axis=1) % 2
    return np.stack([1 - odd, odd], axis=1).astype(np.float32)


def figures(name: str, rate: float, precision: str = "int8") -> Figures:
    contender = Contender(name, precision, network, [network, network])
    labels = [np.array([0, 1, 1])]
    return Figures(contender, ways(contender, 0)[0], [rate], [0.1], [2.0], [9.0], labels)


@pytest.fixture
def report() -> Report:
    rates = {
        "int8": {"A": 800.0, "B": 900.0, "C": 1000.0, "D": 100.0},
        "fp32": {"A": 100.0, "B": 200.0},
    }
    found = [figures(BASELINE, 20.0, "fp32"), figures(OURS, 110.0)]
    return Report("a machine", found, rates, operations=5e9, tokens=250.0)


def test_operations_are_those_of_the_layers() -> None:
    config = {"hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 2}
    whole = 5 * (8 * 4 + 4 * 2 * 3 + 4 * 5 * 2)
    last = 5 * 4 * 4 + 4 * 4 + 4 * 2 * 3 + 4 * 5 * 2
    heads = 2 * 4 + 2 * 2 * 7
    assert operations(config, 7, [5]) == whole + last + heads
    assert operations(config, 7, [5, 5]) == 2 * (whole + last + heads)


def test_the_limit_is_the_third_best() -> None:
    found = limits({"int8": {"A": 8.0, "B": 9.0, "C": 7.0, "D": 1.0}, "bf16": {"A": 1.0}})
    assert set(found) == {"int8"}
    assert (found["int8"].rate, found["int8"].best) == (7.0, 9.0)


def test_a_library_counts_with_the_best_of_its_medians() -> None:
    small, large = (Product("A", "int8", size, list) for size in (8, 16))
    assert best_rates([(small, [1.0, 5.0, 2.0]), (large, [3.0, 3.0])]) == {"int8": {"A": 3.0}}
    assert small.rate(0.0) > 0


def test_ours_runs_as_served_and_others_are_tried() -> None:
    mine, other = figures(OURS, 1.0).contender, figures(BASELINE, 1.0).contender
    assert [way.name for way in ways(mine, 0)] == ["as served"]
    assert len({way.name for way in ways(other, 0)}) == 8
    assert best_way(other, 0, [[1, 2, 3]]).name.startswith(("512", "1024", "2048", "4096"))


def test_a_round_measures_all_and_a_label_is_of_all_windows() -> None:
    reviews = Prepared([[1], [3], [2], [2]], [3, 1])
    into = figures(BASELINE, 1.0)
    task = Task(reviews=reviews, short=[1], window=[1, 2], pad=0, labels=2, seconds=0.0)
    task.measure(into)
    for each in (into.reviews_per_s, into.cpu_s, into.short_ms, into.window_ms, into.labels):
        assert len(each) == 2
    assert into.labels[-1].tolist() == [1, 0]


def test_the_report_says_what_is_asked_and_how_far_it_can_go(
    report: Report, tmp_path: Path
) -> None:
    assert [bar.got for bar in report.bars()] == [5.5, 110 * 5 / 800, 110 * 5 / 1000]
    text = report.section()
    assert "| **reelsense (OpenVINO, int8)** | 110 | 5.50 | 69% of int8 |" in text
    assert "| **limit** | - | - | 800 |" in text
    assert "would be 62% of the int8 limit, and 8 x 100%; the limit itself is 8.0 x." in text
    assert text.index(OURS) < text.index(f"| {BASELINE}")

    facts = json.loads(json.dumps(report.facts()))
    assert (facts["short_review_ms"], facts["network_reviews_per_s"]) == (2.0, 110.0)
    assert facts["network_cpu_s_per_review"] == 0.1
    assert facts["limits"] == {"int8": 800.0}

    report.draw(2, tmp_path / "images" / "engines.png")
    assert (tmp_path / "images" / "engines.png").stat().st_size > 1000


def test_without_three_libraries_there_is_no_share(report: Report) -> None:
    few = Report("", report.figures, {"int8": {"A": 1.0}}, 1.0, 1.0)
    assert [bar.got for bar in few.bars()][1:] == [None, None]
    assert "Too few" in few.section()
