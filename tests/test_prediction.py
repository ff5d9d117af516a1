"""How notebooks show predictions and explanations."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.prediction import Prediction
from tests import tiny

CLASSIFIER = tiny.classifier()


def parsed(html: str) -> ElementTree.Element:
    """Parse HTML as XML, which fails on unescaped text."""
    return ElementTree.fromstring(f"<body>{html.replace('&middot;', '')}</body>")  # noqa: S314


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def test_prediction_is_shown_with_its_verdict() -> None:
    [sure] = tiny.star_classifier().predict(["good"])
    assert re.fullmatch(
        r"positive 88.0 %\s+8.0 of 10 stars\s+decision threshold 0.0 %",
        text_of(parsed(sure._repr_html_())),
    )
    [unsure] = tiny.cautious_classifier().predict(["good"], risk=0.02)
    assert text_of(parsed(unsure._repr_html_())).startswith("unsure (positive?) 88.0 %")


def test_prediction_escapes_labels() -> None:
    classifier = tiny.classifier(("a <b>", "&c"))
    [prediction] = classifier.predict(["good"])
    assert text_of(parsed(prediction._repr_html_())).startswith("&c 88.0 %")


def test_explanation_shows_weights_and_counterfactual() -> None:
    explanation = CLASSIFIER.explain("The film was good, great. It was bad.")
    body = parsed(explanation._repr_html_())
    assert body.find("./div[@class='tex2jax_ignore mathjax_ignore']") is not None
    spans = body.findall(".//span")
    assert [span.text for span in spans] == ["The film was good, great.", "It was bad."]
    assert [span.get("title", "")[:8] for span in spans] == ["weight +", "weight -"]
    colours = [re.findall(r"rgb\((\d+) .* / ([\d.]+)\)", span.get("style", "")) for span in spans]
    assert colours == [[("59", "0.50")], [("245", "0.25")]]
    assert body.find(".//q").text == "The film was good, great."  # type: ignore[union-attr]
    assert "negative" in text_of(body)


@settings(deadline=None)
@given(st.text(st.sampled_from("<>&\"' good.bad\n\u202e\x00;:/script"), min_size=1, max_size=40))
def test_explanation_escapes_the_text(text: str) -> None:
    [result] = CLASSIFIER.predict_each([text])
    if isinstance(result, Prediction):
        html = CLASSIFIER.explain(text)._repr_html_()
        tags = set(re.findall(r"</?(\w+)", html))
        assert tags <= {"div", "strong", "p", "span", "em", "q"}
        assert not {"\x00", "\u202e"} & set(html)


@pytest.mark.slow
def test_notebook_shows_predictions_and_explanations() -> None:
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [
        "from tests import tiny\nclassifier = tiny.classifier()",
        'classifier.predict(["good"])[0]',
        'classifier.explain("It was good. <script>alert(1)</script> bad, bad.")',
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    prediction, explanation = (cell.outputs[0].data["text/html"] for cell in notebook.cells[1:])
    assert "<strong>positive</strong>" in prediction
    assert "&lt;script&gt;" in explanation
    assert "<script" not in explanation
