"""Runs the examples of a page of the documentation, to check their outputs or to write them.

`python -m tests.examples docs/api.md` writes those of a page anew. In ```console blocks a line with
$ is a command, in ```pycon blocks one with >>> a statement; a server listens where the pages say.
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
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import server

PLACE = "127.0.0.1:5000"

_BLOCK = re.compile(r"^```(console|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)

# What differs from run to run; then numbers, which differ a little between processors.
_VARYING = "|".join(
    (
        r"\b[0-9a-f]{32}\b",
        r"dur=[\d.]+",
        r"Content-Length: \d+",
        r"\"time_taken\":\"[\d.e-]+",
        r"\"timestamp\": \"[^\"]+",
        r"ms\": [\d.]+",
        r"RateLimit-Reset: \d+",
        r"\"(?:id|created|ended|expires)\": ?\"[^\"]+",
    )
)
_TOKEN = re.compile(rf"({_VARYING}|\d+\.\d+(?:e-?\d+)?)")


@dataclass(frozen=True)
class Example:
    """A command or a statement of a page, and what the page says comes of it."""

    source: str
    expected: str
    found: str

    def moved(self, here: str, there: str) -> Example:
        """Return the example as it is where the server listens `there`."""
        parts = (self.source, self.expected, self.found)
        return Example(*(part.replace(here, there) for part in parts))

    def holds(self) -> bool:
        """Say whether what was found is what the page says, but for what varies."""
        expected, found = _TOKEN.split(self.expected), _TOKEN.split(self.found)
        return len(expected) == len(found) and all(map(_alike, expected, found))


def _alike(expected: str, found: str) -> bool:
    if re.fullmatch(_VARYING, expected):
        return re.fullmatch(_VARYING, found) is not None
    if _TOKEN.fullmatch(expected) and _TOKEN.fullmatch(found):
        return math.isclose(float(expected), float(found), rel_tol=0.02, abs_tol=0.02)
    return expected == found


def run(page: Path, *, write: bool = False) -> list[Example]:
    """Run the examples of `page`, one after the other; with `write`, put what is found into it."""
    text = page.read_text()
    examples: list[Example] = []
    with server() as (address, _), tempfile.TemporaryDirectory() as folder, chdir(folder):
        here = address.removeprefix("http://")
        names: dict[str, Any] = {}
        runs: dict[str, Callable[[str], Iterator[Example]]] = {
            "console": _run_commands,
            "pycon": lambda block: _run_statements(block, names),
        }
        for kind, block in _BLOCK.findall(text):
            made = [each.moved(here, PLACE) for each in runs[kind](block.replace(PLACE, here))]
            examples += made
            text = text.replace(block, "".join(each.source + each.found for each in made))
    if write:
        page.write_text(text)
    return examples


def _run_commands(block: str) -> Iterator[Example]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = list(_COMMAND.finditer(block))
    ends = [*(command.start() for command in commands[1:]), len(block)]
    for command, end in zip(commands, ends, strict=True):
        found = subprocess.run(  # noqa: S602  # commands of our own pages
            command[0].removeprefix("$ "),
            shell=True,
            executable="/bin/bash",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PATH": path},
            check=False,
            timeout=120,
        ).stdout.replace("\r", "")
        newline = "" if found.endswith("\n") or not found else "\n"
        yield Example(command[0], block[command.end() : end], found + newline)


def _run_statements(block: str, names: dict[str, Any]) -> Iterator[Example]:
    for statement in doctest.DocTestParser().get_examples(block):
        shown = io.StringIO()
        with redirect_stdout(shown):
            try:
                exec(compile(statement.source, "<page>", "single"), names)  # noqa: S102
            except Exception as error:  # noqa: BLE001  # a page shows what is raised
                last = traceback.format_exception_only(error)[-1]
                print(f"Traceback (most recent call last):\n  ...\n{last}", end="")
        lines = statement.source.splitlines(keepends=True)
        source = "".join(("... " if n else ">>> ") + line for n, line in enumerate(lines))
        yield Example(source, statement.want, shown.getvalue())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name).absolute(), write=True)
