"""Settings of Sphinx, which builds the documentation site: `make docs`.

The source folder is the root of the repository, so that links work here as in the repository. The
site loads nothing from other hosts. (Sphinx, because MkDocs has had no release since 2024.)
"""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path

from sphinx.application import Sphinx

import reelsense

ROOT = Path(__file__).resolve().parents[1]
SWAGGER_UI = resources.files("flask_openapi3_swagger") / "templates" / "swagger"

project = "reelsense"
version = release = reelsense.__version__
project_copyright = "reelsense authors"
root_doc = "docs/index"
include_patterns = ["*.md", "benchmarks/RESULTS.md", "docs/**", "src/**/MODEL_CARD.md"]
exclude_patterns = ["docs/images/**"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"
suppress_warnings = ["myst.header"]  # pages may begin at any level

html_theme = "furo"
html_title = f"reelsense {version}"
html_copy_source = html_show_sourcelink = False


def add_files(app: Sphinx, error: Exception | None) -> None:
    """Add the start page, llms.txt with the pages that it lists, and the API explorer."""
    site = Path(app.outdir)
    if error or app.builder.format != "html":
        return
    (site / "index.html").write_text('<meta http-equiv="refresh" content="0; url=README.html">\n')
    for name in app.env.found_docs:
        if (source := ROOT / f"{name}.md").exists():
            shutil.copy(source, site / f"{name}.md")
    listed = (ROOT / "docs" / "llms.txt").read_text()
    (site / "llms.txt").write_text(
        re.sub(r"\]\((\.\./)?", lambda m: "](" if m[1] else "](docs/", listed)
    )
    document = (ROOT / "docs" / "openapi.json").read_text()
    (site / "docs" / "openapi.json").write_text(document)
    with resources.as_file(SWAGGER_UI) as folder:
        shutil.copytree(folder, site / "_static" / "swagger-ui", dirs_exist_ok=True)
    (site / "_static" / "openapi.js").write_text(f"window.openapi = {document}")


def setup(app: Sphinx) -> None:
    """Register the files that are not pages."""
    app.connect("build-finished", add_files)
