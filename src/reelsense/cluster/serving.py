"""`reelsense serve --cluster ray`: serves replicas of the model on a Ray cluster.

Knows Ray Serve and bundles. Handles no requests: see `ingress.py` and `replica.py`.
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
from reelsense.server.middleware.keys import Key, read_keys
from reelsense.server.middleware.logging import log_settings
from reelsense.server.model_source import (
    check_labels,
    model_folders,
    poll,
    self_test,
    unchanged,
)
from reelsense.server.process.run import announce, prepared
from reelsense.server.settings import Settings

_log = logging.getLogger(__name__)

INGRESS = "reelsense"  # name of the Serve application that receives HTTP requests

AUTOSCALING: dict[str, Any] = {
    "target_ongoing_requests": 16,  # enough to fill a batch
    "upscale_delay_s": 5,
    "downscale_delay_s": 120,
}

_POLL_INTERVAL = 1.0  # seconds
_AFTER_DEADLINE = 5.0  # seconds between the deadline of an application's last request and its end
_START_WARNING = 30.0  # seconds after which the log says that replicas still wait for resources

_OBJECT_STORE = 512 * 1024 * 1024  # bytes on a single machine: it only holds one or two bundles
_MAX_PER_NODE = 100  # Ray Serve's limit of replicas per machine

_QUIET = LoggingConfig(log_level="ERROR", enable_access_log=False)  # requests are already logged


@dataclass(frozen=True, slots=True)
class Plan:
    """The cluster, and the distribution of the model on it."""

    address: str | None = None  # HOST[:PORT] of the head node or "auto"; None: start a cluster here
    replicas: tuple[int, int] | None = None  # limits; None: 1 to as many as the cores allow
    cores: int | None = None  # per replica; None: 4, or fewer if the smallest machine has fewer


def run(settings: Settings, plan: Plan) -> None:
    """Serve until stopped by a signal. Raises ReelsenseError if the server cannot start."""
    settings = prepared(settings)
    if len(folders := model_folders(settings)) > 1:
        raise SettingsError(
            "several models cannot be combined with --cluster: use the plain server",
            code="conflicting-settings",
        )
    logging.config.dictConfig(log_settings(settings))
    [folder] = folders.values()
    settings = settings.model_copy(update={"model": str(folder)})
    bundle = load_checked_bundle(folder)
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # the lines are request logs
    # Serve's proxy must not trust forwarded headers: --trusted-proxies decides.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    options = {"object_store_memory": _OBJECT_STORE} if plan.address is None else {}
    with connected(plan.address, namespace="reelsense", **options):
        # Ray replaces the factory by one that adds its own timestamp to every line.
        logging.setLogRecordFactory(logging.LogRecord)
        if serve.status().proxies:
            raise ClusterError(
                "Ray Serve is already running on this cluster (only one instance is possible): "
                "stop it with `serve shutdown`",
                code="serve-already-running",
            )
        _serve(settings, plan, bundle)


def _serve(settings: Settings, plan: Plan, bundle: Bundle) -> None:
    stop = _stop_at_signals()
    deployment = ServeDeployment(settings, plan, read_keys(settings), stop)
    try:
        deployment.start(bundle)
        if not stop.is_set():
            announce(settings, [bundle.manifest], deployment.port)
        while not stop.wait(_POLL_INTERVAL):
            deployment.poll()
    finally:
        stop.clear()  # from now on, a second signal ends the wait for running requests
        deployment.close()


def load_checked_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`, in memory, after a test prediction. Raises BundleError."""
    with unchanged(folder) as unchanged_folder:
        bundle = read_bundle(unchanged_folder).in_memory()
    self_test(Classifier(bundle, gpu=False))
    return bundle


