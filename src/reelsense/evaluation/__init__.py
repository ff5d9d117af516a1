"""Evaluation on labelled texts. Needs the extra [eval], but no PyTorch."""

from __future__ import annotations

from reelsense.extras import importable

for _module in ("scipy", "matplotlib", "cleanlab"):
    importable(_module, "eval")
