"""API keys: their names, limits and hashes. The keys themselves are not stored.

A key has 256 random bits, so one round of SHA-256 is enough. Does not know requests.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelsense.errors import InputError, SettingsError
from reelsense.files import write_atomically
from reelsense.server.settings import RATE, RATE_FORMAT, Settings

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ADMIN, _FEEDBACK = "admin", "feedback"
_PREFIX = "rs_"  # by which scanners for leaked secrets recognize a key


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key."""

    name: str
    digest: str  # the SHA-256 of the key, in hex digits
    rate: str | None = None  # its rate limit, such as 600/minute; None: that of the server
    admin: bool = False  # whether it is valid for the endpoints of operators, and for nothing else
    feedback: bool = False  # whether it may give feedback

    def line(self) -> str:
        """Return the line for a keys file."""
        options = (_ADMIN * self.admin, _FEEDBACK * self.feedback)
        return " ".join(filter(None, (self.name, self.digest, self.rate, *options)))


class Authenticator:
    """The active API keys of a running server; they can be reloaded.

    Args:
        settings: Say where the keys are.
        known_keys: Keys to use while those of `settings` cannot be read.

    Raises:
        SettingsError: The keys cannot be read, and there are no `known_keys`.
    """

    def __init__(self, settings: Settings, known_keys: Sequence[Key] | None = None) -> None:
        self._settings = settings
        if known_keys is None:
            self.keys: Sequence[Key] = read_keys(settings)
        else:
            self.keys = known_keys
            self.reload()

    def reload(self) -> None:
        """Read the keys again; if that fails, the current ones stay active."""
        try:
            self.keys = read_keys(self._settings)
        except SettingsError as error:
            _log.error("keys not reloaded, the current ones stay active: %s", error)
            return
        if self.keys:
            _log.info("active keys: %s", ", ".join(key.name for key in self.keys))

    def find(self, secret: str) -> Key | None:
        """Return the active key that `secret` belongs to, or None."""
        return find(self.keys, secret)


def make(
    name: str, rate: str | None = None, *, admin: bool = False, feedback: bool = False
) -> tuple[str, Key]:
    """Return a new key, as the secret to hand out and what to store of it.

    Raises InputError if the name or the rate is invalid.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f'invalid key name "{name}": expected up to 64 letters, digits and _ . @ -',
            code="invalid-key-name",
        )
    if rate and not RATE.fullmatch(rate):
        raise InputError(f'invalid rate "{rate}": expected {RATE_FORMAT}', code="invalid-rate")
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, _digest(secret), rate, admin, feedback)


def find(keys: Sequence[Key], secret: str) -> Key | None:
    """Return the key that `secret` belongs to, or None. Takes the same time for any secret."""
    digest = _digest(secret)
    matches = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return matches[0] if matches else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def read_keys(settings: Settings) -> list[Key]:
    """Return the keys that `settings` name.

    Raises SettingsError if they cannot be read, are missing or malformed, or share a name.
    """
    sources: dict[str, str] = {}
    if settings.keys_file:
        sources[str(Path(settings.keys_file))] = _read_text(Path(settings.keys_file))
    if settings.keys:
        sources["keys"] = settings.keys.get_secret_value()
    return parse(sources)


def parse(sources: Mapping[str, str]) -> list[Key]:
    """Return the keys in the texts of `sources`, separated by line breaks or semicolons.

    Raises SettingsError if a key is malformed, a name is repeated or a source has no keys. The
    message names the source and the line, but not its contents.
    """
    keys: dict[str, Key] = {}
    for source, text in sources.items():
        statements = list(_statements(text))
        if not statements:
            raise SettingsError(
                f"no key in {source}: create one with `reelsense key NAME`", code="no-keys"
            )
        for number, statement in statements:
            where = f"{source}, line {number}"
            key = _parse_key(statement, where)
            if key.name in keys:
                raise SettingsError(
                    f"{where}: two keys are named {key.name}: names must be unique",
                    code="duplicate-key",
                )
            keys[key.name] = key
    return list(keys.values())


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each statement. Skips comments and blank statements."""
    for number, line in enumerate(text.splitlines(), 1):
        for statement in line.split("#")[0].split(";"):
            if statement.strip():
                yield number, statement


def _parse_key(statement: str, where: str) -> Key:
    name, digest, *options = [*statement.split(), ""]  # "" in case there is only a name
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise SettingsError(
            f"{where}: expected NAME SHA256 [RATE] [admin|feedback], as `reelsense key NAME` "
            "prints it",
            code="malformed-key",
        )
    rate = "".join(option for option in options if option not in (_ADMIN, _FEEDBACK)) or None
    if rate and not RATE.fullmatch(rate):
        raise SettingsError(
            f"{where}: invalid rate after the SHA-256: expected {RATE_FORMAT}",
            code="malformed-key",
        )
    if _ADMIN in options and _FEEDBACK in options:
        raise SettingsError(
            f"{where}: a key is either admin or feedback: create two keys", code="malformed-key"
        )
    return Key(name, digest, rate, _ADMIN in options, _FEEDBACK in options)


def add(path: Path, key: Key) -> None:
    """Add `key` to the keys file `path`. A new file is readable by its owner only.

    Raises SettingsError if the file cannot be read or written, or has a key of that name.
    """
    before, mode = "", 0o600
    try:
        path = path.resolve()  # keeps a link to the file
        if not path.parent.is_dir():
            raise SettingsError(f"cannot write {path}: the folder {path.parent} does not exist")
        if path.exists():
            before, mode = path.read_text(), stat.S_IMODE(path.stat().st_mode)
        if before and not before.endswith("\n"):
            before += "\n"
        after = f"{before}{key.line()}\n"
        parse({str(path): after})
        write_atomically(path, after, mode)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read and write {path}: {_reason(error)}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise SettingsError(
            f"cannot read the keys in {path}: {error.strerror}; create it with "
            f"`reelsense key NAME --keys-file {shlex.quote(str(path))}`",
            code="no-keys-file",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"cannot read the keys in {path}: {_reason(error)}", code="unreadable-keys"
        ) from error


def _reason(error: OSError | UnicodeDecodeError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "it is not a text file"
