import json

import pytest

from soak import Sample, Texts, growth, per_minute, section, verdict


def samples(*memory: float, errors: int = 0) -> list[Sample]:
    return [Sample(each, 600, errors) for each in memory]


def test_growth_is_from_the_middle_to_the_end_whatever_the_start() -> None:
    assert growth([1, 1, 1, 1, 100, 100, 7, 7, 7, 7, 110, 110]) == pytest.approx(0.1)
    assert growth([5, 100, 100]) == 0


def test_growth_and_errors_are_failures() -> None:
    assert verdict(samples(*[100.0] * 11, 200.0)) == "memory grew by 50.0%, more than 5%"
    assert verdict(samples(*[50.0] * 4, *[100.0] * 6, 104.0, 105.0)) == ""
    assert verdict(samples(100, 100, errors=1)) == "2 requests failed"


def test_the_section_has_a_row_a_minute() -> None:
    found = samples(*[100.0] * 6, *[200.0] * 6)
    assert per_minute(found) == [["1", "100", "60.0"], ["2", "200", "60.0"]]
    assert "| 2 | 200 | 60.0 |" in section("python soak.py", found, 64)


def test_texts_are_of_all_lengths_and_each_of_its_own() -> None:
    request = Texts(["One. Two words. Three short words."] * 3)
    bodies = [request(number).body or b"" for number in range(200)]
    texts = [json.loads(body)["text"] for body in bodies]
    assert len(set(texts)) == 200
    assert min(map(len, texts)) < 12
    assert max(map(len, texts)) > 250
    assert request(7) == request(7)
