"""Check the types and ranges of a manifest. Its hash detects damage only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from reelsense.bundle.manifest import (
    Calibration,
    Cascade,
    LengthGroup,
    Manifest,
    RiskControl,
    Threshold,
)
from reelsense.errors import BundleError

_MAX_NAME = 200  # characters
_MAX_LABELS = 1000
_MAX_WINDOW = 100_000  # tokens
_MAX_EXAMPLES, _MAX_EXAMPLE = 20, 2000  # texts, and characters of each
_MAX_COUNT = 10**12


def check(manifest: Manifest) -> None:
    """Raise BundleError (`invalid-manifest`) unless every value has its type and range."""
    _name("name", manifest.name)
    _labels(manifest.labels)
    _number("window", manifest.window, 3, _MAX_WINDOW, whole=True)  # two tokens are special
    for rating in manifest.ratings:
        _number("ratings", rating, -1000, 1000, whole=True)
    _ascending("ratings", manifest.ratings)
    _calibration(manifest.calibration)
    if manifest.risk_control is not None:
        _risk_control(manifest.risk_control)
    _length_groups(manifest.length_groups)
    _presentation(manifest)
    if manifest.cascade is not None:
        _cascade(manifest.cascade)
    _type("int8_activations", manifest.int8_activations, bool)
    _type("metrics", manifest.metrics, dict)
    _type("provenance", manifest.provenance, dict)
    _text("version", manifest.version, r"[0-9a-f]{12}|")
    _files(manifest.files)


def _files(files: dict[str, str]) -> None:
    _type("files", files, dict)
    for name, digest in files.items():
        _name("files", name)
        _text("files", digest, r"[0-9a-f]{64}")


def _cascade(cascade: Cascade) -> None:
    _number("threshold", cascade.threshold, 0, 1)
    if len(cascade.models) != 2:
        raise _invalid("models", len(cascade.models), "two models")
    for reference in cascade.models:
        _name("name of a model", reference.name)
        _text("version", reference.version, r"[0-9a-f]{12}")
        _files(reference.files)


def _presentation(manifest: Manifest) -> None:
    for key, value in (("title", manifest.title), ("unit", manifest.unit)):
        if value != "":
            _name(key, value)
    _type("examples", manifest.examples, dict)
    if len(manifest.examples) > _MAX_EXAMPLES:
        raise _invalid("examples", list(manifest.examples), f"at most {_MAX_EXAMPLES} texts")
    for name, text in manifest.examples.items():
        _name("name of an example", name)
        if not isinstance(text, str) or not text.strip() or len(text) > _MAX_EXAMPLE:
            raise _invalid("example", text, f"a text of 1 to {_MAX_EXAMPLE:,} characters")


def _labels(labels: Sequence[str]) -> None:
    for label in labels:
        _name("labels", label)
    if not 2 <= len(labels) <= _MAX_LABELS or len(set(labels)) < len(labels):
        raise _invalid("labels", labels, f"2 to {_MAX_LABELS:,} different names")


def _calibration(calibration: Calibration | None) -> None:
    if calibration is None:
        return
    _number("temperature", calibration.temperature, 1e-3, 1e3)
    _number("window_exponent", calibration.window_exponent, -10, 10)
    _type("data", calibration.data, str)
    _number("reviews", calibration.reviews, 0, _MAX_COUNT, whole=True)
    for error in (calibration.ece_before, calibration.ece_after):
        if error is not None:
            _number("calibration error", error, 0, 1)


def _risk_control(control: RiskControl) -> None:
    _type("method", control.method, str)
    _number("confidence", control.confidence, 0, 1)
    _number("reviews", control.reviews, 0, _MAX_COUNT, whole=True)
    if control.default_risk is not None:
        _number("default_risk", control.default_risk, 0, 1)
    _thresholds(control.thresholds)


def _length_groups(groups: Sequence[LengthGroup]) -> None:
    for group in groups:
        _name("length_groups", group.name)
        _number("max_tokens", group.max_tokens, 1, _MAX_COUNT, whole=True)
        _calibration(group.calibration)
        _thresholds(group.thresholds)
    _ascending("max_tokens", [group.max_tokens or 0 for group in groups])


def _thresholds(thresholds: Sequence[Threshold]) -> None:
    for threshold in thresholds:
        _number("risk", threshold.risk, 0, 1)
        if threshold.score is not None:
            _number("score", threshold.score, 0, 1)
    _ascending("risk", [threshold.risk for threshold in thresholds])


def _number(key: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    types = (int,) if whole else (int, float)
    # Not isinstance: a bool is an int. NaN fails the comparison.
    if type(value) not in types or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        raise _invalid(key, value, f"{kind} from {low:g} to {high:g}")


def _ascending(key: str, values: Iterable[float]) -> None:
    values = list(values)
    if values != sorted(set(values)):
        raise _invalid(key, values, "different values in ascending order")


def _name(key: str, value: object) -> None:
    is_name = isinstance(value, str) and value.strip() and value.isprintable()
    if not is_name or len(str(value)) > _MAX_NAME:
        raise _invalid(key, value, f"up to {_MAX_NAME} printable characters")


def _text(key: str, value: object, pattern: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise _invalid(key, value, pattern)


def _type(key: str, value: object, type_: type) -> None:
    if not isinstance(value, type_):
        raise _invalid(key, value, type_.__name__)


def _invalid(key: str, value: object, expected: str) -> BundleError:
    return BundleError(
        f"invalid {key} in manifest.json: {repr(value)[:100]}: expected {expected}",
        code="invalid-manifest",
    )
