"""The bundle: the folder in which a model travels from training to serving.

    model.onnx       the network; a large one has its weights in model.onnx.data-1, -2, ... beside
    tokenizer.json   its tokenizer
    MODEL_CARD.md    what it is, for people
    report.html      how good it is, for people; not every bundle has one
    manifest.json    format version, labels, window, calibration, thresholds, metrics, provenance,
                     SHA-256 of every file

Reads, verifies and writes such folders. Knows neither how a network is run nor how it is trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reelsense.errors import BundleError
from reelsense.onnx_files import write_split

FORMAT = 3
"""The newest layout this version reads. Format 1 had no calibration; format 2 had one calibration
for texts of every length, and every network in one file. Such a bundle is still written as format
2, which older versions read."""
_SIMPLE = 2

DEFAULT_BUNDLE = Path(__file__).parent / "models" / "default"
"""The bundle that comes with the package."""

NETWORK, TOKENIZER, CARD, MANIFEST = (
    "model.onnx",
    "tokenizer.json",
    "MODEL_CARD.md",
    "manifest.json",
)
REPORT = "report.html"
"""Not in every bundle, and read only where the manifest lists it."""
_PARTS = (NETWORK, TOKENIZER, CARD)
FILES = (*_PARTS, REPORT, MANIFEST)
"""All names but those of WEIGHTS."""
WEIGHTS = re.compile(re.escape(NETWORK) + r"\.data-[1-9]\d*")
"""Names of the further files of a network (ONNX external data)."""
MAX_FILE_SIZE = 90_000_000
"""Bytes of a file of the network. Services that host Git repositories reject files above 100 MB."""
_LATER_KEYS = ("ratings", "int8_activations", "length_groups")
"""Of the manifest, which the first bundles of its format did without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How logits become probabilities that mean what they say, and what that was fitted on."""

    temperature: float
    """Logits are divided by this (Guo et al. 2017): above 1 where the network is too sure."""
    window_exponent: float = 0.0
    """The mean logits of n windows are multiplied by n to this power: n windows that agree say
    more than one."""
    data: str = ""
    """What it was fitted on, for people."""
    reviews: int = 0
    """How many of these there were."""
    ece_before: float | None = None
    """Expected calibration error (15 bins) on them, of the plain softmax."""
    ece_after: float | None = None
    """The same after calibration; cross-fitted, so that it is not optimistic."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """For a risk, the least probability at which an answer counts as decided."""

    risk: float
    """At most this share of the decided answers is wrong."""
    score: float | None
    """None: no threshold could be shown to keep to the risk, so that every answer is unsure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthGroup:
    """Calibration and decision thresholds for the texts of a range of lengths."""

    name: str
    """A short stable identifier: "sentence", "short", "long"; "all" if there is only one group."""
    max_tokens: int | None
    """Tokens of the longest texts of the group, without [CLS] and [SEP]; None: no upper bound. The
    group begins where the next shorter one ends."""
    calibration: Calibration | None = None
    """None: the plain softmax."""
    thresholds: tuple[Threshold, ...] = ()
    """In ascending order of risk; empty: the model has no thresholds."""

    def threshold(self, risk: float) -> float | None:
        """Return the least score of a decided answer at `risk`; None: every answer is unsure.

        It is that of the highest listed risk that is not above `risk`.
        """
        scores = [each.score for each in self.thresholds if each.risk <= risk]
        return scores[-1] if scores else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskControl:
    """When to say "unsure", so that the answers that are left keep to a risk."""

    method: str
    confidence: float
    """The chance that a threshold keeps to its risk, over the draw of the held-out reviews."""
    reviews: int
    """The held-out reviews the thresholds were found on."""
    default_risk: float | None
    """The risk where the user names none; None: everything is decided."""
    thresholds: tuple[Threshold, ...]
    """In the order of risk, lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What manifest.json says about a model."""

    name: str
    labels: tuple[str, ...]
    """In the order of the network's outputs."""
    window: int
    """The most tokens the network reads at once, [CLS] and [SEP] included."""
    ratings: tuple[int, ...] = ()
    """The stars of the network's further outputs, behind those of the labels; none: no stars."""
    calibration: Calibration | None = None
    """For texts longer than all `length_groups`. None: the plain softmax."""
    risk_control: RiskControl | None = None
    """Method, confidence and default risk for texts of every length; the thresholds are for texts
    longer than all `length_groups`. None: the model cannot say "unsure"."""
    length_groups: tuple[LengthGroup, ...] = ()
    """Calibration and thresholds of shorter texts, in ascending order of `max_tokens`. Empty in
    bundles of format 1 and 2: texts of every length share `calibration` and `risk_control`."""
    int8_activations: bool = False
    """The network was found to keep its labels where the inputs of its linear layers are rounded
    to int8; False: its weights alone are int8."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was measured when the bundle was made, and on what."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """The recipe, the base model and the versions of the tools."""
    version: str = ""
    """Twelve hex digits of the SHA-256 over all that decides the answers; set when written."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every other file; set when written."""

    @property
    def groups(self) -> tuple[LengthGroup, ...]:
        """All length groups, at least one, in ascending order of length; the last is unbounded."""
        last = LengthGroup(
            name="long" if self.length_groups else "all",
            max_tokens=None,
            calibration=self.calibration,
            thresholds=self.risk_control.thresholds if self.risk_control else (),
        )
        return (*self.length_groups, last)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    manifest: Manifest
    network: bytes | Path
    """An ONNX model, or its file: int64 `input_ids` and `attention_mask` (n, length) to float32
    logits (n, labels + ratings). Of a file there is one copy less in memory."""
    tokenizer: str
    """The JSON of a Hugging Face tokenizer."""
    card: str
    report: str | None = None
    """The page that `reelsense evaluate` writes, without texts of reviews."""
    weights: dict[str, bytes | Path] = field(default_factory=dict)
    """The further files of the network by their names, which match WEIGHTS. In memory, or beside
    the file `network`."""

    @property
    def network_files(self) -> dict[str, bytes | Path]:
        """All files of the network, by their names."""
        return {NETWORK: self.network} | self.weights

    @property
    def size(self) -> int:
        """The bytes of the network."""
        parts = self.network_files.values()
        return sum(part.stat().st_size if isinstance(part, Path) else len(part) for part in parts)

    def in_memory(self) -> Bundle:
        """Return the bundle with its network in memory, to be sent to other machines."""
        weights: dict[str, bytes | Path] = {n: _content(part) for n, part in self.weights.items()}
        return replace(self, network=_content(self.network), weights=weights)

    @contextmanager
    def loadable(self) -> Iterator[bytes | Path]:
        """Yield the network as engines load it: its bytes, or a file with the weights beside it.

        Engines find further files by the path of the first, so a network in memory that has any is
        written to a temporary folder until the block ends.
        """
        if isinstance(self.network, Path) or not self.weights:
            yield self.network
            return
        with TemporaryDirectory(prefix="reelsense-") as folder:
            _write_network(Path(folder), self)
            yield Path(folder) / NETWORK


