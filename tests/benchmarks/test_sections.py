from dataclasses import replace
from pathlib import Path

import pytest

import chart
from load import LoadMetrics
from rivals.server import Request, Server
from sections import (
    Goal,
    NetworkMetrics,
    ServerResults,
    rate,
    replace_section,
    serving_goals,
    serving_section,
    table,
)


def metrics(rate: float) -> LoadMetrics:
    return LoadMetrics(
        answers=100,
        errors=0,
        reviews_per_s=rate,
        cpu_s=0.02,
        client_cpu_s=0.0003,
        p50_s=0.5,
        p95_s=0.6,
        p99_s=0.7,
        peak_mb=200.0,
    )


def results(key: str, *rates: float, whole: bool = False) -> ServerResults:
    server = Server(
        key=key,
        name=key.title(),
        environment=key,
        command=(),
        request=Request,
        label=str,
        settings="defaults",
        whole=whole,
    )
    return ServerResults(
        server=server,
        cells={"1": [metrics(5.0)], "64": [metrics(rate) for rate in rates]},
        start_s=3.0,
        install_mb=100,
        answered=1000,
        accuracy=0.94,
        agreement=0.999,
        reference_accuracy=0.94,
    )


def test_replace_section_keeps_other_sections(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    replace_section(path, "one", "first\n")
    replace_section(path, "two", r"second \1")
    replace_section(path, "one", "third")
    assert path.read_text() == (
        "# Results\n\n<!-- one -->\nthird\n<!-- /one -->\n\n"
        "<!-- two -->\nsecond \\1\n<!-- /two -->\n"
    )


def test_table_escapes_separators() -> None:
    assert table(["a", "b"], [["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


@pytest.mark.parametrize(
    ("whole", "agreement", "accuracy", "mark"),
    [
        (False, 0.995, 0.939, ""),
        (False, 0.9949, 0.94, "truncated at 512"),
        (True, 0.9949, 0.94, "different labels"),
        (True, 1.0, 0.9389, "different labels"),
        (True, 0.995, 0.99, ""),
    ],
)
def test_mark_depends_on_agreement_and_accuracy(
    whole: bool, agreement: float, accuracy: float, mark: str
) -> None:
    server = results("a", whole=whole)
    assert replace(server, agreement=agreement, accuracy=accuracy).mark == mark


def test_show_has_the_range_if_rounds_differ() -> None:
    assert results("a", 10.0, 10.5).show("64", rate) == "10.2"
    assert results("a", 10.0, 12.0).show("64", rate) == "11.0 (10.0-12.0)"
    assert results("a").show("64", rate) == "-"


def test_goals_compare_with_the_best_server_and_the_best_ranked_one() -> None:
    marked = replace(results("fast", 20.0), agreement=0.98)
    goals = serving_goals(
        [results("reelsense", 60.0), marked, results("slow", 10.0), results("starting-system")],
        [1, 64],
        [NetworkMetrics(66.0, 0.016, 2.0), NetworkMetrics(66.0, 0.016, 2.0)],
    )
    ratios = [goal.measured and round(goal.measured, 2) for goal in goals]
    assert ratios[:2] == [3.0, 6.0]
    assert [goal.result for goal in goals[:2]] == ["**missed**", "reached"]
    assert goals[2].result == "not measured"
    assert "Fast" in goals[0].metric
    assert "Slow" in goals[1].metric
    costs = [goal.measured for goal in goals if goal.metric.startswith("overhead of HTTP")]
    assert costs == pytest.approx([0.1, 0.25])


def test_goal_with_lower_aim_is_better_if_less() -> None:
    assert Goal("memory", 450, 300, 299).result == "aim reached"
    assert Goal("memory", 450, 300, 450).result == "reached"
    assert Goal("memory", 450, 300, 451).result == "**missed**"


def test_serving_section_lists_failures_and_ranks_the_rest() -> None:
    failed = replace(results("broken"), cells={}, start_s=None, answered=0, failure="no port")
    text = serving_section(
        "A machine.", [failed, results("reelsense", 60.0)], [1, 64], [], {"tei": "no package"}
    )
    assert "- **Broken**: no port." in text
    assert "- **tei**: no package." in text
    assert text.index("| **Reelsense** | 5.00 | 60.0 |") < text.index("| Broken | - | - |")


def test_chart_is_written_as_png(tmp_path: Path) -> None:
    marked = replace(results("fast", 20.0), agreement=0.98)
    path = tmp_path / "serving.png"
    chart.draw([results("reelsense", 60.0), marked], 64, 2, path)
    assert path.read_bytes().startswith(b"\x89PNG")
