"""Aspects of a film that a review judges, each clause with its own sentiment.

The sentiment is the prediction for the clause alone. Does not know how an explanation weighs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reelsense.bundle import Manifest
from reelsense.errors import InputError, TextError
from reelsense.inference.call_context import CallContext
from reelsense.prediction import AspectMention, Prediction
from reelsense.text.aspects import AspectClause, aspect_clauses
from reelsense.text.clean import CleanedText, sentences

Predict = Callable[[Sequence[str]], Sequence[Prediction | TextError]]


def has_aspects(labels: Sequence[str]) -> bool:
    """Return whether a model with these labels predicts the sentiment of aspects."""
    return set(labels) == {"positive", "negative"}


def check_aspects(manifest: Manifest) -> None:
    """Raise InputError if the model does not predict the sentiment of aspects."""
    if not has_aspects(manifest.labels):
        raise InputError(
            f"the model {manifest.name} has the labels {', '.join(manifest.labels)}: aspects need "
            "a model with the labels negative and positive; explain without aspects",
            code="no-aspects",
        )


def find_aspects(
    cleaned: CleanedText, predict: Predict, context: CallContext
) -> tuple[AspectMention, ...]:
    """Return the mentions of aspects in a text, in its order.

    Mentions are the clauses that name an aspect and judge it. `predict` scores a clause like any
    other short text, so that its verdict may be unsure.
    """
    [mentions] = find_aspects_each([cleaned], predict, context)
    return tuple(mentions)


def find_aspects_each(
    texts: Iterable[CleanedText], predict: Predict, context: CallContext
) -> list[list[AspectMention]]:
    """Return the mentions of aspects in each text, like `find_aspects`, with one call of `predict`.

    The same clause in several texts is scored once.
    """
    clauses: list[tuple[int, CleanedText, AspectClause]] = []
    count = 0
    for count, cleaned in enumerate(texts, start=1):
        for sentence in sentences(cleaned.layout):
            context.check()
            found = aspect_clauses(cleaned.layout, sentence)
            clauses += [(count - 1, cleaned, clause) for clause in found]
    quotes = [text.text[clause.span.start : clause.span.end] for _, text, clause in clauses]
    distinct = list(dict.fromkeys(quotes))
    predictions = dict(zip(distinct, predict(distinct), strict=True))
    mentions: list[list[AspectMention]] = [[] for _ in range(count)]
    for (n, text, clause), quote in zip(clauses, quotes, strict=True):
        prediction, span = predictions[quote], text.original_span(clause.span)
        if isinstance(prediction, Prediction):
            mentions[n].append(
                AspectMention(
                    clause.aspect, span.start, span.end, prediction.verdict, prediction.positive
                )
            )
    return mentions
