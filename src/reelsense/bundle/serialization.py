"""Read and write manifest.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reelsense.bundle.manifest import (
    Calibration,
    Cascade,
    LengthGroup,
    Manifest,
    ModelReference,
    RiskControl,
    Threshold,
)
from reelsense.errors import BundleError

# Newest format this version reads. Format 1 had no calibration; format 2 had one calibration for
# texts of every length, and the network in one file; format 3 had no title, unit and examples;
# format 4 had no cascades. Bundles get the lowest format that has all they need, so that older
# versions can read them.
FORMAT, PRESENTATION_FORMAT, GROUPED_FORMAT, SIMPLE_FORMAT = 5, 4, 3, 2

# Keys that the first bundles of their format did not have; omitted if empty.
_LATER_KEYS = ("ratings", "int8_activations", "length_groups", "cascade")

_PRESENTATION_KEYS = ("title", "unit", "examples")  # likewise, for people only

# Keys that affect predictions, and therefore the version.
_DECISIVE_KEYS = ("labels", "window", "calibration", "risk_control", *_LATER_KEYS)


def needed_format(manifest: Manifest, *, split_network: bool) -> int:
    """Return the lowest format of a bundle with this manifest."""
    if manifest.cascade:
        return FORMAT
    if any(getattr(manifest, key) for key in _PRESENTATION_KEYS):
        return PRESENTATION_FORMAT
    return GROUPED_FORMAT if split_network or manifest.length_groups else SIMPLE_FORMAT


def manifest_content(manifest: Manifest) -> dict[str, Any]:
    """Return the content of manifest.json, without empty keys unknown to older versions."""
    content = asdict(manifest)
    optional = (*_LATER_KEYS, *_PRESENTATION_KEYS)
    return {key: value for key, value in content.items() if value or key not in optional}


def decisive_content(manifest: Manifest) -> bytes:
    """Return the part of the content of manifest.json that affects predictions, for hashing."""
    content = manifest_content(manifest)
    decisive = {key: content[key] for key in _DECISIVE_KEYS if key in content}
    return json.dumps(decisive, sort_keys=True).encode()


def serialize(content: dict[str, Any]) -> bytes:
    """Return manifest.json with this content and its SHA-256; by default in FORMAT."""
    body = json.dumps({"format": FORMAT} | content, indent=2, sort_keys=True)
    sealed = json.loads(body) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    return (json.dumps(sealed, indent=2, sort_keys=True) + "\n").encode()


def parse(path: Path, raw: bytes) -> Manifest:
    """Parse and verify the content `raw` of the manifest at `path`.

    Raises BundleError (`invalid-bundle`, `bundle-changed`, `bundle-too-new`).
    """
    try:
        content = json.loads(raw, parse_constant=_reject_constant)
        version = content["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path} is not the manifest of a bundle: {error!r}") from error
    if type(version) is not int or version < 1:
        raise BundleError(f"{path} has format {version!r}: expected a number from 1 to {FORMAT}")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, expected at most {FORMAT}: upgrade reelsense",
            code="bundle-too-new",
        )
    content.pop("sha256", None)
    if raw != serialize(content):
        raise BundleError(
            f"{path} was changed after the bundle was written: copy the bundle again",
            code="bundle-changed",
        )
    del content["format"]
    try:
        return _manifest(**content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"missing, unknown or invalid key in {path}: {error}: copy the bundle again"
        ) from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _manifest(
    labels: list[str],
    ratings: list[int] | None = None,
    calibration: dict[str, Any] | None = None,
    risk_control: dict[str, Any] | None = None,
    length_groups: list[dict[str, Any]] | None = None,
    cascade: dict[str, Any] | None = None,
    **rest: Any,
) -> Manifest:
    for value, type_ in (
        *((value, list) for value in (labels, ratings, length_groups)),
        *((value, dict) for value in (calibration, risk_control, cascade)),
    ):
        if value is not None and not isinstance(value, type_):
            raise TypeError(f"{value!r:.100} is not a {type_.__name__}")
    return Manifest(
        labels=tuple(labels),
        ratings=tuple(ratings or ()),
        calibration=_calibration(calibration),
        risk_control=RiskControl(**_with_thresholds(risk_control)) if risk_control else None,
        length_groups=tuple(
            LengthGroup(
                **_with_thresholds(group) | {"calibration": _calibration(group["calibration"])}
            )
            for group in length_groups or ()
        ),
        cascade=Cascade(**cascade | {"models": tuple(_references(cascade))}) if cascade else None,
        **rest,
    )


def _calibration(content: dict[str, Any] | None) -> Calibration | None:
    return Calibration(**content) if content else None


def _references(cascade: dict[str, Any]) -> Iterator[ModelReference]:
    for reference in cascade["models"]:
        yield ModelReference(**reference)


def _with_thresholds(content: dict[str, Any]) -> dict[str, Any]:
    thresholds = tuple(Threshold(**threshold) for threshold in content["thresholds"])
    return content | {"thresholds": thresholds}
