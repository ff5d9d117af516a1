"""Clean-up of a review's text, the same for training and for serving.

Knows no tokens and no labels: text in, text out.
"""

from __future__ import annotations

import html
import re

_LINE_BREAK = re.compile(r"<br\s{0,4}/?>", re.IGNORECASE)
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return `text` as the model reads it.

    HTML line breaks become spaces and entities their characters (the reviews of the Large Movie
    Review Dataset carry both). Lone surrogates, which JSON escapes can smuggle in and no UTF-8
    encoder accepts, become U+FFFD. Everything else is left to the tokenizer.
    """
    text = _LINE_BREAK.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    return LONE_SURROGATE.sub("\ufffd", text).strip()
