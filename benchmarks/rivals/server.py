"""How the benchmark starts a server and sends requests to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """The HTTP request for one review."""

    path: str
    body: bytes | None = None  # JSON for POST; None: GET


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, in its best documented configuration."""

    key: str  # name in files and on the command line, such as "infinity-torch"
    name: str  # name to display, such as "infinity, PyTorch"
    environment: str  # virtual environment, made from requirements/ENVIRONMENT.txt
    # Command line; {bin}, {port}, {checkpoint}, {bundle}, {rivals} (this folder), {cores} and
    # {scratch} (an empty folder) are filled in. The server listens on 127.0.0.1.
    command: tuple[str, ...]
    request: Callable[[str], Request]  # returns the request for one review
    label: Callable[[bytes], str]  # "positive" or "negative", from the body of an answer
    settings: str  # settings, with the pages of the documentation that recommend them
    by_hand: bool = False  # runs our int8 network, which is not a documented configuration
    whole: bool = False  # does not truncate reviews at 512 tokens
    environ: Mapping[str, str] = field(default_factory=dict)  # beside PATH and HOME ({scratch})
