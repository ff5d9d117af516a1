"""Which sentences and words of a text carry its answer: take them out, and read what is left.

Every weight is the difference of two readings by the network that answers. Nothing is estimated:
what is cheap, a sentence read by itself, only chooses what is measured. Knows tokens, windows and
logits, and where the parts of a text are; knows no bundle and no queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reelsense.inference.calibration import window_means
from reelsense.inference.tokenizer import Frame, Tokens, window_edges, windows
from reelsense.text.clean import Span, Traced, sentences, words

BUDGET = 200
"""Windows that an explanation may read, beside the text itself, unless told otherwise."""

LEAST_BUDGET = 16

_OPENED = 8
"""Parts that a passage is opened into."""

_WORDS = 3
"""Words that are weighed in the whole text, those that matter most within their sentence."""

_MATTERS = 0.25
"""What a word moves there at least, as a share of what the first does."""

_PER_SET = 25
"""The budget for each set of sentences that the search for a flip may try: 8 sets of 200."""

Run = Callable[[Sequence[Sequence[int]]], NDArray[np.float64]]
"""Windows of token ids to the network's logits (windows, outputs)."""

Calibrate = Callable[[NDArray[np.float64], Sequence[int]], NDArray[np.float64]]
"""Mean logits (n, outputs), each over so many windows, to calibrated logits (n, labels)."""


