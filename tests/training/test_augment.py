from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelsense.datasets.behaviours import behaviour_sentences, read_data
from reelsense.datasets.identities import all_terms, template_sentences
from reelsense.errors import TrainingError
from reelsense.evaluation.robustness import SENTENCES_PER_LABEL
from reelsense.text import clean
from reelsense.training.augment import (
    TERMS_IN_A_SET,
    behaviour_examples,
    identity_sets,
    noisy,
)
from tests.conftest import LABELS
from tests.evaluation.test_perturbations import Seeds, Texts

REVIEWS = [
    "An old cop walks on the stage. We saw the Polish actor there. It rained for two whole days.",
    "Not a single black woman in sight. The Pashtun family moves to town after the war.",
]


def test_behaviour_examples_have_the_labels_of_their_sentences() -> None:
    examples = behaviour_examples(LABELS)
    assert len(examples) == len({example.text for example in examples}) >= 5000
    targets = Counter((example.source, example.target) for example in examples)
    assert targets["templates: negation", (1.0, 0.0)] == 400
    assert targets["templates: negation", (0.0, 1.0)] == 400
    assert targets["templates: facts", (0.5, 0.5)] == 400
    labels = {
        sentence.text: sentence.label
        for behaviour in behaviour_sentences("training", 400)
        for sentence in behaviour.sentences
    }
    for example in examples:
        if example.target != (0.5, 0.5):
            assert LABELS[example.target.index(1.0)] == labels[example.text]


def test_behaviour_examples_share_no_text_with_the_evaluation() -> None:
    measured = {
        sentence.text
        for behaviour in behaviour_sentences("measuring", SENTENCES_PER_LABEL)
        for sentence in behaviour.sentences
    }
    assert measured.isdisjoint(example.text for example in behaviour_examples(LABELS))


def test_behaviour_examples_with_more_labels() -> None:
    examples = behaviour_examples(["positive", "mixed", "negative"], per_label=5)
    assert {example.target for example in examples} == {
        (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.0, 0.5)
    }  # fmt: skip
    with pytest.raises(TrainingError):
        behaviour_examples(["good", "bad"])


@given(Texts, Seeds)
def test_noisy_depends_on_the_seed_and_preserves_markup(text: str, seed: int) -> None:
    changed = noisy(text, Random(seed))
    assert changed == noisy(text, Random(seed))
    for tag in ("<br />", "<BR>", "&amp;"):
        assert changed.count(tag) >= text.count(tag)


def test_noisy_has_every_kind_of_noise() -> None:
    text = "I don't believe it was filmed in Berlin in 1987. The ending is really a letdown, alas."
    changed = [noisy(text, Random(seed)) for seed in range(300)]
    words = [clean.clean(noise).split() for noise in changed]
    lengths = Counter(round(len(row) / len(text.split())) for row in words)
    assert {1, 2, 3, 4, 5, 6, 7} <= set(lengths)
    assert any("http" in noise for noise in changed)
    assert any("@" in noise for noise in changed)
    assert {"LETDOWN", "letdown", "Letdown"} <= {word.strip(",") for row in words for word in row}
    assert any("don\u2019t" in noise for noise in changed)
    assert any("beleive" in noise for noise in changed)
    assert any("1987" not in noise and "Berlin" not in noise for noise in changed)
    assert changed.count(text) < 0.05 * len(changed)


def test_noise_of_training_and_of_evaluation_differs() -> None:
    training, measuring = (read_data("noise.toml")[half] for half in ("training", "measuring"))
    for name in training:
        assert set(training[name]).isdisjoint(measuring[name])
    [facts] = [group for group in behaviour_sentences("training", 400) if group.name == "facts"]
    assert {sentence.text for sentence in facts.sentences}.isdisjoint(measuring["sentences"])


def test_identity_sets_differ_only_in_the_term() -> None:
    sets = identity_sets(REVIEWS, maximum=4)
    texts = [text for group in sets for text in group]
    assert len(texts) == len(set(texts))
    assert {len(group) for group in sets} == {TERMS_IN_A_SET}
    assert any("walks on the stage." in group[0] for group in sets)
    assert any("actor there." in group[0] for group in sets)
    assert any("moves to town after the war." in group[0] for group in sets)
    walks = next(group for group in sets if "walks on the stage." in group[0])
    assert {re.sub("^An? .*(?= cop )", "A T", text) for text in walks} == {
        "A T cop walks on the stage."
    }
    assert identity_sets(REVIEWS, maximum=4) == sets
    assert identity_sets(REVIEWS, maximum=4, seed=1) != sets
    assert len(identity_sets([], maximum=4)) == 4 * 7


def test_identity_sets_hold_out_terms_and_templates() -> None:
    texts = [text for group in identity_sets(REVIEWS, maximum=100) for text in group]
    held_out = [term.text for term in all_terms() if term.held_out]
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, held_out))})(?![\w-])", re.I)
    assert {match[0] for text in texts for match in pattern.finditer(text)} == set()
    measured = {sentence.template for sentence in template_sentences("measuring")}
    assert not any(template.endswith(text) for text in texts for template in measured)


@settings(deadline=None, max_examples=25)  # each example goes through all templates
@given(st.lists(Texts, max_size=3))
def test_identity_sets_accept_any_reviews(texts: list[str]) -> None:
    assert all(len(group) > 1 for group in identity_sets(texts, maximum=1))
