import random
import shutil
from pathlib import Path

import pytest

from reelsense.datasets.reviews import Review
from reelsense.training import defaults
from reelsense.training.defaults import default_base, derive_recipe, names_sentiment
from reelsense.training.model import load_model
from reelsense.training.recipe import Stage

WORDS = ["good", "bad", "great", "awful", "film", "the", "a", "was", "not"]


def rows(count: int, words: int, labels: str = "abc") -> list[Review]:
    """Return reviews of `words` words each, whose labels alternate."""
    choose = random.Random(count)
    return [
        Review(str(n), " ".join(choose.choices(WORDS, k=words)), labels[n % len(labels)], None, "")
        for n in range(count)
    ]


def derived(base: Path, train: list[Review]) -> Stage:
    [stage] = derive_recipe("mine", str(base), train).stages
    return stage


def steps(stage: Stage, count: int) -> int:
    return stage.epochs * round(-(-count // stage.texts_per_batch) * stage.data["reviews"])


def test_small_data_get_small_batches_and_enough_steps(base: Path) -> None:
    stage = derived(base, rows(210, 20))
    assert (stage.name, stage.base) == ("mine", str(base))
    assert stage.lengths == (32,)  # 22 tokens
    assert stage.texts_per_batch == 16
    assert stage.tokens_per_batch == 16 * 32
    assert 87 <= steps(stage, 210) < 130
    assert stage.epochs <= 6
    assert stage.fit_output_layer
    assert stage.frozen_embeddings
    assert stage.class_weights == 0


@pytest.mark.parametrize(
    ("count", "epochs", "passes"), [(6, 5, 3), (24, 5, 2), (2000, 5, 1), (22_500, 3, 1)]
)
def test_epochs_depend_on_the_number_of_rows(
    base: Path, count: int, epochs: int, passes: int
) -> None:
    stage = derived(base, rows(count, 5))
    assert (stage.epochs, stage.data) == (epochs, {"reviews": passes})
    assert stage.frozen_embeddings == (count < 2000)


def test_new_encoders_read_the_mean_and_classifiers_the_first_token(
    base: Path, tmp_path: Path
) -> None:
    assert derived(base, rows(20, 5)).sentence_vector == "mean"
    load_model(base, ["x", "y"]).save_pretrained(tmp_path / "classifier")
    shutil.copy(base / "tokenizer.json", tmp_path / "classifier")
    assert derived(tmp_path / "classifier", rows(20, 5)).sentence_vector == ""


def test_length_is_limited_by_the_model(base: Path) -> None:
    stage = derived(base, rows(100, 500))
    assert (stage.lengths, stage.window) == ((64,), 64)
    assert stage.tokens_per_batch >= 64


def test_length_covers_95_percent_of_the_texts(base: Path) -> None:
    assert derived(base, [*rows(98, 5), *rows(2, 50)]).lengths == (16,)
    assert derived(base, [*rows(90, 5), *rows(10, 40)]).lengths == (48,)


def test_labels_of_imbalanced_data_are_weighted(base: Path) -> None:
    assert derived(base, rows(100, 5, "aab")).class_weights == 0
    assert derived(base, rows(100, 5, "aaaab")).class_weights == 0.5


@pytest.mark.parametrize(
    ("weights", "rate"), [(22.7e6, 8e-5), (110e6, 3e-5), (335e6, 2e-5), (4.4e6, 2e-4), (9e3, 1e-3)]
)
def test_larger_models_have_lower_learning_rates(weights: float, rate: float) -> None:
    assert defaults._learning_rate(int(weights)) == rate


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["negative", "positive"], True),
        (["NEG", "neutral", "Pos"], True),
        (["very_negative", "negative", "positive", "very-positive"], True),
        (["1", "2", "3", "4", "5"], True),
        (["1 star", "2 stars", "10 stars"], True),
        (["0", "1"], False),
        (["1", "2"], False),
        (["0", "1", "2"], False),
        (["billing", "login", "shipping"], False),
        (["positive", "neutral"], False),
        (["negative", "positive", "spam"], False),
    ],
)
def test_names_sentiment(labels: list[str], expected: bool) -> None:
    assert names_sentiment(labels) is expected


def test_default_base_of_sentiments_is_the_checkpoint_of_the_default_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "SENTIMENT_CHECKPOINT", base)
    assert default_base(["negative", "positive"])[0] == str(base)
    assert default_base(["billing", "login"])[0] == defaults.ENCODER
    monkeypatch.setattr(defaults, "SENTIMENT_CHECKPOINT", tmp_path / "none")
    assert default_base(["negative", "positive"])[0] == defaults.ENCODER


def test_checkpoint_of_the_default_model_is_in_the_repository() -> None:
    assert (defaults.SENTIMENT_CHECKPOINT / "config.json").is_file()
