"""Control characters in foreign names do not reach terminals and logs."""

from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelsense.server.middleware.logging import log_settings
from reelsense.server.settings import Settings
from reelsense.text.controls import escape_controls

pytestmark = pytest.mark.security

ATTACK = "a\n\x1b]0;owned\x07\x1b[2J\rb\x9b1m\u202ec"


@given(st.text())
def test_escaped_text_is_safe(text: str) -> None:
    escaped = escape_controls(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in escaped)
    assert not set(escaped) & set(
        "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    if text.isprintable():
        assert escaped == text


def run(*arguments: str) -> bytes:
    """Return what the command prints to both streams."""
    command = [sys.executable, "-m", "reelsense", *arguments]
    result = subprocess.run(command, capture_output=True, check=False, timeout=120)  # noqa: S603
    return result.stdout + result.stderr


def assert_safe(output: bytes) -> None:
    assert b"owned" in output
    assert not set(output) & {0x1B, 0x07, 0x9B}
    assert ATTACK.encode() not in output
    assert "\u202e".encode() not in output


@pytest.mark.slow
def test_file_and_column_names_are_escaped_on_terminals(tmp_path: Path) -> None:
    file = tmp_path / f"{ATTACK}.csv"
    file.write_text(f"id,{ATTACK}\n1,x\n")
    other = tmp_path / f"{ATTACK}.unknown"
    other.write_text("x")
    output = str(tmp_path / "out.csv")
    assert_safe(run("predict", "--input", str(file), "--output", output))
    assert_safe(run("predict", "--input", str(file), "--output", output, "--column", ATTACK))
    assert_safe(run("predict", "--input", str(tmp_path), "--output", output, "--column", "1"))
    assert_safe(run("predict", "--input", str(other), "--output", output))
    assert_safe(run("evaluate", "--data", str(file)))
    assert_safe(run("predict", "--model", str(tmp_path / ATTACK), "A joy."))


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_escapes_controls(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    settings = Settings(log_format=log_format)  # type: ignore[arg-type]
    logger = logging.getLogger("reelsense.security")
    root_handlers, root_level = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(log_settings(settings))
        logger.error("cannot read %s", ATTACK, extra={"file": ATTACK})
    finally:
        logging.root.handlers[:], logging.root.level = root_handlers, root_level
    assert_safe(capfd.readouterr().err.encode())
