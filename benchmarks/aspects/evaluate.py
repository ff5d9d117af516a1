"""Compare two annotators of aspects, and the aspects of a model with both.

    python benchmarks/aspects/evaluate.py --data data/aclImdb

`labels.jsonl` has the sentences that `sample.py` has drawn, as positions in a review, and what each
annotator has marked by docs/aspects-guidelines.md: aspect, start, end and sentiment. A mention of
one agrees with a mention of another if the aspect is equal and the quotes overlap. Prints Markdown.
Intervals are 95 %: Wilson's for shares; of kappa, bootstrap over sentences.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from reelsense import Classifier
from reelsense.datasets.labelled import LabelledData
from reelsense.evaluation.metrics import share
from reelsense.inference.aspects import find_aspects
from reelsense.inference.call_context import CallContext
from reelsense.prediction import UNSURE
from reelsense.report.results import Share
from reelsense.text.aspects import ClausePart, clause_parts, lexicon
from reelsense.text.clean import CleanedText, clean_with_offsets, sentences

ASPECTS = tuple(lexicon().aspects)
SENTIMENTS = ("positive", "negative", "unclear")
RESAMPLES, SEED = 1000, 33
LABELS = Path(__file__).with_name("labels.jsonl")

_NEGATION = re.compile(r"\b(?:not?|never|hardly|without)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention of an aspect: characters `start` to `end` of a sentence."""

    aspect: str
    start: int
    end: int
    sentiment: str  # of an annotator: one of SENTIMENTS; of a system: its verdict

    def overlap(self, other: Mention) -> int:
        """Return the characters that both quotes contain; 0 for another aspect."""
        if self.aspect != other.aspect:
            return 0
        return max(0, min(self.end, other.end) - max(self.start, other.start))

    def best_match(self, others: Sequence[Mention]) -> Mention | None:
        """Return the one that overlaps most; None: none does."""
        best = max(others, key=self.overlap, default=None)
        return best if best and self.overlap(best) else None


Mentions = Mapping[str, Sequence[Mention]]  # by the id of the sentence


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--labels", type=Path, default=LABELS, help="default: those next to this file"
    )
    parser.add_argument("--data", type=Path, required=True, help="the unpacked dataset")
    parser.add_argument("--model", help="a model or bundle; default: the bundled model")
    options = parser.parse_args()
    sample = {record["id"]: record for record in _read(options.labels)}
    reviews = {review.name: review.text for review in LabelledData(options.data).labelled()}
    texts = {
        id_: reviews[record["review"]][record["start"] : record["end"]]
        for id_, record in sample.items()
    }
    first, second = (annotated(sample, annotator) for annotator in (0, 1))
    classifier = Classifier.load(options.model)
    systems = {
        "lexicon baseline": {id_: lexicon_baseline(text) for id_, text in texts.items()},
        "reelsense": {
            id_: model_mentions(classifier, reviews[record["review"]], record)
            for id_, record in sample.items()
        },
    }
    strata = {"random": [id_ for id_ in sample if sample[id_]["stratum"] == "random"]}
    for name, ids in {**strata, "all": list(sample)}.items():
        print(f"## Sentences: {name} ({len(ids)})\n\n{agreement_table(first, second, ids)}")
        gold = {id_: agreed(first[id_], second[id_]) for id_ in ids}
        union = {id_: united(first[id_], second[id_]) for id_ in ids}
        for system, mentions in systems.items():
            print(f"### {system}, mentions of both annotators\n\n{system_table(mentions, gold)}")
            print(f"### {system}, mentions of either\n\n{system_table(mentions, union)}")


def annotated(sample: Mapping[str, Mapping[str, Any]], annotator: int) -> Mentions:
    """Return the mentions of an annotator. Raises ValueError if one is not within its sentence."""
    mentions: dict[str, list[Mention]] = {}
    for id_, record in sample.items():
        mentions[id_] = []
        for aspect, start, end, sentiment in record["mentions"][annotator]:
            is_inside = record["start"] <= start < end <= record["end"]
            if not is_inside or aspect not in ASPECTS or sentiment not in SENTIMENTS:
                raise ValueError(f"{id_}: invalid mention {aspect}, {start}, {end}, {sentiment}")
            offset = record["start"]
            mentions[id_].append(Mention(aspect, start - offset, end - offset, sentiment))
    return mentions


def model_mentions(
    classifier: Classifier, review: str, sentence: Mapping[str, Any]
) -> list[Mention]:
    """Return what a model finds in a sentence of a review, which it gets as a whole."""
    start, end = sentence["start"], sentence["end"]
    found = find_aspects(clean_with_offsets(review), classifier.predict_each, CallContext())
    return [
        Mention(mention.aspect, mention.start - start, mention.end - start, mention.verdict)
        for mention in found
        if mention.start < end and mention.end > start
    ]


def lexicon_baseline(text: str) -> list[Mention]:
    """Return the clauses that name an aspect and contain an opinion, wherever it is.

    The sentiment is that of most opinions of the clause, reversed by a negation.
    """
    cleaned = clean_with_offsets(text)
    return [
        _lexicon_mention(aspect, cleaned, part)
        for sentence in sentences(cleaned.layout)
        for part in clause_parts(cleaned.layout, sentence)
        for aspect, matches in lexicon().named(part)
        if lexicon().opinions.search(part.text)
        or any(match.lastgroup == "judgement" for match in matches)
    ]


