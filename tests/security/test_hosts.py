"""Attacks by web pages on a server without keys: DNS rebinding and cross-site requests."""

from __future__ import annotations

import ipaddress
import re

import pytest
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st

from tests.server.listening import answer_to, listening
from tests.server.secured import ALL_ADDRESSES, GOOD, KEYS, SHOP, TILL, bearer, ready_app

pytestmark = pytest.mark.security


@pytest.fixture(scope="module")
def local() -> FlaskClient:
    return ready_app().test_client()


def status(client: FlaskClient, host: str, path: str = "/metrics") -> int:
    return client.get(path, environ_overrides={"HTTP_HOST": host}).status_code


@pytest.mark.parametrize(
    "host",
    [
        *(
            "a_b.evil.com",
            "a!b.evil.com",
            "a$b.evil.com",
            "a~b.evil.com",
            "evil.com",
            "evil.com:5000",
        ),
        *(
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "evil.com.",
            "evil.com:",
            "EVIL.com",
            "",
            " ",
        ),
        *(
            "127.0.0.1@evil.com",
            "evil.com#localhost",
            "evil.com/localhost",
            "evil.com\\\\localhost",
        ),
        *(
            "[::1].evil.com",
            "[::1",
            "[evil.com]",
            "localhost:port",
            "localhost:5000:5000",
        ),
        *(
            "evil.com,localhost",
            "localhost, evil.com",
            "localhost\tevil.com",
            "ev%69l.com",
            "é.evil.com",
        ),
    ],
)
def test_foreign_host_is_rejected(local: FlaskClient, host: str) -> None:
    for path in ("/metrics", "/v1/info", "/predict?sentence=good"):
        assert status(local, host, path) in (400, 403)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:5000",
            "LOCALHOST",
            "localhost.",
            "app.localhost",
            "127.0.0.1:5000",
        ),
        *("[::1]", "[::1]:5000", "192.168.1.2", "my_machine", "my-machine:80"),
    ],
)
def test_local_host_is_accepted(local: FlaskClient, host: str) -> None:
    assert status(local, host) == 200


def is_allowed(host: str) -> bool:
    """Return whether a host is on the allow-list: written without the code under test."""
    name = re.sub(r":[0-9]{1,5}$", "", host)
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
        return ":" in name and is_address(name)
    if is_address(name.rstrip(".")):
        return ":" not in name
    labels = name.lower().rstrip(".").split(".")
    is_name = all(re.fullmatch(r"[a-z0-9_-]*", label) for label in labels)
    return is_name and (len(labels) == 1 or labels[-1] == "localhost")


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


PARTS = st.sampled_from(
    [
        "evil",
        ".com",
        "localhost",
        "127.0.0.1",
        "[",
        "::1",
        "]",
        ":",
        "80",
        "_",
        "!",
        "$",
        "~",
        "@",
        "/",
        ".",
    ]
)


@given(host=st.text(max_size=30) | st.lists(PARTS, max_size=6).map("".join))
@example(host="a_b.evil.com")
def test_host_that_is_not_on_the_allow_list_is_rejected(local: FlaskClient, host: str) -> None:
    if not is_allowed(host):
        assert status(local, host) in (400, 403)


def test_invalid_host_is_rejected_before_anything_else() -> None:
    public = ready_app(insecure_public=True, host=ALL_ADDRESSES)
    with listening(public) as (port, _):
        for host in ("a b", "a/b", "[x]", "a@b"):
            request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            assert answer_to(port, request.encode()).startswith(b"HTTP/1.1 400 ")


def test_host_that_cannot_be_decoded_is_rejected() -> None:
    with listening(ready_app()) as (port, _):
        request = b"GET /v1/info HTTP/1.1\r\nHost: xn--a.com\r\nConnection: close\r\n\r\n"
        assert answer_to(port, request).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("a_b.evil.com", "null"),
        ("localhost", "null"),
        ("localhost", ""),
        ("localhost", "localhost"),
        ("localhost", "://localhost"),
        ("localhost", "file://localhost"),
        ("localhost", "http://localhost.evil.com"),
        ("localhost", "http://evil.com"),
        ("localhost", "http://localhost@evil.com"),
        ("localhost:5000", "http://localhost"),
        ("localhost", "http://"),
    ],
)
def test_foreign_origin_cannot_start_jobs(local: FlaskClient, host: str, origin: str) -> None:
    answer = local.post(
        "/v1/jobs?name=a.csv",
        data=b"text\ngood\n",
        headers={"Origin": origin, "Content-Type": "text/csv"}
        if origin
        else {"Sec-Fetch-Site": "cross-site"},
        environ_overrides={"HTTP_HOST": host},
    )
    assert answer.status_code in (400, 403)


