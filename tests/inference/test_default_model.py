"""The bundled model: plausible predictions, and the same ones on different processors."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reelsense import Classifier

POSITIVE = [
    "An absolute delight from start to finish; the cast is superb and I laughed out loud.",
    "Slow to begin with, but what a finish. One of the finest films of the decade.",
    "I expected nothing and was moved to tears. Beautifully shot, wonderfully acted.",
]
NEGATIVE = [
    "A dull, lifeless mess. The acting is wooden and the plot makes no sense at all.",
    "Poorly written, badly acted and far too long: a waste of a good cast.",
    "Two hours of my life I will never get back. Avoid it.",
]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def test_default_model_classifies_plain_reviews(classifier: Classifier) -> None:
    predictions = classifier.predict(POSITIVE + NEGATIVE)
    assert [prediction.label for prediction in predictions] == ["positive"] * 3 + ["negative"] * 3


def test_emoji_alone_get_a_prediction(classifier: Classifier) -> None:
    texts = ["\U0001f60d\U0001f60d", "\U0001f44d", "\U0001f44e", "\U0001f4a9"]
    labels = [prediction.label for prediction in classifier.predict(texts)]
    assert labels == ["positive", "positive", "negative", "negative"]


def test_prediction_does_not_depend_on_other_texts(classifier: Classifier) -> None:
    choose = random.Random(0)
    words = " ".join(POSITIVE + NEGATIVE).split()
    texts = [" ".join(choose.choices(words, k=choose.choice([3, 40, 300, 900]))) for _ in range(24)]
    together = classifier.predict_proba(texts)
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-4


def test_predictions_agree_on_one_core_and_all(classifier: Classifier) -> None:
    one = Classifier.load(threads=1)
    texts = POSITIVE + NEGATIVE
    assert np.abs(one.predict_proba(texts) - classifier.predict_proba(texts)).max() < 1e-4


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_processes_do_not_share_their_cores() -> None:
    """With pinned cores, two processes with one core each would share the first."""
    program = """if True:
        import os, threading
        from reelsense import Classifier
        classifier = Classifier.load(threads=1)
        reading = threading.Thread(target=classifier.predict, args=(["good " * 300] * 40,))
        reading.start()
        cores = set()
        while reading.is_alive():  # threads are pinned only while they run the network
            for thread in os.listdir("/proc/self/task"):
                try:
                    cores.add(tuple(os.sched_getaffinity(int(thread))))
                except ProcessLookupError:
                    pass
        print(*cores)
    """
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tuple(os.sched_getaffinity(0)))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs Debian's qemu-user")
def test_old_processor_gives_the_same_predictions(classifier: Classifier) -> None:
    """Without VNNI, pairs of products of bytes are added in 16 bits, which can overflow.

    One thread, because the emulator hangs on two.
    """
    program = (
        "import json, sys; from reelsense import Classifier; "
        "print(json.dumps(Classifier.load(threads=1).predict_proba(json.load(sys.stdin)).tolist()))"
    )
    texts = POSITIVE + NEGATIVE + [" ".join(POSITIVE + NEGATIVE)]
    done = subprocess.run(  # noqa: S603  # our own command
        [shutil.which("qemu-x86_64") or "", "-cpu", "Haswell", sys.executable, "-c", program],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    emulated = np.array(json.loads(done.stdout))
    assert np.abs(emulated - classifier.predict_proba(texts)).max() < 0.05