def _lexicon_mention(aspect: str, cleaned: CleanedText, part: ClausePart) -> Mention:
    opinions = (lexicon().praise, lexicon().criticism)
    praise, criticism = (len(pattern.findall(part.text)) for pattern in opinions)
    if _NEGATION.search(part.text):
        praise, criticism = criticism, praise
    span = cleaned.original_span(part.span)
    verdict = "positive" if praise > criticism else "negative" if criticism > praise else UNSURE
    return Mention(aspect, span.start, span.end, verdict)


def agreed(first: Sequence[Mention], second: Sequence[Mention]) -> list[Mention]:
    """Return the mentions of both annotators; unclear where they see another sentiment."""
    return [
        Mention(
            one.aspect,
            min(one.start, other.start),
            max(one.end, other.end),
            one.sentiment if one.sentiment == other.sentiment else "unclear",
        )
        for one, other in pairs(first, second)
    ]


def united(first: Sequence[Mention], second: Sequence[Mention]) -> list[Mention]:
    """Return the mentions of both annotators, and those of one of them."""
    paired = {id(mention) for pair in pairs(first, second) for mention in pair}
    alone = [mention for mention in (*first, *second) if id(mention) not in paired]
    return [*agreed(first, second), *alone]


def pairs(first: Sequence[Mention], second: Sequence[Mention]) -> Iterator[tuple[Mention, Mention]]:
    """Yield the mentions of two annotators that agree, each once, those that overlap most first."""
    candidates = sorted(
        ((one, other) for one in first for other in second if one.overlap(other)),
        key=lambda pair: -pair[0].overlap(pair[1]),
    )
    used: set[int] = set()
    for one, other in candidates:
        if id(one) not in used and id(other) not in used:
            used |= {id(one), id(other)}
            yield one, other


def agreement_table(first: Mentions, second: Mentions, ids: Sequence[str]) -> str:
    """Return kappa of whether a sentence mentions an aspect, and agreement on the sentiment."""
    rows = []
    for name, aspects in _rows():
        flags = np.array(
            [
                [[any(m.aspect == a for m in who[id_]) for who in (first, second)] for a in aspects]
                for id_ in ids
            ]
        )
        matched = [
            pair
            for id_ in ids
            for pair in pairs(first[id_], second[id_])
            if pair[0].aspect in aspects
        ]
        equal = sum(one.sentiment == other.sentiment for one, other in matched)
        counts = [
            sum(m.aspect in aspects for id_ in ids for m in who[id_]) for who in (first, second)
        ]
        rows.append(
            [
                name,
                *map(str, counts),
                str(len(matched)),
                _kappa(flags),
                _text(share(equal, len(matched))),
            ]
        )
    head = ["aspect", "mentions A", "B", "both", "kappa", "equal sentiment"]
    return _table(head, rows)


def _kappa(flags: NDArray[np.bool_]) -> str:
    """Return Cohen's kappa of `flags` (sentences, aspects, annotators) and its interval."""

    def kappa(rows: NDArray[np.bool_]) -> float:
        if (rows == rows.flat[0]).all():  # undefined
            return float("nan")
        return float(cohen_kappa_score(rows[..., 0].ravel(), rows[..., 1].ravel()))

    value = kappa(flags)
    if np.isnan(value):
        return "-"
    rng = np.random.default_rng(SEED)
    resampled = [kappa(flags[rng.integers(len(flags), size=len(flags))]) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def system_table(found: Mentions, gold: Mentions) -> str:
    """Return precision and recall of the mentions, and the accuracy of decided sentiments.

    The sentiment is compared where the mention is right and the annotators see a clear sentiment.
    """
    rows = []
    for name, aspects in _rows():
        predicted = [
            (mention, mention.best_match(gold[id_]))
            for id_ in gold
            for mention in found[id_]
            if mention.aspect in aspects
        ]
        recalled = [
            mention.best_match(found[id_]) is not None
            for id_ in gold
            for mention in gold[id_]
            if mention.aspect in aspects
        ]
        clear = [(one, true) for one, true in predicted if true and true.sentiment != "unclear"]
        decided = [(one, true) for one, true in clear if one.sentiment != UNSURE]
        correct = sum(one.sentiment == true.sentiment for one, true in decided)
        shares = [
            share(sum(true is not None for _, true in predicted), len(predicted)),
            share(sum(recalled), len(recalled)),
            share(len(decided), len(clear)),
            share(correct, len(decided)),
        ]
        rows.append([name, *map(_text, shares)])
    return _table(["aspect", "precision", "recall", "decided", "accuracy of decided"], rows)


def _rows() -> list[tuple[str, Sequence[str]]]:
    return [*((aspect, [aspect]) for aspect in ASPECTS), ("**all**", ASPECTS)]


def _text(value: Share) -> str:
    if not value.total:
        return "-"
    return (
        f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%}; {value.count} of {value.total})"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


if __name__ == "__main__":
    main()
