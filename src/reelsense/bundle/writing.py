"""Write bundles."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from reelsense.bundle.manifest import MANIFEST, Manifest
from reelsense.bundle.reading import (
    CARD,
    EVALUATION,
    NETWORK,
    REFERENCE_PROFILE,
    TOKENIZER,
    TRAINING_TEXTS,
    Bundle,
    file_digest,
    is_bundle_file,
)
from reelsense.bundle.serialization import (
    decisive_content,
    manifest_content,
    needed_format,
    parse,
    serialize,
)
from reelsense.errors import BundleError
from reelsense.files import exchange
from reelsense.onnx_files import write_split

MAX_FILE_SIZE = 90_000_000  # bytes, for files of the network: Git hosts reject more than 100 MB


def check_target(folder: Path, *, overwrite: bool = True) -> None:
    """Raise BundleError unless a bundle can be written to `folder`.

    That is, it is missing, empty or a bundle (code `not-a-bundle-folder`); a bundle only with
    `overwrite` (code `bundle-exists`).
    """
    code = "not-a-bundle-folder"
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is a file: choose a folder for the bundle", code=code)
    if folder.exists() and any(not is_bundle_file(path.name) for path in folder.iterdir()):
        raise BundleError(
            f"{folder} contains files that are not part of a bundle: choose another folder",
            code=code,
        )
    if not overwrite and folder.exists() and any(folder.iterdir()):
        raise BundleError(
            f"{folder} contains a bundle: choose another folder, or replace it with --overwrite",
            code="bundle-exists",
        )


def write_bundle(folder: Path, bundle: Bundle, *, max_file_size: int = MAX_FILE_SIZE) -> Manifest:
    """Write `bundle` to `folder` atomically.

    Args:
        folder: The folder to write. An earlier bundle there is replaced: in one step on Linux, on
            other systems with a moment in which the folder does not exist.
        bundle: The bundle. Its network is not split if it already has external data.
        max_file_size: A network of more bytes is split into files of at most this size; a larger
            single matrix gets its own file.

    Returns:
        The manifest as written, with version and files.

    Raises:
        BundleError: `folder` is a file, or contains files that are not part of a bundle.
        MissingExtraError: The network has to be split, which needs onnx.
    """
    folder = folder.resolve()  # a link stays
    check_target(folder)
    new, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("part", "before"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        manifest = _write_files(new, bundle, max_file_size)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists() and exchange(new, folder):
        old = new
    else:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
    return manifest


def _write_files(folder: Path, bundle: Bundle, max_file_size: int) -> Manifest:
    others = {CARD: bundle.card.encode()}
    if not bundle.models:
        others[TOKENIZER] = bundle.tokenizer.encode()
    if bundle.evaluation is not None:
        others[EVALUATION] = bundle.evaluation.encode()
    if bundle.training_texts is not None:
        others[TRAINING_TEXTS] = bundle.training_texts
    if bundle.profile is not None:
        others[REFERENCE_PROFILE] = bundle.profile.encode()
    for name, content in others.items():
        (folder / name).write_bytes(content)
    if not bundle.weights and not bundle.models and bundle.size > max_file_size:
        network = write_split(bundle.network_content(NETWORK), folder / NETWORK, max_file_size)
    else:
        network = bundle.write_network(folder)
    raw = serialize(
        manifest_content(bundle.manifest)
        | {
            "format": needed_format(bundle.manifest, split_network=len(network) > 1),
            "version": content_version(bundle.manifest, [folder / name for name in network]),
            "files": {name: file_digest(folder / name) for name in (*network, *others)},
        }
    )
    (folder / MANIFEST).write_bytes(raw)
    return parse(folder / MANIFEST, raw)


def content_version(manifest: Manifest, network: Iterable[Path]) -> str:
    """Return the version of a bundle, from the files of its `network` and all that it decides by.

    The tokenizer is expected next to the network. A cascade has neither.
    """
    paths = sorted(network)
    digest = hashlib.sha256()
    for path in (*paths, *(path.with_name(TOKENIZER) for path in paths[:1])):
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)  # updates `digest`
    digest.update(decisive_content(manifest))
    return digest.hexdigest()[:12]
