import hashlib
import io
import tarfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reelsense.datasets import imdb
from reelsense.datasets.fetch import IMDB, Archive, download, fetch_evaluation_sets, fetch_imdb
from reelsense.errors import DatasetError, DownloadError
from tests.local_server import serving


def archive_of(*extra: tarfile.TarInfo) -> bytes:
    """Return an archive with one review per folder, in the layout of the official one."""
    files = {}
    for part, folder, rating in [
        ("train", "neg", 1), ("train", "pos", 9), ("test", "neg", 2), ("test", "pos", 10)
    ]:  # fmt: skip
        files[f"aclImdb/{part}/{folder}/0_{rating}.txt"] = b"a film"
        files[f"aclImdb/{part}/urls_{folder}.txt"] = b"http://www.imdb.com/title/tt1/usercomments\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


CONTENT = archive_of()


class Host:
    """Serves `content`, by ranges if `ranges`; stops after `limit` bytes."""

    def __init__(self, content: bytes, limit: int | None = None, ranges: bool = True) -> None:
        self.content, self.limit, self.ranges = content, limit, ranges
        self.requested_ranges: list[str | None] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        byte_range = request.headers["Range"]
        self.requested_ranges.append(byte_range)
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if self.ranges else 0
        request.send_response(206 if self.ranges else 200)
        request.send_header("Content-Length", str(len(self.content) - start))
        request.end_headers()
        end = len(self.content) if self.limit is None else start + self.limit
        request.wfile.write(self.content[start:end])


def archive(address: str, content: bytes = CONTENT) -> Archive:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Archive(f"{address}/aclImdb_v1.tar.gz", len(content), digest)


def test_fetch_imdb_downloads_verifies_and_unpacks(tmp_path: Path) -> None:
    with serving(Host(CONTENT)) as address:
        root = fetch_imdb(tmp_path / "data", archive=archive(address))
    assert len(imdb.read_split(root, "train")) == 2
    assert fetch_imdb(tmp_path / "data") == root  # needs no network
    assert sorted(p.name for p in root.parent.iterdir()) == ["aclImdb", "aclImdb_v1.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_download_resumes(tmp_path: Path, ranges: bool) -> None:
    path = tmp_path / "a.tar.gz"
    with serving(Host(CONTENT, limit=100)) as address, pytest.raises(DownloadError, match="again"):
        download(archive(address), path)
    assert not path.exists()
    host = Host(CONTENT, ranges=ranges)
    with serving(host) as address:
        download(archive(address), path)
    assert host.requested_ranges == ["bytes=100-"]
    assert path.read_bytes() == CONTENT


def test_damaged_download_is_deleted(tmp_path: Path) -> None:
    damaged = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with serving(Host(damaged)) as address, pytest.raises(DownloadError, match="is damaged"):
        download(archive(address), tmp_path / "a.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_download_without_network_suggests_a_copy(tmp_path: Path) -> None:
    with serving(Host(b"")) as address:
        pass  # the server is gone when the block ends
    with pytest.raises(DownloadError, match=r"cannot download .*--from aclImdb_v1") as caught:
        fetch_imdb(
            tmp_path / "data", archive=replace(archive(address), alternative=IMDB.alternative)
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(DownloadError, match=r"cannot download .*--from FOLDER, a data/eval"):
        fetch_evaluation_sets(tmp_path / "data", files={"cad/new_dev.tsv": archive(address)})
    assert list(tmp_path.iterdir()) == []


def test_fetch_imdb_accepts_archive_or_folder(tmp_path: Path) -> None:
    given = tmp_path / "mine.tar.gz"
    given.write_bytes(CONTENT)
    root = fetch_imdb(tmp_path / "data", given)
    assert len(imdb.read_split(root, "test")) == 2
    assert fetch_imdb(tmp_path / "elsewhere", root.parent) == root
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(DatasetError, match="does not exist"):
        fetch_imdb(tmp_path / "data", tmp_path / "nothing")


def member_at(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 1
    return member


def link_to(target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("aclImdb/link")
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_fetch_imdb_rejects_another_archive(tmp_path: Path) -> None:
    given = tmp_path / "holiday.tar.gz"
    with tarfile.open(given, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("beach.jpg"))
    with pytest.raises(DatasetError, match="does not contain the Large Movie Review Dataset"):
        fetch_imdb(tmp_path / "data", given)


@pytest.mark.parametrize(
    "content",
    [
        archive_of(member_at("../outside")),
        archive_of(member_at("aclImdb/../../outside")),
        archive_of(link_to("../../../etc/passwd")),
        CONTENT[:-40],
        CONTENT[:200] + bytes(50) + CONTENT[250:],
        b"no archive",
    ],
    ids=["parent", "hidden parent", "link", "cut short", "damaged", "something else"],
)
def test_unsafe_or_damaged_archive_leaves_no_files(tmp_path: Path, content: bytes) -> None:
    given, out = tmp_path / "bad.tar.gz", tmp_path / "data"
    given.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot unpack .*bad\.tar\.gz"):
        fetch_imdb(out, given)
    assert list(out.iterdir()) == []
    assert not (tmp_path / "outside").exists()
