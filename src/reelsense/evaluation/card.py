"""Render the model card, in the format of the Hugging Face hub."""

from __future__ import annotations

import re

from reelsense.bundle import Manifest
from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import AUGMENTED, PHRASES, SENTENCES
from reelsense.report.page import summary_sentences, template
from reelsense.report.record import EvaluationRecord

# Licences of base models, as stated on their cards on the Hugging Face hub (2026-11).
_BASE_LICENCES = {
    "sentence-transformers/all-MiniLM-L6-v2": "Apache-2.0",
    "google-bert/bert-base-uncased": "Apache-2.0",
}

# Attribution and licence of additional training data.
_SOURCES = {
    AUGMENTED: "Kaushik et al. 2020, Apache-2.0",
    SENTENCES: "Socher et al. 2013, in the form of GLUE, under its terms",
    PHRASES: "Socher et al. 2013, in the form of GLUE, under its terms",
}


def render_card(
    record: EvaluationRecord,
    manifest: Manifest,
    *,
    on_imdb: bool = False,
    published_as: str | None = None,
) -> str:
    """Return the model card as Markdown with YAML front matter.

    `on_imdb`: the model was evaluated on the Large Movie Review Dataset. `published_as`: the name
    under which the project publishes the model; None for other models.
    """
    base = manifest.provenance.get("recipe", {}).get("base", "")
    text = template("reelsense.evaluation", "card.md.jinja").render(
        record=record,
        manifest=manifest,
        e=record.evaluation,
        base=base,
        base_licence=_BASE_LICENCES.get(base, ""),
        sources=_SOURCES,
        from_imdb=manifest.provenance.get("data") == imdb.NAME,
        on_imdb=on_imdb,
        published_as=published_as,
        summary=summary_sentences(record, manifest),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
