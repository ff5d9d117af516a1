import subprocess
import sys

import pytest

from reelsense.text.language import MAX_CHARACTERS, UNDETERMINED, language


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("A joy from the first scene to the last.", "en"),
        ("Eine Freude von der ersten bis zur letzten Szene.", "de"),
        ("Un plaisir de la première à la dernière scène.", "fr"),
        ("Фильм радует от первой до последней сцены.", "ru"),
        ("最初の場面から最後まで楽しい映画でした。", "ja"),
        ("A joy from the first \ud800 scene to the last.", "en"),
        ("It &amp; was<br /><br />a joy&mdash;from the first scene to the last.", "en"),
    ],
)
def test_language_is_detected(text: str, code: str) -> None:
    assert language(text) == code


@pytest.mark.parametrize(
    "text", ["", " ", "10/10!!!", "A bore.", "\ud800", "👍" * 50, "1 " * 99, "<br />" * 9]
)
def test_text_with_few_letters_has_no_language(text: str) -> None:
    assert language(text) == UNDETERMINED


def test_only_the_beginning_is_read() -> None:
    start = "A joy from the first scene to the last. " * 20
    assert language(start[:MAX_CHARACTERS] + "Eine Freude. " * 1000) == "en"


def test_import_does_not_load_the_detector() -> None:
    code = "import sys, reelsense.text.language; print('py3langid' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "False\n"