class Reading:
    """A text, and what the network says of what is left when parts are taken out of it."""

    def __init__(
        self, tokens: Tokens, window: int, frame: Frame, run: Run, calibrate: Calibrate
    ) -> None:
        """Read the whole text of `tokens`, at least one, in windows of `window` tokens."""
        self._ids, self._places = np.array(tokens.ids), np.array(tokens.places)
        self._window, self._frame, self._run, self._calibrate = window, frame, run, calibrate
        self._edges = window_edges(len(tokens.ids), window)
        self.forward_passes = 0
        """Windows read so far."""
        self.windows = len(self._edges) - 1
        self.outputs = self._read(windows(tokens.ids, window, frame))
        """What the network says of each window of the text (windows, outputs)."""
        self.logits = calibrate(self.outputs.mean(axis=0, keepdims=True), [self.windows])[0]
        """Calibrated, of the whole text (labels)."""

    def log_odds(self, label: int) -> float:
        """Return the log-odds of a label for the whole text, nats."""
        return float(log_odds(self.logits[np.newaxis], label)[0])

    def without_each(self, parts: Sequence[Span]) -> NDArray[np.float64]:
        """Return the calibrated logits (parts, labels) of the text without each of `parts`.

        The windows of the text stay where they are: one that a part does not touch is not read
        again, one of which nothing is left is left out.
        """
        table, rows = [self.outputs], []
        new: list[list[int]] = []
        for part in parts:
            kept = ~self._tokens_of(part)
            of_part = []
            for n, (start, end) in enumerate(pairwise(self._edges)):
                left = kept[start:end]
                if left.all():
                    of_part.append(n)
                elif left.any():
                    of_part.append(self.windows + len(new))
                    new.append(self._frame.around(self._ids[start:end][left].tolist()))
            if not of_part:  # the part is all there is: what does the network say of nothing?
                of_part.append(self.windows + len(new))
                new.append(self._frame.around([]))
            rows.append(of_part)
        if new:
            table.append(self._read(new))
        outputs = np.concatenate(table)
        means = np.array([outputs[of_part].mean(axis=0) for of_part in rows])
        return self._calibrate(means, [len(of_part) for of_part in rows])

    def without_all(self, sets: Sequence[Sequence[Span]]) -> NDArray[np.float64]:
        """Return the calibrated logits (sets, labels) of the text without all parts of each set.

        What is left is cut into windows anew, as a text of its own is.
        """
        return self._of_tokens(
            [~np.logical_or.reduce([self._tokens_of(part) for part in parts]) for parts in sets]
        )

    def alone(
        self, parts: Sequence[Span], without: Sequence[Span] | None = None
    ) -> NDArray[np.float64]:
        """Return the calibrated logits (parts, labels) of each of `parts` read by itself.

        With `without`, one for each, that is taken out of the part first.
        """
        kept = [self._tokens_of(part) for part in parts]
        if without:
            kept = [of & ~self._tokens_of(out) for of, out in zip(kept, without, strict=True)]
        return self._of_tokens(kept)

    def holds(self, part: Span) -> bool:
        """Say whether there is something of `part` that the network reads."""
        return bool(self._tokens_of(part).any())

    def cost_alone(self, parts: Sequence[Span]) -> int:
        """Return how many windows it takes to read each of `parts` by itself."""
        return sum(
            len(window_edges(int(self._tokens_of(part).sum()), self._window)) - 1 for part in parts
        )

    def _tokens_of(self, part: Span) -> NDArray[np.bool_]:
        """Which tokens begin within `part`."""
        return np.asarray((self._places >= part.start) & (self._places < part.end))

    def _of_tokens(self, kept: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
        cut = [windows(self._ids[mask].tolist(), self._window, self._frame) for mask in kept]
        outputs = self._read([window for each in cut for window in each])
        counts = [len(each) for each in cut]
        return self._calibrate(window_means(outputs, counts), counts)

    def _read(self, cut: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        self.forward_passes += len(cut)
        return self._run(cut)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A part of the cleaned text, and what it carries of the log-odds of a label."""

    span: Span
    weight: float


@dataclass(frozen=True, slots=True)
class WeighedParts:
    """What carries the answer for a text."""

    sentences: list[Weighed]
    words: list[Weighed]
    unit: str
    counterfactual: list[Weighed]
    """The smallest set found whose removal turns the answer; empty: none."""


def explain(
    reading: Reading, traced: Traced, target_label: int, budget: int = BUDGET
) -> WeighedParts:
    """Weigh the sentences of `traced`, the text of `reading`, and the words of the heaviest.

    Weights are changes of the log-odds of label number `target_label`. After the text itself, at
    most `budget` windows are read.
    """
    limit = reading.forward_passes + budget
    answer = int(reading.logits.argmax())
    found = _weigh_sentences(reading, sentences(traced.layout), target_label, budget // 2)
    heavy = _weigh_words(reading, traced, found, target_label, limit - budget // 4)
    one = _for_answer(found, answer, target_label)[:1] if len(found) > 1 else []
    speakers = _speakers(reading, found, answer, target_label, limit)
    unit, counterfactual = "sentences", _flip(reading, one, speakers, answer, budget, limit)
    if not counterfactual:
        speakers = _for_answer(heavy, answer, target_label)
        unit, counterfactual = (
            "words",
            _flip(reading, speakers[:1], speakers, answer, budget, limit),
        )
    return WeighedParts(found, heavy, unit, _ordered(counterfactual))


def log_odds(logits: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    """Return the log-odds (n) of a label against all others, of `logits` (n, labels), in nats."""
    others = np.delete(logits, label, axis=1)
    most = others.max(axis=1)
    total = most + np.log(np.exp(others - most[:, np.newaxis]).sum(axis=1))
    return np.asarray(logits[:, label] - total)


def _weigh(reading: Reading, parts: Sequence[Span], target_label: int) -> list[Weighed]:
    if not parts:
        return []
    weights = reading.log_odds(target_label) - log_odds(reading.without_each(parts), target_label)
    return [Weighed(*each) for each in zip(parts, weights.tolist(), strict=True)]


def _weigh_sentences(
    reading: Reading, spans: Sequence[Span], target_label: int, budget: int
) -> list[Weighed]:
    """Weigh sentences; where they are too many, passages, and what is in the heaviest of them.

    A part that crosses the edge of a window costs two readings.
    """
    limit = reading.forward_passes + budget

    def weigh(groups: Sequence[Sequence[Span]]) -> list[tuple[Weighed, Sequence[Span]]]:
        wholes = [Span(group[0].start, group[-1].end) for group in groups]
        return list(zip(_weigh(reading, wholes, target_label), groups, strict=True))

    few = len(spans) <= budget // 2
    found = weigh(_groups(spans, 1 if few else -(-4 * len(spans) // budget)))
    while passages := [pair for pair in found if len(pair[1]) > 1]:
        heaviest = min(passages, key=lambda pair: _heaviest_first(pair[0]))
        parts = _groups(heaviest[1], -(-len(heaviest[1]) // _OPENED))
        if reading.forward_passes + 2 * len(parts) > limit:
            break
        found.remove(heaviest)
        found += weigh(parts)
    return _ordered([weighed for weighed, _ in found])


def _groups(spans: Sequence[Span], size: int) -> list[Sequence[Span]]:
    return [spans[n : n + size] for n in range(0, len(spans), size)]


def _weigh_words(
    reading: Reading, traced: Traced, found: Sequence[Weighed], target_label: int, limit: int
) -> list[Weighed]:
    """Weigh words of the heaviest sentence: those that matter most when taken out of it alone.

    Of a text of one sentence, all.
    """
    sentence = min(found, key=_heaviest_first).span
    inside = [word for word in words(traced.layout, sentence) if reading.holds(word)]
    if len(found) > 1:
        room = (limit - reading.forward_passes - 2 * _WORDS) // reading.cost_alone([sentence])
        inside = inside[: max(0, room - 1)]
        if not inside:
            return []
        logits = reading.alone([sentence] * (len(inside) + 1), [Span(0, 0), *inside])
        whole, *left = log_odds(logits, target_label).tolist()
        moved = [abs(whole - after) for after in left]
        first = sorted(range(len(inside)), key=lambda n: -moved[n])[:_WORDS]
        inside = [inside[n] for n in first if moved[n] >= _MATTERS * moved[first[0]]]
    room = max(0, (limit - reading.forward_passes) // 2)
    return _ordered(_weigh(reading, inside[:room], target_label))


def _for_answer(found: Sequence[Weighed], answer: int, target_label: int) -> list[Weighed]:
    """Return those of `found` that speak for the answer, the heaviest first."""
    sign = 1 if answer == target_label else -1
    return sorted((each for each in found if sign * each.weight > 0), key=_heaviest_first)


def _speakers(
    reading: Reading, found: Sequence[Weighed], answer: int, target_label: int, limit: int
) -> list[Weighed]:
    """Return the sentences that speak for the answer, the strongest first; one at least is left.

    The strongest by themselves: where others make the same point, one weighs little when it alone
    is taken out.
    """
    spans = [each.span for each in found]
    if len(found) < 2 or reading.forward_passes + reading.cost_alone(spans) > limit:
        return []
    alone = log_odds(reading.alone(spans), answer)
    ranked = sorted(zip(alone.tolist(), found, strict=True), key=lambda pair: -pair[0])
    weighty = _for_answer(found, answer, target_label)
    return [each for odds, each in ranked if odds > 0 or each in weighty][: len(found) - 1]


def _flip(
    reading: Reading,
    heaviest: list[Weighed],
    speakers: Sequence[Weighed],
    answer: int,
    budget: int,
    limit: int,
) -> list[Weighed]:
    """Return few parts without which the answer is another; or none.

    Tries the `heaviest` one. Else grows a set by halving: how many of `speakers`, strongest first,
    have to go? Then shrinks it: what can stay without turning the answer back does.
    """

    def margins(sets: Sequence[Sequence[Weighed]]) -> NDArray[np.float64]:
        """How far the answer leads; below 0 it is another."""
        logits = reading.without_all([[each.span for each in some] for some in sets])
        return np.asarray(logits[:, answer] - np.delete(logits, answer, axis=1).max(axis=1))

    limit = min(limit, reading.forward_passes + max(2, budget // _PER_SET) * reading.windows)
    odds = reading.log_odds(answer)

    def affordable(sets: int) -> bool:
        return reading.forward_passes + sets * reading.windows <= limit

    if heaviest and abs(heaviest[0].weight) > odds and affordable(1) and margins([heaviest])[0] < 0:
        return heaviest
    if not speakers or not affordable(1):
        return []
    few, enough = 0, len(speakers)
    if margins([speakers])[0] >= 0:
        # What is left may not speak against the answer either: is it the fewer that turn it?
        firsts = [speakers[:n] for n in range(1, min(4, len(speakers)))]
        if not firsts or not affordable(len(firsts)):
            return []
        turning = [n for n, lead in enumerate(margins(firsts), start=1) if lead < 0]
        if not turning:
            return []
        few, enough = turning[0] - 1, turning[0]
    while enough - few > 1 and affordable(1):
        middle = (few + enough) // 2
        if margins([speakers[:middle]])[0] < 0:
            enough = middle
        else:
            few = middle
    chosen = list(speakers[:enough])
    while len(chosen) > 1 and affordable(len(chosen)):
        fewer = [[each for each in chosen if each is not left] for left in chosen]
        leads = margins(fewer)
        if leads.min() >= 0:
            break
        chosen = fewer[int(leads.argmin())]
    return chosen


def _heaviest_first(part: Weighed) -> float:
    return -abs(part.weight)


def _ordered(parts: Sequence[Weighed]) -> list[Weighed]:
    return sorted(parts, key=lambda each: each.span.start)
