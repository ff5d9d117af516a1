"""URLs that may contain passwords."""

from __future__ import annotations

import re

# Strict, because a password may itself contain the characters that end it: "/", "?", "#" and "@".
_WITH_HOST = re.compile(
    r"([a-z][a-z0-9+.-]*://)(?:[^/?#@\s]*@)?([\w.-]+(?::\d+)?|\[[0-9a-f:.]+\](?::\d+)?)(?:[/?#][^@]*)?",
    re.IGNORECASE,
)
_LOCAL = re.compile(r"(sqlite(\+\w+)?:///[^?#@]*|memory://)")


def without_secrets(url: str) -> str:
    """Return scheme, host and port of a URL, followed by `/...` if there is more.

    The path of an SQLite file is kept. Only the scheme remains where the host is not certain.
    """
    if _LOCAL.fullmatch(url):
        return url
    if match := _WITH_HOST.fullmatch(url):
        shown = match[1] + match[2]
        return url if url == shown else f"{shown}/..."
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://..." if separator and re.fullmatch(r"[\w+.-]+", scheme) else "..."
