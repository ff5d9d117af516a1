"""Profiles of texts: one row of measurements per text, without the text.

The reference profile of a bundle has the rows of its validation texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reelsense.bundle import REFERENCE_PROFILE, Manifest
from reelsense.errors import BundleError
from reelsense.inference.calibration import decision_thresholds, group_numbers
from reelsense.prediction import EMBEDDING_SIZE, Prediction, TextFeatures
from reelsense.text.language import language

ROW = np.dtype(
    [
        ("time", "f8"),  # seconds since 1970; 0: an unused row
        ("tokens", "i4"),
        ("unknown", "f4"),  # share of unknown tokens
        ("confidence", "f4"),  # calibrated probability of the predicted label
        ("label", "i4"),  # index of the predicted label
        ("unsure", "?"),  # whether the verdict is, at the default target error rate
        ("language", "S8"),
        ("embedding", "f4", (EMBEDDING_SIZE,)),  # NaN: not known
    ]
)

Rows = NDArray[np.void]
"""An array of ROW."""

MAX_ROWS = 1000
"""Rows of a reference profile. A sample of 1,000 is as good as all texts for differences that
matter, and takes 90 kB."""

_COLUMNS = ("tokens", "unknown", "confidence", "label", "unsure", "language")
_FORMAT = 1
_DIGITS = 4  # of shares. Current rows are rounded too, or the tests would find a difference
_STEPS = 16  # of an embedding in the file, per standard deviation


def make_rows(
    manifest: Manifest,
    texts: Sequence[str],
    *,
    labels: ArrayLike,
    confidence: ArrayLike,
    tokens: ArrayLike,
    features: Sequence[TextFeatures | None],
) -> Rows:
    """Return the rows (n) of `texts` (n).

    Args:
        manifest: The model that predicted them.
        texts: The texts, for their languages.
        labels: Indices of the predicted labels (n).
        confidence: Their probabilities (n).
        tokens: Numbers of tokens (n).
        features: Other features (n); None: not known.
    """
    rows = np.zeros(len(texts), ROW)
    rows["label"], rows["tokens"] = labels, tokens
    rows["confidence"] = np.round(np.asarray(confidence, np.float64), _DIGITS)
    rows["unknown"] = np.round([text.unknown if text else 0.0 for text in features], _DIGITS)
    thresholds = [
        np.inf if score is None else score for score in decision_thresholds(manifest, None)
    ]
    groups = group_numbers(manifest.groups, tokens)
    rows["unsure"] = np.asarray(confidence) < np.array(thresholds)[groups]
    rows["language"] = [language(text).encode() for text in texts]
    for row, text in zip(rows, features, strict=True):
        row["embedding"] = np.nan if text is None or text.embedding is None else text.embedding
    return rows


def prediction_rows(
    manifest: Manifest, texts: Sequence[str], predictions: Sequence[Prediction]
) -> Rows:
    """Return the rows (n) of `texts` with these `predictions` (n)."""
    return make_rows(
        manifest,
        texts,
        labels=[manifest.labels.index(prediction.label) for prediction in predictions],
        confidence=[prediction.score for prediction in predictions],
        tokens=[prediction.tokens.total for prediction in predictions],
        features=[prediction.features for prediction in predictions],
    )


def serialize(rows: Rows) -> str:
    """Return the content of the file of a reference profile."""
    embeddings = rows["embedding"].astype(np.float64)
    content: dict[str, object] = {"format": _FORMAT, "texts": len(rows)}
    if np.isfinite(embeddings).all():
        centroid, spread = embeddings.mean(axis=0), np.maximum(embeddings.std(axis=0), 1e-6)
        standardized = np.round((embeddings - centroid) / spread * _STEPS).astype(int)
        content["embedding"] = {
            "centroid": [round(value, 6) for value in centroid.tolist()],
            "spread": [round(value, 6) for value in spread.tolist()],
            "rows": standardized.tolist(),
        }
    columns = {name: rows[name].tolist() for name in _COLUMNS}
    for name in ("unknown", "confidence"):
        columns[name] = [round(value, _DIGITS) for value in columns[name]]
    columns["language"] = [value.decode() for value in columns["language"]]
    columns["unsure"] = [int(value) for value in columns["unsure"]]
    return json.dumps(content | {"columns": columns}, separators=(",", ":")) + "\n"


def parse(content: str, labels: Sequence[str]) -> Rows:
    """Return the rows of a reference profile of a model with `labels`.

    Raises BundleError (`invalid-profile`).
    """
    try:
        values = json.loads(content)
        if values["format"] != _FORMAT:
            raise _invalid(f"format {values['format']!r:.20}, expected {_FORMAT}")
        columns, embedding = values["columns"], values.get("embedding")
        rows = np.zeros(len(columns["tokens"]), ROW)
        for name in _COLUMNS:
            rows[name] = _array(columns[name], len(rows))
        rows["embedding"] = np.nan
        if embedding is not None:
            steps = _array(embedding["rows"], len(rows), EMBEDDING_SIZE)
            centroid = _array(embedding["centroid"], EMBEDDING_SIZE)
            spread = _array(embedding["spread"], EMBEDDING_SIZE)
            rows["embedding"] = centroid + steps / _STEPS * spread
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _invalid(f"{error!r:.200}") from error
    shares = np.stack([rows["unknown"], rows["confidence"]])
    if not (((shares >= 0) & (shares <= 1)).all() and (rows["tokens"] > 0).all()):
        raise _invalid("a share or a length is out of range")
    if not ((rows["label"] >= 0) & (rows["label"] < len(labels))).all() or not len(rows):
        raise _invalid(f"expected at least one text, and labels from 0 to {len(labels) - 1}")
    return rows


def _array(values: object, *shape: int) -> NDArray[Any]:
    """Return `values` as an array of this shape. Raises ValueError, TypeError."""
    array = np.array(values)
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape}, expected {shape}")
    return array


def _invalid(reason: str) -> BundleError:
    return BundleError(
        f"{REFERENCE_PROFILE} is invalid ({reason}): write it again with `reelsense calibrate "
        "--profile-only`",
        code="invalid-profile",
    )
