"""What goes over the wire, as types: requests are checked by them, the contract is made of them.

Knows JSON; knows neither routes nor how texts are scored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from flask import has_app_context
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from reelsense.inference.explain import BUDGET, MIN_BUDGET
from reelsense.server.middleware.wire_models import ResponseModel, TextFault, optional
from reelsense.server.model_holder import get_model_holder
from reelsense.text.clean import LONE_SURROGATE

MOST_BUDGET = 1000
"""Windows that one explanation may read: some ten seconds of two cores."""


class RequestModel(BaseModel):
    """A request body. Types are not bent to fit, and a field that nobody knows is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True)
class MaxLength:
    """Bounds a string or list by a limit of the running server, in the check and the contract.

    It comes before the other checks, so that a million wrong entries are one error.
    """

    limit: str
    """The name of the setting: max_texts or max_characters."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(schema)
        if has_app_context():
            found["maxItems" if found["type"] == "array" else "maxLength"] = self._most()
        return found

    def _check(self, value: object) -> object:
        if isinstance(value, str | list) and len(value) > (most := self._most()):
            raise PydanticCustomError(
                "too-long" if isinstance(value, str) else "too-many",
                "Input should have at most {most} {unit}, not {found}",
                {
                    "most": f"{most:,}",
                    "unit": "characters" if isinstance(value, str) else "entries",
                    "found": f"{len(value):,}",
                },
            )
        return value

    def _most(self) -> int:
        most: int = getattr(get_model_holder().settings, self.limit)
        return most


class NonBlank:
    """Refuses a string of nothing but white space, in the check and the contract."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"minLength": 1, "pattern": r"\S"}

    def _check(self, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("blank", "Input should not be blank")
        return value


class OneOf:
    """Refuses a string that is none of a few words, in the check and the contract."""

    def __init__(self, *words: str, pattern: str | None = None) -> None:
        """Name the `words`; a `pattern` takes more spellings of them."""
        self._said = f"{', '.join(words[:-1])} or {words[-1]}"
        self._pattern = pattern or f"^({'|'.join(words)})$"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": self._pattern}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self._pattern, value):
            raise PydanticCustomError("word", "Input should be {words}", {"words": self._said})
        return value


AnyText = Annotated[
    str,
    # No UTF-8 carries half of a pair, but JSON's escapes do; clients cut emoji in two.
    BeforeValidator(
        lambda value: LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
    ),
]
"""A string."""

Text = Annotated[AnyText, NonBlank(), MaxLength("max_characters")]
"""A string that can be scored."""

WHOLE = BeforeValidator(
    lambda value: int(value) if isinstance(value, float) and value.is_integer() else value
)
"""Of an integer: to JSON Schema 2.0 is one, and there are clients that write it so."""

Risk = Annotated[float, Field(gt=0, lt=1)]


def _one_of_text_and_texts(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["texts"]}]
    schema["examples"] = [{"texts": ["A joy from the first scene to the last.", "A bore."]}]


class PredictRequest(RequestModel):
    """One text, or several."""

    model_config = ConfigDict(json_schema_extra=_one_of_text_and_texts)

    text: Text = optional("One text.")
    texts: Annotated[list[AnyText], Field(min_length=1), MaxLength("max_texts")] = optional(
        "Several texts. One that is blank, too long or unreadable gets an error in its place."
    )
    risk: Risk | None = Field(
        default=None,
        description="The share of wrong answers you accept among those whose verdict is not "
        "unsure, as 0.02 for 2 %; by default the model's own.",
    )
    strict: bool = Field(
        default=False, description="Refuse the request if one of the texts cannot be scored."
    )

    @model_validator(mode="after")
    def _text_or_texts(self) -> PredictRequest:
        if ("text" in self.model_fields_set) == ("texts" in self.model_fields_set):
            raise PydanticCustomError("one-of", 'Send one of "text" and "texts"')
        return self


class ModelSchema(ResponseModel):
    """Which model answered."""

    name: str
    version: str = Field(description="Changes whenever the answers may.")


class TokenCountSchema(ResponseModel):
    """How much of the text was read, in word pieces."""

    total: int
    scored: int


class PredictionSchema(ResponseModel):
    """The answer for one text."""

    verdict: str = Field(description="The label, or unsure.")
    label: str = Field(description="The most probable label.")
    score: float = Field(ge=0, le=1, description="Its probability.")
    threshold: float | None = Field(
        description="The least score of a decided answer to a text of this length; null where no "
        "threshold keeps to the risk, so that the verdict is unsure."
    )
    positive: float = optional("The probability of positive, of a model with these two labels.")
    negative: float = optional("The probability of negative.")
    probabilities: dict[str, float] = optional("That of every label, of any other model.")
    stars: float = optional("The star rating to expect, 1 to 10, of a model that knows stars.")
    tokens: TokenCountSchema


class FailedPrediction(ResponseModel):
    """In the place of the answer for one of several texts."""

    error: TextFault


class PredictResponse(ResponseModel):
    """An answer for each text, in their order."""

    model: ModelSchema
    risk: float | None = Field(description="The risk that was kept to; null: none.")
    threshold: float | None = Field(
        description="The threshold of the model's longest texts, whatever texts were sent; each "
        "prediction has the one that its verdict was decided by. null: out of reach."
    )
    predictions: list[PredictionSchema | FailedPrediction]


