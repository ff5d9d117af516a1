from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reelsense.bundle import Calibration
from reelsense.evaluation.summary import as_text, calibration_as_text
from tests import tiny
from tests.evaluation import records
from tests.evaluation.records import MANIFEST


def has_line(text: str, pattern: str) -> bool:
    return re.search(f"^{pattern}$", text, re.MULTILINE) is not None


def test_summary_of_evaluation() -> None:
    text = as_text(records.make().evaluation)
    for line in (
        r"texts +20",
        r"accuracy +90\.00%",
        r"accuracy, audited labels +95\.00%",
        r"negative +9 +1",
        r"target error rate 1\.0% +unreachable: all unsure",
        r"target error rate 10\.0% +coverage 100\.0%, selective error 10\.00%",
        r"contrast sets: both correct +100\.0% .*",
        r"religion, held-out terms, templates +[\d.]+% .*, target at most 15%",
        r"typos +[\d.]+% .*, target at most 4%",
        r"negation +[\d.]+% .*, target at most 8%",
        r"slang +[\d.]+% \([^,]*\)",
        r"facts +[\d.]+% .*",
        r"McNemar's exact p +1",
    ):
        assert has_line(text, line), line
    quick = as_text(records.make(quick=True).evaluation)
    for absent in ("label changes", "edited", "SST-2", "identity", "McNemar"):
        assert absent in text
        assert absent not in quick


@pytest.mark.parametrize(
    "line",
    [
        r"validation texts +77",
        r"temperature +1\.250",
        r"calibration error before +6\.00%",
        r"threshold, target error rate 1\.0% +unreachable: all unsure",
        r"threshold, target error rate 2\.0% +90\.0%",
        r"threshold, target error rate 10\.0% +any",
    ],
)
def test_summary_of_calibration(line: str) -> None:
    assert has_line(calibration_as_text(MANIFEST), line)


def test_summary_of_uncalibrated_model() -> None:
    assert calibration_as_text(tiny.bundle().manifest) == "not calibrated"


def test_summary_of_calibration_by_length() -> None:
    fitted = Calibration(temperature=2, data="lines", reviews=9, ece_before=0.1, ece_after=0.02)
    group = replace(tiny.SENTENCES, calibration=fitted)
    text = calibration_as_text(replace(MANIFEST, length_groups=(group,)))
    sentence, long, default = text.split("\n\n")
    assert sentence.startswith("calibration, sentence (up to 4 tokens)\n")
    assert has_line(sentence, r"data +lines")
    assert has_line(sentence, r"threshold, target error rate 10\.0% +70\.0%")
    assert long.startswith("calibration, long\n")
    assert has_line(long, r"temperature +1\.250")
    assert re.fullmatch(r"default target error rate +2\.0%", default)