def read_bundle(folder: Path) -> Bundle:
    """Read the bundle in `folder` and check every byte of it.

    Raises BundleError naming the file that is missing, changed or newer than this version reads.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder: there is no model there")
    if not (folder / MANIFEST).exists():
        raise BundleError(f"{folder} is not a bundle: there is no {MANIFEST} in it")
    manifest = _parse(folder / MANIFEST, _read(folder / MANIFEST))
    reported = REPORT in manifest.files
    weights = list(filter(WEIGHTS.fullmatch, manifest.files))
    for name in (*_PARTS, *weights, *([REPORT] if reported else [])):
        if _digest(folder / name) != manifest.files.get(name):
            raise BundleError(
                f"{folder / name} is not the file the bundle was made with (its SHA-256 differs "
                f"from {MANIFEST}): copy the bundle again"
            )
    tokenizer, card = (_read(folder / name).decode() for name in (TOKENIZER, CARD))
    report = _read(folder / REPORT).decode() if reported else None
    folder = folder.absolute()
    further: dict[str, bytes | Path] = {name: folder / name for name in weights}
    return Bundle(manifest, folder / NETWORK, tokenizer, card, report, further)


def bundle_paths(folder: Path) -> list[Path]:
    """Return where the files of a bundle in `folder` are, or would be."""
    return [*(folder / name for name in FILES), *sorted(folder.glob(f"{NETWORK}.data-*"))]


def check_target(folder: Path) -> None:
    """Raise BundleError if a bundle cannot be written to `folder`: something else is there."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is a file: name a folder for the bundle")
    if folder.exists() and any(not _is_ours(path.name) for path in folder.iterdir()):
        raise BundleError(f"{folder} holds something else than a bundle: name another folder")


def _is_ours(name: str) -> bool:
    return name in FILES or WEIGHTS.fullmatch(name) is not None


