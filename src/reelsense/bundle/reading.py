"""Read and verify the files of a bundle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from reelsense.bundle.installed import locate
from reelsense.bundle.manifest import MANIFEST, Manifest, ModelReference
from reelsense.bundle.serialization import parse
from reelsense.bundle.validation import check
from reelsense.errors import BundleError

T = TypeVar("T")

NETWORK = "model.onnx"
TOKENIZER = "tokenizer.json"
CARD = "MODEL_CARD.md"
EVALUATION = "evaluation.json"  # optional
TRAINING_TEXTS = "training-texts.bin"  # optional
REFERENCE_PROFILE = "reference-profile.json"  # optional
_REQUIRED = (NETWORK, TOKENIZER, CARD)
_OLD_REPORT = "report.html"  # in older bundles; verified but not used
FILES = (
    *_REQUIRED,
    EVALUATION,
    TRAINING_TEXTS,
    REFERENCE_PROFILE,
    MANIFEST,
    _OLD_REPORT,
)  # all except those that match WEIGHTS
WEIGHTS = re.compile(re.escape(NETWORK) + r"\.data-[1-9]\d*")  # external data of the network


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    manifest: Manifest
    # An ONNX model or its file: int64 `input_ids` and `attention_mask` (n, length) to float32
    # logits (n, labels + ratings). A file saves one copy in memory.
    network: bytes | Path
    tokenizer: str  # JSON of a Hugging Face tokenizer
    card: str
    evaluation: str | None = None  # content of evaluation.json
    training_texts: bytes | None = None  # their hashes (see `datasets.text_hashes`), if known
    profile: str | None = None  # content of reference-profile.json (see `drift.profile`)
    # External data of the network by file name, in memory or in the folder of `network`.
    weights: dict[str, bytes | Path] = field(default_factory=dict)
    models: tuple[Bundle, ...] = ()  # of a cascade, whose `network` and `tokenizer` are empty

    @property
    def network_files(self) -> dict[str, bytes | Path]:
        """All files of the network by name; none for a cascade."""
        return {} if self.models else {NETWORK: self.network} | self.weights

    @property
    def size(self) -> int:
        """Size of the network in bytes; of a cascade, that of both networks."""
        return sum(map(_size, self.network_files.values())) + sum(m.size for m in self.models)

    def reference(self, name: str) -> ModelReference:
        """Return how a cascade refers to this bundle, installed as `name`."""
        decisive = (TOKENIZER, *self.network_files)
        files = {file: self.manifest.files[file] for file in sorted(decisive)}
        return ModelReference(name=name, version=self.manifest.version, files=files)

    def in_memory(self) -> Bundle:
        """Return the bundle with its network in memory, to send it to other machines.

        Raises BundleError like `read_bundle`.
        """
        content = {name: self.network_content(name) for name in self.network_files}
        return replace(
            self,
            network=content.pop(NETWORK, b""),
            weights=dict(content),
            models=tuple(model.in_memory() for model in self.models),
        )

    @contextmanager
    def loadable(self) -> Iterator[bytes | Path]:
        """Yield the network in a form that engines can load: bytes, or the path of its file.

        These are the bytes that were verified: a file can change meanwhile, and a network can refer
        to files that are not part of the bundle. Engines find external data by the path of the
        network, so a network that has some is copied to a temporary folder until the block ends.
        Raises BundleError like `read_bundle`, and for a cascade (code `cascade`).
        """
        if self.models:
            raise BundleError(
                f"{self.manifest.name} is a cascade and has no network: choose one of its models, "
                f"{' or '.join(model.manifest.name for model in self.models)}",
                code="cascade",
            )
        if not self.weights:
            yield self.network_content(NETWORK)
            return
        with TemporaryDirectory(prefix="reelsense-") as folder:
            self.write_network(Path(folder))
            yield Path(folder) / NETWORK

    def network_content(self, name: str) -> bytes:
        """Return the content of a file of the network, verified if it is read now."""
        part = self.network_files[name]
        if isinstance(part, bytes):
            return part
        content = _read(part)
        _check_digest(part, hashlib.sha256(content).hexdigest(), self.manifest)
        return content

    def write_network(self, folder: Path) -> list[str]:
        """Write the files of the network to `folder` and return their names."""
        for name in self.network_files:
            (folder / name).write_bytes(self.network_content(name))
        return list(self.network_files)


def read_bundle(folder: Path) -> Bundle:
    """Read the bundle in `folder` and verify every byte of it.

    All of it comes from one bundle, even if `write_bundle` replaces the folder in the meantime.

    Raises:
        BundleError: `folder` is not a bundle (code `no-bundle`), a file is missing or unreadable
            (`bundle-incomplete`) or was changed (`bundle-changed`), or the format is too new
            (`bundle-too-new`). The message names the file.
    """
    return retry_if_replaced(folder, lambda: _read_bundle(folder))


def retry_if_replaced(folder: Path, load: Callable[[], T]) -> T:
    """Return `load()`, which reads the bundle in `folder`.

    If it raises BundleError because the folder was replaced in the meantime, it is called again.
    """
    while True:
        before = _identity(folder)
        try:
            return load()
        except BundleError:
            if _identity(folder) == before:
                raise


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what differs between two folders of this name, one after the other."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns


def _read_bundle(folder: Path) -> Bundle:
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} {problem}: expected the folder of a bundle", code="no-bundle")
    if not (folder / MANIFEST).exists():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}", code="no-bundle")
    manifest = parse(folder / MANIFEST, _read(folder / MANIFEST))
    check(manifest)
    cascade = manifest.cascade
    names = [name for name in manifest.files if is_bundle_file(name)]
    weights = {name for name in names if WEIGHTS.fullmatch(name)}
    for name in {_OLD_REPORT, *weights} & set(names) | (set() if cascade else {NETWORK}):
        _check_digest(folder / name, file_digest(folder / name), manifest)

    def content(name: str) -> bytes:
        read = _read(folder / name)
        _check_digest(folder / name, hashlib.sha256(read).hexdigest(), manifest)
        return read

    def text(name: str) -> str:
        try:
            return content(name).decode()
        except UnicodeDecodeError as error:
            raise BundleError(f"{folder / name} is not UTF-8 text") from error

    folder = folder.absolute()
    return Bundle(
        manifest,
        b"" if cascade else folder / NETWORK,
        tokenizer="" if cascade else text(TOKENIZER),
        card=text(CARD),
        evaluation=text(EVALUATION) if EVALUATION in names else None,
        training_texts=content(TRAINING_TEXTS) if TRAINING_TEXTS in names else None,
        profile=text(REFERENCE_PROFILE) if REFERENCE_PROFILE in names else None,
        weights={name: folder / name for name in sorted(weights)},
        models=tuple(_read_model(folder, model) for model in cascade.models) if cascade else (),
    )


def _read_model(folder: Path, reference: ModelReference) -> Bundle:
    """Read a model of the cascade in `folder`."""
    bundle = read_bundle(locate(reference, folder.parent))
    if bundle.reference(reference.name) != reference:
        raise BundleError(
            f"{reference.name} {reference.version} differs from the model that {folder} was made "
            "with: install that one, or make the cascade again with `reelsense cascade`",
            code="cascade-model-changed",
        )
    return bundle


def _check_digest(path: Path, digest: str, manifest: Manifest) -> None:
    if digest != manifest.files.get(path.name):
        raise BundleError(
            f"{path} was changed after the bundle was written (its SHA-256 differs from "
            f"{MANIFEST}): copy the bundle again",
            code="bundle-changed",
        )


def bundle_paths(folder: Path) -> list[Path]:
    """Return the paths of all files that a bundle in `folder` may have."""
    # Not glob, which fails if the folder is replaced meanwhile.
    found: list[str] = []
    with suppress(OSError):
        found = [path.name for path in folder.iterdir()]
    weights = sorted(name for name in found if name.startswith(f"{NETWORK}.data-"))
    return [folder / name for name in (*FILES, *weights)]


def is_bundle_file(name: str) -> bool:
    """Return whether a file of this name belongs to a bundle."""
    return name in FILES or WEIGHTS.fullmatch(name) is not None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file without loading it into memory."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _size(part: bytes | Path) -> int:
    if isinstance(part, bytes):
        return len(part)
    try:
        return part.stat().st_size
    except OSError as error:
        raise _unreadable(part, error) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{path} cannot be read ({error.strerror}): copy the bundle again", code="bundle-incomplete"
    )
