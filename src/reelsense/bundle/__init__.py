"""The bundle: the folder that carries a model from training to serving.

    model.onnx       the network; a large one has its weights in model.onnx.data-1, -2, ...
    tokenizer.json   its tokenizer
    MODEL_CARD.md    the model card
    evaluation.json  optional: results and plots of `reelsense evaluate`
    manifest.json    format version, labels, window, calibration, thresholds, metrics, provenance,
                     SHA-256 of every file

Does not know how a network is run or trained.
"""

from __future__ import annotations

from reelsense.bundle.files import (
    CARD,
    DEFAULT_BUNDLE,
    EVALUATION,
    FILES,
    MANIFEST,
    NETWORK,
    TOKENIZER,
    WEIGHTS,
    Bundle,
    bundle_paths,
    check_target,
    read_bundle,
    write_bundle,
)
from reelsense.bundle.manifest import (
    FORMAT,
    BundleMetrics,
    Calibration,
    LengthGroup,
    Manifest,
    OfficialTestMetrics,
    Provenance,
    RiskControl,
    Threshold,
    ValidationMetrics,
)

__all__ = [
    "CARD",
    "DEFAULT_BUNDLE",
    "EVALUATION",
    "FILES",
    "FORMAT",
    "MANIFEST",
    "NETWORK",
    "TOKENIZER",
    "WEIGHTS",
    "Bundle",
    "BundleMetrics",
    "Calibration",
    "LengthGroup",
    "Manifest",
    "OfficialTestMetrics",
    "Provenance",
    "RiskControl",
    "Threshold",
    "ValidationMetrics",
    "bundle_paths",
    "check_target",
    "read_bundle",
    "write_bundle",
]
