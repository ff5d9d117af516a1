"""evaluation.json: the results of an evaluation, what was evaluated, and its plots."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter, ValidationError

from reelsense.errors import BundleError
from reelsense.report.results import Evaluation

FORMAT = 1  # version of evaluation.json


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of the report, as an SVG that follows the colour scheme of the reader."""

    name: str  # lower-case letters, digits and hyphens
    section: str  # id of the section of the report
    caption: str
    width: int  # in CSS pixels
    height: int
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """The content of evaluation.json: an evaluation, what was evaluated, and its plots."""

    format: int = FORMAT
    model: str
    version: str  # of the model
    data: str  # name of the data set and its part
    reelsense: str  # version of the package that evaluated the model
    evaluation: Evaluation
    plots: tuple[Plot, ...] = ()

    def without_texts(self) -> EvaluationRecord:
        """Return a copy without the texts of the reviews, which can be published."""
        full = self.evaluation
        likeliest = [replace(row, text="") for row in full.label_errors.likeliest]
        evaluation = replace(
            full,
            mistakes=[replace(row, text="") for row in full.mistakes],
            label_errors=replace(full.label_errors, likeliest=likeliest),
            identity=[
                replace(row, widest=("", "")) if row.source == "reviews" else row
                for row in full.identity
            ],
        )
        return replace(self, evaluation=evaluation)

    def to_json(self) -> str:
        """Return the content of evaluation.json."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EvaluationRecord:
        """Read the content of evaluation.json.

        Raises:
            BundleError: `text` is malformed or has a newer format (code `invalid-evaluation`).
        """
        try:
            record = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise BundleError(
                f"invalid evaluation.json: {error}: run `reelsense evaluate --update-card` again",
                code="invalid-evaluation",
            ) from error
        if record.format > FORMAT:
            raise BundleError(
                f"evaluation.json has format {record.format}, expected at most {FORMAT}: upgrade "
                "reelsense",
                code="invalid-evaluation",
            )
        return record
