"""Bring datasets to this machine: download, verify, unpack.

Knows the files to download; `imdb` and `evaluation_sets` know what is in them.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tqdm import tqdm

from reelsense.datasets import imdb
from reelsense.datasets.evaluation_sets import read_evaluation_sets
from reelsense.errors import DatasetError, DownloadError

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download, how to know that it arrived whole, and what would do instead."""

    url: str
    size: int
    """Bytes."""
    md5: str
    instead: str = "--from FOLDER, a data/evaluation-sets from another machine"
    """What names a copy."""


IMDB = Archive(
    url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    size=84_125_825,
    md5="7c2ac02c03563afcf9b574c7e56c153a",
    instead="--from aclImdb_v1.tar.gz, brought from another machine",
)
"""As https://ai.stanford.edu/~amaas/data/sentiment/ offers it (size and md5 of 2026-11)."""

_GITHUB = "https://raw.githubusercontent.com"
_CONTRAST = f"{_GITHUB}/allenai/contrast-sets/HEAD/IMDb/data"
_CAD = f"{_GITHUB}/acmi-lab/counterfactually-augmented-data/HEAD/sentiment"
_SST2 = f"{_GITHUB}/forest-snow/alps/HEAD/data/SST-2"

EVALUATION_SETS = {
    "contrast_dev/original.tsv": Archive(
        f"{_CONTRAST}/dev_original.tsv", 92_558, "bdae197f6b62229738fd0edbae653fda"
    ),
    "contrast_dev/contrast.tsv": Archive(
        f"{_CONTRAST}/dev_contrast.tsv", 95_036, "4d1d736dd7c95476dc1a8fa6194bc52c"
    ),
    "cad/orig_dev.tsv": Archive(
        f"{_CAD}/orig/dev.tsv", 232_171, "5199afd520c9946be103542766a16b53"
    ),
    "cad/new_dev.tsv": Archive(f"{_CAD}/new/dev.tsv", 231_308, "74bf3a688a970a5bee00696e486bb901"),
    "cad/orig_train.tsv": Archive(
        f"{_CAD}/orig/train.tsv", 1_585_691, "c2363b52ecf6ccb993209ba191666421"
    ),
    "cad/new_train.tsv": Archive(
        f"{_CAD}/new/train.tsv", 1_575_790, "3e088544c29a228c976a49b698a5775d"
    ),
    "imdb_label_audit.json": Archive(
        f"{_GITHUB}/cleanlab/label-errors/HEAD/mturk/imdb_mturk.json",
        373_974,
        "dd438eb307445bff6be78d97c360c202",
    ),
    "sst2/dev.tsv": Archive(f"{_SST2}/dev.tsv", 94_931, "268856b487b2a31a28c0a93daaff7288"),
    "sst2/train.tsv": Archive(f"{_SST2}/train.tsv", 3_806_081, "2923754b672f7ec42a27bafabdfd5e3c"),
}
"""Every file by its place in the folder. Each lies on its repository's default branch ("HEAD");
size and md5 say that it is the one measured on: allenai/contrast-sets e2b87316,
acmi-lab/counterfactually-augmented-data 6f232a1d, cleanlab/label-errors 6d5d6b31,
forest-snow/alps 3c7ef2c9."""


def fetch_imdb(out: Path, given: Path | None = None, archive: Archive = IMDB) -> Path:
    """Put the unpacked dataset into `out` and return its root folder.

    Downloads `archive` unless `given` names an archive or an unpacked folder; goes on where an
    interrupted download stopped. Raises DownloadError if that is impossible, DatasetError if what
    came is not the dataset.
    """
    if given is not None and given.is_dir():
        return imdb.find_root(given)
    if (out / "aclImdb").is_dir() and given is None:
        return imdb.find_root(out)
    if given is not None and not given.is_file():
        raise DatasetError(f"{given} does not exist: pass an archive or an unpacked folder")
    found = given or download(archive, out / Path(archive.url).name)
    out.mkdir(parents=True, exist_ok=True)
    unpack(found, out)
    return imdb.find_root(out)


def fetch_evaluation_sets(
    out: Path, given: Path | None = None, files: Mapping[str, Archive] = EVALUATION_SETS
) -> Path:
    """Put the sets that robustness is measured on into `out`/evaluation-sets; return that folder.

    Downloads those of `files` that are not there and right; goes on where an interrupted download
    stopped. Where `given` names a folder that holds them, checks it and returns it. Raises
    DownloadError if a file cannot be had, DatasetError if `given` is no such folder.
    """
    if given is not None:
        read_evaluation_sets(given)
        return given
    folder = out / "evaluation-sets"
    for place, file in files.items():
        download(file, folder / place)
    return folder


def download(archive: Archive, path: Path) -> Path:
    """Download `archive` to `path`, resuming what `path`.part already holds; return `path`.

    Its folder is made once there is something to put into it. Raises DownloadError in one line that
    says what to do instead.
    """
    if path.is_file() and _md5(path) == archive.md5:
        return path
    part = path.with_name(path.name + ".part")
    try:
        _download_rest(archive, part)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        if getattr(error, "code", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # more than the file now has: begin anew
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{archive.url} cannot be downloaded ({reason}): run again to go on, or pass "
            f"{archive.instead}"
        ) from error
    if part.stat().st_size < archive.size:
        raise DownloadError(
            f"the download of {archive.url} broke off at {part.stat().st_size:,} of "
            f"{archive.size:,} bytes: run again to go on"
        )
    if _md5(part) != archive.md5:
        part.unlink()
        raise DownloadError(
            f"{archive.url} came damaged (its md5 is not {archive.md5}): run again, or pass "
            f"{archive.instead}"
        )
    os.replace(part, path)
    return path


def _download_rest(archive: Archive, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= archive.size:
        return
    headers = {"Range": f"bytes={have}-", "User-Agent": "reelsense"}
    request = urllib.request.Request(archive.url, headers=headers)  # noqa: S310  # our own constant
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  # nosec B310
        resumed = answer.status == 206
        start = have if resumed else 0
        if answer.length is not None and start + answer.length != archive.size:
            part.unlink(missing_ok=True)
            raise DownloadError(
                f"{archive.url} now gives another file ({start + answer.length:,} bytes, not "
                f"{archive.size:,}): pass {archive.instead}"
            )
        part.parent.mkdir(parents=True, exist_ok=True)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                total=archive.size, initial=start, unit="B", unit_scale=True, desc=part.stem
            ) as bar,
        ):
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))


def unpack(archive: Path, out: Path) -> None:
    """Unpack the dataset's folder from `archive` into `out`/aclImdb, whole or not at all.

    Members and links that would leave `out`, and devices, are refused (tarfile's data filter).
    """
    beside = out / ".aclImdb.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar, tqdm(desc="unpack", unit=" files") as bar:
            for member in tar:
                tar.extract(member, beside, filter="data")
                bar.update()
            while tar.fileobj is not None and tar.fileobj.read(_BLOCK):
                pass  # to the end, where gzip compares its checksum
        root = imdb.find_root(beside)
        shutil.rmtree(out / "aclImdb", ignore_errors=True)
        os.replace(root, out / "aclImdb")
    except DatasetError as error:
        raise DatasetError(f"{archive} does not hold the Large Movie Review Dataset") from error
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
