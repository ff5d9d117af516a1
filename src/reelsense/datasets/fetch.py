"""Download, verification and unpacking of datasets.

Does not know their contents: `imdb` and `evaluation_sets` read them.
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
from reelsense.datasets.behaviours import read_data
from reelsense.datasets.evaluation_sets import read_evaluation_sets
from reelsense.errors import DatasetError, DownloadError

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download, and how to verify it."""

    url: str
    size: int  # bytes
    md5: str
    # The option that uses an existing copy.
    alternative: str = "--from FOLDER, a data/evaluation-sets from another machine"


_FILES = read_data("fetch.toml")
IMDB = Archive(**_FILES["imdb"])
EVALUATION_SETS = {path: Archive(**file) for path, file in _FILES["evaluation-sets"].items()}


def fetch_imdb(output: Path, copy: Path | None = None, archive: Archive = IMDB) -> Path:
    """Download and unpack the dataset; resume an interrupted download.

    `output` is the folder for the archive and the dataset, `copy` an archive or an unpacked folder
    to use instead of a download. Return the root folder of the dataset.

    Raises:
        DownloadError: The download failed.
        DatasetError: The archive or the folder is not the dataset.
    """
    if copy is not None and copy.is_dir():
        return imdb.find_root(copy)
    if (output / "aclImdb").is_dir() and copy is None:
        return imdb.find_root(output)
    if copy is not None and not copy.is_file():
        raise DatasetError(
            f"{copy} does not exist: pass an archive or an unpacked folder", code="no-data"
        )
    path = copy or download(archive, output / Path(archive.url).name)
    output.mkdir(parents=True, exist_ok=True)
    unpack(path, output)
    return imdb.find_root(output)


def fetch_evaluation_sets(
    output: Path, copy: Path | None = None, files: Mapping[str, Archive] = EVALUATION_SETS
) -> Path:
    """Download missing evaluation sets to `output`/evaluation-sets; return this folder.

    A folder `copy` is checked and returned instead. Interrupted downloads are resumed.

    Raises:
        DownloadError: A download failed.
        DatasetError: `copy` does not contain the sets.
    """
    if copy is not None:
        read_evaluation_sets(copy)
        return copy
    folder = output / "evaluation-sets"
    for path, file in files.items():
        download(file, folder / path)
    return folder


def download(archive: Archive, path: Path) -> Path:
    """Download `archive` to `path`, resuming from `path`.part; return `path`.

    Raises DownloadError if the download fails or the file is not the expected one.
    """
    if path.is_file() and _md5(path) == archive.md5:
        return path
    part = path.with_name(path.name + ".part")
    try:
        _download_rest(archive, part)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        if getattr(error, "code", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # it is longer than the file: start again
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"cannot download {archive.url} ({reason}): run again to resume, or pass "
            f"{archive.alternative}"
        ) from error
    if part.stat().st_size < archive.size:
        raise DownloadError(
            f"the download of {archive.url} stopped at {part.stat().st_size:,} of "
            f"{archive.size:,} bytes: run again to resume",
            code="download-incomplete",
        )
    if _md5(part) != archive.md5:
        part.unlink()
        raise DownloadError(
            f"the download of {archive.url} is damaged (expected md5 {archive.md5}): run again, or "
            f"pass {archive.alternative}",
            code="download-damaged",
        )
    os.replace(part, path)
    return path


def _download_rest(archive: Archive, part: Path) -> None:
    present = part.stat().st_size if part.exists() else 0
    if present >= archive.size:
        return
    headers = {"Range": f"bytes={present}-", "User-Agent": "reelsense"}
    request = urllib.request.Request(archive.url, headers=headers)  # noqa: S310  # our own constant
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310  # nosec B310
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        start = present if resumed else 0
        if response.length is not None and start + response.length != archive.size:
            part.unlink(missing_ok=True)
            raise DownloadError(
                f"{archive.url} has changed ({start + response.length:,} bytes, expected "
                f"{archive.size:,}): pass {archive.alternative}",
                code="download-changed",
            )
        part.parent.mkdir(parents=True, exist_ok=True)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                total=archive.size, initial=start, unit="B", unit_scale=True, desc=part.stem
            ) as bar,
        ):
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))


def unpack(archive: Path, output: Path) -> None:
    """Unpack the dataset's folder from `archive` to `output`/aclImdb, atomically.

    Raises DatasetError if the archive is damaged, is another one, or has unsafe members (devices,
    paths or links that leave the folder).
    """
    temporary = output / ".aclImdb.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar, tqdm(desc="unpack", unit=" files") as bar:
            for member in tar:
                tar.extract(member, temporary, filter="data")
                bar.update()
            while tar.fileobj is not None and tar.fileobj.read(_BLOCK):
                pass  # at the end gzip verifies its checksum
        root = imdb.find_root(temporary)
        shutil.rmtree(output / "aclImdb", ignore_errors=True)
        os.replace(root, output / "aclImdb")
    except DatasetError as error:
        raise DatasetError(
            f"{archive} does not contain the Large Movie Review Dataset", code="no-data"
        ) from error
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(f"cannot unpack {archive}: {error}", code="unreadable") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
