"""Run the examples of a page of the documentation, to check or to update their outputs.

`python -m tests.examples docs/api.md` updates a page. Examples are the lines after $ in ```console
blocks and after >>> in ```pycon blocks. A server runs at the address that the pages use. Commands
run in a temporary folder with links to docs and checkpoints.
"""

from __future__ import annotations

import doctest
import io
import math
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import server

ROOT = Path(__file__).parents[1]
PLACE = "127.0.0.1:5000"

_BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)

# Parts that vary between runs. Numbers vary slightly between processors.
_VARYING = "|".join(
    (
        r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\b",
        r"\b[0-9a-f]{32}\b",
        r"dur=[\d.]+",
        r"Content-Length: \d+",
        r"\"time_taken\":\"[\d.e-]+",
        r"\"timestamp\": \"[^\"]+",
        r"ms\": [\d.]+",
        r"[\d,]+ tokens/s",
        r"[\d,]+ rows/s, [\d.]+ (?:s|min)",
        r"about \d+ (?:s|min)",
        r"\btickets(?: |\",\"version\":\")[0-9a-f]{12}",
        r"RateLimit-Reset: \d+",
        r"\"created\":\d+",
        r"\"(?:id|created|ended|expires)\": ?\"[^\"]+",
    )
)
_TOKEN = re.compile(rf"({_VARYING}|\d+\.\d+(?:e-?\d+)?)")


@dataclass(frozen=True)
class Example:
    """A command or a statement, its output in the page and its actual output."""

    source: str
    expected: str
    output: str

    def moved(self, here: str, there: str) -> Example:
        """Replace the server address `here` by `there`."""
        parts = (self.source, self.expected, self.output)
        return Example(*(part.replace(here, there) for part in parts))

    def holds(self) -> bool:
        """Return whether the outputs are equal, except for varying parts and rounding."""
        expected, output = _TOKEN.split(self.expected), _TOKEN.split(self.output)
        return len(expected) == len(output) and all(map(_alike, expected, output))


def _alike(expected: str, output: str) -> bool:
    if re.fullmatch(_VARYING, expected):
        return re.fullmatch(_VARYING, output) is not None
    if _TOKEN.fullmatch(expected) and _TOKEN.fullmatch(output):
        return math.isclose(float(expected), float(output), rel_tol=0.02, abs_tol=0.02)
    return expected == output


def without_figures(outputs: Sequence[str]) -> str:
    """Join the outputs, with equal versions of models numbered equally, and without other figures.

    Training is not the same on all processors.
    """
    versions: dict[str, str] = {}
    text = re.sub(
        r"\b[0-9a-f]{12}\b",
        lambda match: versions.setdefault(match[0], f"<{'i' * (len(versions) + 1)}>"),
        "".join(outputs),
    )
    return re.sub(r" +", " ", re.sub(r"[+-]?\d[\d.,]*", "0", text))


def run(page: Path, *, write: bool = False) -> list[Example]:
    """Run the examples of `page` in order; with `write`, update their outputs in the page."""
    examples: list[Example] = []
    with server() as (address, _), tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ("checkpoints", "docs"):
            Path(name).symlink_to(ROOT / name)
        here = address.removeprefix("http://")
        names: dict[str, Any] = {}
        runs: dict[str, Callable[[str], Iterator[Example]]] = {
            "console": _run_commands,
            "pycon": lambda block: _run_statements(block, names),
        }

        def updated(match: re.Match[str]) -> str:
            kind, block = match.groups()
            results = [
                result.moved(here, PLACE) for result in runs[kind](block.replace(PLACE, here))
            ]
            examples.extend(results)
            outputs = "".join(result.source + result.output for result in results)
            return f"```{kind}\n{outputs}```"

        text = _BLOCK.sub(updated, page.read_text())
    if write:
        page.write_text(text)
    return examples


def _run_commands(block: str) -> Iterator[Example]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = list(_COMMAND.finditer(block))
    ends = [*(command.start() for command in commands[1:]), len(block)]
    for command, end in zip(commands, ends, strict=True):
        output = subprocess.run(  # noqa: S602  # commands of this documentation
            command[0].removeprefix("$ "),
            shell=True,
            executable="/bin/bash",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PATH": path, "TQDM_DISABLE": "1"},
            check=False,
            timeout=600,
        ).stdout.replace("\r", "")
        newline = "" if output.endswith("\n") or not output else "\n"
        yield Example(command[0], block[command.end() : end], output + newline)


def _run_statements(block: str, names: dict[str, Any]) -> Iterator[Example]:
    for statement in doctest.DocTestParser().get_examples(block):
        stdout = io.StringIO()
        with redirect_stdout(stdout):
            try:
                exec(compile(statement.source, "<page>", "single"), names)  # noqa: S102
            except Exception as error:  # noqa: BLE001  # pages show exceptions
                last = traceback.format_exception_only(error)[-1]
                print(f"Traceback (most recent call last):\n  ...\n{last}", end="")
        lines = statement.source.splitlines(keepends=True)
        source = "".join(("... " if n else ">>> ") + line for n, line in enumerate(lines))
        yield Example(source, statement.want, stdout.getvalue())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name).absolute(), write=True)
