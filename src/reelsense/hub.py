"""Exchange bundles with repositories of the Hugging Face hub.

A repository contains the files of one bundle, and its model card once more as README.md. What comes
from a repository is not trusted: callers verify it like any other bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelsense.bundle import FILES, NETWORK, Bundle, bundle_paths
from reelsense.errors import HubError
from reelsense.extras import importable

_PATTERNS = [*FILES, f"{NETWORK}.data-*"]

_METADATA = """---
library_name: reelsense
pipeline_tag: text-classification
tags:
- reelsense
- onnx
---
"""


def push(bundle: Bundle, folder: Path, repository: str, *, branch: str, public: bool) -> str:
    """Upload the `bundle` in `folder`, as one commit; return the address of the commit.

    Args:
        bundle: The verified bundle.
        folder: Its files.
        repository: NAMESPACE/NAME. It is created if it does not exist.
        branch: The branch to commit to.
        public: Whether a repository that is created is visible to everybody.

    Raises:
        HubError: The upload failed.
        MissingExtraError: huggingface_hub is not installed.
    """
    with _reported(f"cannot push to {repository}"):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi()
        api.create_repo(repository, private=not public, exist_ok=True)
        card = (_METADATA + bundle.card).encode()
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd("README.md", card),
                *(
                    CommitOperationAdd(path.name, path)
                    for path in bundle_paths(folder)
                    if path.exists()
                ),
            ],
            commit_message=f"{bundle.manifest.name} {bundle.manifest.version}",
            revision=branch,
        )
        return commit.commit_url


def pull(repository: str, folder: Path, *, revision: str | None = None) -> None:
    """Download the files of a bundle to `folder`.

    Args:
        repository: NAMESPACE/NAME.
        folder: Where to write them. They are not verified.
        revision: A branch, tag or commit; None: the default branch.

    Raises:
        HubError: The download failed.
        MissingExtraError: huggingface_hub is not installed.
    """
    with _reported(f"cannot pull {repository}"):
        from huggingface_hub import snapshot_download

        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=_PATTERNS)


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
