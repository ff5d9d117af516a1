"""Where the pre-trained encoder comes from: a folder, or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from reelsense.errors import DownloadError
from reelsense.training.checkpoint import read_metadata

_FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def base_name(base: str) -> str:
    """Return what a checkpoint tells of the `base` it began with; where that lies is not told.

    Of the hub's its id, of a folder that `reelsense pretrain` made what that began with, of any
    other folder its name.
    """
    folder = Path(base)
    if not folder.is_dir():
        return base
    try:
        return str(read_metadata(folder)["recipe"]["base"])
    except (KeyError, TypeError):
        return folder.absolute().name


def find_base(base: str) -> Path:
    """Return the folder of `base`: itself if it is one, else its download from the hub.

    What was downloaded once is taken from the hub's cache. Raises DownloadError in one line if
    the hub cannot be reached or has no such model.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        return Path(snapshot_download(base, allow_patterns=_FILES))
    except Exception as error:  # its client lets through what its transport raises
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise DownloadError(
            f"{base!r} is no folder here and cannot be had from the Hugging Face hub ({reason}): "
            "pass a folder with config.json, model.safetensors and tokenizer.json as --base PATH"
        ) from error
