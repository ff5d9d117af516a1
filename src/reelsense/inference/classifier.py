"""`Classifier`, the only path from text to prediction for command line, server and evaluation.

Does not know HTTP or tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, read_bundle, retry_if_replaced
from reelsense.errors import InputError, TextError
from reelsense.inference.aspects import check_aspects, find_aspects
from reelsense.inference.batching import Cores, Network, OnBatch
from reelsense.inference.calibration import decision_thresholds, verdict
from reelsense.inference.call_context import CallContext
from reelsense.inference.cascade import CascadePipeline
from reelsense.inference.engine import available_cores
from reelsense.inference.explain import BUDGET, MIN_BUDGET, Contribution, attribute
from reelsense.inference.pipeline import Pipeline, SingleNetwork, TextOutput, load_engine
from reelsense.inference.texts import SLICE, checked_texts, text_error, text_list, unreadable
from reelsense.prediction import (
    Counterfactual,
    Explanation,
    Part,
    Prediction,
    ScoredTexts,
    TokenCounts,
    without,
)
from reelsense.text.clean import CleanedText, clean_with_offsets

# The decision threshold of each length group; None: every verdict of the group is unsure.
Thresholds = Sequence[float | None]


class Classifier:
    """A sentiment model that is ready to predict. Thread-safe.

    Example:
        >>> from reelsense import Classifier
        >>> classifier = Classifier.load()
        >>> [prediction] = classifier.predict(["A wonderful film."])
        >>> prediction.label
        'positive'

    Attributes:
        manifest: Name, version, labels, calibration and metrics of the model.
        card: The model card in Markdown.
        evaluation: The content of evaluation.json; None if the bundle has none.
        profile: The content of reference-profile.json; None if the bundle has none.
        size: The size of the network in bytes.
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
        cores: Cores | None = None,
    ) -> None:
        """Compile the network of a bundle.

        Args:
            bundle: The model.
            threads: Number of processor cores to use; None: all.
            network: Replaces the network of `bundle`, for example by a checkpoint before int8.
            cache_size: Number of texts to cache the scores of.
            gpu: Use an NVIDIA GPU if there is one.
            on_batch: Called after every batch with its numbers of windows and tokens.
            cores: To share them with other classifiers, which then take turns.

        Raises:
            BundleError: The network or the tokenizer cannot be used.
        """
        self.manifest = bundle.manifest
        self.card, self.evaluation, self.size = bundle.card, bundle.evaluation, bundle.size
        self.profile = bundle.profile

        def load(bundle: Bundle, cores: Cores | None) -> Pipeline:
            engine = SingleNetwork(network) if network else load_engine(bundle, threads, gpu=gpu)
            return Pipeline(bundle, engine, cache_size, on_batch, cores)

        def load_pipeline() -> Pipeline | CascadePipeline:
            cascade = bundle.manifest.cascade
            if cascade is None:
                return load(bundle, cores)
            shared = cores or Cores(threads or available_cores())
            first, second = (load(model, shared) for model in bundle.models)
            return CascadePipeline(bundle.manifest, cascade, first, second)

        self._load_pipeline = load_pipeline
        # One for each process: an engine loaded before a fork would wait for its threads forever.
        # That of the parent is kept, because freeing it would wait, too.
        self._pipelines = {os.getpid(): load_pipeline()}

    @classmethod
    def load(
        cls, name_or_path: str | Path | None = None, *, threads: int | None = None
    ) -> Classifier:
        """Load the default model, an installed model or the bundle in a folder.

        Args:
            name_or_path: The name of an installed model, as `reelsense models` lists them, or a
                folder. A string that contains a path separator or begins with a dot is always a
                folder, and so is a `Path`. None: the bundled model.
            threads: Number of processor cores to use; None: all.

        Returns:
            The classifier. Loading takes about a second.

        Raises:
            BundleError: The model does not exist, or a file of it is missing, changed or too new.

        Example:
            >>> Classifier.load("runs/my-model/bundle").labels
            ('negative', 'positive')
        """
        folder = registry.find(name_or_path)
        # Again if the folder is replaced between the manifest and the network.
        return retry_if_replaced(folder, lambda: cls(read_bundle(folder), threads=threads))

    @property
    def _pipeline(self) -> Pipeline | CascadePipeline:
        if (process := os.getpid()) not in self._pipelines:
            self._pipelines[process] = self._load_pipeline()
        return self._pipelines[process]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict(
        self, texts: Iterable[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction]:
        """Return a prediction for each text.

        A text of any length is scored in full, and its prediction does not depend on the others.

        Args:
            texts: The reviews, in plain text or with HTML line breaks and entities: a list or any
                other iterable, such as an array or a Series, in the order of iteration.
            risk: The target error rate of the verdicts other than "unsure", above 0 and below 1;
                None: that of the model.
            context: Deadline and cancellation of the call; collects its timings.

        Returns:
            One prediction per text, in the same order.

        Raises:
            TextError: A text is not a string, is blank or has no readable token.
            InputError: The model has no decision thresholds, `risk` is out of range, or `texts` is
                a single string or a table.
            DeadlineError: The deadline of `context` has passed.
            AbandonedError: The call was cancelled through `context`.

        Example:
            >>> classifier.predict(["A wonderful film."], risk=0.02)[0].verdict
            'positive'
        """
        predictions = []
        thresholds = decision_thresholds(self.manifest, risk)
        for prediction in self._predict(checked_texts(texts), thresholds, context):
            if isinstance(prediction, TextError):
                raise prediction
            predictions.append(prediction)
        return predictions

    def predict_each(
        self, texts: Iterable[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """Return a prediction or an error for each text. Does not raise errors of single texts.

        Args:
            texts: As in `predict`.
            risk: As in `predict`.
            context: As in `predict`.

        Returns:
            One prediction or TextError per text, in the same order.

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
        return list(self._predict(text_list(texts), thresholds, context))

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
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
        all_texts = checked_texts(texts)
        parts = [
            self.score(all_texts[start : start + SLICE], start).probabilities
            for start in range(0, len(all_texts), SLICE)
        ]
        return np.concatenate([np.empty((0, len(self.labels))), *parts])

    def score(self, texts: Iterable[str], first: int = 0) -> ScoredTexts:
        """Return the scores of a few texts before and after calibration.

        Args:
            texts: As in `predict`; at least one, and few enough to be tokenized at once.
            first: The position of the first text, for errors.

        Returns:
            The scores, one row per text.

        Raises:
            TextError: As in `predict`.

        Example:
            >>> classifier.score(["A wonderful film."]).tokens.tolist()
            [4]
        """
        outputs = self._pipeline.cached_outputs(checked_texts(texts, first), CallContext())
        for position, output in enumerate(outputs, start=first):
            if output is None:
                raise unreadable(position)
        return self._pipeline.calibrate([output for output in outputs if output])

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        aspects: bool = False,
        context: CallContext | None = None,
    ) -> Explanation:
        """Return which sentences and words contribute to the prediction, and a counterfactual.

        Contributions are measured by occlusion: the text is scored again without each part. The
        same text always gets the same explanation.

        Args:
            text: As in `predict`.
            budget: The maximum number of forward passes (windows), at least 16, in addition to
                those of the text itself and of the verification of the counterfactual.
            risk: As in `predict`.
            aspects: Also find the clauses that judge an aspect of the film, such as the acting,
                each with its own verdict. Their forward passes are not part of the budget.
            context: As in `predict`.

        Returns:
            The prediction, and the parts of `text` with their contributions in nats.

        Raises:
            TextError: As in `predict`.
            InputError: As in `predict`, `budget` is invalid, or the model has other labels than
                positive and negative and does not support `aspects`.
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
        if aspects:
            check_aspects(self.manifest)
        thresholds, context = decision_thresholds(self.manifest, risk), context or CallContext()
        checked_texts([text])
        with context.tokenizing():
            cleaned = clean_with_offsets(text)
        scored = self._pipeline.occlusion(cleaned.text, context)
        if scored is None:
            raise unreadable(0)
        occlusion, output = scored
        [prediction] = self._predictions([output], thresholds)
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
            text=text,
            aspects=find_aspects(
                cleaned, lambda quotes: list(self._predict(quotes, thresholds, context)), context
            )
            if aspects
            else None,
        )

    def _predict(
        self, texts: Sequence[object], thresholds: Thresholds, context: CallContext | None
    ) -> Iterator[Prediction | TextError]:
        context = context or CallContext()
        for start in range(0, len(texts), SLICE):
            batch = texts[start : start + SLICE]
            errors = [text_error(text, position) for position, text in enumerate(batch, start)]
            valid = [str(text) for text, error in zip(batch, errors, strict=True) if not error]
            computed = iter(self._pipeline.cached_outputs(valid, context))
            outputs = [None if error else next(computed) for error in errors]
            predictions = self._predictions([output for output in outputs if output], thresholds)
            for n, (output, error) in enumerate(zip(outputs, errors, strict=True), start):
                yield next(predictions) if output else error or unreadable(n)

    def _predictions(
        self, outputs: Sequence[TextOutput], thresholds: Thresholds
    ) -> Iterator[Prediction]:
        if not outputs:
            return
        scored = self._pipeline.calibrate(outputs)
        stars = [None] * len(outputs) if scored.stars is None else scored.stars.tolist()
        for probabilities, rating, tokens, group, features in zip(
            scored.probabilities.tolist(),
            stars,
            scored.tokens.tolist(),
            scored.groups.tolist(),
            scored.features,
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
                tokens=TokenCounts(total=tokens, scored=tokens),
                features=features,
            )


def _parts(contributions: Sequence[Contribution], cleaned: CleanedText) -> tuple[Part, ...]:
    """Map spans of the cleaned text to spans of the original."""
    spans = [cleaned.original_span(contribution.span) for contribution in contributions]
    return tuple(
        Part(span.start, span.end, contribution.weight)
        for span, contribution in zip(spans, contributions, strict=True)
    )
