import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.errors import InputError
from reelsense.feedback.policy import KeepPolicy
from tests.feedback.made import prediction

SURE, UNSURE = prediction(), prediction(verdict="unsure")


@pytest.mark.parametrize(
    ("text", "sure", "unsure"),
    [
        ("all", True, True),
        ("unsure", False, True),
        ("none", False, False),
        ("sample:1", True, True),
    ],
)
def test_policy_selects_predictions(text: str, sure: bool, unsure: bool) -> None:
    policy = KeepPolicy.parse(text)
    assert (policy.keeps(SURE), policy.keeps(UNSURE)) == (sure, unsure)
    assert policy.keeps_nothing == (text == "none")


def test_policy_samples_at_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", random.Random(1).random)
    policy = KeepPolicy.parse("sample:0.2")
    assert policy.share == 0.2
    assert sum(policy.keeps(SURE) for _ in range(10_000)) == pytest.approx(2000, abs=150)


@given(st.text() | st.from_regex(r"sample:.*", fullmatch=True))
def test_policy_parses_or_rejects_any_text(text: str) -> None:
    with suppress(InputError):
        policy = KeepPolicy.parse(text)
        assert policy.share is None or 0 <= policy.share <= 1


@pytest.mark.parametrize(
    "text", ["", "ALL", "sample", "sample:", "sample:0", "sample:1.5", "sample:nan", "unsure:0.5"]
)
def test_policy_rejects_invalid_text(text: str) -> None:
    with pytest.raises(InputError) as caught:
        KeepPolicy.parse(text)
    assert caught.value.code == "invalid-policy"
