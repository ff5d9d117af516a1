"""Replicas of the model on a cluster, and the client that calls them. Does not know HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

_POLL_INTERVAL = 0.1  # seconds between two checks whether the caller still waits
_RETRY_DELAY = 0.2  # seconds before a call is repeated because its replica died


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a replica reports about its model."""

    manifest: Manifest
    card: str
    evaluation: str | None
    profile: str | None
    size: int


@dataclass(frozen=True, slots=True)
class ReplicaReply:
    """The result of a call to a replica, with the timings and counts of its `CallContext`."""

    result: Any  # the return value, or the ReelsenseError: Ray would wrap a raised one
    elapsed: float
    tokenize: float
    queue: float
    network: float
    cache_hits: int
    computed: int
    batches: Sequence[tuple[int, int]] = ()  # windows and tokens, since the previous reply


class ModelReplica:
    """One classifier that serves concurrent calls.

    `bundle` is in Ray's object store, which has one copy of it on each machine. It was verified
    when it was stored.
    """

    def __init__(
        self,
        bundle: ObjectRef[Bundle],
        threads: int,
        cache_size: int,
        max_concurrent_requests: int,
    ) -> None:
        self._batches: deque[tuple[int, int]] = deque(maxlen=10_000)
        self._classifier = Classifier(
            ray.get(bundle),
            threads=threads,
            cache_size=cache_size,
            gpu=False,  # Ray hides GPUs that a deployment does not request
            on_batch=lambda windows, tokens: self._batches.append((windows, tokens)),
        )
        # One thread per request, so that the queue of the classifier builds the batches, by tokens
        # and without a timer. Ray's @serve.batch counts requests and waits for them.
        self._threads = ThreadPoolExecutor(max_concurrent_requests, thread_name_prefix="request")

    async def facts(self) -> ModelFacts:
        """Return the facts that a `RemoteClassifier` needs."""
        classifier = self._classifier
        return ModelFacts(
            classifier.manifest,
            classifier.card,
            classifier.evaluation,
            classifier.profile,
            classifier.size,
        )

    async def call(
        self, method: str, arguments: dict[str, Any], limit: float | None, background: bool
    ) -> ReplicaReply:
        """Call a `method` of the classifier; stop the work if the call is cancelled.

        `limit` is in seconds, None for no deadline. Interactive calls precede `background` ones.
        """
        cancelled = threading.Event()
        context = CallContext(limit, cancelled.is_set, background=background)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._run, method, arguments, context)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def _run(self, method: str, arguments: dict[str, Any], context: CallContext) -> ReplicaReply:
        try:
            result = getattr(self._classifier, method)(**arguments, context=context)
        except ReelsenseError as error:
            result = error
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        return ReplicaReply(
            result=result,
            elapsed=context.elapsed,
            tokenize=context.tokenize,
            queue=context.queue,
            network=context.network,
            cache_hits=context.cache_hits,
            computed=context.computed,
            batches=batches,
        )


class RemoteClassifier:
    """Has the methods of `Classifier`, and calls the replicas of a model. Thread-safe.

    The replicas of `handle` must be running.
    """

    def __init__(
        self, handle: DeploymentHandle[ModelReplica], on_batch: OnBatch = lambda *_: None
    ) -> None:
        self._handle, self._on_batch = handle, on_batch
        facts = cast(ModelFacts, handle.facts.remote().result(timeout_s=30))
        self.manifest = facts.manifest
        self.card, self.evaluation, self.size = facts.card, facts.evaluation, facts.size
        self.profile = facts.profile

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict_each(
        self, texts: Sequence[str], *, risk: float | None = None, context: CallContext | None = None
    ) -> list[Prediction | TextError]:
        """Do the same as `Classifier.predict_each`."""
        arguments = {"texts": list(texts), "risk": risk}
        return cast("list[Prediction | TextError]", self._call("predict_each", arguments, context))

    def explain(
        self,
        text: str,
        *,
        budget: int = BUDGET,
        risk: float | None = None,
        aspects: bool = False,
        context: CallContext | None = None,
    ) -> Explanation:
        """Do the same as `Classifier.explain`."""
        arguments = {"text": text, "budget": budget, "risk": risk, "aspects": aspects}
        return cast(Explanation, self._call("explain", arguments, context))

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Do the same as `Classifier.predict_proba`."""
        rows = []
        for prediction in self.predict_each(texts):
            if isinstance(prediction, TextError):
                raise prediction
            rows.append([prediction.probabilities[label] for label in self.labels])
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.labels))

    def _call(self, method: str, arguments: dict[str, Any], context: CallContext | None) -> Any:
        """Call a replica, and another one if it dies: predictions have no side effects."""
        context = context or CallContext()
        while True:
            context.check()
            start = time.monotonic()
            response = self._handle.call.remote(
                method, arguments, context.remaining, context.background
            )
            try:
                reply = _wait_for(cast("DeploymentResponse[ReplicaReply]", response), context)
                break
            except RayActorError as error:
                if context.background:  # the model may have been replaced, with no replica left
                    raise AbandonedError("the replica died during the call") from error
                with context.waiting():
                    time.sleep(_RETRY_DELAY)
        for windows, tokens in reply.batches:
            self._on_batch(windows, tokens)
        context.tokenize += reply.tokenize
        context.network += reply.network
        context.cache_hits += reply.cache_hits
        context.computed += reply.computed
        # Count the transfer as queueing: under load, it mostly is.
        context.queue += reply.queue + max(0.0, time.monotonic() - start - reply.elapsed)
        if isinstance(reply.result, DeadlineError):
            raise context.deadline_error()  # with the original limit, not what was left of it
        if isinstance(reply.result, ReelsenseError):
            raise reply.result
        return reply.result


def _wait_for(response: DeploymentResponse[ReplicaReply], context: CallContext) -> ReplicaReply:
    """Return the reply; cancel the call if the caller has gone or its deadline has passed."""
    while True:
        try:
            left = context.remaining
            timeout = _POLL_INTERVAL if left is None else min(left, _POLL_INTERVAL)
            return response.result(timeout_s=timeout)
        except TimeoutError:
            if fault := context.error():
                response.cancel()
                raise fault from None
        except TaskCancelledError as error:  # Serve noticed the disconnected client first
            raise AbandonedError("the client has disconnected") from error
