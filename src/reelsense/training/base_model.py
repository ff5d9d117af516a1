"""Pre-trained encoders from a folder or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from reelsense.errors import DownloadError
from reelsense.training.checkpoint import read_metadata

_FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def base_name(base: str) -> str:
    """Return the name of `base` for the metadata of a checkpoint, without local paths.

    It is the hub id, for the folder of an earlier stage the base of that stage, and for any other
    folder its name.
    """
    folder = Path(base)
    if not folder.is_dir():
        return base
    try:
        return str(read_metadata(folder)["recipe"]["base"])
    except (KeyError, TypeError):
        return folder.absolute().name


def find_base(base: str) -> Path:
    """Return the folder of `base`, a folder or a hub id; download it or use the hub's cache.

    Raises:
        DownloadError: The hub cannot be reached or has no such model.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        return Path(snapshot_download(base, allow_patterns=_FILES))
    except Exception as error:  # its client passes on any error of its transport
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(
            f"{base!r} is neither a folder nor available on the Hugging Face hub ({reason}): "
            "pass a folder with config.json, model.safetensors and tokenizer.json as --base-model",
            code="no-base-model",
        ) from error
