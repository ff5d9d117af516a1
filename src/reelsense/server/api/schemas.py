"""Request and response bodies of /v1. They validate requests and define the OpenAPI document.

Does not know routes or how texts are scored.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from reelsense.inference.explain import BUDGET, MIN_BUDGET
from reelsense.server.api.constraints import WHOLE, AnyText, MaxLength, Risk, Text
from reelsense.server.middleware.field_errors import ResponseModel, optional
from reelsense.server.middleware.problems import TextErrorSchema
from reelsense.text.clean import printable

ALWAYS_UNSURE = "Why every verdict is unsure, if the model cannot meet the target error rate."

MAX_BUDGET = 1000  # forward passes: about ten seconds on two cores

# A string from a file, without characters that UTF-8 cannot encode.
PrintableText = Annotated[str, BeforeValidator(lambda value: value and printable(value))]


class RequestModel(BaseModel):
    """Base class of request bodies. Types are not coerced, and unknown fields are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _one_of_text_and_texts(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["texts"]}]
    schema["examples"] = [{"texts": ["A joy from the first scene to the last.", "A bore."]}]


class PredictRequest(RequestModel):
    """One text, or several."""

    model_config = ConfigDict(json_schema_extra=_one_of_text_and_texts)

    text: Text = optional("One text.")
    texts: Annotated[list[AnyText], Field(min_length=1), MaxLength("max_texts")] = optional(
        "Several texts. A text that is blank, too long or unreadable gets an error instead of a "
        "prediction."
    )
    risk: Risk | None = Field(
        default=None,
        description="Target error rate among predictions whose verdict is not unsure: 0.02 is 2 %. "
        "Default: that of the model.",
    )
    model: str | None = Field(
        default=None,
        description="Name of the model, for servers with several (GET /v1/models). Default: the "
        "first one.",
    )
    strict: bool = Field(
        default=False, description="Reject the request if any of the texts cannot be scored."
    )

    @model_validator(mode="after")
    def _text_or_texts(self) -> PredictRequest:
        if ("text" in self.model_fields_set) == ("texts" in self.model_fields_set):
            raise PydanticCustomError("one-of", 'Send one of "text" and "texts"')
        return self


class ModelPath(BaseModel):
    """The name of a model in a URL."""

    name: str = Field(description="Name of the model (GET /v1/models).")


class ServedModel(ResponseModel):
    """A model that the server offers. The first fields are those of the OpenAI API."""

    id: str = Field(description="The name by which requests select it.")
    object: Literal["model"]
    created: int = Field(description="When it was loaded, in seconds since 1970; 0 before.")
    owned_by: Literal["reelsense"]
    name: str = optional("The model's own name.")
    version: str = optional("Changes whenever predictions may change.")
    labels: list[str] = optional("The labels, in the order of probabilities.")


class ModelsResponse(ResponseModel):
    """The models of the server; the first one is the default."""

    object: Literal["list"]
    data: list[ServedModel]


class ModelSchema(ResponseModel):
    """The model that made the predictions."""

    name: str
    version: str = Field(description="Changes whenever predictions may change.")


class TokenCountSchema(ResponseModel):
    """The tokens of a text."""

    total: int = Field(description="Tokens of the text.")
    scored: int = Field(description="Tokens that the model read.")


class PredictionSchema(ResponseModel):
    """The prediction for one text."""

    verdict: str = Field(description="The label, or unsure.")
    label: str = Field(description="The most probable label.")
    score: float = Field(ge=0, le=1, description="The probability of the label.")
    threshold: float | None = Field(
        description="Decision threshold for texts of this length: the verdict is unsure if the "
        "score is below it. null: no threshold meets the target error rate, and the verdict is "
        "always unsure."
    )
    positive: float = optional(
        "Probability of positive. Only for models with the labels positive and negative."
    )
    negative: float = optional(
        "Probability of negative. Only for models with the labels positive and negative."
    )
    probabilities: dict[str, float] = optional(
        "Probability of every label. Only for models with other labels."
    )
    stars: float = optional("Expected star rating, 1 to 10. Only for models that predict stars.")
    tokens: TokenCountSchema
    prediction_id: str = optional(
        "Id of the prediction for POST /v1/feedback, if the server stores it (--keep-predictions)."
    )