class ServeDeployment:
    """The Serve applications of one server: the ingress, the current model and retired ones.

    Each version of the bundle is a separate Serve application. A new version is deployed beside the
    old one; when it runs, the ingress switches to it, and the old one is deleted once all of its
    requests have ended. So every request is answered by one version, a broken bundle affects
    nothing, and there is no downtime, even with one replica. A rolling update of a single Serve
    deployment would mix the versions, and would stop a replica before it starts the next.
    Setting the event `stop` ends all waits.
    """

    def __init__(
        self, settings: Settings, plan: Plan, keys: list[Key], stop: threading.Event
    ) -> None:
        self._settings, self._keys, self._stop = settings, keys, stop
        self._owns_cluster = plan.address is None
        self._cores, self._bounds, self._max_per_machine = _distribution(plan)
        self._folder = Path(str(settings.model))
        self._version: object = None
        self._labels: tuple[str, ...] = ()
        self._number = 0
        self._retired: list[tuple[float, str]] = []  # earliest time to delete, application
        self.port = settings.port or _free_port(settings.host)

    def start(self, bundle: Bundle) -> None:
        """Start serving `bundle`, the content of the bundle's folder. Raises ReelsenseError."""
        self._version = poll(self._folder)
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": self._settings.host, "port": self.port},
            logging_config=_QUIET,
        )
        self._deploy(bundle)
        settings, keys = self._settings, self._keys

        def build() -> Ingress:  # called in the replica: a Flask application cannot be pickled
            return Ingress(settings, keys)

        ingress = serve.deployment(
            name="Ingress",
            max_ongoing_requests=settings.max_connections,
            ray_actor_options={"num_cpus": 0},  # it parses and waits
            graceful_shutdown_timeout_s=settings.deadline + _AFTER_DEADLINE,
        )(serve.ingress(build)())
        self._run(ingress.bind(), INGRESS, "/")

    def poll(self) -> None:
        """Deploy the bundle if its folder has changed, and delete retired applications."""
        version = poll(self._folder)
        start = time.monotonic()
        try:
            self._delete_retired()
            if version == self._version:
                return
            self._version = version
            bundle = load_checked_bundle(self._folder)
            if not self._settings.allow_label_change:
                check_labels(bundle.manifest, self._labels)
            self._deploy(bundle)
        except Exception as error:  # noqa: BLE001  # whatever it is, the current model stays
            _log.error(
                "cannot load the new model: %s; the current one stays in use",
                error,
                exc_info=not isinstance(error, ReelsenseError),
            )
            return
        manifest, seconds = bundle.manifest, time.monotonic() - start
        _log.info("deployed %s %s in %.1f s", manifest.name, manifest.version, seconds)

    def close(self) -> None:
        """Accept no more requests, finish those that are running, and end Serve."""
        _log.info("stopping: finishing accepted requests; press Ctrl-C again to stop now")
        if INGRESS in serve.status().applications:  # missing if the start failed
            serve.delete(INGRESS, _blocking=False)
        end = time.monotonic() + self._settings.deadline + 2 * _AFTER_DEADLINE
        while INGRESS in serve.status().applications and time.monotonic() < end:
            if self._stop.wait(0.1):
                break
        if not self._owns_cluster:  # otherwise, Serve ends with the cluster
            serve.shutdown()

    def _deploy(self, bundle: Bundle) -> None:
        """Deploy `bundle` as a new application, and retire the previous one when it runs."""
        previous = f"{MODELS}{self._number}" if self._number else None
        name = f"{MODELS}{self._number + 1}"
        minimum, maximum = self._bounds
        settings = self._settings
        model = serve.deployment(
            name="Model",
            max_ongoing_requests=settings.max_concurrent_requests,
            max_replicas_per_node=self._max_per_machine,
            autoscaling_config=AUTOSCALING
            | {
                "min_replicas": minimum,
                "max_replicas": maximum,
                "initial_replicas": min(maximum, max(minimum, _running(previous))),
            },
            # Half of the cores in use: during an update there are two models side by side.
            ray_actor_options={"num_cpus": self._cores / 2},
            graceful_shutdown_timeout_s=settings.deadline + _AFTER_DEADLINE,
        )(ModelReplica)
        application = model.bind(
            ray.put(bundle), self._cores, settings.cache_size, settings.max_concurrent_requests
        )
        self._number += 1
        try:
            self._run(application, name, None)
        except Exception:
            serve.delete(name)
            self._number -= 1
            raise
        self._labels = bundle.manifest.labels
        if previous:
            due = time.monotonic() + settings.deadline + _AFTER_DEADLINE
            self._retired.append((due, previous))

    def _run(self, application: serve.Application, name: str, route: str | None) -> None:
        """Start `application` and wait until it runs. Raises BundleError if it fails."""
        target = serve.RunTarget(application, name, route, logging_config=_QUIET)
        serve.run_many([target], wait_for_applications_running=False)
        warn_at = time.monotonic() + _START_WARNING
        while not self._stop.wait(0.1):
            self._delete_retired()
            status = serve.status().applications[name]
            if status.status == "RUNNING":
                return
            if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                reasons = [deployment.message for deployment in status.deployments.values()]
                raise BundleError(
                    f"{name} does not start: {' '.join([status.message, *reasons])}",
                    code="deployment-failed",
                )
            if time.monotonic() > warn_at:
                warn_at = float("inf")
                _log.warning("%s is waiting for free cores on the cluster", name)

    def _delete_retired(self) -> None:
        now = time.monotonic()
        for due, name in self._retired:
            if due <= now:
                serve.delete(name, _blocking=False)
        self._retired = [(due, name) for due, name in self._retired if due > now]


def _distribution(plan: Plan) -> tuple[int, tuple[int, int], int]:
    """Return the cores per replica, the limits of the number of replicas, and of that per machine.

    Raises SettingsError if no machine has enough cores for a replica.
    """
    machines = machine_cores() or [1]
    cores = plan.cores or usual_cores()
    if cores > max(machines):
        raise SettingsError(
            f"invalid --cores-per-replica {cores}: the largest machine of the cluster has "
            f"{max(machines)} cores",
            code="too-many-cores",
        )
    if plan.replicas is not None:
        return cores, plan.replicas, min(_MAX_PER_NODE, plan.replicas[1])
    bounds = (1, sum(machine // cores for machine in machines))
    return cores, bounds, min(_MAX_PER_NODE, max(machines) // cores)


def _running(name: str | None) -> int:
    """Return the number of running replicas of the model application `name`."""
    application = serve.status().applications.get(name or "")
    if not application:
        return 0
    states = application.deployments["Model"].replica_states
    return sum(count for state, count in states.items() if state == "RUNNING")


def _free_port(host: str) -> int:
    family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
        return port


def _stop_at_signals() -> threading.Event:
    """Return an event that TERM and INT set. HUP only logs: the folder is polled anyway."""
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _log.warning("SIGHUP is ignored: use POST /admin/reload to read the keys again")
        else:
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
