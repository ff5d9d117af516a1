"""Escape control characters of untrusted names, which could rewrite a terminal or forge a log."""

from __future__ import annotations

import re

# C0, DEL, C1, line separators and characters that change the direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""Return `text` with control characters as escapes such as \x1b."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
