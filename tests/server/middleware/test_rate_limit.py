import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from reelsense.errors import SettingsError
from reelsense.server.middleware.auth import check_access
from reelsense.server.settings import Settings
from tests.server.secured import (
    ALL_ADDRESSES,
    GOOD,
    KEYS,
    OPS,
    PUBLIC,
    SAME_ORIGIN,
    SHOP,
    TILL,
    bearer,
    problem_code,
    ready_app,
    routes,
)
from tests.waiting import wait_until


def statuses(client: FlaskClient, times: int, **more: Any) -> list[int]:
    """Send a number of requests, and return their statuses."""
    return [client.get("/v1/info", **more).status_code for _ in range(times)]


def test_rate_limit_applies_per_key() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    assert statuses(client, 3, headers=bearer(SHOP)) == [200, 200, 429]
    assert statuses(client, 2, headers=bearer(TILL)) == [200, 429]  # its own
    assert client.get("/metrics", headers=bearer(OPS)).status_code == 200
    assert client.get("/v1/info").status_code == 401


def test_rate_limit_counts_all_interfaces_together() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    headers = bearer(SHOP)
    assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200
    assert client.get("/predict?sentence=good", headers=headers).status_code == 200
    assert client.post("/models/default", json={"inputs": "a"}, headers=headers).status_code == 429


def test_rate_limited_response_has_code_and_headers() -> None:
    client = ready_app(keys=KEYS).test_client()
    assert statuses(client, 1, headers=bearer(TILL)) == [200]
    answer = client.get("/v1/info", headers=bearer(TILL))
    assert answer.status_code == 429
    assert problem_code(answer) == "rate-limited"
    assert "1 per 1 day" in answer.get_json()["detail"]
    assert 0 < int(answer.headers["Retry-After"]) <= 86401
    assert answer.headers["X-RateLimit-Limit"] == "1"


def test_rate_limit_applies_per_address_without_keys() -> None:
    client = ready_app(host=ALL_ADDRESSES, insecure_public=True, rate_limit="2/day").test_client()
    for address in ("10.0.0.1", "10.0.0.2"):
        from_there = {"REMOTE_ADDR": address}
        assert statuses(client, 3, environ_overrides=from_there) == [200, 200, 429]


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, None),
        ({"host": "::1"}, None),
        ({"rate_limit": "7/day"}, "7"),
        ({"host": ALL_ADDRESSES, "insecure_public": True}, "1200"),
        ({"keys": KEYS}, "1200"),
        ({"keys": KEYS, "rate_limit": "7/day"}, "7"),
    ],
)
def test_default_rate_limit(settings: dict[str, Any], limit: str | None) -> None:
    answer = ready_app(**settings).test_client().get("/v1/info", headers=bearer(SHOP))
    assert answer.status_code == 200
    assert answer.headers.get("X-RateLimit-Limit") == limit


def test_public_endpoints_but_signing_in_are_unlimited() -> None:
    app = ready_app(keys=KEYS, rate_limit="2/day")
    client = app.test_client()
    assert statuses(client, 3, headers=bearer(SHOP))[-1] == 429
    for endpoint, method, path in routes(app):
        if endpoint in PUBLIC - {"pages.sign_in", "pages.signed_in", "pages.sign_out"}:
            for _ in range(4):
                with client.open(path, method=method, headers=SAME_ORIGIN) as answer:
                    assert answer.status_code < 400, path
    wrong = [
        client.post("/sign-in", data={"key": "rs_guess"}, headers=SAME_ORIGIN).status_code
        for _ in range(3)
    ]
    assert wrong == [401, 401, 429]


def test_overloaded_response_keeps_its_retry_after() -> None:
    app = ready_app(keys=KEYS, rate_limit="1000/day")
    app.extensions["reelsense"].load_shedder.enter(10**9)
    answer = app.test_client().post("/v1/predict", json=GOOD, headers=bearer(SHOP))
    assert problem_code(answer) == "overloaded"
    assert answer.headers["Retry-After"] == "1"


def test_forwarded_address_is_trusted_behind_proxy_only() -> None:
    there = [{"X-Forwarded-For": address} for address in ("10.0.0.1", "10.0.0.2")]
    open_to_all: dict[str, Any] = {
        "host": ALL_ADDRESSES,
        "insecure_public": True,
        "rate_limit": "1/day",
    }
    client = ready_app(**open_to_all).test_client()
    assert [statuses(client, 1, headers=headers) for headers in there] == [[200], [429]]
    client = ready_app(**open_to_all, trusted_proxies=1).test_client()
    assert [statuses(client, 2, headers=headers) for headers in there] == [[200, 429], [200, 429]]
    # Addresses that the client sends are to the left of the one that the proxy adds.
    for forged in ("6.6.6.6", "7.7.7.7"):
        headers = {"X-Forwarded-For": f"{forged}, 10.0.0.1"}
        assert statuses(client, 1, headers=headers) == [429]


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen(  # noqa: S603
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],  # noqa: S607
        stdout=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
def test_servers_share_rate_limit_in_redis_and_survive_its_loss(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with redis_server(tmp_path, port) as storage:
        shared = {"keys": KEYS, "rate_limit": "3/day", "rate_limit_storage": storage}
        one, other = (ready_app(**shared).test_client() for _ in range(2))
        headers = bearer(SHOP)
        assert [statuses(client, 1, headers=headers)[0] for client in (one, other) * 2] == [
            200, 200, 200, 429
        ]  # fmt: skip
        assert statuses(other, 2, headers=bearer(TILL)) == [200, 429]
        assert statuses(one, 1, headers=bearer(TILL)) == [429]
    for client in (one, other):  # without Redis, servers count separately
        assert statuses(client, 4, headers=headers) == [200, 200, 200, 429]
    assert statuses(ready_app(**shared).test_client(), 4, headers=headers) == [200, 200, 200, 429]


def test_wrong_keys_are_rate_limited_by_address() -> None:
    client = ready_app(keys=KEYS, rate_limit="2/day").test_client()
    statuses = [client.get("/v1/info", headers=bearer("rs_wrong")).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert client.get("/v1/info", headers=bearer(SHOP)).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_rate_limit_treats_ipv6_network_as_one_address() -> None:
    client = ready_app(rate_limit="1/day").test_client()

    def status(address: str) -> int:
        environ = {"REMOTE_ADDR": address}
        return client.get("/v1/info", environ_base=environ).status_code

    assert status("2001:db8:1:2::1") == 200
    assert status("2001:db8:1:2:ffff::9") == 429
    assert status("2001:db8:1:3::1") == 200
    assert status("::ffff:192.0.2.1") == status("::ffff:192.0.2.2") == 200


def test_unusable_rate_limit_storage_is_rejected() -> None:
    for storage in ("nonsense://x", "redis://h:99999"):
        with pytest.raises(SettingsError) as error:
            check_access(Settings(rate_limit="2/day", rate_limit_storage=storage))
        assert error.value.code == "invalid-rate-limit-storage"
