"""Sentence vectors of a bundle's encoder, for models that are trained on top of it.

Uses the same cleaning, tokenizer, windows and queue as `Classifier`. Runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reelsense import registry
from reelsense.bundle import Bundle, read_bundle, retry_if_replaced
from reelsense.inference.cache import CACHE_SIZE
from reelsense.inference.call_context import CallContext
from reelsense.inference.engine import Engine
from reelsense.inference.pipeline import Pipeline
from reelsense.inference.texts import SLICE, checked_texts, unreadable


class Encoder:
    """The encoder of a bundle, which returns sentence vectors. Thread-safe.

    Attributes:
        manifest: The manifest of the bundle.
        dimensions: The length of a sentence vector.
    """

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, cache_size: int = CACHE_SIZE
    ) -> None:
        """Compile the network of `bundle` up to its output layer.

        Args:
            bundle: The model.
            threads: Number of processor cores to use; None: all.
            cache_size: Number of texts to cache the vectors of.

        Raises:
            BundleError: The network cannot be used, or has no output layer (`no-output-layer`).
        """
        self.manifest = bundle.manifest
        with bundle.loadable() as network:
            engine = Engine(
                network,
                threads,
                int8_activations=bundle.manifest.int8_activations,
                sentence_vectors=True,
            )
        self.dimensions = engine.outputs
        self._pipeline = Pipeline(bundle, engine, cache_size, on_batch=lambda *_: None)

    @classmethod
    def load(cls, name_or_path: str | Path | None = None) -> Encoder:
        """Load the encoder of a model, which `name_or_path` names as in `Classifier.load`."""
        folder = registry.find(name_or_path)
        return retry_if_replaced(folder, lambda: cls(read_bundle(folder)))

    def vectors(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the sentence vectors of at least one text.

        Args:
            texts: As in `Classifier.predict`.

        Returns:
            The vectors (texts, dimensions): the input of the output layer, averaged over the
            windows of a text.

        Raises:
            TextError: As in `Classifier.predict`.
        """
        all_texts = checked_texts(texts)
        rows = []
        for start in range(0, len(all_texts), SLICE):
            part = all_texts[start : start + SLICE]
            for position, output in enumerate(
                self._pipeline.cached_outputs(part, CallContext()), start
            ):
                if output is None:
                    raise unreadable(position)
                rows.append(output.outputs)
        return np.stack(rows)
