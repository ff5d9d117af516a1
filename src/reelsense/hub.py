"""Exchange bundles, and the checkpoints they were exported from, with the Hugging Face hub.

A repository contains the files of one bundle and its model card once more as README.md. It may
contain the checkpoint too, which Transformers loads. What comes from a repository is not trusted:
callers verify the bundle like any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import filter as matching
from pathlib import Path

from reelsense.bundle import FILES, NETWORK, TOKENIZER, TRAINING_TEXTS, Bundle, bundle_paths
from reelsense.errors import HubError
from reelsense.extras import importable

_BUNDLE = (*FILES, f"{NETWORK}.data-*")
# Repeated from `training.checkpoint`, which imports PyTorch.
_METADATA = "reelsense.json"
_CHECKPOINT = ("config.json", "model.safetensors", "tokenizer_config.json", _METADATA)
_SHARED = (TOKENIZER, TRAINING_TEXTS)  # files of a bundle that its checkpoint has too


def push(
    bundle: Bundle,
    folder: Path,
    repository: str,
    *,
    checkpoint: Path | None,
    branch: str,
    public: bool,
) -> str:
    """Upload the `bundle` in `folder`, as one commit; return the address of the commit.

    Files of an earlier bundle or checkpoint that this one does not have are deleted.

    Args:
        bundle: The verified bundle.
        folder: Its files.
        repository: NAMESPACE/NAME. It is created if it does not exist.
        checkpoint: The folder of its checkpoint; None: upload only the bundle.
        branch: The branch to commit to.
        public: Whether a repository that is created is visible to everybody.

    Raises:
        HubError: The upload failed, or the bundle was not exported from `checkpoint`.
        MissingExtraError: huggingface_hub is not installed.
    """
    paths = [path for path in bundle_paths(folder) if path.exists()]
    if checkpoint:
        _check_checkpoint(bundle, checkpoint, str(checkpoint))
        paths += [checkpoint / name for name in _CHECKPOINT]
    with _reported(f"cannot push to {repository}"):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi()
        api.create_repo(repository, private=not public, exist_ok=True)
        present = api.list_repo_files(repository, revision=branch)
        old = {name for pattern in (*_BUNDLE, *_CHECKPOINT) for name in matching(present, pattern)}
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd("README.md", bundle.card.encode()),
                *(CommitOperationAdd(path.name, path) for path in paths),
                *(CommitOperationDelete(name) for name in old - {path.name for path in paths}),
            ],
            commit_message=f"{bundle.manifest.name} {bundle.manifest.version}",
            revision=branch,
        )
        return commit.commit_url


def pull(
    repository: str, folder: Path, *, revision: str | None = None, checkpoint: bool = False
) -> None:
    """Download the files of a bundle to `folder`.

    Args:
        repository: NAMESPACE/NAME.
        folder: Where to write them. They are not verified.
        revision: A branch, tag or commit; None: the default branch.
        checkpoint: Whether to download the checkpoint too.

    Raises:
        HubError: The download failed.
        MissingExtraError: huggingface_hub is not installed.
    """
    with _reported(f"cannot pull {repository}"):
        from huggingface_hub import snapshot_download

        patterns = [*_BUNDLE, *(_CHECKPOINT if checkpoint else ())]
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=patterns)


def copy_checkpoint(bundle: Bundle, folder: Path, repository: str, output: Path) -> None:
    """Copy the checkpoint that was pulled to `folder` with `bundle` to the new folder `output`.

    Raises:
        HubError: The repository contains no checkpoint of the bundle.
    """
    _check_checkpoint(bundle, folder, repository)
    output.mkdir(parents=True)
    for name in (*_CHECKPOINT, *_SHARED):
        if (folder / name).exists():
            shutil.copy(folder / name, output)


def _check_checkpoint(bundle: Bundle, folder: Path, name: str) -> None:
    """Raise HubError unless `folder`, called `name`, contains the checkpoint of `bundle`."""
    if missing := [file for file in (*_CHECKPOINT, TOKENIZER) if not (folder / file).is_file()]:
        raise HubError(
            f"{name} contains no checkpoint of `reelsense train`: {missing[0]} is missing",
            code="not-a-checkpoint",
        )
    try:
        metadata = json.loads((folder / _METADATA).read_bytes())
        own = [metadata["recipe"], metadata["base_sha256"], metadata.get("validation")]
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(f"{_METADATA} in {name} is damaged", code="not-a-checkpoint") from error
    made = bundle.manifest.provenance
    if own != [made.get("recipe"), made.get("base_sha256"), made.get("training_validation")]:
        raise HubError(
            f"{bundle.manifest.name} {bundle.manifest.version} was not exported from the "
            f"checkpoint in {name}: expected the one that `reelsense export` converted",
            code="other-checkpoint",
        )


@contextmanager
def _reported(problem: str) -> Iterator[None]:
    """Turn any error of the client, which passes on those of its transport, into a HubError."""
    importable("huggingface_hub", "hub", "the Hugging Face hub")
    try:
        yield
    except Exception as error:
        reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        raise HubError(
            f"{problem}: {reason}. Expected NAMESPACE/NAME of a repository that you may use; "
            "authenticate with HF_TOKEN or `hf auth login`"
        ) from error
