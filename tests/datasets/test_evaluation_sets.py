import hashlib
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.datasets.evaluation_sets import (
    Audit,
    _whole_sentences,
    read_evaluation_sets,
    read_training_sets,
    read_validation_sentences,
)
from reelsense.datasets.fetch import EVALUATION_SETS, Archive, fetch_evaluation_sets
from reelsense.datasets.reviews import Review
from reelsense.errors import DatasetError, DownloadError
from tests.local_server import serving


def entry(review: str, given: int, guessed: int, neutral: int = 0) -> dict[str, object]:
    labels = ["Negative", "Positive"] if "/neg/" in review else ["Positive", "Negative"]
    votes = {"given": given, "guessed": guessed, "neutral": neutral, "off-topic": 0}
    return {
        "id": review,
        "url": "https://example.org",
        "given_original_label": labels[0],
        "our_guessed_label": labels[1],
        "mturk": votes,
    }


ENTRIES = [
    entry("test/neg/10_3", given=3, guessed=1, neutral=1),
    entry("test/pos/7_9", given=1, guessed=3, neutral=1),
    entry("test/pos/8_7", given=2, guessed=2, neutral=1),
    entry("test/neg/11_4", given=0, guessed=1, neutral=4),
]
FILES = {
    "contrast_dev/original.tsv": (
        'Sentiment\tText\nNegative\t"a ""dull"" story of two men, alas"\nPositive\tfine songs\n'
    ),
    "contrast_dev/contrast.tsv": (
        'Sentiment\tText\nPositive\t"a ""great"" story of two men, hurray"\nNegative\tno songs\n'
    ),
    "cad/orig_dev.tsv": "Sentiment\tText\nNegative\tI slept on the train\nPositive\tsee the fox\n",
    "cad/new_dev.tsv": "Sentiment\tText\nNegative\tflee the fox\nPositive\tI woke on the train\n",
    "cad/orig_train.tsv": "Sentiment\tText\nNegative\tbad\n",
    "cad/new_train.tsv": "Sentiment\tText\nPositive\tgood\n",
    "imdb_label_audit.json": json.dumps(ENTRIES),
    "sst2/dev.tsv": 'sentence\tlabel\n"bravo , a film \t1\nnot "good" \t0\n',
    "sst2/train.tsv": "sentence\tlabel\nbears\t1\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    return folder


def test_edits_are_matched_by_their_words(tmp_path: Path) -> None:
    contrast, cad = read_evaluation_sets(write(tmp_path, FILES)).pairs
    assert contrast.name == "contrast sets"
    assert [r.text for r in contrast.originals] == [
        'a "dull" story of two men, alas',
        "fine songs",
    ]
    assert [r.text for r in contrast.edits] == [
        'a "great" story of two men, hurray',
        "no songs",
    ]
    assert cad.name == "counterfactually augmented reviews"
    assert [(r.name, r.text, r.label) for r in cad.originals] == [
        ("orig_dev.tsv:2", "I slept on the train", "negative"),
        ("orig_dev.tsv:3", "see the fox", "positive"),
    ]
    assert [(r.name, r.text, r.label) for r in cad.edits] == [
        ("new_dev.tsv:3", "I woke on the train", "positive"),
        ("new_dev.tsv:2", "flee the fox", "negative"),
    ]
    assert [r.group for r in cad.edits] == [r.group for r in cad.originals]


def test_sentences_are_read_without_quoting(tmp_path: Path) -> None:
    single_sentences = read_evaluation_sets(write(tmp_path, FILES)).single_sentences
    assert single_sentences is not None
    assert [(r.name, r.text, r.label) for r in single_sentences] == [
        ("dev.tsv:2", '"bravo , a film ', "positive"),
        ("dev.tsv:3", 'not "good" ', "negative"),
    ]


def test_audit_takes_the_majority_of_five_votes(tmp_path: Path) -> None:
    assert read_evaluation_sets(write(tmp_path, FILES)).audit == {
        "test/neg/10_3.txt": Audit.UPHELD,
        "test/pos/7_9.txt": Audit.FLIPPED,
        "test/pos/8_7.txt": Audit.UNCLEAR,
        "test/neg/11_4.txt": Audit.UNCLEAR,
    }


@pytest.mark.parametrize("place", ["sst2/dev.tsv", "imdb_label_audit.json"])
def test_missing_sets_are_empty(tmp_path: Path, place: str) -> None:
    sets = read_evaluation_sets(write(tmp_path, {place: FILES[place]}))
    assert sets.pairs == []
    assert (sets.single_sentences is None) == (place != "sst2/dev.tsv")
    assert (sets.audit is None) == (place != "imdb_label_audit.json")


def test_folder_without_sets_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DatasetError) as caught:
            read_evaluation_sets(folder)
        assert caught.value.code == "no-evaluation-sets"


def test_missing_half_of_a_pair_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "cad/orig_dev.tsv").unlink()
    with pytest.raises(DatasetError, match=r"orig_dev\.tsv"):
        read_evaluation_sets(tmp_path)


HEADER = "Sentiment\tText\n"


