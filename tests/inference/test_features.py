"""What predictions carry for drift detection."""

import numpy as np
import pytest

from reelsense.bundle import DEFAULT_BUNDLE, Bundle, read_bundle
from reelsense.inference.classifier import Classifier
from reelsense.inference.embedding import Encoder
from reelsense.inference.pipeline import _basis
from reelsense.prediction import EMBEDDING_SIZE, TextFeatures
from tests import tiny, tiny_network


def features(classifier: Classifier, *texts: str) -> list[TextFeatures]:
    return [p.features for p in classifier.predict(texts) if p.features is not None]


def test_share_of_unknown_tokens() -> None:
    bundle = tiny.bundle()
    unknown = Bundle(bundle.manifest, b"", tiny.tokenizer_json("[UNK]"), "# tiny\n")
    classifier = Classifier(unknown, network=tiny.count_moods)
    found = features(classifier, "good film", "good xyz", "good x y z", "good " * 30 + "x " * 30)
    assert [text.unknown for text in found] == [0, 0.5, 0.75, 0.5]


def test_embedding_is_a_projection_of_the_sentence_vector() -> None:
    bundle = tiny.bundle(network=tiny_network.layered_network())
    texts = ["good film", "a bad film", "good " * 20]
    vectors = Encoder(bundle, threads=1).vectors(texts)
    found = features(Classifier(bundle, threads=1, cache_size=10), *texts)
    embeddings = np.array([text.embedding for text in found])
    assert embeddings.shape == (3, EMBEDDING_SIZE)
    assert embeddings == pytest.approx(vectors @ _basis(vectors.shape[1]), rel=1e-5, abs=1e-5)
    assert len(np.unique(embeddings, axis=0)) == 3


def test_cached_predictions_have_the_same_features() -> None:
    classifier = Classifier(
        tiny.bundle(network=tiny_network.layered_network()), threads=1, cache_size=10
    )
    [first], [second] = features(classifier, "good film"), features(classifier, "good film")
    assert first.embedding is not None
    assert first.embedding.tolist() == np.asarray(second.embedding).tolist()


@pytest.mark.parametrize("network", [tiny_network.network(), None])
def test_networks_without_an_output_layer_have_no_embedding(network: bytes | None) -> None:
    bundle = tiny.bundle(network=network or b"none")
    classifier = Classifier(bundle, threads=1, network=None if network else tiny.count_moods)
    assert [text.embedding for text in features(classifier, "good film")] == [None]


def test_explanations_are_not_counted() -> None:
    classifier = Classifier(tiny.bundle(network=tiny_network.layered_network()), threads=1)
    explanation = classifier.explain("good film. A bad one.")
    assert explanation.prediction.features is None
    assert explanation.prediction == classifier.predict(["good film. A bad one."])[0]


def test_basis_is_orthogonal() -> None:
    basis = _basis(384)
    assert basis.T @ basis == pytest.approx(192 * np.eye(EMBEDDING_SIZE), abs=1e-9)


def test_default_model_returns_embeddings_and_unchanged_scores() -> None:
    bundle = read_bundle(DEFAULT_BUNDLE)
    text = "A joy from the first scene to the last."
    classifier = Classifier(bundle, threads=1)
    [found] = features(classifier, text)
    vector = Encoder(bundle, threads=1).vectors([text])[0]
    assert found.embedding == pytest.approx(vector @ _basis(len(vector)), rel=1e-3, abs=1e-3)
