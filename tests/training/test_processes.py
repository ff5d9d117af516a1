from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelsense.datasets.reviews import Split
from reelsense.training import checkpoint
from reelsense.training.examples import Example
from reelsense.training.processes import Processes
from reelsense.training.recipe import Stage
from tests.conftest import LABELS
from tests.training.conftest import (
    STARS,
    code,
    finetune,
    pretrain,
    without_speed,
    write_base,
    write_examples,
)
from tests.training.precise import precisely

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (
    *("-m", "accelerate.commands.launch", "--main_process_port", "0"),
    *("--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
)
RECIPE = """
name = "tiny"
base = "nowhere"
lengths = [16, 32, 32]
window = 64
tokens_per_batch = 160
dropout = 0.0
learning_rate = 0.5
max_gradient_norm = 100.0  # never reached: clipping would hide errors in the length
stars_weight = 0.5
"""


class Workplace:
    """A folder with a base model and data, and the runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = write_base(folder / "base")
        choose = random.Random(0)
        rows = ["text,label"]
        examples = []
        for n in range(150):
            word = choose.choice(list(STARS))
            filler = choose.choices(["the", "a", "film", "was"], k=choose.randint(9, 40))
            label = "positive" if STARS[word] > 5 else "negative"
            rows.append(f"{word} {' '.join(filler)} {n},{label}")
            if n < 21:
                target = (0.2, 0.8) if label == "positive" else (0.8, 0.2)
                examples.append(Example(f"{word} {n}", target, STARS[word] if n % 3 else None))
        (folder / "mine.csv").write_text("\n".join(rows))
        write_examples(folder / "extra.jsonl", examples, LABELS)

    def start(
        self,
        out: str,
        *options: str,
        kind: str = "finetune",
        launcher: Sequence[str] = (),
        module: str = "tests.training.precise",
        recipe: str = RECIPE,
        **environment: str,
    ) -> subprocess.Popen[str]:
        if kind == "pretrain":
            recipe = recipe.replace("[16, 32, 32]", "[32]").replace("= 0.5", "= 0.2", 1)
        (self.folder / f"{out}.toml").write_text(f'{recipe}\nkind = "{kind}"\n')
        extra = ("--extra-data", str(self.folder / "extra.jsonl")) if kind == "finetune" else ()
        files = {
            "--data": "mine.csv",
            "--recipe": f"{out}.toml",
            "--base-model": "base",
            "--output": out,
        }
        paths = [part for name, path in files.items() for part in (name, str(self.folder / path))]
        (self.folder / f"{out}-pids").mkdir(exist_ok=True)
        pids = {"PIDS": str(self.folder / f"{out}-pids")}
        start = ("-m", module) if not launcher else (*launcher, "-m", module)
        return subprocess.Popen(  # noqa: S603
            [sys.executable, *start, "train", *paths, *extra, *options],
            cwd=Path(__file__).parents[2],
            env=os.environ | pids | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, out: str, *options: str, **settings: Any) -> str:
        """Run it to its end; return its output."""
        process = self.start(out, *options, **settings)
        output, errors = self.end(out, process)
        assert process.returncode == 0, output + errors
        return output

    def end(self, out: str, process: subprocess.Popen[str]) -> tuple[str, str]:
        """Wait for its end; return output and errors. After 300 s it is killed."""
        try:
            return process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            for pid in [process.pid, *self.pids(out)]:
                os.kill(pid, signal.SIGKILL)
            raise

    def pids(self, out: str) -> list[int]:
        return [int(path.read_text()) for path in sorted((self.folder / f"{out}-pids").iterdir())]

    def metrics(self, out: str) -> list[dict[str, float]]:
        lines = (self.folder / out / checkpoint.METRICS).read_text().splitlines()
        return [without_speed(json.loads(line)) for line in lines]

    def state(self, out: str) -> dict[str, Any]:
        return dict(torch.load(self.folder / out / checkpoint.STATE, weights_only=True))

    def wait_for_steps(self, out: str, steps: int, process: subprocess.Popen[str]) -> None:
        log = self.folder / out / checkpoint.METRICS
        for _ in range(60_000):
            if log.exists() and len(log.read_text().splitlines()) >= steps:
                return
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        raise AssertionError

    def assert_same(self, one: str, other: str, tolerance: float = 1e-9) -> None:
        """Assert that both runs logged the same metrics and ended with the same weights."""
        first, second = self.metrics(one), self.metrics(other)
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert a == pytest.approx(b, abs=tolerance)
        weights, others = (self.state(out)["parts"]["model"] for out in (one, other))
        for name, weight in weights.items():
            assert torch.allclose(weight, others[name], rtol=0, atol=tolerance), name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        workplace = Workplace(tmp_path_factory.mktemp("processes"))
        workplace.run("whole")
        yield workplace


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", ["1", "3"])
def test_two_processes_train_the_same_model_as_one(place: Workplace, accumulate: str) -> None:
    out = f"two-{accumulate}"
    output = place.run(out, "--gradient-accumulation-steps", accumulate, launcher=TORCHRUN)
    place.assert_same("whole", out)
    steps = [entry["step"] for entry in place.metrics(out) if "epoch" not in entry]
    assert steps == list(range(1, len(steps) + 1))
    losses = [entry["loss"] for entry in place.metrics(out) if "epoch" not in entry]
    assert max(losses) - min(losses) > 0.05  # training changes the loss
    assert all("star_mae" in entry for entry in place.metrics(out) if "epoch" in entry)
    assert (
        output.count(" training texts, ")
        == output.count("epoch 3: ")
        == output.count("checkpoint is")
        == 1
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_batches_of_fewer_texts_than_processes(place: Workplace, kind: str) -> None:
    recipe = f"{RECIPE}texts_per_batch = 1\n".replace("160", "32").replace("= 0.2", "= 0.05")
    settings = {"kind": kind, "recipe": recipe}
    one, two = f"narrow-one-{kind}", f"narrow-two-{kind}"
    place.run(one, "--max-steps", "40", **settings)
    place.run(two, "--max-steps", "40", launcher=TORCHRUN, **settings)
    if kind == "finetune":
        place.assert_same(one, two)
    assert_same_training(place, one, two)


def assert_same_training(place: Workplace, one: str, other: str) -> None:
    first, second = place.state(one), place.state(other)
    losses, other_losses = ([entry["loss"] for entry in place.metrics(out)] for out in (one, other))
    assert losses == pytest.approx(other_losses, abs=1e-9)
    weights, others = first["parts"]["model"], second["parts"]["model"]
    for name, weight in weights.items():
        assert torch.allclose(weight, others[name], rtol=0, atol=1e-9), name


@pytest.mark.slow
def test_two_processes_pretrain_the_same_model_as_one(place: Workplace) -> None:
    place.run("read-whole", kind="pretrain")
    place.run("read-parts", "--gradient-accumulation-steps", "3", kind="pretrain")
    output = place.run("read-two", kind="pretrain", launcher=TORCHRUN)
    assert output.count("starting") == output.count("checkpoint is") == 1
    assert_same_training(place, "read-whole", "read-parts")
    assert_same_training(place, "read-whole", "read-two")
    history = place.metrics("read-whole")
    assert history[-1]["loss"] < history[0]["loss"] - 0.1


@pytest.mark.slow
def test_stopped_run_of_two_processes_resumes(place: Workplace) -> None:
    settings: Any = {
        "launcher": TORCHRUN,
        "recipe": RECIPE.replace("dropout = 0.0", "dropout = 0.2"),
    }
    place.run("noisy", **settings)
    process = place.start("stopped", **settings)
    place.wait_for_steps("stopped", 12, process)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on
    _, errors = place.end("stopped", process)
    assert process.returncode != 0
    assert errors.count("stopped; the state is saved") == 1
    state = place.state("stopped")
    assert 0 < state["progress"]["steps_done"] == place.metrics("stopped")[-1]["step"]
    assert not torch.equal(*(own["processor"] for own in state["random_by_process"]))

    place.run("stopped", "--resume", **settings)
    place.assert_same("noisy", "stopped")


@pytest.mark.slow
def test_signal_to_one_process_stops_all(place: Workplace) -> None:
    process = place.start(
        "signalled", launcher=TORCHRUN, SLOW_SAVE="5"
    )  # no process ends before that
    place.wait_for_steps("signalled", 12, process)
    os.kill(place.pids("signalled")[0], signal.SIGTERM)
    _, errors = place.end("signalled", process)
    assert errors.count("stopped; the state is saved") == 1
    steps = place.state("signalled")["progress"]["steps_done"]
    assert 0 < steps == place.metrics("signalled")[-1]["step"]
    place.run("signalled", "--resume", "--gradient-accumulation-steps", "2")  # with one process
    place.assert_same("whole", "signalled")


@pytest.mark.slow
@pytest.mark.parametrize("which", ["all", "one"])
def test_killed_run_of_two_processes_resumes(place: Workplace, which: str) -> None:
    out = f"killed-{which}"
    process = place.start(out, launcher=TORCHRUN, SAVE_EVERY="0")
    place.wait_for_steps(out, 20, process)
    victims = place.pids(out)
    if which == "all":
        process.kill()
    for pid in victims if which == "all" else victims[1:]:
        os.kill(pid, signal.SIGKILL)
    place.end(out, process)  # no process waits for a killed one
    assert process.returncode != 0
    assert 0 < place.state(out)["progress"]["steps_done"] < place.metrics("whole")[-1]["step"]
    place.run(out, "--resume", launcher=TORCHRUN)
    place.assert_same("whole", out)


@pytest.mark.slow
def test_accelerate_launch_trains_the_same_model(place: Workplace) -> None:
    recipe = RECIPE.replace("\nlearning_rate = 0.5", "\nlearning_rate = 1e-3")
    settings: Any = {"module": "reelsense", "recipe": recipe}
    place.run("parts", "--gradient-accumulation-steps", "2", **settings)
    place.run("launched", launcher=ACCELERATE, **settings)
    place.assert_same("parts", "launched", tolerance=1e-5)  # AdamW and 32 bits, in the same parts


QUICK = Stage(
    name="tiny",
    base="",
    window=64,
    lengths=(16, 32),
    tokens_per_batch=128,
    learning_rate=0.1,
    dropout=0.0,
    max_gradient_norm=100.0,
    stars_weight=1.0,
)


@pytest.fixture
def precise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plain gradient descent in 64 bits, as in `precise`."""
    precisely(monkeypatch)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("precise")
def test_gradient_accumulation_trains_the_same_model(
    base: Path, rated: Split, tmp_path: Path
) -> None:
    histories, models = [], []
    for parts in (1, 3, 50):
        out = tmp_path / str(parts)
        processes = Processes(parts)
        histories.append(finetune(QUICK, base, rated, LABELS, out, processes=processes))
        models.append(torch.load(out / checkpoint.STATE, weights_only=True)["parts"]["model"])
    assert histories[0][1]["loss"] < histories[0][0]["loss"]
    for history, model in zip(histories[1:], models[1:], strict=True):
        for a, b in zip(history, histories[0], strict=True):
            assert a == pytest.approx(b, abs=1e-9)
        assert all(torch.allclose(model[name], models[0][name], atol=1e-9) for name in model)


@pytest.mark.usefixtures("precise")
def test_gradient_accumulation_weights_masked_tokens_equally(base: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, kind="pretrain", lengths=(32,), learning_rate=0.1)
    texts = ["the good film was not awful " * (3 + n % 9) for n in range(40)]
    last = [
        pretrain(recipe, base, texts, tmp_path / str(n), processes=Processes(n))[-1]["loss"]
        for n in (1, 3, 50)
    ]
    assert last == pytest.approx([last[0]] * 3, abs=1e-9)


@pytest.mark.parametrize(("count", "accumulate"), [(1, 1), (1, 4), (2, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_micro_batches_partition_a_batch(count: int, accumulate: int, size: int) -> None:
    processes, batch = Processes(accumulate), list(range(100, 100 + size))
    processes.world_size = count
    indices, last = [], []
    for processes.rank in range(count):
        parts = list(processes.micro_batches(torch.nn.Module(), batch))
        assert all(parts[:-1])
        assert len(parts) <= accumulate
        indices += [n for part in parts for n in part]
        last.append(len(parts[-1]))
    assert sorted(indices) == batch
    assert max(last) - min(last) <= 1
    shares: list[int] = []
    for processes.rank in range(count):
        shares += processes.shard(batch)
    assert sorted(shares) == batch


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_bar_is_shown_on_terminals(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    with Processes().progress_bar(total=1) as bar:
        bar.update()
    assert bool(stderr.getvalue()) is is_terminal


def test_unscored_validation_reviews_are_an_error(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "shard", lambda _, batches: batches[1:])
    with code("validation-incomplete"):
        finetune(QUICK, base, split, LABELS, tmp_path / "out")


def test_processes_with_different_data_are_an_error(
    base: Path, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "gather", lambda _, value: [value, "other"])
    with code("processes-differ"):
        finetune(QUICK, base, split, LABELS, tmp_path / "out")