def write_bundle(folder: Path, bundle: Bundle, *, max_file_size: int = MAX_FILE_SIZE) -> Manifest:
    """Write `bundle` as a new `folder`, whole or not at all.

    Args:
        folder: Where to write. An earlier bundle there is replaced.
        bundle: The bundle. Its network is written as it is if it has further files already.
        max_file_size: A network of more bytes in one file is split into files of at most that
            size, except that a single larger matrix gets a file of its own.

    Returns:
        The manifest as written, with version and files.

    Raises:
        BundleError: `folder` is a file, or holds something other than a bundle.
        MissingExtraError: The network has to be split, which needs onnx.
    """
    folder = folder.absolute()
    check_target(folder)
    beside, before = (folder.with_name(f".{folder.name}.{kind}") for kind in ("part", "before"))
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        manifest = _write_files(beside, bundle, max_file_size)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.replace(folder, before)
    os.replace(beside, folder)
    shutil.rmtree(before, ignore_errors=True)
    return manifest


def _write_files(folder: Path, bundle: Bundle, max_file_size: int) -> Manifest:
    texts = {TOKENIZER: bundle.tokenizer, CARD: bundle.card}
    if bundle.report is not None:
        texts[REPORT] = bundle.report
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    if not bundle.weights and bundle.size > max_file_size:
        network = write_split(_content(bundle.network), folder / NETWORK, max_file_size)
    else:
        network = _write_network(folder, bundle)
    deciding = [folder / name for name in (*sorted(network), TOKENIZER)]
    sealed = _serialize(
        _known(bundle.manifest)
        | {
            "format": FORMAT if len(network) > 1 or bundle.manifest.length_groups else _SIMPLE,
            "version": _version(bundle.manifest, deciding),
            "files": {name: _digest(folder / name) for name in (*network, *texts)},
        }
    )
    (folder / MANIFEST).write_bytes(sealed)
    return _parse(folder / MANIFEST, sealed)


def _write_network(folder: Path, bundle: Bundle) -> list[str]:
    """Write the files of the network into `folder` as they are; return their names."""
    for name, part in bundle.network_files.items():
        if isinstance(part, Path):
            shutil.copyfile(part, folder / name)
        else:
            (folder / name).write_bytes(part)
    return list(bundle.network_files)


def _known(manifest: Manifest) -> dict[str, Any]:
    """What `manifest` says, without what earlier versions did not know where it says nothing."""
    content = asdict(manifest)
    return {key: value for key, value in content.items() if value or key not in _LATER_KEYS}


def _version(manifest: Manifest, network_and_tokenizer: list[Path]) -> str:
    content = _known(manifest)
    keys = ("labels", "window", "calibration", "risk_control", *_LATER_KEYS)
    deciding = {key: content[key] for key in keys if key in content}
    digest = hashlib.sha256()
    for path in network_and_tokenizer:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)  # adds to it
    digest.update(json.dumps(deciding, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, which need not fit into memory."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _content(part: bytes | Path) -> bytes:
    return _read(part) if isinstance(part, Path) else part


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _serialize(content: dict[str, Any]) -> bytes:
    """Return the one way to write a manifest with this content, sealed with its own SHA-256.

    Its format is FORMAT unless `content` names one.
    """
    body = json.dumps({"format": FORMAT} | content, indent=2, sort_keys=True)
    sealed = json.loads(body) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    return (json.dumps(sealed, indent=2, sort_keys=True) + "\n").encode()


def _parse(path: Path, raw: bytes) -> Manifest:
    try:
        content = json.loads(raw)
        version = content["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path} is not a bundle's manifest: {error!r}") from error
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(
            f"{path} has format {version}; this reelsense reads up to {FORMAT}: install a newer one"
        )
    content.pop("sha256", None)
    if raw != _serialize(content):
        raise BundleError(f"{path} was changed after the bundle was made: copy the bundle again")
    del content["format"]
    try:
        content["labels"] = tuple(content["labels"])
        content["ratings"] = tuple(content.get("ratings", ()))
        if content.get("calibration"):
            content["calibration"] = Calibration(**content["calibration"])
        if content.get("risk_control"):
            content["risk_control"] = _risk_control(**content["risk_control"])
        groups = content.get("length_groups", ())
        content["length_groups"] = tuple(_length_group(**group) for group in groups)
        return Manifest(**content)
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path} lacks a key or has an unknown one: {error}") from error


def _risk_control(thresholds: list[dict[str, Any]], **rest: Any) -> RiskControl:
    return RiskControl(**rest, thresholds=_thresholds(thresholds))


def _length_group(
    calibration: dict[str, Any] | None, thresholds: list[dict[str, Any]], **rest: Any
) -> LengthGroup:
    return LengthGroup(
        **rest,
        calibration=Calibration(**calibration) if calibration else None,
        thresholds=_thresholds(thresholds),
    )


def _thresholds(entries: list[dict[str, Any]]) -> tuple[Threshold, ...]:
    return tuple(Threshold(**entry) for entry in entries)
