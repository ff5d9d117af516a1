"""The address that the server listens on: a host and a port, or a Unix domain socket.

Checks that it can be used, before gunicorn does: gunicorn would retry for five seconds, and would
replace the socket of a running server.
"""

from __future__ import annotations

import errno
import shlex
import socket
from pathlib import Path
from typing import Any

from reelsense.errors import ReelsenseError, SettingsError
from reelsense.server.settings import Settings, variable


def in_url(host: str) -> str:
    """Return `host` as part of a URL: IPv6 addresses get brackets."""
    return f"[{host}]" if ":" in host else host


def bind_address(settings: Settings) -> str:
    """Return the address in the form of gunicorn's setting `bind`."""
    return settings.host if settings.socket_path else f"{in_url(settings.host)}:{settings.port}"


def client_address(settings: Settings, port: int) -> str:
    """Return the address in a form that clients can use. `port` is the actual one."""
    if path := settings.socket_path:
        return f"{settings.host}: curl --unix-socket {shlex.quote(path)} http://localhost/"
    return f"http://{in_url(settings.host)}:{port}"


def check_host(settings: Settings) -> None:
    """Raise ReelsenseError if the host is unknown. Ignores whether the address is in use."""
    if not settings.socket_path:
        _resolve(settings.host, settings.port)


def check_free(settings: Settings) -> None:
    """Raise ReelsenseError if the server cannot listen on the address, such as if it is in use.

    Removes the socket file of a server that does not run any more.
    """
    if path := settings.socket_path:
        _check_socket(path)
    else:
        _check_port(settings.host, settings.port)


def _check_port(host: str, port: int) -> None:
    family, kind, _, _, address = _resolve(host, port)
    try:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        hint = (
            f"; choose another port with --port or {variable('port')}"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise _cannot_listen(f"{host}, port {port}", f"{error.strerror}{hint}") from error


def _check_socket(path: str) -> None:
    file = Path(path)
    try:
        if file.exists():
            if not file.is_socket():
                raise _cannot_listen(path, "the file exists and is not a socket")
            if _has_listener(path):
                raise _cannot_listen(
                    path, "another server is running on this socket; choose another path"
                )
            file.unlink()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(path)
        file.unlink()
    except OSError as error:
        raise _cannot_listen(path, error.strerror or str(error)) from error


def _has_listener(path: str) -> bool:
    """Return whether a process accepts connections on the socket file `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # more connections are waiting than the system allows
            return True
    return True


def _cannot_listen(where: str, reason: str) -> ReelsenseError:
    return ReelsenseError(f"cannot listen on {where}: {reason}", code="cannot-listen")


def _resolve(host: str, port: int) -> tuple[Any, ...]:
    """Return the first result of `getaddrinfo`. Raises ReelsenseError if the host is unknown."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:
        raise SettingsError(f"invalid host {host!r}: expected a name or an IP address") from error
    except socket.gaierror as error:
        raise ReelsenseError(
            f"cannot listen on {host}: unknown host ({error.strerror})", code="unknown-host"
        ) from error
