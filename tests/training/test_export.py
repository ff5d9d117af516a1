import json
import logging
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reelsense import Classifier
from reelsense.bundle import Bundle, Manifest, read_bundle
from reelsense.datasets.evaluation_sets import PHRASES, VALIDATION_SENTENCES
from reelsense.datasets.reviews import Review, Split
from reelsense.datasets.text_hashes import hash_texts
from reelsense.drift.profile import parse
from reelsense.errors import BundleError, InputError
from reelsense.evaluation.calibrate import ValidationSet
from reelsense.inference.batching import Network
from reelsense.inference.engine import Engine
from reelsense.training import checkpoint, onnx_network
from reelsense.training import export as exports
from reelsense.training.model import load_model
from reelsense.training.quantize import quantize
from reelsense.training.recipe import Stage
from tests import tiny
from tests.conftest import LABELS
from tests.training.conftest import code, finetune, pretrain

RECIPE = Stage(
    name="tiny", base="", lengths=(32,) * 8, tokens_per_batch=128, learning_rate=1e-2, window=32
)


@pytest.fixture
def trained(base: Path, split: Split, tmp_path: Path) -> Path:
    finetune(RECIPE, base, split, ["negative", "positive"], tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_bundle_predicts_as_its_checkpoint(trained: Path, split: Split, tmp_path: Path) -> None:
    parity = exports.export(
        trained, split.validation, LABELS, tmp_path / "bundle", data="films.csv"
    )
    assert parity.reviews == len(split.validation)
    assert parity.agreement >= exports.MIN_AGREEMENT

    model = AutoModelForSequenceClassification.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.name == "tiny"
    short = [r.text for r in split.validation if len(r.text.split()) <= 30]
    assert len(short) > 10
    probabilities = classifier.predict_proba(short)
    for text, row in zip(short, probabilities, strict=True):
        with torch.no_grad():
            exact = model(**tokenizer(text, return_tensors="pt")).logits.softmax(1)[0]
        assert row == pytest.approx(exact.tolist(), abs=0.05)  # int8 in a network of 16 units

    content = b"".join(path.read_bytes() for path in (tmp_path / "bundle").iterdir())
    assert str(Path(exports.__file__)).encode() not in content
    assert b"site-packages" not in content


def test_export_calibrates_on_further_sets(trained: Path, split: Split, tmp_path: Path) -> None:
    more = [ValidationSet("sentences", split.validation[:7])]
    exports.export(
        trained, split.validation, LABELS, tmp_path / "bundle", data="films.csv", calibrate_on=more
    )
    [group] = Classifier.load(tmp_path / "bundle").manifest.groups
    assert group.calibration is not None
    assert group.calibration.reviews == len(split.validation) + 7
    assert "sentences (7)" in group.calibration.data
    assert "the validation set of films.csv" in group.calibration.data


def test_export_writes_a_profile_of_the_validation_set(
    trained: Path, split: Split, tmp_path: Path
) -> None:
    more = [ValidationSet("sentences", split.validation[:7])]
    exports.export(
        trained, split.validation, LABELS, tmp_path / "bundle", data="films.csv", calibrate_on=more
    )
    bundle = read_bundle(tmp_path / "bundle")
    rows = parse(bundle.profile or "", LABELS)
    assert len(rows) == len(split.validation)
    [first] = Classifier.load(tmp_path / "bundle").predict([split.validation[0].text])
    assert rows["confidence"][0] == pytest.approx(first.score, abs=1e-4)
    assert rows["embedding"].std() > 0


def test_export_rejects_calibration_sets_of_the_training_data(
    trained: Path, split: Split, tmp_path: Path
) -> None:
    path = trained / checkpoint.METADATA
    path.write_text(json.dumps(json.loads(path.read_text()) | {"extra_examples": {PHRASES: 9}}))
    more = [ValidationSet(VALIDATION_SENTENCES, split.validation)]
    with code("trained-on-validation", InputError):
        exports.export(
            trained, split.validation, LABELS, tmp_path / "bundle", data="f.csv", calibrate_on=more
        )
    assert not (tmp_path / "bundle").exists()


def test_export_rejects_training_texts_in_the_validation_set(
    trained: Path, split: Split, tmp_path: Path
) -> None:
    with code("trained-on-texts", InputError):
        exports.export(trained, split.train, LABELS, tmp_path / "bundle", data="films.csv")
    assert not (tmp_path / "bundle").exists()


def test_export_rejects_models_like_the_majority_class_without_force(
    trained: Path, split: Split, tmp_path: Path
) -> None:
    path = trained / checkpoint.METADATA
    metadata = json.loads(path.read_text())
    majority = Counter(review.label for review in split.train).most_common(1)[0][0]
    assert metadata["validation_set"] == {
        "reviews": len(split.validation),
        "majority": sum(review.label == majority for review in split.validation),
    }
    path.write_text(json.dumps(metadata | {"validation_set": {"reviews": 40, "majority": 38}}))
    arguments = (trained, split.validation, LABELS, tmp_path / "bundle")
    with code("not-better-than-majority"):
        exports.export(*arguments, data="films.csv")
    assert not (tmp_path / "bundle").exists()
    exports.export(*arguments, data="films.csv", force=True)
    hashes = read_bundle(tmp_path / "bundle").training_texts
    assert hashes == hash_texts(review.text for review in split.train)


def test_export_falls_back_to_int8_weights(
    trained: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(bundle: Bundle) -> Classifier:
        """Return a classifier that predicts the opposite if activations are int8."""
        exact = Engine(bundle.network)
        sign = -1 if bundle.manifest.int8_activations else 1
        return Classifier(bundle, network=lambda ids, mask: sign * exact.latency_network(ids, mask))

    def classifier(
        bundle: Bundle, network: Network | None = None, *, gpu: bool = True
    ) -> Classifier:
        return Classifier(bundle, network=network) if network else swapped(bundle)

    monkeypatch.setattr(exports, "Classifier", classifier)
    parity = exports.export(
        trained, split.validation, LABELS, tmp_path / "bundle", data="films.csv"
    )
    assert parity.agreement >= exports.MIN_AGREEMENT
    manifest = Classifier.load(tmp_path / "bundle").manifest
    assert not manifest.int8_activations
    assert manifest.provenance["network"] == exports.NETWORK_TYPES[False]


@given(
    arrays(np.float32, (7, 48), elements=st.floats(-3, 3, width=32)),
    arrays(np.int64, (2, 5), elements=st.integers(0, 6)),
)
def test_quantize_rounds_tables_and_matrices_by_at_most_half_a_step(
    table: NDArray[np.float32], ids: NDArray[np.int64]
) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["products"]),
    ]
    shapes: dict[str, list[str | int | None]] = {
        "rows": ["n", "length", 48],
        "products": ["n", "length", 7],
    }
    graph = helper.make_graph(
        nodes,
        "",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(table.T, "weights")],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    stored = onnx.load_from_string(quantize(network))
    rows, products = map(np.asarray, ReferenceEvaluator(stored).run(None, {"ids": ids}))
    half_step = np.abs(table.reshape(7, 3, 16)).max(axis=2).repeat(16, axis=1) / 127 / 2
    assert (np.abs(rows - table[ids]) <= half_step[ids] * 1.02 + 1e-4).all()
    half_row = np.abs(table).max(axis=1) / 127 / 2
    bound = np.abs(rows).sum(axis=2, keepdims=True) * (half_row * 1.02 + 1e-4)
    assert (np.abs(products - rows @ table.T) <= bound + 1e-4).all()


