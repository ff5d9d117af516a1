"""API keys: their names, limits and hashes. The keys themselves are not stored.

A key has 256 random bits, so one round of SHA-256 is enough: it cannot be guessed. Does not know
requests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelsense.errors import InputError, SettingsError
from reelsense.files import write_atomically
from reelsense.server.settings import RATE, check_rate

_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADMIN = "admin"
_PREFIX = "rs_"
"""First characters of a key, by which scanners for leaked secrets recognize it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key."""

    name: str
    digest: str
    """The SHA-256 of the key, in hex digits."""
    rate: str | None = None
    """Its rate limit, as 600/minute; None: that of the server."""
    admin: bool = False
    """Whether it is valid for /metrics and /admin, and for nothing else."""

    def line(self) -> str:
        """Return the line for a keys file."""
        fields = [self.name, self.digest]
        if self.rate:
            fields.append(self.rate)
        if self.admin:
            fields.append(_ADMIN)
        return " ".join(fields)


def make(name: str, rate: str | None = None, *, admin: bool = False) -> tuple[str, Key]:
    """Return a new key, as the secret to hand out and what to store of it.

    Raises:
        InputError: The name or the rate is invalid.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f'invalid key name "{name}": expected up to 64 letters, digits and _ . @ -',
            code="invalid-key-name",
        )
    if rate:
        check_rate(rate)
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, _digest(secret), rate, admin)


def read(text: str, source: str) -> list[Key]:
    """Return the keys in `text`, separated by line breaks or semicolons.

    Raises:
        SettingsError: A key is malformed or a name is repeated. The message names `source` and the
            line, but not its contents.
    """
    keys: list[Key] = []
    for number, statement in _statements(text):
        name, digest, *options = [*statement.split(), ""]  # "" in case there is only a name
        where = f"{source}, line {number}"
        if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
            raise SettingsError(
                f"{where}: expected NAME SHA256 [RATE] [admin], as `reelsense key NAME` prints it",
                code="malformed-key",
            )
        rate = "".join(option for option in options if option != _ADMIN) or None
        if rate and not RATE.fullmatch(rate):
            raise SettingsError(
                f"{where}: invalid rate after the SHA-256: expected N/second, N/minute, N/hour or "
                "N/day",
                code="malformed-key",
            )
        if name in {key.name for key in keys}:
            raise SettingsError(
                f"{where}: two keys are named {name}: names must be unique", code="duplicate-key"
            )
        keys.append(Key(name, digest, rate, _ADMIN in options))
    return keys


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each statement, without comments and blank ones."""
    for number, line in enumerate(text.splitlines(), 1):
        for statement in line.split("#")[0].split(";"):
            if statement.strip():
                yield number, statement


def add(path: Path, key: Key) -> None:
    """Add `key` to the keys file `path`. A new file is readable by its owner only.

    Raises:
        SettingsError: The file cannot be read or written, or has a key of that name.
    """
    try:
        path = path.resolve()  # keeps a link to the file
        if not path.parent.is_dir():
            raise SettingsError(f"cannot write {path}: there is no folder {path.parent}")
        before, mode = "", 0o600
        if path.exists():
            before, mode = path.read_text(), stat.S_IMODE(path.stat().st_mode)
        if before and not before.endswith("\n"):
            before += "\n"
        after = f"{before}{key.line()}\n"
        read(after, str(path))
        write_atomically(path, after, mode)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise SettingsError(f"cannot read and write {path}: {reason}") from error


def find(keys: Sequence[Key], secret: str) -> Key | None:
    """Return the key that `secret` belongs to, or None. Takes the same time for any secret."""
    digest = _digest(secret)
    match = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            match = key
    return match


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