@pytest.mark.parametrize(
    ("place", "text", "code"),
    [
        ("cad/new_dev.tsv", "Sentiment\tWords\nPositive\ta\n", "no-such-column"),
        ("cad/new_dev.tsv", HEADER + "Mixed\ta b\n", "invalid-data"),
        ("cad/new_dev.tsv", HEADER + "Positive\t\n", "too-many-bad-rows"),
        ("cad/new_dev.tsv", HEADER + "Positive\ta b\n", "unpaired-reviews"),
        (
            "cad/new_dev.tsv",  # only one of them is an edit of the negative original
            HEADER + "Positive\tI woke on the train\nPositive\tsee the fox\n",
            "unpaired-reviews",
        ),
        (
            "cad/orig_dev.tsv",  # both match the same edit
            HEADER + "Negative\tI sat on the train\nNegative\tI slept on the train\n",
            "unpaired-reviews",
        ),
        ("sst2/dev.tsv", "sentence\tlabel\na\t1\nb\t2\n", "invalid-data"),
        ("sst2/dev.tsv", "sentence\tlabel\na\n", "invalid-data"),
        ("imdb_label_audit.json", '[{"id": }]', "invalid-data"),
        ("imdb_label_audit.json", '{"id": 1}', "invalid-data"),
        ("imdb_label_audit.json", '[{"id": "test/neg/1_1", "mturk": {}}]', "invalid-data"),
    ],
)
def test_malformed_file_is_an_error(tmp_path: Path, place: str, text: str, code: str) -> None:
    write(tmp_path, {**FILES, place: text})
    with pytest.raises(DatasetError, match=Path(place).name) as caught:
        read_evaluation_sets(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize("place", ["cad/new_dev.tsv", "sst2/dev.tsv", "imdb_label_audit.json"])
def test_invalid_utf_8_is_an_error(tmp_path: Path, place: str) -> None:
    path = write(tmp_path, FILES) / place
    path.write_bytes(b"\ncaf\xe9\n")
    with pytest.raises(DatasetError, match=path.name):
        read_evaluation_sets(tmp_path)


class Host:
    """Serves FILES by ranges; stops after `limit` bytes of each."""

    def __init__(self, limit: int | None = None, change: Callable[[bytes], bytes] = bytes) -> None:
        self.limit, self.change = limit, change
        self.requests: list[tuple[str, str]] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        place = request.path.removeprefix("/")
        byte_range = request.headers["Range"]
        self.requests.append((place, byte_range))
        content = self.change(FILES[place].encode())
        start = int(byte_range.removeprefix("bytes=").rstrip("-"))
        request.send_response(206 if start < len(content) else 416)
        rest = content[start:]
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        request.wfile.write(rest[: self.limit])


def hosted(address: str) -> dict[str, Archive]:
    archives = {}
    for place, text in FILES.items():
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        archives[place] = Archive(f"{address}/{place}", len(text.encode()), digest)
    return archives


def content_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_fetch_downloads_every_file_once(tmp_path: Path) -> None:
    host = Host()
    with serving(host) as address:
        folder = fetch_evaluation_sets(tmp_path, files=hosted(address))
        assert folder == tmp_path / "evaluation-sets"
        assert content_of(folder) == FILES
        assert [place for place, _ in host.requests] == list(FILES)
        (folder / "sst2/dev.tsv").write_text("changed")
        (folder / "cad/new_dev.tsv").unlink()
        fetch_evaluation_sets(tmp_path, files=hosted(address))
    assert content_of(folder) == FILES
    assert [place for place, _ in host.requests[9:]] == ["cad/new_dev.tsv", "sst2/dev.tsv"]
    assert len(read_evaluation_sets(folder).pairs) == 2


def test_evaluation_sets_of_fetch_are_those_that_are_read() -> None:
    assert EVALUATION_SETS.keys() == FILES.keys()
    assert len({archive.md5 for archive in EVALUATION_SETS.values()}) == len(FILES)


def test_fetch_resumes_an_interrupted_download(tmp_path: Path) -> None:
    with (
        serving(Host(limit=10)) as address,
        pytest.raises(DownloadError, match=r"stopped at 10 of .* run again to resume"),
    ):
        fetch_evaluation_sets(tmp_path, files=hosted(address))
    host = Host()
    with serving(host) as address:
        folder = fetch_evaluation_sets(tmp_path, files=hosted(address))
    assert host.requests[:2] == [
        ("contrast_dev/original.tsv", "bytes=10-"),
        ("contrast_dev/contrast.tsv", "bytes=0-"),
    ]
    assert content_of(folder) == FILES


def test_damaged_download_is_deleted(tmp_path: Path) -> None:
    with (
        serving(Host(change=bytes.swapcase)) as address,
        pytest.raises(
            DownloadError,
            match=r"original\.tsv is damaged .*--from FOLDER, a data/evaluation-sets from",
        ),
    ):
        fetch_evaluation_sets(tmp_path, files=hosted(address))
    assert content_of(tmp_path) == {}


def test_changed_source_is_an_error(tmp_path: Path) -> None:
    with (
        serving(Host(change=lambda content: content + b"more")) as address,
        pytest.raises(
            DownloadError,
            match=r"original\.tsv has changed .*--from FOLDER, a data/evaluation",
        ),
    ):
        fetch_evaluation_sets(tmp_path, files=hosted(address))
    assert content_of(tmp_path) == {}


def test_source_shorter_than_the_partial_download_restarts(tmp_path: Path) -> None:
    part = tmp_path / "evaluation-sets/contrast_dev/original.tsv.part"
    part.parent.mkdir(parents=True)
    part.write_text(FILES["contrast_dev/original.tsv"][:20])
    with serving(Host(change=lambda content: content[:10])) as address:
        for message in ("cannot download", r"has changed \(10 bytes"):
            with pytest.raises(DownloadError, match=message):
                fetch_evaluation_sets(tmp_path, files=hosted(address))
    assert not part.exists()


def test_fetch_accepts_a_valid_folder(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", FILES)
    assert fetch_evaluation_sets(tmp_path / "data", mine) == mine
    assert not (tmp_path / "data").exists()
    (mine / "sst2/dev.tsv").write_text("sentence\tlabel\na\t7\n")
    with pytest.raises(DatasetError, match=r"dev\.tsv"):
        fetch_evaluation_sets(tmp_path / "data", mine)


TRAINING_FILES = {
    "cad/orig_train.tsv": "Sentiment\tText\nNegative\ta bad bear\nPositive\tsee the fox\n",
    "cad/new_train.tsv": "Sentiment\tText\nNegative\tflee the fox\nPositive\ta good bear\n",
    "sst2/train.tsv": "sentence\tlabel\nbears\t1\n",
}


def test_read_training_sets(tmp_path: Path) -> None:
    sets = read_training_sets(write(tmp_path, TRAINING_FILES))
    pairs = zip(sets.edited.originals, sets.edited.edits, strict=True)
    assert [(a.text, a.label, b.text, b.label) for a, b in pairs] == [
        ("a bad bear", "negative", "a good bear", "positive"),
        ("see the fox", "positive", "flee the fox", "negative"),
    ]
    assert [(r.name, r.text, r.label) for r in sets.sentences] == [
        ("train.tsv:2", "bears", "positive")
    ]
    (tmp_path / "cad/new_train.tsv").unlink()
    with pytest.raises(DatasetError, match=r"new_train\.tsv"):
        read_training_sets(tmp_path)


def phrase_file(*phrases: str) -> dict[str, str]:
    rows = [f"{phrase} \t{n % 2}" for n, phrase in enumerate(phrases)]
    return {**TRAINING_FILES, "sst2/train.tsv": "\n".join(["sentence\tlabel", *rows, ""])}


def test_whole_sentences_are_maximal_phrases(tmp_path: Path) -> None:
    files = phrase_file("a fine", "a fine film", "fine film", "a  fine film", "films", "not a fine")
    sets = read_training_sets(write(tmp_path, files))
    whole = [*sets.sentences, *sets.validation_sentences]
    assert sorted((r.name, r.text) for r in whole) == [
        ("train.tsv:3", "a fine film "), ("train.tsv:6", "films "), ("train.tsv:7", "not a fine ")
    ]  # fmt: skip


MANY = [
    phrase
    for n in range(100)
    for phrase in (f"film {n} is fine", f"film {n}", f"{n} is", "is fine", "fine")
]


def test_validation_sentences_are_a_fifth_and_are_not_trained_on(tmp_path: Path) -> None:
    folder = write(tmp_path, phrase_file(*MANY))
    sets = read_training_sets(folder)
    validation = {r.text for r in sets.validation_sentences}
    assert len(validation) == 20
    assert len(sets.sentences) == 80
    assert not validation & {r.text for r in sets.sentences}
    assert sets.validation_sentences == read_validation_sentences(folder)


def test_phrases_of_validation_sentences_are_not_trained_on(tmp_path: Path) -> None:
    sets = read_training_sets(write(tmp_path, phrase_file(*MANY)), phrases=True)
    assert len(sets.validation_sentences) == 20
    texts = {" ".join(r.text.split()) for r in sets.sentences}
    assert len(texts) == 80 * 3  # "is fine" and "fine" are parts of a validation sentence
    for sentence in sets.validation_sentences:
        assert not any(f" {text} " in f" {sentence.text} " for text in texts)


@given(st.permutations(MANY[:50]))
def test_validation_sentences_do_not_depend_on_the_order_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, phrases: list[str]
) -> None:
    first, second = (
        read_validation_sentences(write(tmp_path_factory.mktemp("sets"), phrase_file(*some)))
        for some in (MANY[:50], phrases)
    )
    assert {r.text for r in first} == {r.text for r in second}


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), min_size=1, max_size=12))
def test_every_phrase_is_part_of_a_whole_sentence(
    phrases: list[list[str]],
) -> None:
    rows = [Review(str(n), " ".join(words), None, None, "") for n, words in enumerate(phrases)]
    whole = [f" {row.text} " for row in _whole_sentences(rows)]
    for row in rows:
        assert any(f" {row.text} " in sentence for sentence in whole)
    for sentence in whole:
        assert sum(sentence in other for other in whole) == 1
