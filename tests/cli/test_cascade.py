import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reelsense.bundle import read_bundle
from reelsense.cli import cli
from tests import cascades


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    known = (
        ("good", "positive"),
        ("great good", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
    rows = [*known, ("a dull film", "negative"), ("a moving film", "positive")] * 10
    path.write_text("\n".join(json.dumps({"text": t, "label": label}) for t, label in rows))
    return path


def test_cascade_is_made_evaluated_and_used(tmp_path: Path, table: Path) -> None:
    def run(*arguments: str | Path) -> str:
        result = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    first, second = cascades.write(tmp_path).models
    folders = [tmp_path / model.manifest.version for model in (first, second)]
    output = tmp_path / "new"
    text = run(
        *("cascade", "--data", table, "--split", "all", "--output", output),
        *("--first", folders[0], "--second", folders[1], "--default-risk", "0.1"),
    )
    assert "33.3% of 60 texts" in text
    bundle = read_bundle(output)
    assert bundle.manifest.cascade is not None
    assert [m.version for m in bundle.manifest.cascade.models] == [f.name for f in folders]
    assert run("predict", "--model", output, "--risk", "0.2", "a dull film")
    report = tmp_path / "report"
    run("evaluate", "--data", table, "--model", output, "--quick", "--report", report)
    card = (report / "MODEL_CARD.md").read_text()
    assert first.manifest.version in card
    assert second.manifest.version in card
