"""The language of a text. py3langid detects it (docs/decisions/0015-drift.md).

Its model is loaded with the first text: 0.5 seconds and 77 MB.
"""

from __future__ import annotations

from reelsense.text.clean import clean

UNDETERMINED = "und"
"""The code of ISO 639 for a language that cannot be determined."""

MAX_CHARACTERS = 500
"""Characters that are read: more hardly help, and take longer."""

_MIN_LETTERS = 20  # of two or three words, too many are taken for another language

_NO_LANGUAGE = "zxx"  # py3langid's code for texts such as URLs


def language(text: str) -> str:
    """Return the code of the language (ISO 639, "en") of the beginning of `text`.

    UNDETERMINED if it has too few letters.
    """
    from py3langid import classify  # loads its model with the first call

    start = clean(text[:MAX_CHARACTERS])
    if sum(map(str.isalpha, start)) < _MIN_LETTERS:
        return UNDETERMINED
    code = str(classify(start)[0])
    return UNDETERMINED if code == _NO_LANGUAGE else code
