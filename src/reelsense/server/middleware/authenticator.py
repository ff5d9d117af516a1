"""The API keys of a running server."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flask import session

from reelsense.errors import SettingsError
from reelsense.server.middleware import api_keys, rate_limit
from reelsense.server.middleware.api_keys import Key
from reelsense.server.settings import Settings, is_loopback
from reelsense.server.state import get_state

_log = logging.getLogger(__name__)


class Authenticator:
    """The API keys that are in force; they can be reloaded."""

    def __init__(self, settings: Settings, known_keys: Sequence[Key] | None = None) -> None:
        """Read the keys that `settings` name.

        Raises:
            SettingsError: They cannot be read, and there are no `known_keys` to use instead.
        """
        self.settings = settings
        if known_keys is None:
            self.keys: Sequence[Key] = read_keys(settings)
        else:
            self.keys = known_keys
            self.reload()

    def reload(self, *, log: bool = True) -> None:
        """Read the keys again; if that fails, the current ones stay in force."""
        try:
            self.keys = read_keys(self.settings)
        except SettingsError as error:
            if log:
                _log.error("keys not reloaded, the current ones stay in force: %s", error)
        else:
            if log and self.keys:
                _log.info("keys in force: %s", ", ".join(key.name for key in self.keys))

    def find(self, secret: str) -> Key | None:
        """Return the key that `secret` belongs to, or None."""
        return api_keys.find(self.keys, secret)

    def signed_in(self) -> Key | None:
        """Return the key that the browser signed in with, if it is still in force."""
        known = session.get("key")
        return next((key for key in self.keys if [key.name, key.digest[:16]] == known), None)


def get_authenticator() -> Authenticator:
    """Return the authenticator of the current application."""
    return get_state().authenticator


def read_keys(settings: Settings) -> list[Key]:
    """Return the keys that `settings` name.

    Raises:
        SettingsError: The keys cannot be read, there are none, or two have the same name.
    """
    keys: list[Key] = []
    if settings.keys_file:
        path = Path(settings.keys_file)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise SettingsError(
                f"cannot read the keys in {path}: {reason}", code="unreadable-keys"
            ) from error
        keys += _read_some(text, str(path))
    if settings.keys:
        keys += _read_some(settings.keys.get_secret_value(), "keys")
    name, count = Counter(key.name for key in keys).most_common(1)[0] if keys else ("", 0)
    if count > 1:
        raise SettingsError(
            f"two keys are named {name}: names must be unique", code="duplicate-key"
        )
    return keys


def _read_some(text: str, source: str) -> list[Key]:
    keys = api_keys.read(text, source)
    if not keys:
        raise SettingsError(
            f"no key in {source}: create one with `reelsense key NAME`", code="no-keys"
        )
    return keys


def check_access(settings: Settings) -> None:
    """Check that the server can authenticate and count requests as `settings` say.

    Raises:
        SettingsError: Other machines could use the server without a key although `insecure_public`
            is not set, or the keys or the storage of rate limits cannot be used.
    """
    keys = read_keys(settings)
    if rate_limit.is_enabled(settings, keys):
        rate_limit.check_storage(settings)
    if keys or settings.insecure_public or not settings.is_reachable:
        return
    where = "behind a proxy" if is_loopback(settings.host) else f"on {settings.host}"
    raise SettingsError(
        f"without keys, the server {where} would be open to everyone who can reach this machine: "
        "create a key with `reelsense key NAME --keys-file FILE` and start with --keys-file FILE, "
        "or pass --insecure-public to allow it",
        code="public-without-keys",
    )
