"""`reelsense serve --cluster ray`: the server's application before replicas of the model.

The process that runs this starts Ray Serve, watches the folder of the bundle and ends Serve again.
It answers nothing itself: requests go through Serve's proxy to the application (`ingress.py`), and
their texts from there to whichever replica has the least to do (`replica.py`).

A bundle is an application of Serve's own, so that a change of it is one of which application the
ingress asks: the new one is deployed beside the old, which goes once every request that began with
it has ended. So each request is answered by one model from its begin to its end, a bundle that does
not come up disturbs nothing, and nobody waits, however few replicas there are. Serve's own rolling
update of a deployment would mix the versions, and stop one replica before it starts another.
"""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import serve
from ray.serve.schema import LoggingConfig

from reelsense.bundle import Bundle, read_bundle
from reelsense.cluster.ingress import MODELS, Ingress
from reelsense.cluster.machines import connected, machine_cores, usual_cores
from reelsense.cluster.replica import ModelReplica
from reelsense.errors import BundleError, ClusterError, ReelsenseError, SettingsError
from reelsense.inference.classifier import Classifier
from reelsense.server.middleware.api_keys import Key
from reelsense.server.middleware.authenticator import read_keys
from reelsense.server.middleware.logging import log_settings
from reelsense.server.model_source import poll, self_test, unchanged
from reelsense.server.process.run import announce, prepared
from reelsense.server.settings import Settings

_log = logging.getLogger(__name__)

INGRESS = "reelsense"
"""The name of the application that HTTP reaches."""

AUTOSCALING: dict[str, Any] = {
    "target_ongoing_requests": 16,  # as many fill a batch
    "upscale_delay_s": 5,
    "downscale_delay_s": 120,
}
"""When there are more replicas, and when fewer."""

_LOOK_EVERY = 1.0
_AFTER_DEADLINE = 5.0
"""Seconds from the deadline of the last request of a model to its end."""

_PATIENCE = 30.0
"""Seconds that replicas may take to start before the log says that they do."""

_STORE = 512 * 1024 * 1024
"""Bytes of the object store of a cluster that is this machine: a bundle or two are all it holds."""

_QUIET = LoggingConfig(log_level="ERROR", enable_access_log=False)
"""Of Serve, which has a line of its own for every request."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the cluster is, and how the model is spread over it."""

    address: str | None = None
    """HOST[:PORT] of the head, or auto; None: this machine alone."""
    replicas: tuple[int, int] | None = None
    """The least and the most; None: 1 to as many as there are cores for."""
    cores: int | None = None
    """Of a replica; None: 4, or those of the smallest machine."""


def run(settings: Settings, plan: Plan) -> None:
    """Serve until told to stop.

    Raises as `server.run.run`, and ClusterError if there is no such cluster or Serve runs on it
    already.
    """
    settings = prepared(settings)
    logging.config.dictConfig(log_settings(settings))
    bundle = read(Path(str(settings.model)))
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # they are the lines of requests
    # Serve's proxy believes nobody: --trusted-proxies says who is believed.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    store = {"object_store_memory": _STORE} if plan.address is None else {}
    with connected(plan.address, namespace="reelsense", **store):
        logging.setLogRecordFactory(logging.LogRecord)  # Ray's adds its own time to every line
        if serve.status().proxies:
            raise ClusterError(
                "Serve runs on this cluster already, and there is one of it: end it with "
                "`serve shutdown`"
            )
        _serve(settings, plan, bundle)


def _serve(settings: Settings, plan: Plan, bundle: Bundle) -> None:
    stop = _stop_at_signals()
    deployed = Deployed(settings, plan, read_keys(settings), stop)
    try:
        deployed.start(bundle)
        if not stop.is_set():
            announce(settings, bundle.manifest, deployed.port)
        while not stop.wait(_LOOK_EVERY):
            deployed.poll()
    finally:
        stop.clear()  # now it says that the wait for requests in hand is to end too
        deployed.close()


def read(folder: Path) -> Bundle:
    """Return the bundle in `folder`, which travels as one object, and is known to answer.

    Raises BundleError.
    """
    with unchanged(folder) as found:
        bundle = read_bundle(found).in_memory()
    self_test(Classifier(bundle, gpu=False))
    return bundle


