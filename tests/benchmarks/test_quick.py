import numpy as np
import pytest

import machine
import quick
from reelsense.bundle import DEFAULT_BUNDLE, read_bundle
from reelsense.inference.tokenizer import ReviewTokenizer


def test_texts_have_the_lengths_of_reviews() -> None:
    texts = quick.texts(100)
    assert texts == quick.texts(100)
    tokenizer = ReviewTokenizer(read_bundle(DEFAULT_BUNDLE).tokenizer)
    lengths = [len(ids) for ids in tokenizer.encode(texts)]
    assert np.median(lengths) == pytest.approx(222, abs=5)
    assert np.mean(lengths) == pytest.approx(290, abs=20)
    assert lengths != sorted(lengths)


def test_medians_reverse_every_second_round() -> None:
    calls: list[int] = []

    def measure(n: int) -> float:
        calls.append(n)
        return float(len(calls))

    names = quick.Measurements.__slots__
    functions = {name: lambda n=n: measure(n) for n, name in enumerate(names)}
    assert quick.Measurements(**functions).medians(2) == [6.5] * len(names)
    assert calls == [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]


def test_report_has_ratios_and_machine() -> None:
    lines = quick.report([10.0, 50.0, 45.0, 40.0, 2.0, 3.0]).splitlines()
    assert "5.00 x PyTorch" in lines[1]
    assert "90% of the network" in lines[2]
    assert "80% of the network" in lines[3]
    assert "1.50 x" in lines[5]
    assert lines[-1] == machine.describe()
