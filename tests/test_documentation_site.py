"""The documentation site that `make docs` builds."""

from __future__ import annotations

import mimetypes
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.local_server import serving
from tests.server.chromium import chromium, needs_chromium, overflows, screen

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow

RESOURCES = "return performance.getEntriesByType('resource').map((entry) => entry.name)"


def build(folder: Path, source: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build the site in `folder` from the pages in `source`, as `make docs` does."""
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-c", str(ROOT / "docs")]
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "sphinx", *options, str(source), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_has_every_page(site: Path) -> None:
    pages = [path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")]
    assert not [page for page in pages if not (site / page).with_suffix(".html").is_file()]
    reference = (site / "docs/reference.html").read_text()
    assert {
        f"reelsense.{name}"
        for name in ("Classifier.predict", "score_files", "errors.TextError", "Prediction")
    } <= set(re.findall(r'id="([\w.]+)"', reference))


def test_site_starts_at_the_readme(site: Path) -> None:
    assert (site / "README.html").is_file()
    assert 'url=README.html"' in (site / "index.html").read_text()


def test_site_has_llms_txt_with_the_pages_that_it_lists(site: Path) -> None:
    links = re.findall(r"\]\(([^)]*)\)", (site / "llms.txt").read_text())
    assert "docs/api.md" in links
    assert not [link for link in links if not (site / link).is_file()]


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["'](?:https?:)?//"""
        r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|icon|preload|preconnect|dns-prefetch))"""
        r"""[^>]*\bhref=["'](?:https?:)?//"""
        r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
    )
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > 30
    assert not [path for path in files if loaded.search(path.read_text())]


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_load_only_files_of_the_site(site: Path, tmp_path: Path, width: int) -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        request.send_response(200)
        request.send_header("Content-Type", mimetypes.guess_type(path)[0] or "text/plain")
        request.end_headers()
        request.wfile.write((site / path.lstrip("/")).read_bytes())

    with serving(respond) as host, chromium(tmp_path) as browser, screen(browser, width):
        for page in ("README.html", "docs/reference.html", "docs/openapi.html"):
            browser.get(f"{host}/{page}")
            resources = browser.execute_script(RESOURCES)
            assert len(resources) > 5
            assert not [name for name in resources if not name.startswith(f"{host}/")]
            assert not overflows(browser), page
        operations = browser.find_elements(By.CLASS_NAME, "opblock-summary-path")
        assert "/v1/predict" in [operation.text for operation in operations]


@pytest.mark.parametrize("link", ["no-such-page.md", "python.md#no-such-section"])
def test_build_fails_for_a_broken_link(link: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    (source / "docs" / "index.rst").write_text("Title\n=====\n\n.. toctree::\n\n   a\n   python\n")
    (source / "docs" / "python.md").write_text("# Python\n")
    page = source / "docs" / "a.md"
    page.write_text("# A\n[link](python.md#python)\n")
    done = build(tmp_path / "right", source)
    assert done.returncode == 0, done.stderr
    page.write_text(f"# A\n[link]({link})\n")
    done = build(tmp_path / "wrong", source)
    assert done.returncode != 0
    assert link.partition("#")[2] in done.stderr