def test_to_onnx_transposes_only_queries_keys_values_and_context(base: Path) -> None:
    model = load_model(base, LABELS)
    network = onnx_network.to_onnx(model.train(False))
    transposes = [node for node in network.graph.node if node.op_type == "Transpose"]
    assert len(transposes) == 4 * model.config.num_hidden_layers


def test_export_writes_title_unit_and_examples(trained: Path, split: Split, tmp_path: Path) -> None:
    def exported(presentation: exports.Presentation) -> Manifest:
        arguments = trained, split.validation, LABELS, tmp_path / "bundle"
        exports.export(*arguments, data="films.csv", presentation=presentation)
        return Classifier.load(tmp_path / "bundle").manifest

    manifest = exported(exports.Presentation("Which?", "film", {"Short": "Good."}))
    assert (manifest.title, manifest.unit, manifest.examples) == (
        "Which?",
        "film",
        {"Short": "Good."},
    )
    examples = exported(exports.Presentation()).examples
    assert set(examples) == set(LABELS)
    texts = {" ".join(review.text.split()): review.label for review in split.validation}
    assert all(texts[text] == label for label, text in examples.items())
    assert exported(exports.Presentation(examples={})).examples == {}


def test_examples_are_short_and_predicted_with_confidence() -> None:
    texts = {
        "good film was good and good and good, the best": "positive",
        "a good film in which nothing at all happens": "positive",
        "good": "positive",  # too short
        "good " * 200: "positive",  # too long
        "a great film with the wrong label in this file": "negative",
    }
    reviews = [Review(text, text, label, None, "") for text, label in texts.items()]
    examples = exports.example_texts(tiny.classifier(), reviews)
    assert examples == {"positive": "good film was good and good and good, the best"}


