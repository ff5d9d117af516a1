import explaining
from explaining import Latency
from tests import tiny


def test_section_has_quantiles_and_targets() -> None:
    latencies = [Latency(0.010, 0.010 * ratio, forward_passes=40) for ratio in (9, 10, 11, 30, 12)]
    text = explaining.section("python it", latencies)
    assert "`python it`: 5 untruncated reviews" in text
    assert "| prediction, ms | 10.0 | 10.0 | 10.0 | 10.0 |" in text
    assert "| explanation / prediction | 9.5 | 11.0 | 21.0 |" in text
    assert "Target, at most 20 predictions (median): met. Aim, at most 8: missed." in text


def test_measure_times_one_review() -> None:
    latency = explaining.measure(tiny.classifier(), "good film. bad film.")
    assert latency.forward_passes >= 3
    assert latency.explanation > 0 < latency.prediction
