"""The HTTP server: JSON interfaces and web pages. Needs the extra [serve], but no PyTorch.

Does not know how texts are scored: every prediction comes from a `Classifier`.
"""

from __future__ import annotations

from reelsense.extras import importable

for _module in ("flask", "flask_openapi3", "gunicorn", "pydantic", "sqlalchemy", "waitress"):
    importable(_module, "serve", "the server")