def test_own_origin_may_predict(local: FlaskClient) -> None:
    for origin in ("http://localhost:5000", "https://LOCALHOST:5000"):
        answer = local.post(
            "/v1/predict",
            json=GOOD,
            headers={"Origin": origin},
            environ_overrides={"HTTP_HOST": "localhost:5000"},
        )
        assert answer.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/predict?sentence=good"])
def test_other_site_cannot_run_the_model(local: FlaskClient, path: str, site: str) -> None:
    """The duration would tell a page whether the text is cached."""
    assert local.get(path, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert local.get(path, headers={"Origin": "https://evil.com"}).status_code == 403
    for own in ("same-origin", "none"):
        assert local.get(path, headers={"Sec-Fetch-Site": own}).status_code == 200
    assert local.get(path).status_code == 200


def test_allowed_origin_may_run_the_model() -> None:
    client = ready_app(cors_origins="https://a.example").test_client()
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://a.example"}
    assert client.get("/predict?sentence=good", headers=headers).status_code == 200
    headers["Origin"] = "https://b.example"
    assert client.get("/predict?sentence=good", headers=headers).status_code == 403


def test_other_sites_may_link_to_pages(local: FlaskClient) -> None:
    for path in ("/", "/jobs", "/model"):
        assert local.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_other_sites_cannot_embed_responses(local: FlaskClient) -> None:
    for path in ("/", "/v1/info", "/static/page.css", "/nowhere"):
        with local.get(path) as answer:
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "addresses",
    [
        ["192.0.2.1", "192.0.2.1:4711", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:4711"],
        ["2001:db8::1", "[2001:db8::2]", "[2001:db8::3]:4711", "2001:db8:0:0:ffff::4"],
    ],
)
def test_rate_limit_counts_spellings_of_an_address_together(addresses: list[str]) -> None:
    client = ready_app(trusted_proxies=1, insecure_public=True, rate_limit="1/day").test_client()
    statuses = [
        client.get("/v1/info", headers={"X-Forwarded-For": address}).status_code
        for address in addresses
    ]
    assert statuses == [200, 429, 429, 429]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("intranet:80", "http://intranet"),
        ("intranet", "http://intranet:80"),
        ("intranet:443", "https://intranet"),
    ],
)
def test_default_ports_are_the_same_origin(local: FlaskClient, host: str, origin: str) -> None:
    headers, environ = {"Origin": origin}, {"HTTP_HOST": host}
    answer = local.post("/v1/predict", json=GOOD, headers=headers, environ_overrides=environ)
    assert answer.status_code == 200


def test_unmatched_urls_count_for_the_key() -> None:
    client = ready_app(keys=KEYS).test_client()
    assert client.get("/nowhere", headers=bearer(TILL)).status_code == 404
    assert client.get("/v1/info", headers=bearer(TILL)).status_code == 429
    assert client.get("/v1/info", headers=bearer(SHOP)).status_code == 200


@pytest.mark.parametrize("value", ["", " ", ",", "chunked, chunked", "gzip, chunked"])
def test_ambiguous_transfer_encoding_is_rejected(value: str) -> None:
    with listening(ready_app()) as (port, _):
        request = (
            "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Transfer-Encoding: {value}\r\nContent-Length: 5\r\n\r\nhello"
        )
        assert answer_to(port, request.encode())[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501")


def test_forwarded_scheme_is_http_or_https() -> None:
    client = ready_app(trusted_proxies=1, insecure_public=True).test_client()
    headers = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "evil.example"}
    assert client.get("/v1//info", headers=headers).location.startswith("http://")


def test_rate_limit_counts_unmatched_urls() -> None:
    client = ready_app(rate_limit="3/day").test_client()
    assert [client.get(f"/{n}").status_code for n in range(5)] == [404, 404, 404, 429, 429]
    assert client.get("/v1/info").status_code == 429