class FailedPrediction(ResponseModel):
    """Takes the place of the prediction for a text that could not be scored."""

    error: TextErrorSchema


class PredictResponse(ResponseModel):
    """One prediction for each text, in the order of the request."""

    model: ModelSchema
    risk: float | None = Field(description="The target error rate that was applied. null: none.")
    threshold: float | None = Field(
        description="Decision threshold for the longest texts; that of each text is in its "
        "prediction. null: no threshold meets the target error rate."
    )
    warning: str = optional(ALWAYS_UNSURE)
    predictions: list[PredictionSchema | FailedPrediction]


class ExplainRequest(RequestModel):
    """The text to explain."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "The music is lovely. The plot is a mess."}]}
    )

    text: Text = Field(description="One text.")
    model: str | None = Field(
        default=None,
        description="Name of the model, for servers with several (GET /v1/models). Default: the "
        "first one.",
    )
    risk: Risk | None = Field(default=None, description="Target error rate, as in /v1/predict.")
    budget: Annotated[int, Field(ge=MIN_BUDGET, le=MAX_BUDGET), WHOLE] = Field(
        default=BUDGET,
        description="Maximum number of forward passes, in addition to those for the text itself. A "
        "higher budget gives finer parts of long texts and smaller counterfactuals.",
    )
    aspects: bool = Field(
        default=False,
        description="Also return the clauses that judge an aspect of the film. Only for models "
        "with the labels positive and negative.",
    )


class PartSchema(ResponseModel):
    """A part of the text and its weight."""

    start: int = Field(description="Offset of its first character, in Unicode code points.")
    end: int = Field(description="Offset after its last character, in Unicode code points.")
    text: str
    weight: float = Field(
        description="Log-odds of the whole text minus log-odds without this part, calibrated, in "
        "nats. The other windows of a long text are unchanged. Positive weights support "
        "target_label, negative weights oppose it."
    )


class CounterfactualSchema(ResponseModel):
    """The smallest set of parts found whose removal changes the label."""

    unit: str = Field(description="sentences; words if no set of sentences was found.")
    parts: list[PartSchema]
    prediction: PredictionSchema = Field(description="Prediction for the text without the parts.")


class AspectMentionSchema(ResponseModel):
    """A clause that judges an aspect of the film, and the sentiment of the clause alone."""

    aspect: str = Field(
        description="acting, story, directing, music, visuals, pace, humour, effects, dialogue or "
        "ending."
    )
    start: int = Field(description="Offset of its first character, in Unicode code points.")
    end: int = Field(description="Offset after its last character, in Unicode code points.")
    text: str
    verdict: str = Field(description="positive, negative or unsure.")
    positive: float = Field(ge=0, le=1, description="The probability of positive.")


class ExplainResponse(ResponseModel):
    """The sentences and words that determine the prediction."""

    model: ModelSchema
    risk: float | None = Field(description="The target error rate that was applied. null: none.")
    prediction: PredictionSchema
    target_label: str = Field(
        description="The label that weights refer to: positive if the model has it, otherwise the "
        "predicted label."
    )
    log_odds: float = Field(
        description="Log-odds of target_label for the whole text, calibrated, in nats."
    )
    sentences: list[PartSchema] = Field(
        description="All sentences of the text. In very long texts, adjacent sentences of low "
        "weight are merged into passages."
    )
    words: list[PartSchema] = Field(
        description="The words with the highest weights in the sentence with the highest weight."
    )
    counterfactual: CounterfactualSchema | None = Field(
        description="null: none was found within the budget."
    )
    forward_passes: int = Field(
        description="Forward passes that were used, without those for aspects."
    )
    budget: int
    aspects: list[AspectMentionSchema] = optional(
        "The mentions of aspects, in the order of the text. Only if requested."
    )


class ThresholdSchema(ResponseModel):
    """The decision threshold for a target error rate."""

    risk: float = Field(description="Target error rate.")
    score: float | None = Field(
        description="Decision threshold. null: no threshold meets the target error rate."
    )


class LengthGroupSchema(ResponseModel):
    """Texts in a range of lengths, with their own calibration and thresholds."""

    name: str = Field(description="sentence, short or long; all if there is only one group.")
    max_tokens: int | None = Field(
        description="Maximum tokens of a text of this group, which starts where the previous one "
        "ends. null: unlimited."
    )
    thresholds: list[ThresholdSchema]


class Limits(ResponseModel):
    """Limits of the server."""

    max_texts: int = Field(description="Maximum texts per request.")
    max_characters: int = Field(description="Maximum characters per text.")
    max_body: int = Field(description="Maximum bytes per request body.")
    max_upload: int = Field(description="Maximum bytes per file of a job.")
    max_rows: int = Field(description="Maximum rows per file of a job.")
    job_retention_hours: float = Field(
        description="Hours after which a job that has ended is deleted."
    )
    deadline: float = Field(description="Seconds after which a request is aborted.")


class JobSchema(ResponseModel):
    """A file of texts that is scored in the background."""

    id: str = Field(description="Keep it secret: anyone who knows it can read the job.")
    name: str = Field(description="File name.")
    column: PrintableText = Field(description="The column that contains the texts.")
    state: str = Field(description="waiting, running, done, cancelled or failed.")
    rows: int
    done: int = Field(description="Rows processed, including rows that could not be scored.")
    seconds_left: float | None = Field(
        description="Estimated remaining time. null before the first rows are done, while the job "
        "waits for a model, and after the end."
    )
    waiting_for: str | None = Field(
        description="The model that the job waits for, because no server has it at present: its "
        "name and, once the job has started, its version. null: none."
    )
    risk: float | None = Field(
        description="The requested target error rate. null: the default of the model."
    )
    model: str
    version: str | None = Field(description="Version of the model. null: not started yet.")
    labels: list[str] = Field(description="Labels of the model. Empty: not started yet.")
    verdicts: dict[str, int] = Field(
        description="Number of rows per verdict. error: rows that could not be scored."
    )
    stars: dict[str, int] = Field(description="Number of rows per star rating, rounded.")
    created: datetime
    ended: datetime | None
    expires: datetime | None = Field(
        description="When the job will be deleted. null: not ended yet."
    )
    error: PrintableText | None = Field(description="Why the job failed.")
    error_code: str | None = Field(
        description="Stable identifier of the error, such as model-gone. null: no error."
    )


class JobRow(ResponseModel):
    """A row of a job with its prediction."""

    n: int = Field(description="Row number, starting at 0.")
    line: int = Field(description="Line of the file in which the row ends.")
    text: str
    label: str | None
    score: float | None
    positive: float | None
    verdict: str | None
    stars: float | None
    error: str | None = Field(description="Why the row could not be scored.")
    values: dict[str, str] = Field(
        description="The other columns as strings, each truncated to 200 characters."
    )


class JobRows(ResponseModel):
    """One page of the rows of a job."""

    total: int = Field(description="Number of matching rows on all pages.")
    rows: list[JobRow]


class PreviewSchema(ResponseModel):
    """The columns and first rows of a file."""

    columns: list[str]
    rows: list[list[str]] = Field(description="The first rows, with long values truncated.")
    suggested: str = Field(description="The column that probably contains the texts.")
    undecoded: int = Field(
        description="Lines of the uploaded data that are not valid UTF-8. If there are any, set "
        "encoding."
    )
    dialect: str | None = Field(
        description="How the columns of a .csv or .tsv are written, in words, as detected."
    )
    warning: str | None = Field(description="Why the first line may not be a header.")


class ModelInfo(ModelSchema):
    """The model and its properties."""

    labels: list[str]
    window: int = Field(description="Window length in tokens. Longer texts are split into windows.")
    stars: bool = Field(description="Whether the model predicts star ratings.")
    risk: float | None = Field(
        description="Target error rate of requests that do not set one. null: none."
    )
    warning: str = optional(f"{ALWAYS_UNSURE} For requests that do not set one.")
    thresholds: list[ThresholdSchema] = Field(
        description="Decision thresholds for the longest texts."
    )
    length_groups: list[LengthGroupSchema] = Field(
        description="All length groups, shortest texts first."
    )


class InfoResponse(ResponseModel):
    """The server, its model and its limits."""

    reelsense: str = Field(description="Version of the server.")
    model: ModelInfo
    limits: Limits
