"""The documentation is correct: examples print the documented output, tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reelsense.server.api import openapi
from reelsense.server.app import create_app
from reelsense.server.middleware.problem_types import FIELD_CODES, PROBLEM_TYPES
from reelsense.server.settings import Settings, flag, variable
from tests import examples, tiny

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs"
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "models/*/*.md")
    for path in ROOT.glob(pattern)
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "api.md",
        "explanations.md",
        "integrations.md",
        "model-versions.md",
        "operations.md",
        "python.md",
        "walk-through.md",
    ],
)
def test_examples_print_the_documented_output(page: str) -> None:
    wrong = [example for example in examples.run(PAGES / page) if not example.holds()]
    assert not wrong, "python -m tests.examples updates the outputs of a page"


@pytest.mark.slow
def test_feedback_walk_through_promotes_and_rolls_back() -> None:
    results = examples.run(PAGES / "feedback-walk-through.md")
    documented = examples.without_figures([example.expected for example in results])
    assert examples.without_figures([example.output for example in results]) == documented
    *_, promoted, with_new, rolled_back, with_old, _ = (example.output for example in results)
    (old,) = re.findall(r"champion: (\w+)", rolled_back)
    (new,) = re.findall(r"champion: (\w+)", promoted)
    assert old != new
    assert (f'"{new}"' in with_new, f'"{old}"' in with_old) == (True, True)


def anchors(document: Path) -> set[str]:
    """Return the anchors of `document`."""
    if document.suffix == ".html":
        return set(re.findall(r'\bid="([^"]+)"', document.read_text()))
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_have_a_target(document: Path) -> None:
    for link in re.findall(r"\]\((?!\w+:)([^)\s]*)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_llms_txt_lists_every_page_of_the_documentation() -> None:
    text = (PAGES / "llms.txt").read_text()
    assert text.startswith("# reelsense\n\n> ")
    links = set(re.findall(r"\]\(([^)]*)\)", text))
    assert all((PAGES / link).is_file() for link in links)
    assert {path.name for path in PAGES.glob("*.md")} <= links


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert re.findall(r"^([a-z-]+):.* ## .", makefile, re.MULTILINE) == sorted(
        targets.split(), key=lambda target: makefile.index(f"\n{target}:")
    )


def test_example_holds_for_equal_output_only() -> None:
    documented = (
        'curl\nX-Request-ID: 0123456789abcdef0123456789abcdef\n{"score":0.9731,"label":"good"}\n'
    )

    def holds(output: str) -> bool:
        return examples.Example("", documented, output).holds()

    assert holds(documented)
    assert holds(documented.replace("0.9731", "0.9822").replace("0123", "cdef"))
    assert not holds(documented.replace("0.9731", "0.9"))
    assert not holds(documented.replace("good", "bad"))
    assert not holds(documented.replace("0123", "wxyz"))
    assert not holds(documented + "more\n")
    assert not holds("")


def test_outputs_without_figures_still_tell_versions_apart() -> None:
    first, second = "0123456789ab", "cdef01234567"
    documented = examples.without_figures([f"champion: {first}  93.3%\n", f"{second} {first}\n"])
    same = examples.without_figures([f"champion: {second} 9.1%\n", f"{first}  {second}\n"])
    assert same == documented
    for output in (f"champion: {first} 9%\n{first} {first}\n", f"rejected: {first} 9%\n"):
        assert examples.without_figures([output]) != documented


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table of docs/api.md after `heading`, without its header."""
    below = (PAGES / "api.md").read_text().split(heading, 1)[1].lstrip()
    table = re.search(r"(?:^\|.*\|\n)+", below, re.MULTILINE)
    assert table
    lines = table[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_every_route_is_listed() -> None:
    paths = openapi.document(create_app(model=tiny.classifier()))["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {row[0] for row in rows("# HTTP API")} == routes


def test_every_error_is_listed() -> None:
    listed = {(code, int(status)) for code, status, _ in rows("'text: should be a valid string")}
    assert listed == {
        (problem_type.code, problem_type.status) for problem_type in PROBLEM_TYPES.values()
    }
    assert {row[0] for row in rows("Codes of invalid fields")} == set(FIELD_CODES)


def default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def test_every_setting_is_listed() -> None:
    assert [row[:4] for row in rows("## Settings")] == [
        [flag(name), variable(name), name, default(field.default)]
        for name, field in Settings.model_fields.items()
    ]
