from __future__ import annotations

import subprocess
import sys

import emoji
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.text.symbols import find_symbols, replace_symbols

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
TEXT_SIGNS = {"\u00a9", "\u00ae", "\u2122"}
"""Emoji only with a variation selector; a tokenizer reads them as text."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\U0001f60d", "smiling face with heart-eyes"),
        ("so\U0001f44ethere", "so thumbs down there"),
        ("\U0001f44d\U0001f3fd", "thumbs up"),
        ("\u2764\ufe0f \u2764", "red heart red heart"),
        ("\U0001f621\U0001f621", "enraged face enraged face"),
        (FAMILY, "family man woman girl"),
        ("\U0001f1eb\U0001f1f7", "France"),
        (ENGLAND, "England"),
        ("4\ufe0f\u20e3/5\ufe0f\u20e3", "4 / 5"),
        ("\u2605\u2605\u2606", "\u2605 \u2605 \u2606"),
        ("\U0001f468\u200d\u200d", "man"),
        (":) :-( ;) :D", "smiling face sad face winking face smiling face"),
        ("x :'( :p", "x crying face playful face"),
        ("bad.:( =/", "bad. sad face confused face"),
        (":-)))", "smiling face"),
        ("http://x.org a:b (see:) 3:(x) ;", "http://x.org a:b (see:) 3:(x) ;"),
        ("\u00a9 caf\u00e9", "\u00a9 caf\u00e9"),
    ],
)  # fmt: skip
def test_replace_symbols_by_words(text: str, words: str) -> None:
    assert replace_symbols(text).split() == words.split()


def test_replace_symbols_knows_every_emoji_of_the_library() -> None:
    for sign in emoji.EMOJI_DATA:
        if sign.rstrip("\ufe0f") not in TEXT_SIGNS:
            words = replace_symbols(sign)
            assert words.strip(), sign
            assert sign not in words
            assert words.replace(" ", "").replace("-", "").isalnum() or "\u20e3" in sign


@given(st.text(st.sampled_from("ab :;()-D'/\U0001f44d\U0001f3fd\u200d\ufe0f\u20e3\u2605\u00e91")))
def test_find_symbols_finds_what_replace_symbols_replaces(text: str) -> None:
    parts, at = [], 0
    for symbol in find_symbols(text):
        assert at <= symbol.start < symbol.end <= len(text)
        parts += [text[at : symbol.start], symbol.text()]
        at = symbol.end
    assert "".join([*parts, text[at:]]) == replace_symbols(text)


def test_emoji_library_is_loaded_by_the_first_emoji_alone() -> None:
    code = (
        "import sys, reelsense; from reelsense.text.clean import clean; clean('caf\u00e9 :)');"
        "assert 'emoji' not in sys.modules; clean('\U0001f44d'); assert 'emoji' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
