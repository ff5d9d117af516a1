from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reelsense import Classifier
from reelsense.datasets.reviews import Split
from reelsense.errors import TrainingError
from reelsense.training import export as exports
from reelsense.training.finetune import finetune
from reelsense.training.model import load_model
from reelsense.training.pretrain import pretrain
from reelsense.training.quantize import quantize_weights
from reelsense.training.recipe import Recipe
from tests.conftest import LABELS

RECIPE = Recipe(
    name="tiny", base="", lengths=(32,) * 8, tokens_per_batch=128, learning_rate=1e-2, window=32
)


@pytest.fixture
def trained(base: Path, split: Split, tmp_path: Path) -> Path:
    finetune(RECIPE, base, split, ["negative", "positive"], tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_bundle_answers_as_its_checkpoint_does(
    trained: Path, split: Split, tmp_path: Path
) -> None:
    parity = exports.export(trained, split, LABELS, tmp_path / "bundle", data="films.csv")
    assert parity.reviews == len(split.held_out)
    assert parity.agreement >= exports.LEAST_AGREEMENT

    model = AutoModelForSequenceClassification.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.name == "tiny"
    short = [r.text for r in split.held_out if len(r.text.split()) <= 30]
    assert len(short) > 10
    found = classifier.predict_proba(short)
    for text, row in zip(short, found, strict=True):
        with torch.no_grad():
            exact = model(**tokenizer(text, return_tensors="pt")).logits.softmax(1)[0]
        assert row == pytest.approx(exact.tolist(), abs=0.05)  # int8 of a net of 16 units

    content = b"".join(path.read_bytes() for path in (tmp_path / "bundle").iterdir())
    assert str(Path(exports.__file__)).encode() not in content
    assert b"site-packages" not in content


def test_where_int8_throughout_is_not_faithful_the_weights_alone_are(
    trained: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(network: onnx.ModelProto, _calibration: object) -> bytes:
        """The network with the two labels exchanged."""
        network = onnx.load_from_string(quantize_weights(network))
        for part in network.graph.initializer:
            if part.name in ("model.classifier.weight_scale", "model.classifier.bias"):
                content = -onnx.numpy_helper.to_array(part)
                part.CopyFrom(onnx.numpy_helper.from_array(content, part.name))
        return bytes(network.SerializeToString())

    monkeypatch.setattr(exports, "quantize", swapped)
    parity = exports.export(trained, split, LABELS, tmp_path / "bundle", data="films.csv")
    assert parity.agreement >= exports.LEAST_AGREEMENT
    manifest = Classifier.load(tmp_path / "bundle").manifest
    assert manifest.provenance["network"] == exports.WEIGHTS_INT8


def test_nothing_is_turned_around_that_engines_would_have_to_turn_back(base: Path) -> None:
    model = load_model(base, LABELS, dropout=0.0, attention_dropout=0.0)
    network = exports.to_onnx(model.train(False))
    turned = [node for node in network.graph.node if node.op_type == "Transpose"]
    queries_keys_values_context = 4
    assert len(turned) == queries_keys_values_context * model.config.num_hidden_layers


def test_labels_of_other_data_are_refused(trained: Path, split: Split, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="knows the labels"):
        exports.export(trained, split, ["no", "yes"], tmp_path / "bundle", data="films.csv")


def test_what_lost_its_accuracy_in_int8_is_refused(
    trained: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = [replace(r, label=None) for r in split.held_out]
    monkeypatch.setattr(exports, "torch_network", lambda _model: lambda ids, mask: -ids[:, :2])
    with pytest.raises(TrainingError, match=r"at least 99\.5% are needed"):
        exports.export(
            trained, Split(split.train, swapped), LABELS, tmp_path / "bundle", data="films.csv"
        )
    assert not (tmp_path / "bundle").exists()


def test_what_is_no_checkpoint(split: Split, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a checkpoint of `reelsense train`"):
        exports.export(tmp_path, split, LABELS, tmp_path / "bundle", data="films.csv")


def test_a_checkpoint_with_stars_gives_a_bundle_with_stars(
    base: Path, rated: Split, tmp_path: Path
) -> None:
    calm = replace(RECIPE, lengths=(16,) * 6, learning_rate=5e-3, dropout=0.0, stars_weight=1.0)
    finetune(calm, base, rated, LABELS, tmp_path / "checkpoint")
    exports.export(tmp_path / "checkpoint", rated, LABELS, tmp_path / "bundle", data="films.csv")
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.ratings == (1, 3, 8, 10)
    answers = classifier.predict([review.text for review in rated.held_out])
    stars = [answer.stars or 0 for answer in answers]
    assert all(1 <= each <= 10 for each in stars)
    off = [abs(each - (r.rating or 0)) for each, r in zip(stars, rated.held_out, strict=True)]
    assert sum(off) / len(off) < 2
    assert all(len(answer.probabilities) == 2 for answer in answers)


def test_a_pretrained_base_is_no_checkpoint(base: Path, split: Split, tmp_path: Path) -> None:
    quick = replace(RECIPE, mlm_length=32, most_steps=1)
    pretrain(quick, base, ["the good film was not bad " * 4], tmp_path / "read")
    with pytest.raises(TrainingError, match="not a checkpoint of `reelsense train`"):
        exports.export(tmp_path / "read", split, LABELS, tmp_path / "bundle", data="films.csv")
