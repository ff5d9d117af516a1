"""Tools for agents over the Model Context Protocol. Needs the extra [mcp].

Does not know flags: `reelsense mcp` chooses the model and the transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any, NotRequired

from reelsense import __version__
from reelsense.bulk.output import bad_rows_address
from reelsense.bulk.rows import added, added_columns, as_dict
from reelsense.bulk.score_files import score_files
from reelsense.errors import InputError, ReelsenseError, TextError
from reelsense.extras import importable
from reelsense.inference.calibration import decision_thresholds
from reelsense.inference.classifier import Classifier

importable("mcp", "mcp", "reelsense mcp")

from mcp.server.mcpserver import MCPServer  # noqa: E402  # after the check
from mcp.server.mcpserver.exceptions import ToolError  # noqa: E402
from mcp.types import ToolAnnotations  # noqa: E402
from pydantic import Field  # noqa: E402
from typing_extensions import TypedDict  # noqa: E402  # pydantic requires it before Python 3.12

MAX_TEXTS = 256  # of a call; more are for score_file

_Risk = Annotated[
    float | None,
    Field(
        description="Target error rate of the verdicts other than unsure, above 0 and below 1; by "
        "default that of the model."
    ),
]


class ModelResult(TypedDict):
    """What every result contains: which model answered, and how reliable its verdicts are."""

    model: str
    version: str
    risk: Annotated[
        float | None,
        Field(
            description="The target error rate: at most this share of the verdicts other than "
            "unsure is expected to be wrong. Null: the model has no decision thresholds."
        ),
    ]
    warning: NotRequired[str]


class TextPrediction(TypedDict):
    """The prediction for a text, or the reason why it cannot be scored."""

    label: str | None
    score: Annotated[float | None, Field(description="The probability of the label.")]
    verdict: Annotated[
        str | None, Field(description="The label, or unsure: do not report a label then.")
    ]
    stars: NotRequired[float | None]
    error: str | None


class Predictions(ModelResult):
    """The predictions, in the order of the texts."""

    predictions: list[TextPrediction]


class ExplanationResult(ModelResult):
    """The sentences and words that contribute to a prediction."""

    explanation: dict[str, Any]


class FileResult(ModelResult):
    """Counts of a scored file."""

    rows: int
    bad_rows: Annotated[int, Field(description="Rows that could not be scored: see column error.")]
    output: str


def create_server(
    classifier: Classifier, *, risk: float | None = None, folder: Path | None = None
) -> MCPServer:
    """Return a server with the tools predict, explain and, with `folder`, score_file.

    Args:
        classifier: The model.
        risk: The target error rate of calls that do not set one; None: that of the model.
        folder: The folder in which score_file may read and write; None: the tool is not offered.
    """
    manifest = classifier.manifest
    decision_thresholds(manifest, risk)  # rejects an invalid one
    server = MCPServer(
        "reelsense",
        instructions=f"Classifies {manifest.nouns} as {', '.join(manifest.labels)}. A verdict of "
        "unsure means that the target error rate cannot be met for this text.",
        version=__version__,
    )
    tools = _Tools(classifier, risk, folder)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    offered: dict[Callable[..., Any], ToolAnnotations] = {
        tools.predict: reads,
        tools.explain: reads,
    }
    if folder:
        offered[tools.score_file] = ToolAnnotations(destructive_hint=False, open_world_hint=False)
    for tool, hints in offered.items():
        server.add_tool(tool, description=getdoc(tool), annotations=hints)
    return server


class _Tools:
    """The tools. Their docstrings are what agents read."""

    def __init__(self, classifier: Classifier, risk: float | None, folder: Path | None) -> None:
        self._classifier, self._risk, self._folder = classifier, risk, folder

    def predict(
        self,
        texts: Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)],
        risk: _Risk = None,
    ) -> Predictions:
        """Classify texts. Long texts are read completely."""
        columns = [name for name in added_columns(self._classifier.manifest) if name != "positive"]
        with _tool_errors():
            answers = self._classifier.predict_each(texts, risk=self._risk_of(risk))
            predictions: Any = [
                added(answer.reason if isinstance(answer, TextError) else answer, text, columns)
                for text, answer in zip(texts, answers, strict=True)
            ]
            return {**self._result(risk), "predictions": predictions}

    def explain(self, text: str, risk: _Risk = None) -> ExplanationResult:
        """Explain the prediction for a text: which sentences and words contribute to it.

        Weights are contributions to the log-odds of target_label (nats). The counterfactual is the
        smallest removal found that changes the label. About 20 times slower than predict.
        """
        with _tool_errors():
            explanation = self._classifier.explain(text, risk=self._risk_of(risk))
            return {**self._result(risk), "explanation": as_dict(text, explanation)}

    def score_file(
        self,
        path: Annotated[
            str, Field(description="A .csv, .tsv, .jsonl, .json, .txt, .xlsx or Parquet file.")
        ],
        output: Annotated[str, Field(description="A new file; its name determines the format.")],
        column: Annotated[
            str | None, Field(description="The text column; by default one with a usual name.")
        ] = None,
        risk: _Risk = None,
    ) -> FileResult:
        """Classify every text of a table and write the table with predictions to a new file.

        Paths are relative to the folder of this server. Rows that cannot be scored are also
        collected in a file whose name is that of the output and .bad-rows.jsonl.
        """
        with _tool_errors():
            summary = score_files(
                self._inside(path, must_exist=True),
                self._inside(output, must_exist=False),
                model=self._classifier,
                column=column,
                risk=self._risk_of(risk),
            )
            return {
                **self._result(risk),
                "rows": summary.rows,
                "bad_rows": summary.bad_rows,
                "output": output,
            }

    def _risk_of(self, risk: float | None) -> float | None:
        return self._risk if risk is None else risk

    def _result(self, risk: float | None) -> ModelResult:
        manifest, risk = self._classifier.manifest, self._risk_of(risk)
        control = manifest.risk_control
        result: ModelResult = {
            "model": manifest.name,
            "version": manifest.version,
            "risk": control.default_risk if control and risk is None else risk,
        }
        if warning := manifest.abstention(risk):
            result["warning"] = warning
        return result

    def _inside(self, name: str, *, must_exist: bool) -> Path:
        """Return the path of a file in the folder, also after symbolic links are followed."""
        if self._folder is None:
            raise ValueError("score_file is not offered without a folder")
        folder = self._folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise InputError(
                f"{name!r} is outside of the folder of this server: expected a path in it",
                code="outside-folder",
            )
        if must_exist and not path.is_file():
            raise InputError(f"{name!r} is not a file in this folder", code="no-such-file")
        if not must_exist:
            taken = path.exists() or Path(bad_rows_address(str(path))).exists()
            if taken or name.endswith("/"):
                raise InputError(
                    f"{name!r} or its file of bad rows exists, or is a folder: expected the name "
                    "of a new file",
                    code="output-exists",
                )
        return path


@contextmanager
def _tool_errors() -> Iterator[None]:
    """Map errors to those that agents read."""
    try:
        yield
    except ReelsenseError as error:
        raise ToolError(f"{error} ({error.code})") from error
