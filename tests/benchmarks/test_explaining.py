import explaining
from explaining import Taken
from tests import tiny


def test_the_figures_are_of_the_reviews() -> None:
    taken = [Taken(0.010, 0.010 * times, forward_passes=40) for times in (9, 10, 11, 30, 12)]
    text = explaining.section("python it", taken)
    assert "`python it`: 5 whole reviews" in text
    assert "| a prediction, ms | 10.0 | 10.0 | 10.0 | 10.0 |" in text
    assert "| the second in units of the first | 9.5 | 11.0 | 21.0 |" in text
    assert "At most 20 predictions at the median: yes. The aim, 8: no." in text


def test_a_review_is_timed() -> None:
    found = explaining.measured(tiny.classifier(), "good film. bad film.")
    assert found.forward_passes >= 3
    assert found.explanation > 0 < found.prediction
