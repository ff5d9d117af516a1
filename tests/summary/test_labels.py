"""Order and colours of labels, as people with different kinds of vision see them."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelsense.summary.labels import display_order, label_class

NAMES = st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=12, unique=True)

# Colours as seen with protanopia and deuteranopia (Machado et al. 2009), from linear RGB.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
}


@pytest.mark.parametrize(
    ("labels", "order", "classes"),
    [
        (("negative", "positive"), ["positive", "negative"], ["label-1", "label-2"]),
        (
            ("negative", "neutral", "positive"),
            ["positive", "neutral", "negative"],
            ["label-1", "label-3", "label-2"],
        ),
        (
            ("billing", "bug", "praise"),
            ["billing", "bug", "praise"],
            ["label-1", "label-2", "label-3"],
        ),
        (("1", "10", "2"), ["10", "2", "1"], ["rank-1", "rank-3", "rank-5"]),
    ],
)
def test_labels_have_order_and_colour(
    labels: tuple[str, ...], order: list[str], classes: list[str]
) -> None:
    assert display_order(labels) == order
    assert [label_class(label, labels) for label in order] == classes


@given(NAMES)
def test_label_class_is_one_of_the_style_sheet(labels: list[str]) -> None:
    """It is never the name itself: a label may be named like any class."""
    assert sorted(display_order(labels)) == sorted(labels)
    css = style_sheet("page.css")
    for label in labels:
        assert f".{label_class(label, labels)} {{" in css
    for verdict in {"unsure", "error"} - set(labels):
        assert label_class(verdict, labels) == verdict


def test_few_labels_have_different_colours() -> None:
    for count in range(2, 7):
        labels = [f"label {n}" for n in range(count)]
        assert len({label_class(label, labels) for label in labels}) == count


def style_sheet(name: str) -> str:
    return (resources.files("reelsense.server") / "static" / name).read_text()


def colours(scheme: int) -> dict[str, NDArray[np.float64]]:
    """Return the colours of the light (0) or dark (1) scheme by name, in linear RGB."""
    found = {}
    for name, *values in re.findall(
        r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", style_sheet("frame.css")
    ):
        digits = values[scheme].removeprefix("#")
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        rgb = np.array([int(digits[n : n + 2], 16) for n in (0, 2, 4)]) / 255
        found[name] = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return found


def oklab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinates in OKLab, in which distances are those that people see."""
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    axes = np.array(
        [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    )
    return np.asarray(axes @ np.cbrt(cones @ np.clip(linear, 0, 1)))


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("vision", VISIONS)
def test_label_colours_are_distinguishable(scheme: int, vision: str) -> None:
    shown = colours(scheme)
    names = [f"label-{n}" for n in range(1, 7)]
    seen = {name: oklab(VISIONS[vision] @ shown[name]) for name in [*names, "unsure"]}
    for one, other in combinations(seen, 2):
        # Three times what is just noticeable side by side.
        assert np.linalg.norm(seen[one] - seen[other]) > 0.06, (one, other)


@pytest.mark.parametrize("scheme", [0, 1])
def test_label_colours_have_enough_contrast_for_text(scheme: int) -> None:
    shown = colours(scheme)
    luminance = {name: float(rgb @ [0.2126, 0.7152, 0.0722]) for name, rgb in shown.items()}
    for n in range(1, 7):
        for background in ("paper", "card"):
            low, high = sorted([luminance[f"label-{n}"], luminance[background]])
            assert (high + 0.05) / (low + 0.05) >= 4.5, n
