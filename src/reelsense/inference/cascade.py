"""Two models: a fast one scores every text, an accurate one those that the first finds difficult.

Wang et al. 2017, "IDK Cascades: Fast Deep Learning by Learning not to Overthink".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from reelsense.bundle import Cascade, Manifest
from reelsense.inference.calibration import calibrated
from reelsense.inference.call_context import CallContext
from reelsense.inference.occlusion import Occlusion
from reelsense.inference.pipeline import Pipeline, TextOutput, calibrate
from reelsense.prediction import ScoredTexts


class CascadePipeline:
    """A pipeline of two. Its outputs are the calibrated logits of the model that answers."""

    def __init__(
        self, manifest: Manifest, cascade: Cascade, first: Pipeline, second: Pipeline
    ) -> None:
        self._manifest, self._first, self._second = manifest, first, second
        self._threshold = cascade.threshold

    def cached_outputs(
        self, texts: Sequence[str], context: CallContext
    ) -> Sequence[TextOutput | None]:
        """Return the output for each text; None for a text without readable tokens."""
        answers = _answers(self._first, enumerate(self._first.cached_outputs(texts, context)))
        difficult = [n for n, answer in answers.items() if self._is_difficult(answer)]
        if difficult:
            outputs = self._second.cached_outputs([texts[n] for n in difficult], context)
            second = _answers(self._second, zip(difficult, outputs, strict=True))
            # The length groups of the cascade are those of the first model's tokens.
            answers |= {
                n: replace(answer, tokens=answers[n].tokens, features=answers[n].features)
                for n, answer in second.items()
            }
        return [answers.get(n) for n in range(len(texts))]

    def calibrate(self, outputs: Sequence[TextOutput]) -> ScoredTexts:
        """Return the scores for the outputs of at least one text."""
        return calibrate(self._manifest, outputs)

    def occlusion(self, text: str, context: CallContext) -> tuple[Occlusion, TextOutput] | None:
        """Score a cleaned text with the model that answers. See `Pipeline.occlusion`."""
        first = self._first.occlusion(text, context)
        if first is None:
            return None
        occlusion, output = first[0], _answers(self._first, [(0, first[1])])[0]
        if self._is_difficult(output) and (second := self._second.occlusion(text, context)):
            occlusion = second[0]
            answer = _answers(self._second, [(0, second[1])])[0]
            output = replace(answer, tokens=output.tokens)
        group = self._manifest.groups[self.calibrate([output]).groups[0]]
        occlusion.calibrate_again(lambda logits: calibrated(logits, 1, group.calibration))
        return occlusion, output

    def _is_difficult(self, answer: TextOutput) -> bool:
        log_probabilities = answer.outputs[: len(self._manifest.labels)]
        return bool(np.exp(log_probabilities.max()) <= self._threshold)


def _answers(
    pipeline: Pipeline, outputs: Iterable[tuple[int, TextOutput | None]]
) -> dict[int, TextOutput]:
    """Return outputs with calibrated logits in place of logits, without those that are None."""
    readable = {n: output for n, output in outputs if output}
    if not readable:
        return {}
    scored = pipeline.calibrate(list(readable.values()))
    log_probabilities = np.log(np.maximum(scored.probabilities, np.finfo(np.float64).tiny))
    rows = np.hstack([log_probabilities, scored.star_logits])
    tokens = scored.tokens.tolist()
    return {
        n: TextOutput(rows[i], 1, tokens[i], output.features)
        for i, (n, output) in enumerate(readable.items())
    }
