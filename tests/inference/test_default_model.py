"""The model that comes with the package: does it answer, and does the int8 hold what it says?"""

from __future__ import annotations

import random

import numpy as np
import pytest

from reelsense import Classifier, bundle

POSITIVE = [
    "An absolute delight from start to finish; the cast is superb and I laughed out loud.",
    "Slow to begin with, but what a finish. One of the finest films of the decade.",
    "I expected nothing and was moved to tears. Beautifully shot, wonderfully acted.",
]
NEGATIVE = [
    "A dull, lifeless mess. The acting is wooden and the plot makes no sense at all.",
    "Poorly written, badly acted and far too long: a waste of a good cast.",
    "Two hours of my life I will never get back. Avoid it.",
]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def test_plain_reviews(classifier: Classifier) -> None:
    answers = classifier.predict(POSITIVE + NEGATIVE)
    assert [answer.label for answer in answers] == ["positive"] * 3 + ["negative"] * 3


def test_an_answer_does_not_depend_on_its_neighbours(classifier: Classifier) -> None:
    choose = random.Random(0)
    words = " ".join(POSITIVE + NEGATIVE).split()
    texts = [" ".join(choose.choices(words, k=choose.choice([3, 40, 300, 900]))) for _ in range(24)]
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-4


def test_the_same_on_one_core_and_on_all(classifier: Classifier) -> None:
    one = Classifier.load(threads=1)
    texts = POSITIVE + NEGATIVE
    assert np.abs(one.predict_proba(texts) - classifier.predict_proba(texts)).max() < 1e-4


def test_no_weight_can_overflow_on_a_processor_without_vnni() -> None:
    """There, two products of an unsigned and a signed byte are added in 16 bits, saturating.

    255 x 64 x 2 fits; with weights up to 127 it would not. Where no activation is made a byte,
    nothing is multiplied in bytes.
    """
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(bundle.read(bundle.DEFAULT).network).graph
    content = {part.name: part for part in graph.initializer}
    source = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type in ("DequantizeLinear", "Transpose")
    }
    weights = []
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm") and all(name in source for name in node.input[:2]):
            name = source[node.input[1]]
            name = source.get(name, name)
            if name in content:  # else a product of two activations
                weights.append(onnx.numpy_helper.to_array(content[name]))
    multiplies_bytes = any(node.op_type == "QuantizeLinear" for node in graph.node)
    assert len(weights) >= 6 * 4 if multiplies_bytes else not weights
    assert all(np.abs(part.astype(int)).max() <= 64 for part in weights)
