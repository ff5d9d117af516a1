import json

import pytest

from soak import RandomRequests, Sample, failure, growth, per_minute, section


def samples(*memory: float, errors: int = 0) -> list[Sample]:
    return [Sample(memory_mb, 600, errors) for memory_mb in memory]


def test_growth_is_from_the_middle_to_the_end() -> None:
    assert growth([1, 1, 1, 1, 100, 100, 7, 7, 7, 7, 110, 110]) == pytest.approx(0.1)
    assert growth([5, 100, 100]) == 0


def test_failure_reports_growth_and_errors() -> None:
    assert failure(samples(*[100.0] * 11, 200.0)) == "memory grew by 50.0%, more than 5%"
    assert failure(samples(*[50.0] * 4, *[100.0] * 6, 104.0, 105.0)) == ""
    assert failure(samples(100, 100, errors=1)) == "2 requests failed"


def test_section_has_a_row_per_minute() -> None:
    two_minutes = samples(*[100.0] * 6, *[200.0] * 6)
    assert per_minute(two_minutes) == [["1", "100", "60.0"], ["2", "200", "60.0"]]
    assert "| 2 | 200 | 60.0 |" in section("python soak.py", two_minutes, 64)


def test_random_requests_have_different_texts_of_all_lengths() -> None:
    requests = RandomRequests(["One. Two words. Three short words."] * 3)
    bodies = [requests(number).body or b"" for number in range(200)]
    texts = [json.loads(body)["text"] for body in bodies]
    assert len(set(texts)) == 200
    assert min(map(len, texts)) < 12
    assert max(map(len, texts)) > 250
    assert requests(7) == requests(7)
