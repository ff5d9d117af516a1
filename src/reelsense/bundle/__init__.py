"""The bundle: the folder that stores a trained model for serving.

    model.onnx       the network; a large one has its weights in model.onnx.data-1, -2, ...
    tokenizer.json   its tokenizer
    MODEL_CARD.md    the model card
    evaluation.json  optional: results and plots of `reelsense evaluate`
    training-texts.bin  optional: hashes of the training texts
    reference-profile.json  optional: measurements of the validation texts, to detect drift
    manifest.json    format version, labels, window, calibration, thresholds, metrics, provenance,
                     SHA-256 of every file

Does not know how to run or train a network.
"""

from __future__ import annotations

from reelsense.bundle.installed import DEFAULT_BUNDLE
from reelsense.bundle.manifest import (
    MANIFEST,
    BundleMetrics,
    Calibration,
    Cascade,
    LengthGroup,
    Manifest,
    ModelReference,
    OfficialTestMetrics,
    Provenance,
    RiskControl,
    Threshold,
    ValidationMetrics,
)
from reelsense.bundle.reading import (
    CARD,
    EVALUATION,
    FILES,
    NETWORK,
    REFERENCE_PROFILE,
    TOKENIZER,
    TRAINING_TEXTS,
    WEIGHTS,
    Bundle,
    bundle_paths,
    read_bundle,
    retry_if_replaced,
)
from reelsense.bundle.serialization import FORMAT
from reelsense.bundle.writing import check_target, content_version, write_bundle
