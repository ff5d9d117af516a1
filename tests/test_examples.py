"""The pages say what is: their examples run, their tables are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reelsense.server import contract, create_app
from reelsense.server.config import Settings, flag, variable
from reelsense.server.kinds import FIELD_CODES, KINDS
from tests import examples, tiny

PAGES = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["api.md", "explanations.md", "operations.md", "python.md"])
def test_examples_give_what_the_page_says(page: str) -> None:
    wrong = [each for each in examples.run(PAGES / page) if not each.holds()]
    assert not wrong, "python -m tests.examples writes the outputs of a page anew"


def test_another_output_is_noticed() -> None:
    told = 'curl\nX-Request-ID: 0123456789abcdef0123456789abcdef\n{"score":0.9731,"label":"good"}\n'

    def holds(found: str) -> bool:
        return examples.Example("", told, found).holds()

    assert holds(told)
    assert holds(told.replace("0.9731", "0.9822").replace("0123", "cdef"))
    assert not holds(told.replace("0.9731", "0.9"))
    assert not holds(told.replace("good", "bad"))
    assert not holds(told.replace("0123", "wxyz"))
    assert not holds(told + "more\n")
    assert not holds("")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table of docs/api.md below `heading`, without its head."""
    below = (PAGES / "api.md").read_text().split(heading, 1)[1].lstrip()
    table = re.search(r"(?:^\|.*\|\n)+", below, re.MULTILINE)
    assert table
    lines = table[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_every_route_is_listed() -> None:
    paths = contract.document(create_app(model=tiny.classifier()))["paths"]
    routes = {f"{method.upper()} {path}" for path, each in paths.items() for method in each}
    assert {row[0] for row in rows("# The HTTP interface")} == routes


def test_every_error_is_listed() -> None:
    listed = {(code, int(status)) for code, status, _ in rows("'text: should be a valid string")}
    assert listed == {(kind.code, kind.status) for kind in KINDS.values()}
    assert {row[0] for row in rows("The codes of wrong fields")} == set(FIELD_CODES)


def default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def test_every_setting_is_listed() -> None:
    assert [row[:4] for row in rows("## Settings")] == [
        [flag(name), variable(name), name, default(field.default)]
        for name, field in Settings.model_fields.items()
    ]