class ExplainRequest(RequestModel):
    """One text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "The music is lovely. The plot is a mess."}]}
    )

    text: Text = Field(description="One text.")
    risk: Risk | None = Field(default=None, description="As of /v1/predict.")
    budget: Annotated[int, Field(ge=MIN_BUDGET, le=MOST_BUDGET), WHOLE] = Field(
        default=BUDGET,
        description="How many windows of the text the network may read for it, beside the text "
        "itself: the more, the finer the parts of long texts and the smaller the flips.",
    )


class PartSchema(ResponseModel):
    """A part of the text and what it carries."""

    start: int = Field(description="Where it begins in the text as sent, in Unicode code points.")
    end: int = Field(description="Before which one it ends.")
    text: str
    weight: float = Field(
        description="The log-odds of the whole text less those without this part, calibrated, in "
        "nats. The other windows of a long text stay as they were. Above 0 it speaks for "
        "the label in towards, below 0 against it."
    )


class CounterfactualSchema(ResponseModel):
    """Parts without which the label is another; the smallest such set that was found."""

    unit: str = Field(description="sentences, or words where no sentences were found that do it.")
    parts: list[PartSchema]
    prediction: PredictionSchema = Field(description="Of the text without them.")


class ExplainResponse(ResponseModel):
    """What carries the answer for a text."""

    model: ModelSchema
    risk: float | None = Field(description="The risk that was kept to; null: none.")
    prediction: PredictionSchema
    target_label: str = Field(
        description="The label that weights count towards: positive, or the "
        "answer's of a model without it."
    )
    log_odds: float = Field(description="Of that label for the whole text, calibrated, nats.")
    sentences: list[PartSchema] = Field(
        description="All of the text; what weighs little in a text of very many sentences is "
        "joined to passages."
    )
    words: list[PartSchema] = Field(description="The heaviest words of the heaviest sentence.")
    counterfactual: CounterfactualSchema | None = Field(
        description="null: no parts that turn the label were found within the budget."
    )
    forward_passes: int = Field(description="Windows that the network read for this.")
    budget: int


class ThresholdSchema(ResponseModel):
    """For a risk, the least score of a decided answer; null: out of reach."""

    risk: float
    score: float | None


class LengthGroupSchema(ResponseModel):
    """The texts of a range of lengths, which share calibration and thresholds."""

    name: str = Field(description="sentence, short or long; all where there is one group.")
    max_tokens: int | None = Field(
        description="Word pieces of the longest texts of the group, which begins where the one "
        "before it ends; null: no upper bound."
    )
    thresholds: list[ThresholdSchema]


class Limits(ResponseModel):
    """What the server takes."""

    max_texts: int = Field(description="Texts in a request.")
    max_characters: int = Field(description="Characters of a text.")
    max_body: int = Field(description="Bytes of a request body.")
    max_upload: int = Field(description="Bytes of a file that is sent as a job.")
    max_rows: int = Field(description="Rows of such a file.")
    job_retention_hours: float = Field(
        description="Hours after which a job that has ended is deleted."
    )
    deadline: float = Field(
        description="Seconds after which a request that has arrived is given up."
    )


class JobSchema(ResponseModel):
    """A file of texts that is scored in the background."""

    id: str = Field(description="Keep it: whoever knows it may read the job, and nobody else.")
    name: str
    column: str = Field(description="Of the texts.")
    state: str = Field(description="waiting, running, done, cancelled or failed.")
    rows: int
    done: int = Field(description="Rows that are scored, or were found not to be texts.")
    seconds_left: float | None = Field(
        description="How long the rest should take; null before it has begun and at its end."
    )
    risk: float | None = Field(description="As asked for; null: the model's own.")
    model: str
    version: str | None = Field(description="Of the model that answers; null before it has begun.")
    verdicts: dict[str, int] = Field(description="How many rows of each; error: not scored.")
    stars: dict[str, int] = Field(description="How many rows of each, rounded.")
    created: datetime
    ended: datetime | None
    expires: datetime | None = Field(description="When it is deleted; null until it has ended.")
    error: str | None = Field(description="Why it failed.")


class JobRow(ResponseModel):
    """A row of a job and its answer."""

    n: int = Field(description="Which row, from 0.")
    line: int = Field(description="Where it ends in the file.")
    text: str
    label: str | None
    score: float | None
    positive: float | None
    verdict: str | None
    stars: float | None
    error: str | None = Field(description="Why it could not be scored.")


class JobRows(ResponseModel):
    """Some rows of a job."""

    total: int = Field(description="How many there are in all.")
    rows: list[JobRow]


class PreviewSchema(ResponseModel):
    """What is in a file at a glance."""

    columns: list[str]
    rows: list[list[str]] = Field(description="The first ones, cut short.")
    suggested: str = Field(description="The column that seems to hold the texts.")
    undecoded: int = Field(
        description="Rows of all that was sent that are not UTF-8 text: name the encoding."
    )


class ModelInfo(ModelSchema):
    """The model in more words."""

    labels: list[str]
    window: int = Field(description="Tokens read at once; longer texts are read in windows.")
    stars: bool = Field(description="Whether it knows star ratings.")
    risk: float | None = Field(description="The risk where a request names none.")
    thresholds: list[ThresholdSchema] = Field(description="Those of the longest texts.")
    length_groups: list[LengthGroupSchema] = Field(description="All of them, shortest texts first.")


class InfoResponse(ResponseModel):
    """What answers here, and what it takes."""

    reelsense: str = Field(description="The version of the server.")
    model: ModelInfo
    limits: Limits
