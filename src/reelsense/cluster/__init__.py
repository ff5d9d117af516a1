"""Bulk scoring and replicated serving on a Ray cluster. Needs the extra [ray]."""

from __future__ import annotations

from reelsense.extras import importable

for _module in ("ray", "a2wsgi", "pyarrow"):
    importable(_module, "ray")
