import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aspects import evaluate
from aspects.evaluate import (
    LABELS,
    Mention,
    agreed,
    agreement_table,
    annotated,
    lexicon_baseline,
    system_table,
    united,
)
from reelsense import Classifier
from tests import tiny

FILM = "I saw it. The music is great, but the plot is bad. I went home at last.<br />The end."
SENTENCE = "The music is great, but the plot is bad."


def mention(aspect: str, start: int, end: int, sentiment: str = "positive") -> Mention:
    return Mention(aspect, start, end, sentiment)


def cells(table: str, name: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return line.strip("| ").split(" | ")[1:]


def test_mentions_agree_if_the_aspect_is_equal_and_the_quotes_overlap() -> None:
    one = mention("music", 0, 10)
    assert one.overlap(mention("music", 9, 20)) == 1
    assert one.overlap(mention("music", 10, 20)) == 0
    assert one.overlap(mention("story", 0, 10)) == 0
    best = mention("music", 2, 9)
    assert one.best_match([mention("music", 8, 20), best, mention("story", 0, 10)]) == best
    assert one.best_match([mention("story", 0, 10)]) is None


def test_agreed_mentions_are_those_of_both_and_unclear_if_the_sentiments_differ() -> None:
    first = [mention("music", 0, 10), mention("story", 20, 30), mention("pace", 0, 5)]
    second = [mention("music", 5, 15), mention("story", 20, 30, "negative")]
    assert agreed(first, second) == [mention("story", 20, 30, "unclear"), mention("music", 0, 15)]
    assert united(first, second) == [*agreed(first, second), mention("pace", 0, 5)]


def test_agreed_pairs_every_mention_once() -> None:
    long, left, right = mention("music", 0, 20), mention("music", 0, 5), mention("music", 6, 20)
    assert agreed([long], [left, right]) == [long]
    assert united([long], [left, right]) == [long, left]


def record(*mentions: object) -> dict[str, Any]:
    return {"start": 100, "end": 140, "mentions": [[], list(mentions)]}


def test_annotated_mentions_are_positions_in_the_sentence() -> None:
    sample = {"s1": record(["story", 110, 121, "negative"])}
    assert annotated(sample, 0) == {"s1": []}
    assert annotated(sample, 1) == {"s1": [mention("story", 10, 21, "negative")]}


@pytest.mark.parametrize(
    "invalid",
    [
        ["story", 99, 121, "negative"],
        ["story", 110, 141, "negative"],
        ["story", 110, 110, "negative"],
        ["plot", 110, 121, "negative"],
        ["story", 110, 121, "good"],
    ],
)
def test_annotated_rejects_invalid_mentions(invalid: list[object]) -> None:
    with pytest.raises(ValueError, match="s1: invalid mention"):
        annotated({"s1": record(invalid)}, 1)


def test_published_labels_are_valid() -> None:
    sample = {row["id"]: row for row in map(json.loads, LABELS.read_text().splitlines())}
    assert len(sample) >= 500
    for annotator in (0, 1):
        assert sum(map(len, annotated(sample, annotator).values())) > 400


def test_agreement_table_has_kappa_of_sentences_and_aspects() -> None:
    """Of 10 sentences, both see music in 4, one of them in 1 more: kappa is 0.8."""
    first = {str(n): [mention("music", 0, 9)] * (n < 5) for n in range(10)}
    second = {str(n): [mention("music", 0, 9, "negative")] * (n < 4) for n in range(10)}
    table = agreement_table(first, second, list(first))
    count_a, count_b, both, kappa, sentiment = cells(table, "music")
    assert (count_a, count_b, both) == ("5", "4", "4")
    assert kappa.startswith("0.80 (")
    assert sentiment.startswith("0% (")
    assert sentiment.endswith("; 0 of 4)")
    assert cells(table, "story") == ["0", "0", "0", "-", "-"]
    assert cells(table, "**all**")[3].startswith("0.88 (")  # of 100 pairs, 99 are equal


def test_system_table_has_precision_recall_and_accuracy_of_decided() -> None:
    gold: dict[str, Sequence[Mention]] = {
        "s1": [mention("music", 0, 10), mention("story", 20, 30, "negative")],
        "s2": [mention("music", 0, 10, "unclear"), mention("pace", 0, 10)],
        "s3": [],
    }
    found: dict[str, Sequence[Mention]] = {
        "s1": [mention("music", 5, 9, "negative"), mention("story", 0, 40, "negative")],
        "s2": [mention("music", 0, 10), mention("music", 20, 30)],
        "s3": [mention("story", 0, 10, "unsure")],
        "other": [mention("story", 0, 10)],
    }
    table = system_table(found, gold)
    shares = [cell[cell.index(";") + 2 : -1] for cell in cells(table, "**all**")]
    assert shares == ["3 of 5", "3 of 4", "2 of 2", "1 of 2"]
    assert cells(table, "**all**")[0] == "60% (23% to 88%; 3 of 5)"  # Wilson
    assert cells(table, "ending") == ["-", "-", "-", "-"]


def test_system_table_leaves_unsure_sentiments_out_of_the_accuracy() -> None:
    gold = {"s1": [mention("music", 0, 9), mention("story", 0, 9)]}
    found = {"s1": [mention("music", 0, 9, "unsure"), mention("story", 0, 9)]}
    _, _, decided, accuracy = cells(system_table(found, gold), "**all**")
    assert (decided[:3], accuracy[:4]) == ("50%", "100%")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The music is great.", ["positive"]),
        ("The music is not great.", ["negative"]),
        ("The music is great, sad but dull.", ["positive"]),
        ("A great man hears the music.", ["positive"]),  # without grammar: found
        ("The music is great yet dull.", ["positive"]),
        ("It made me laugh out loud.", ["unsure"]),  # a judgement without a direction
        ("The music is loud.", []),
    ],
)
def test_lexicon_baseline_counts_opinions_of_the_clause(text: str, expected: list[str]) -> None:
    assert [found.sentiment for found in lexicon_baseline(text)] == expected


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    train = tmp_path / "data" / "train"
    for path in (train / "pos", train / "neg", tmp_path / "data" / "test"):
        path.mkdir(parents=True)
    (train / "pos" / "0_9.txt").write_text(FILM)
    (train / "neg" / "0_1.txt").write_text("It was a bad day for a film.")
    for label in ("pos", "neg"):
        url = "http://www.imdb.com/title/tt0000001/usercomments\n"
        (train / f"urls_{label}.txt").write_text(url)
    return tmp_path


