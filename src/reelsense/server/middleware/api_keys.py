"""API keys: who may ask, and how often. Kept as hashes; the keys themselves are nowhere.

A key is 256 random bits, so that one round of SHA-256 is enough: there is nothing to guess. Knows
no requests.
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
"""What a key begins with, so that scanners for leaked secrets can know it."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key."""

    name: str
    digest: str
    """The SHA-256 of the key, in hex digits."""
    rate: str | None = None
    """The most requests, as 600/minute; None: the server's own."""
    admin: bool = False
    """Opens /metrics and /admin, and nothing else."""

    def line(self) -> str:
        """Return the line of a file of keys that says this."""
        more = [self.rate] if self.rate else []
        return " ".join([self.name, self.digest, *more, *([_ADMIN] if self.admin else [])])


def make(name: str, rate: str | None = None, *, admin: bool = False) -> tuple[str, Key]:
    """Return a new key and what is known of it. Raises InputError if name or rate is none."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a key: letters, digits and _ . @ - make one")
    if rate:
        check_rate(rate)
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, _digest(secret), rate, admin)


def read(text: str, source: str) -> list[Key]:
    """Return the keys of `text`: a line each, or several parted by ;.

    Raises SettingsError naming `source` and the line; it never shows what stands there.
    """
    keys: list[Key] = []
    for number, said in _statements(text):
        words = said.split()
        where = f"{source}, line {number}"
        if len(words) < 2 or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1]):
            raise SettingsError(
                f"{where}: a key is NAME SHA256 [RATE] [admin], as `reelsense key NAME` prints it"
            )
        rate = "".join(word for word in words[2:] if word != _ADMIN) or None
        if rate and not RATE.fullmatch(rate):
            raise SettingsError(f"{where}: what follows the SHA-256 is no rate: 600/minute is one")
        if words[0] in {key.name for key in keys}:
            raise SettingsError(f"{where}: there is a key named {words[0]} already")
        keys.append(Key(words[0], words[1], rate, _ADMIN in words[2:]))
    return keys


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Cut `text` at lines and ;, without comments and blanks; yields the number of the line too."""
    for number, line in enumerate(text.splitlines(), 1):
        for said in line.split("#")[0].split(";"):
            if said.strip():
                yield number, said


def add(path: Path, key: Key) -> None:
    """Add `key` to the file `path`, which only its owner may read where it is new.

    Raises SettingsError if the file cannot be read or written or has a key of that name.
    """
    try:
        path = path.resolve()  # a link to the file stays one
        if not path.parent.is_dir():
            raise SettingsError(f"{path} cannot be written: there is no folder {path.parent}")
        before, mode = "", 0o600
        if path.exists():
            before, mode = path.read_text(), stat.S_IMODE(path.stat().st_mode)
        if before and not before.endswith("\n"):
            before += "\n"
        after = f"{before}{key.line()}\n"
        read(after, str(path))
        write_atomically(path, after, mode)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{path} cannot be read and written: {reason}") from error


def find(keys: Sequence[Key], secret: str) -> Key | None:
    """Return which of `keys` `secret` is, in a time that does not tell how near it was."""
    digest = _digest(secret)
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
