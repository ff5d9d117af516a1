"""What the benchmark has to know of a server: where it lives, how it is started and asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One review as a server wants it."""

    path: str
    body: bytes | None = None
    """JSON for POST; None: GET."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, at its best documented settings."""

    key: str
    """Its name in files and on the command line: "infinity-torch"."""
    name: str
    """For people: "infinity, PyTorch"."""
    environment: str
    """The virtual environment it lives in: requirements/ENVIRONMENT.txt pins it."""
    command: tuple[str, ...]
    """How it is started; {bin}, {port}, {checkpoint}, {bundle}, {rivals} (this folder), {cores}
    and {scratch} (an empty folder of its own) are filled in. Listens on 127.0.0.1."""
    request: Callable[[str], Request]
    """The request for one review."""
    label: Callable[[bytes], str]
    """"positive" or "negative", from the body of an answer."""
    settings: str
    """What was set, and which page of its documentation says so."""
    by_hand: bool = False
    """Given an int8 network by hand, which it does not offer itself."""
    whole: bool = False
    """Reads reviews of more than 512 tokens whole."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Set in its environment, beside PATH and HOME (which is {scratch})."""