def test_export_rejects_an_invalid_unit_before_it_converts(
    trained: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(exports, "to_onnx")
    unit = exports.Presentation(unit="two\nlines")
    arguments = trained, split.validation, LABELS, tmp_path / "bundle"
    with code("invalid-manifest", BundleError):
        exports.export(*arguments, data="films.csv", presentation=unit)


def test_export_hides_warnings_of_the_exporter() -> None:
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    assert log.isEnabledFor(logging.WARNING)
    with onnx_network._without_exporter_warnings():
        assert not log.isEnabledFor(logging.WARNING)
        warnings.warn("a warning, which is an error in tests", stacklevel=1)
    assert log.isEnabledFor(logging.WARNING)


def test_export_rejects_other_labels(trained: Path, split: Split, tmp_path: Path) -> None:
    with code("labels-differ"):
        exports.export(
            trained, split.validation, ["no", "yes"], tmp_path / "bundle", data="films.csv"
        )


def test_export_rejects_low_agreement(
    trained: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = [replace(r, label=None) for r in split.validation]
    monkeypatch.setattr(exports, "torch_network", lambda _model: lambda ids, mask: -ids[:, :2])
    with code("parity"):
        exports.export(trained, swapped, LABELS, tmp_path / "bundle", data="films.csv")
    assert not (tmp_path / "bundle").exists()


def test_export_rejects_folder_without_checkpoint(split: Split, tmp_path: Path) -> None:
    with code("not-a-checkpoint"):
        exports.export(tmp_path, split.validation, LABELS, tmp_path / "bundle", data="films.csv")


def test_export_keeps_stars(base: Path, rated: Split, tmp_path: Path) -> None:
    calm = replace(RECIPE, lengths=(16,) * 6, learning_rate=5e-3, dropout=0.0, stars_weight=1.0)
    finetune(calm, base, rated, LABELS, tmp_path / "checkpoint")
    exports.export(
        tmp_path / "checkpoint",
        rated.validation,
        LABELS,
        tmp_path / "bundle",
        data="films.csv",
        force=True,  # some of the short texts occur in both parts
    )
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.ratings == (1, 3, 8, 10)
    answers = classifier.predict([review.text for review in rated.validation])
    stars = [answer.stars or 0 for answer in answers]
    assert all(1 <= star <= 10 for star in stars)
    ratings = [review.rating or 0 for review in rated.validation]
    errors = [abs(star - rating) for star, rating in zip(stars, ratings, strict=True)]
    assert sum(errors) / len(errors) < 2
    assert all(len(answer.probabilities) == 2 for answer in answers)


def test_export_rejects_pretrained_base(base: Path, split: Split, tmp_path: Path) -> None:
    quick = replace(RECIPE, kind="pretrain", lengths=(32,), max_steps=1)
    pretrain(quick, base, ["the good film was not bad " * 4], tmp_path / "read")
    with code("not-a-checkpoint"):
        exports.export(
            tmp_path / "read", split.validation, LABELS, tmp_path / "bundle", data="films.csv"
        )
