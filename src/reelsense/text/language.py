"""The language of a text. py3langid detects it (docs/decisions/0015-drift.md).

Its model is loaded with the first text: 0.5 seconds and 77 MB.
"""

from __future__ import annotations

import re

UNDETERMINED = "und"
"""The code of ISO 639 for a language that cannot be determined."""

MAX_CHARACTERS = 500
"""Characters that are read: more hardly help, and take longer."""

# Of letters in UTF-8. Two or three words of English are too often taken for another language; a
# Chinese character says as much as three letters.
_MIN_BYTES = 20

_TAG = re.compile(r"<[^>]*>")

_NO_LANGUAGE = "zxx"  # py3langid's code for texts such as URLs


def language(text: str) -> str:
    """Return the code of the language (ISO 639, "en") of the beginning of `text`.

    UNDETERMINED if it has too few letters.
    """
    from py3langid import classify  # loads its model with the first call

    start = _TAG.sub(" ", text[:MAX_CHARACTERS])
    if len("".join(filter(str.isalpha, start)).encode()) < _MIN_BYTES:
        return UNDETERMINED
    code = str(classify(start)[0])
    return UNDETERMINED if code == _NO_LANGUAGE else code
