"""Score a text again with parts of it removed (occlusion).

Does not know bundles, queues or words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reelsense.inference.calibration import window_means
from reelsense.inference.tokenizer import Frame, Tokens, window_edges, windows
from reelsense.text.clean import Span

# Windows of token ids to the network's outputs (windows, outputs).
RunWindows = Callable[[Sequence[Sequence[int]]], NDArray[np.float64]]

# Mean outputs (n, outputs) and the number of windows (n) of each to logits (n, labels).
Calibrate = Callable[[NDArray[np.float64], Sequence[int]], NDArray[np.float64]]


class Occlusion:
    """A text that can be scored with parts of it removed; logits are calibrated.

    Attributes:
        tokens: The number of tokens of the text, without special tokens.
        windows: The number of windows of the text.
        outputs: The network's outputs for them (windows, outputs).
        logits: The calibrated logits of the whole text (labels).
        forward_passes: The number of windows that the network has run so far.
    """

    def __init__(
        self, tokens: Tokens, window: int, frame: Frame, run: RunWindows, calibrate: Calibrate
    ) -> None:
        """Score the whole text of at least one token, in windows of `window` tokens."""
        self._ids, self._offsets = np.array(tokens.ids), np.array(tokens.offsets)
        self._window, self._frame, self._network, self._calibrate = window, frame, run, calibrate
        self._edges = window_edges(len(tokens.ids), window)
        self.forward_passes = 0
        self.tokens, self.windows = len(tokens.ids), len(self._edges) - 1
        self.outputs = self._run(windows(tokens.ids, window, frame))
        self.logits = calibrate(self.outputs.mean(axis=0, keepdims=True), [self.windows])[0]

    def log_odds(self, label: int) -> float:
        """Return the log-odds (nats) of label number `label` for the whole text."""
        return float(log_odds(self.logits[np.newaxis], label)[0])

    def calibrate_again(
        self, calibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> None:
        """Apply `calibrate` to all calibrated logits (n, labels)."""
        before = self._calibrate
        self._calibrate = lambda outputs, windows: calibrate(before(outputs, windows))
        self.logits = calibrate(self.logits[np.newaxis])[0]

    def logits_without_each(self, parts: Sequence[Span]) -> NDArray[np.float64]:
        """Return the logits (parts, labels) of the text without each of `parts`.

        Windows stay fixed: one without tokens of the part is not run again, and one with no other
        tokens is left out.
        """
        changed: list[list[int]] = []
        rows_by_part = []
        for part in parts:
            kept = ~self._tokens_in(part)
            rows = []
            for n, (start, end) in enumerate(pairwise(self._edges)):
                kept_in_window = kept[start:end]
                if kept_in_window.all():
                    rows.append(n)
                elif kept_in_window.any():
                    rows.append(self.windows + len(changed))
                    changed.append(
                        self._frame.around(self._ids[start:end][kept_in_window].tolist())
                    )
            if not rows:  # the part is the whole text: compare with an empty text
                rows.append(self.windows + len(changed))
                changed.append(self._frame.around([]))
            rows_by_part.append(rows)
        outputs = np.concatenate([self.outputs, self._run(changed)]) if changed else self.outputs
        means = np.array([outputs[rows].mean(axis=0) for rows in rows_by_part])
        return self._calibrate(means, [len(rows) for rows in rows_by_part])

    def logits_without_sets(self, sets: Sequence[Sequence[Span]]) -> NDArray[np.float64]:
        """Return the logits (sets, labels) of the text without all parts of each set.

        The remaining text is divided into windows again.
        """
        return self._logits_of(
            [~np.logical_or.reduce([self._tokens_in(part) for part in parts]) for parts in sets]
        )

    def logits_of_parts(
        self, parts: Sequence[Span], removed: Sequence[Span] | None = None
    ) -> NDArray[np.float64]:
        """Return the logits (parts, labels) of each part alone, without its span in `removed`."""
        masks = [self._tokens_in(part) for part in parts]
        if removed:
            masks = [
                mask & ~self._tokens_in(span) for mask, span in zip(masks, removed, strict=True)
            ]
        return self._logits_of(masks)

    def has_tokens(self, part: Span) -> bool:
        """Return whether a token begins within `part`."""
        return bool(self._tokens_in(part).any())

    def passes_for_parts(self, parts: Sequence[Span]) -> int:
        """Return the number of forward passes of `logits_of_parts`."""
        return sum(
            len(window_edges(int(self._tokens_in(part).sum()), self._window)) - 1 for part in parts
        )

    def _tokens_in(self, part: Span) -> NDArray[np.bool_]:
        return np.asarray((self._offsets >= part.start) & (self._offsets < part.end))

    def _logits_of(self, masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
        windows_by_mask = [
            windows(self._ids[mask].tolist(), self._window, self._frame) for mask in masks
        ]
        outputs = self._run([window for cut in windows_by_mask for window in cut])
        counts = [len(cut) for cut in windows_by_mask]
        return self._calibrate(window_means(outputs, counts), counts)

    def _run(self, cut: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        self.forward_passes += len(cut)
        return self._network(cut)


def log_odds(logits: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    """Return the log-odds (n), in nats, of a label against all others for `logits` (n, labels)."""
    others = np.delete(logits, label, axis=1)
    largest = others.max(axis=1)
    total = largest + np.log(np.exp(others - largest[:, np.newaxis]).sum(axis=1))
    return np.asarray(logits[:, label] - total)
