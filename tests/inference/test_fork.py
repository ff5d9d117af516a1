"""A classifier in a forked process: that of the parent has threads that do not exist there."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.waiting import wait_until

POOL = """
import multiprocessing, sys, warnings
from reelsense import Classifier

warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads
classifier = Classifier.load()

def label(text):
    return classifier.predict([text])[0].label

if __name__ == "__main__":
    if sys.argv[1] == "warm":
        label("A joy.")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply_async(label, ("A bore.",)).get(timeout=60))
    print(label("A joy."))
"""

PRELOADED = """
from flask import Flask, request
from reelsense import Classifier

classifier = Classifier.load()
classifier.predict(["warm up"])
app = Flask(__name__)

@app.get("/")
def label():
    return classifier.predict([request.args["text"]])[0].label
"""


@pytest.mark.parametrize("state", ["warm", "cold"])
def test_forked_process_predicts(tmp_path: Path, state: str) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    result = subprocess.run(  # noqa: S603
        [sys.executable, str(script), state],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.split() == ["negative", "positive"], result.stderr


@pytest.mark.slow
def test_preloaded_application_predicts(tmp_path: Path) -> None:
    import requests

    (tmp_path / "preloaded.py").write_text(textwrap.dedent(PRELOADED))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "--bind",
        "127.0.0.1:0",
        "--workers",
        "2",
    ]
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(  # noqa: S603
            [*command, "preloaded:app"], cwd=tmp_path, stderr=output
        ) as server,
    ):
        try:
            wait_until(lambda: "Listening at: " in log.read_text(), 60)
            address = log.read_text().split("Listening at: ")[1].split()[0]
            for _ in range(4):
                answer = requests.get(address, params={"text": "A bore."}, timeout=60)
                assert answer.text == "negative"
        finally:
            server.terminate()