def test_main_reports_both_systems_for_both_strata(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = FILM.index(SENTENCE)
    end = start + len(SENTENCE)
    name = "train/pos/0_9.txt"
    record = {"id": "s1", "review": name, "start": start, "end": end, "stratum": "random"}
    other = {"id": "s2", "review": "train/neg/0_1.txt", "start": 0, "end": 28, "stratum": "pace"}
    music = ["music", FILM.index("music"), FILM.index(", but"), "positive"]
    story = ["story", FILM.index("the plot"), end - 1, "negative"]
    lines = [record | {"mentions": [[music, story], [music]]}, other | {"mentions": [[], []]}]
    labels = dataset / "labels.jsonl"
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(Classifier, "load", lambda _path: tiny.classifier())
    arguments = ["--labels", str(labels), "--data", str(dataset / "data")]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    evaluate.main()
    report = capsys.readouterr().out
    assert "## Sentences: random (1)" in report
    assert "## Sentences: all (2)" in report
    assert report.count("### reelsense, mentions of both annotators") == 2
    last = report[report.rindex("### reelsense, mentions of both annotators") :]
    of_both, of_either = last.split("### reelsense, mentions of either")
    assert cells(of_both, "**all**")[0].endswith("; 1 of 2)")  # precision
    assert cells(of_either, "**all**")[0].endswith("; 2 of 2)")
    assert cells(of_either, "story")[3].endswith("; 1 of 1)")
