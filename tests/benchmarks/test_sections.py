from dataclasses import replace
from pathlib import Path

import pytest

import chart
from load import Figures
from rivals.server import Request, Server
from sections import Bar, Network, Standing, bars, replace_section, serving_section, table


def figures(rate: float) -> Figures:
    return Figures(
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


def standing(key: str, *rates: float, whole: bool = False, by_hand: bool = False) -> Standing:
    server = Server(
        key=key,
        name=key.title(),
        environment=key,
        command=(),
        request=Request,
        label=str,
        settings="as it comes",
        whole=whole,
        by_hand=by_hand,
    )
    return Standing(
        server=server,
        cells={"1": [figures(5.0)], "64": [figures(rate) for rate in rates]},
        start_s=3.0,
        install_mb=100,
        answered=1000,
        accuracy=0.94,
        agreement=0.999,
        reference_accuracy=0.94,
    )


def test_a_section_is_added_and_replaced_and_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    replace_section(path, "one", "first\n")
    replace_section(path, "two", r"second \1")
    replace_section(path, "one", "third")
    assert path.read_text() == (
        "# Results\n\n<!-- one -->\nthird\n<!-- /one -->\n\n"
        "<!-- two -->\nsecond \\1\n<!-- /two -->\n"
    )


def test_a_table_keeps_its_columns() -> None:
    assert table(["a", "b"], [["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


@pytest.mark.parametrize(
    ("whole", "agreement", "accuracy", "mark"),
    [
        (False, 0.995, 0.939, ""),
        (False, 0.9949, 0.94, "cut at 512"),
        (True, 0.9949, 0.94, "different labels"),
        (True, 1.0, 0.9389, "different labels"),
        (True, 0.995, 0.99, ""),
    ],
)
def test_what_answers_otherwise_is_marked(
    whole: bool, agreement: float, accuracy: float, mark: str
) -> None:
    found = standing("a", whole=whole)
    assert replace(found, agreement=agreement, accuracy=accuracy).mark == mark


def test_the_range_is_shown_where_rounds_differ() -> None:
    assert standing("a", 10.0, 10.5).show("64", lambda f: f.reviews_per_s) == "10.2"
    assert standing("a", 10.0, 12.0).show("64", lambda f: f.reviews_per_s) == "11.0 (10.0-12.0)"
    assert standing("a").show("64", lambda f: f.reviews_per_s) == "-"


def test_ratios_are_against_the_best_of_all_and_the_best_ranked_one() -> None:
    marked = replace(standing("fast", 20.0), agreement=0.98)
    found = bars(
        [standing("reelsense", 60.0), marked, standing("slow", 10.0), standing("starting-system")],
        [1, 64],
        [Network(66.0, 0.016, 2.0), Network(66.0, 0.016, 2.0)],
    )
    got = [bar.got and round(bar.got, 2) for bar in found]
    assert got[:2] == [3.0, 6.0]
    assert [bar.verdict for bar in found[:2]] == ["**missed**", "reached"]
    assert found[2].verdict == "not measured"
    assert "Fast" in found[0].what
    assert "Slow" in found[1].what
    costs = [bar.got for bar in found if bar.what.startswith("cost of HTTP")]
    assert costs == pytest.approx([0.1, 0.25])


def test_less_is_better_where_the_aim_is_lower() -> None:
    assert Bar("memory", 450, 300, 299).verdict == "aim reached"
    assert Bar("memory", 450, 300, 450).verdict == "reached"
    assert Bar("memory", 450, 300, 451).verdict == "**missed**"


def test_the_section_names_what_failed_and_ranks_the_rest() -> None:
    failed = replace(standing("broken"), cells={}, start_s=None, answered=0, failure="no port")
    text = serving_section(
        "A machine.", [failed, standing("reelsense", 60.0)], [1, 64], [], {"tei": "no package"}
    )
    assert "- **Broken**: no port." in text
    assert "- **tei**: no package." in text
    assert text.index("| **Reelsense** | 5.00 | 60.0 |") < text.index("| Broken | - | - |")


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    marked = replace(standing("fast", 20.0), agreement=0.98)
    path = tmp_path / "serving.png"
    chart.draw([standing("reelsense", 60.0), marked], 64, 2, path)
    assert path.read_bytes().startswith(b"\x89PNG")
