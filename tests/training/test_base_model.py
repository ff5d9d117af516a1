import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelsense.errors import DownloadError
from reelsense.training.base_model import find_base
from tests.training.hub import hub

PROGRAM = "from reelsense.training.base_model import find_base; print(find_base('someone/bert'))"


def find_elsewhere(endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run find_base in a process of its own, the only way to tell it of another hub."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache)},
    )


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert find_base(str(tmp_path)) == tmp_path


def test_a_model_comes_from_the_hub_once(base: Path, tmp_path: Path) -> None:
    (base / "pytorch_model.bin").write_bytes(b"not asked for")
    with hub("someone/bert", base) as endpoint:
        found = find_elsewhere(endpoint, tmp_path / "cache")
    assert found.returncode == 0, found.stderr
    folder = Path(found.stdout.strip())
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    for path in folder.iterdir():
        assert path.read_bytes() == (base / path.name).read_bytes()
    # The hub is gone now; what was fetched is still there.
    assert find_elsewhere(endpoint, tmp_path / "cache").stdout == found.stdout


def test_an_unknown_model_and_an_unreachable_hub_are_one_line(base: Path, tmp_path: Path) -> None:
    with hub("someone/else", base) as endpoint:
        unknown = find_elsewhere(endpoint, tmp_path / "cache")
    unreachable = find_elsewhere(endpoint, tmp_path / "cache")
    for found in (unknown, unreachable):
        assert found.returncode == 1
        message = found.stderr.strip().splitlines()[-1]
        assert message.startswith("reelsense.errors.DownloadError: 'someone/bert' is neither")
        assert "--base-model" in message


def test_what_can_be_no_model_name() -> None:
    with pytest.raises(DownloadError, match="--base-model"):
        find_base("not a/model/name")
