"""The model on a cluster: replicas with a `Classifier` each, and how they are asked from afar.

Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import ray
from numpy.typing import NDArray
from ray import ObjectRef
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from reelsense.bundle import Bundle, Manifest
from reelsense.errors import AbandonedError, DeadlineError, ReelsenseError, TextError
from reelsense.inference.batching import OnBatch
from reelsense.inference.call_context import CallContext
from reelsense.inference.classifier import Classifier
from reelsense.inference.explain import BUDGET
from reelsense.prediction import Explanation, Prediction

_LOOK_EVERY = 0.1
"""Seconds between two looks whether anyone waits for an answer still."""

_PAUSE = 0.2
"""Seconds before a request is sent again whose replica has died."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a replica says of its model."""

    manifest: Manifest
    card: str
    evaluation: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a replica answers, and where the time went: the names are those of `CallContext`."""

    found: Any
    """Or the error, if it is one of reelsense's own: Ray would make another of it."""
    elapsed: float
    tokenize: float
    queue: float
    network: float
    cache_hits: int
    computed: int
    batches: Sequence[tuple[int, int]] = field(default=())
    """Those that ran since the last reply: windows and tokens."""


class ModelReplica:
    """A replica: one classifier, asked by many at a time."""

    def __init__(
        self, bundle: ObjectRef[Bundle], threads: int, cache_size: int, at_once: int
    ) -> None:
        """Take the `bundle` out of Ray's object store, which holds one copy for each machine.

        It was verified when it was put there.
        """
        self._batches: deque[tuple[int, int]] = deque(maxlen=10_000)
        self._classifier = Classifier(
            ray.get(bundle),
            threads=threads,
            cache_size=cache_size,
            gpu=False,  # Ray hides those that nobody asked it for
            on_batch=lambda windows, tokens: self._batches.append((windows, tokens)),
        )
        # A thread for each request, so that the queue of the classifier joins what is in hand, by
        # tokens and without a timer. Ray's own @serve.batch counts requests, and waits for them.
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="request")

    async def facts(self) -> Facts:
        """Return what the model is."""
        found = self._classifier
        return Facts(found.manifest, found.card, found.evaluation, found.size)

    async def ask(
        self, method: str, arguments: dict[str, Any], limit: float | None, background: bool
    ) -> Reply:
        """Call a `method` of the classifier; nothing more is computed if the caller goes."""
        gone = threading.Event()
        context = CallContext(limit, gone.is_set, background=background)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, self._answer, method, arguments, context
            )
        except asyncio.CancelledError:
            gone.set()
            raise

    def _answer(self, method: str, arguments: dict[str, Any], context: CallContext) -> Reply:
        try:
            found = getattr(self._classifier, method)(**arguments, context=context)
        except ReelsenseError as error:
            found = error
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        return Reply(
            found=found,
            elapsed=context.elapsed,
            tokenize=context.tokenize,
            queue=context.queue,
            network=context.network,
            cache_hits=context.cache_hits,
            computed=context.computed,
            batches=batches,
        )


class RemoteClassifier:
    """The classifiers of all replicas of one model, as if they were one. For any thread."""

    def __init__(
        self, handle: DeploymentHandle[ModelReplica], on_batch: OnBatch = lambda *_: None
    ) -> None:
        """Ask the replicas behind `handle`, which have to be there, what they are."""
        self._handle, self._on_batch = handle, on_batch
        facts = cast(Facts, handle.facts.remote().result(timeout_s=30))
        self.manifest = facts.manifest
        self.card, self.evaluation, self.size = facts.card, facts.evaluation, facts.size

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """As `Classifier.predict_each`."""
        arguments = {"texts": list(texts), "risk": risk}
        return cast("list[Prediction | TextError]", self._ask("predict_each", arguments, context))

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        context: CallContext | None = None,
    ) -> Explanation:
        """As `Classifier.explain`."""
        arguments = {"text": text, "budget": budget, "risk": risk}
        return cast(Explanation, self._ask("explain", arguments, context))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As `Classifier.predict_proba`."""
        rows = []
        for answer in self.predict_each(texts):
            if isinstance(answer, TextError):
                raise answer
            rows.append([answer.probabilities[label] for label in self.labels])
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.labels))

    def _ask(self, method: str, arguments: dict[str, Any], context: CallContext | None) -> Any:
        """Let one of the replicas answer: another one if it dies, for asking twice does no harm."""
        context = context or CallContext()
        while True:
            context.check()
            begun = time.monotonic()
            asked = self._handle.ask.remote(
                method, arguments, context.remaining, context.background
            )
            try:
                reply = _awaited(cast("DeploymentResponse[Reply]", asked), context)
                break
            except RayActorError as error:
                if context.background:  # it may be the last one of a model that is gone
                    raise AbandonedError("the replica that computed it has died") from error
                with context.waiting():
                    time.sleep(_PAUSE)
        for windows, tokens in reply.batches:
            self._on_batch(windows, tokens)
        context.tokenize += reply.tokenize
        context.network += reply.network
        context.cache_hits += reply.cache_hits
        context.computed += reply.computed
        # The way there and back counts as waiting: most of it is, where many ask.
        context.queue += reply.queue + max(0.0, time.monotonic() - begun - reply.elapsed)
        if isinstance(reply.found, DeadlineError):
            raise context.deadline_error()  # with the limit that its client knows
        if isinstance(reply.found, ReelsenseError):
            raise reply.found
        return reply.found


def _awaited(asked: DeploymentResponse[Reply], context: CallContext) -> Reply:
    """Return the reply; as soon as nobody waits for it, or time is up, cancel and raise that."""
    while True:
        try:
            left = context.remaining
            return asked.result(timeout_s=_LOOK_EVERY if left is None else min(left, _LOOK_EVERY))
        except TimeoutError:
            if fault := context.error():
                asked.cancel()
                raise fault from None
        except TaskCancelledError as error:  # Serve noticed first that the client has gone
            raise AbandonedError("nobody waits for the answer any more") from error
