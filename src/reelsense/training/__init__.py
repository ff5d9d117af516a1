"""Fine-tuning and export. Needs the extra [train]; nothing else in reelsense imports PyTorch."""

from __future__ import annotations

from reelsense.extras import importable

for _module in ("torch", "transformers", "accelerate"):
    importable(_module, "train")