class Deployed:
    """The applications of one server: the ingress, the model that serves, and those before it."""

    def __init__(
        self, settings: Settings, plan: Plan, keys: list[Key], stop: threading.Event
    ) -> None:
        """Deploy nothing yet. Once `stop` is set, nothing is waited for."""
        self._settings, self._keys, self._stop = settings, keys, stop
        self._alone = plan.address is None
        self._cores, self._bounds, self._a_node = _spread(plan)
        self._folder = Path(str(settings.model))
        self._seen: object = None
        self._number = 0
        self._retired: list[tuple[float, str]] = []
        """When which application may go."""
        self.port = settings.port or _free_port(settings.host)

    def start(self, bundle: Bundle) -> None:
        """Begin to serve `bundle`, which is that of the folder. Raises ReelsenseError."""
        self._seen = poll(self._folder)
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": self._settings.host, "port": self.port},
            logging_config=_QUIET,
        )
        self._deploy(bundle)
        settings, keys = self._settings, self._keys

        def build() -> Ingress:  # in the replica: a Flask application does not travel
            return Ingress(settings, keys)

        ingress = serve.deployment(
            name="Ingress",
            max_ongoing_requests=settings.max_connections,
            ray_actor_options={"num_cpus": 0},  # it parses and waits
            graceful_shutdown_timeout_s=settings.deadline + _AFTER_DEADLINE,
        )(serve.ingress(build)())
        self._run(ingress.bind(), INGRESS, "/")

    def poll(self) -> None:
        """Deploy the bundle of the folder if it has changed, and delete what may go."""
        found = poll(self._folder)
        begun = time.monotonic()
        try:
            self._sweep()
            if found == self._seen:
                return
            self._seen = found
            bundle = read(self._folder)
            self._deploy(bundle)
        except Exception as error:  # noqa: BLE001  # whatever it is, the one before it serves on
            known = isinstance(error, ReelsenseError)
            _log.error(
                "the model could not be loaded: %s; the one before it serves on",
                error,
                exc_info=not known,
            )
            return
        version = bundle.manifest.version
        took = time.monotonic() - begun
        _log.info("%s %s is deployed, in %.1f s", bundle.manifest.name, version, took)

    def close(self) -> None:
        """Take no new requests, answer those in hand, and end Serve."""
        _log.info("ending: what was accepted is being answered; Ctrl-C again ends now")
        if INGRESS in serve.status().applications:  # it may not have come that far
            serve.delete(INGRESS, _blocking=False)
        last = time.monotonic() + self._settings.deadline + 2 * _AFTER_DEADLINE
        while INGRESS in serve.status().applications and time.monotonic() < last:
            if self._stop.wait(0.1):
                break
        if not self._alone:  # a cluster of our own ends with us
            serve.shutdown()

    def _deploy(self, bundle: Bundle) -> None:
        """Let replicas of `bundle` take over from those before them, once they are there."""
        before = f"{MODELS}{self._number}" if self._number else None
        name = f"{MODELS}{self._number + 1}"
        least, most = self._bounds
        deadline = self._settings.deadline
        model = serve.deployment(
            name="Model",
            max_ongoing_requests=self._settings.max_concurrent_requests,
            max_replicas_per_node=self._a_node,
            autoscaling_config=AUTOSCALING
            | {
                "min_replicas": least,
                "max_replicas": most,
                "initial_replicas": min(most, max(least, _running(before))),
            },
            # Half of what it uses: during a change there are two models side by side.
            ray_actor_options={"num_cpus": self._cores / 2},
            graceful_shutdown_timeout_s=deadline + _AFTER_DEADLINE,
        )(ModelReplica)
        application = model.bind(
            ray.put(bundle),
            self._cores,
            self._settings.cache_size,
            self._settings.max_concurrent_requests,
        )
        self._number += 1
        try:
            self._run(application, name, None)
        except Exception:
            serve.delete(name)
            self._number -= 1
            raise
        if before:
            self._retired.append((time.monotonic() + deadline + _AFTER_DEADLINE, before))

    def _run(self, application: serve.Application, name: str, route: str | None) -> None:
        """Run `application` and wait for it. Raises ReelsenseError if it does not come up."""
        target = serve.RunTarget(application, name, route, logging_config=_QUIET)
        serve.run_many([target], wait_for_applications_running=False)
        told = time.monotonic() + _PATIENCE
        while not self._stop.wait(0.1):
            self._sweep()
            status = serve.status().applications[name]
            if status.status == "RUNNING":
                return
            if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                reasons = [each.message for each in status.deployments.values()]
                raise BundleError(f"{name} does not start: {' '.join([status.message, *reasons])}")
            if time.monotonic() > told:
                told = float("inf")
                _log.warning("%s waits for room on the cluster", name)

    def _sweep(self) -> None:
        now = time.monotonic()
        for due, name in self._retired:
            if due <= now:
                serve.delete(name, _blocking=False)
        self._retired = [each for each in self._retired if each[0] > now]


def _spread(plan: Plan) -> tuple[int, tuple[int, int], int]:
    """Return cores of a replica, how many replicas there may be, and how many on one machine.

    Raises SettingsError if no machine has so many cores.
    """
    nodes = machine_cores() or [1]
    cores = plan.cores or usual_cores()
    if cores > max(nodes):
        raise SettingsError(
            f"--cores-per-replica: the largest machine of the cluster has {max(nodes)} cores"
        )
    bounds = plan.replicas or (1, sum(each // cores for each in nodes))
    # Serve's own limit is 100.
    return cores, bounds, min(100, max(nodes) // cores if plan.replicas is None else bounds[1])


def _running(application: str | None) -> int:
    """Return how many replicas of a model run."""
    found = serve.status().applications.get(application or "")
    if not found:
        return 0
    return sum(
        count
        for state, count in found.deployments["Model"].replica_states.items()
        if state == "RUNNING"
    )


def _free_port(host: str) -> int:
    family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
        return port


def _stop_at_signals() -> threading.Event:
    """Return what TERM and INT set. HUP does nothing: the folder is looked at anyway."""
    stop = threading.Event()

    def told(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _log.warning("this signal does nothing here: POST /admin/reload reads the keys anew")
        else:
            stop.set()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, told)
    return stop
