"""Texts to predictions: clean, tokenize, run the network, calibrate.

The command line, the server and evaluation all score through this class: what was evaluated is
what is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, read_bundle
from reelsense.errors import InputError, TextError
from reelsense.inference.batching import Network, OnBatch
from reelsense.inference.calibration import decision_thresholds, verdict
from reelsense.inference.call_context import CallContext
from reelsense.inference.explain import BUDGET, MIN_BUDGET, Contribution, attribute
from reelsense.inference.pipeline import Pipeline, TextOutput
from reelsense.prediction import (
    Counterfactual,
    Coverage,
    Explanation,
    Part,
    Prediction,
    ScoredTexts,
    without,
)
from reelsense.text.clean import CleanedText, clean_with_offsets

_SLICE = 512
"""Texts scored at a time, so that memory does not grow with the length of a list."""

Thresholds = Sequence[float | None]
"""The decision threshold of each length group; None: every verdict of the group is unsure."""


class Classifier:
    """A sentiment model that is ready to predict. Thread-safe.

    Example:
        >>> from reelsense import Classifier
        >>> classifier = Classifier.load()
        >>> [prediction] = classifier.predict(["A wonderful film."])
        >>> prediction.label
        'positive'

    Attributes:
        manifest: The facts of the model: name, version, labels, calibration.
        card: The model card, Markdown.
        report: The evaluation report, if the bundle has one.
        size: The bytes of the bundle.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        network: Network | None = None,
        cache_size: int = 0,
        gpu: bool = True,
        on_batch: OnBatch = lambda *_: None,
    ) -> None:
        """Compile the network of a bundle.

        Args:
            bundle: The model.
            threads: The processor cores to use, by default all.
            network: Runs instead of the network of `bundle`: a checkpoint before int8, or a fake.
            cache_size: How many texts to keep the scores of, for texts that are sent again.
            gpu: Use an NVIDIA GPU if there is one.
            on_batch: Called after every batch with its windows and their tokens.

        Raises:
            BundleError: The network or the tokenizer cannot be used.
        """
        self.manifest = bundle.manifest
        self.card, self.evaluation, self.size = bundle.card, bundle.evaluation, bundle.size
        self._pipeline = Pipeline(
            bundle,
            threads=threads,
            network=network,
            cache_size=cache_size,
            gpu=gpu,
            on_batch=on_batch,
        )

    @classmethod
    def load(
        cls, name_or_path: str | Path | None = None, *, threads: int | None = None
    ) -> Classifier:
        """Load the default model, an installed model or the bundle in a folder.

        Args:
            name_or_path: The name of an installed model, as `reelsense models` lists them, or a
                folder. A string that contains a path separator or begins with a dot is always a
                folder, and so is a `Path`. By default the bundled model.
            threads: The processor cores to use, by default all.

        Returns:
            The classifier. Loading takes about a second.

        Raises:
            BundleError: There is no such model, or a file of it is missing, changed or too new.

        Example:
            >>> Classifier.load("runs/my-model/bundle").labels
            ('negative', 'positive')
        """
        return cls(read_bundle(registry.find(name_or_path)), threads=threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction]:
        """Return a prediction for each text.

        A text of any length is scored in full, and its prediction does not depend on the others.

        Args:
            texts: The reviews; HTML line breaks and entities are understood.
            risk: The target error rate of the verdicts other than "unsure", above 0 and below 1; by
                default that of the model.
            context: Deadline and cancellation of the call; collects its timings.

        Returns:
            One prediction per text, in the same order.

        Raises:
            TextError: A text is not a string, is blank or has no readable token.
            InputError: The model has no thresholds for a risk, or `risk` is out of range.
            DeadlineError: The deadline of `context` has passed.
            AbandonedError: The call was cancelled through `context`.

        Example:
            >>> classifier.predict(["A wonderful film."], risk=0.02)[0].verdict
            'positive'
        """
        predictions = []
        thresholds = decision_thresholds(self.manifest, risk)
        for prediction in self._predict(_checked(texts), thresholds, context):
            if isinstance(prediction, TextError):
                raise prediction
            predictions.append(prediction)
        return predictions

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """Return a prediction or an error for each text: an invalid text does not fail the call.

        Args:
            texts: As in `predict`.
            risk: As in `predict`.
            context: As in `predict`.

        Returns:
            One prediction or TextError (not raised) per text, in the same order.

        Raises:
            InputError: As in `predict`.
            DeadlineError: As in `predict`.
            AbandonedError: As in `predict`.

        Example:
            >>> [error] = classifier.predict_each([" "])
            >>> error.code
            'blank'
        """
        thresholds = decision_thresholds(self.manifest, risk)
        return list(self._predict(_not_one_string(texts), thresholds, context))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return label probabilities, as scikit-learn, LIME, SHAP and cleanlab expect them.

        Args:
            texts: As in `predict`.

        Returns:
            Probabilities (texts, labels), columns in the order of `labels`; each row sums to 1.

        Raises:
            TextError: As in `predict`.

        Example:
            >>> classifier.predict_proba(["Good.", "Bad."]).shape
            (2, 2)
        """
        parts = [
            self.score(texts[start : start + _SLICE], start).probabilities
            for start in range(0, len(_checked(texts)), _SLICE)
        ]
        return np.concatenate([np.empty((0, len(self.labels))), *parts])

    def score(self, texts: Sequence[str], first: int = 0) -> ScoredTexts:
        """Return the scores of a few texts before and after calibration.

        Args:
            texts: As in `predict`; at least one, and few enough to be tokenized at once.
            first: The position of the first of `texts`, added to that of an error.

        Returns:
            The scores, one row per text.

        Raises:
            TextError: As in `predict`.

        Example:
            >>> classifier.score(["A wonderful film."]).tokens.tolist()
            [4]
        """
        outputs = self._pipeline.cached_outputs(_checked(texts, first), CallContext())
        for position, output in enumerate(outputs, start=first):
            if output is None:
                raise _unreadable(position)
        return self._pipeline.calibrate([output for output in outputs if output])

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        context: CallContext | None = None,
    ) -> Explanation:
        """Return which sentences and words contribute to the prediction, and a counterfactual.

        Contributions are measured by occlusion: the text is scored again without each part. The
        same text always gets the same explanation.

        Args:
            text: As in `predict`.
            budget: The maximum forward passes (windows), at least 16, beside those of the text
                itself and those that verify the counterfactual.
            risk: As in `predict`.
            context: As in `predict`.

        Returns:
            The prediction, and the parts of `text` with their contributions in nats.

        Raises:
            TextError: As in `predict`.
            InputError: As in `predict`, or `budget` is invalid.
            DeadlineError: As in `predict`.
            AbandonedError: As in `predict`.

        Example:
            >>> explanation = classifier.explain("Great music. A dull plot.")
            >>> [part.weight > 0 for part in explanation.sentences]
            [True, False]
        """
        if type(budget) is not int or budget < MIN_BUDGET:
            raise InputError(
                f"invalid budget {budget!r}: expected an integer, at least {MIN_BUDGET}",
                code="invalid-budget",
            )
        thresholds, context = decision_thresholds(self.manifest, risk), context or CallContext()
        _checked([text])
        with context.tokenizing():
            cleaned = clean_with_offsets(text)
        occlusion = self._pipeline.occlusion(cleaned.text, context)
        if occlusion is None:
            raise _unreadable(0)
        [prediction] = self._predictions([TextOutput.of(occlusion)], thresholds)
        target_label = "positive" if "positive" in self.labels else prediction.label
        target = self.labels.index(target_label)
        attribution = attribute(occlusion, cleaned.layout, target, budget)

        removed = _parts(attribution.counterfactual, cleaned)
        remaining, counterfactual = without(text, removed), None
        if removed and remaining.strip():
            [verified] = self._predict([remaining], thresholds, context)
            if isinstance(verified, Prediction) and verified.label != prediction.label:
                counterfactual = Counterfactual(attribution.unit, removed, verified)
        return Explanation(
            prediction=prediction,
            target_label=target_label,
            log_odds=occlusion.log_odds(target),
            sentences=_parts(attribution.sentences, cleaned),
            words=_parts(attribution.words, cleaned),
            counterfactual=counterfactual,
            forward_passes=occlusion.forward_passes,
            budget=budget,
        )

    def _predict(
        self, texts: Sequence[str], thresholds: Thresholds, context: CallContext | None
    ) -> Iterator[Prediction | TextError]:
        context = context or CallContext()
        for start in range(0, len(texts), _SLICE):
            batch = texts[start : start + _SLICE]
            errors = [_error(text, n) for n, text in enumerate(batch, start)]
            valid = [text for text, error in zip(batch, errors, strict=True) if not error]
            computed = iter(self._pipeline.cached_outputs(valid, context))
            outputs = [None if error else next(computed) for error in errors]
            predictions = self._predictions([output for output in outputs if output], thresholds)
            for n, (output, error) in enumerate(zip(outputs, errors, strict=True), start):
                yield next(predictions) if output else error or _unreadable(n)

    def _predictions(
        self, outputs: Sequence[TextOutput], thresholds: Thresholds
    ) -> Iterator[Prediction]:
        if not outputs:
            return
        scored = self._pipeline.calibrate(outputs)
        stars = [None] * len(outputs) if scored.stars is None else scored.stars.tolist()
        for probabilities, rating, tokens, group in zip(
            scored.probabilities.tolist(),
            stars,
            scored.tokens.tolist(),
            scored.groups.tolist(),
            strict=True,
        ):
            score = max(probabilities)
            label = self.labels[probabilities.index(score)]
            yield Prediction(
                label=label,
                score=score,
                probabilities=dict(zip(self.labels, probabilities, strict=True)),
                threshold=thresholds[group],
                verdict=verdict(label, score, thresholds[group]),
                stars=rating,
                tokens=Coverage(total=tokens, scored=tokens),
            )


def _parts(contributions: Sequence[Contribution], cleaned: CleanedText) -> tuple[Part, ...]:
    """Map spans of the cleaned text to spans of the original."""
    spans = [cleaned.original_span(contribution.span) for contribution in contributions]
    return tuple(
        Part(span.start, span.end, contribution.weight)
        for span, contribution in zip(spans, contributions, strict=True)
    )


def _checked(texts: Sequence[str], first: int = 0) -> Sequence[str]:
    for position, text in enumerate(_not_one_string(texts), start=first):
        if error := _error(text, position):
            raise error
    return texts


def _not_one_string(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError(
            "invalid texts: expected a list of strings, not one string", code="not-a-list"
        )
    return texts


def _error(text: object, position: int) -> TextError | None:
    """Return why `text` cannot be scored, as far as it shows without the tokenizer."""
    if not isinstance(text, str):
        reason = f"is not a string but {type(text).__name__}"
        return TextError(position, reason, code="not-a-string")
    return None if text.strip() else TextError(position, "is blank", code="blank")


def _unreadable(position: int) -> TextError:
    return TextError(position, "holds nothing that the model can read", code="unreadable")
