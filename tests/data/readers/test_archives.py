import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ArchiveLimits, ReadOptions
from llmkit.data.readers.compressed import Budget, copy_bounded, unpacking
from llmkit.data.readers.table import read_file, read_source
from llmkit.errors import StorageError
from llmkit.text.document import Document

SMALL = ArchiveLimits(members=20, member_bytes=100_000, total_bytes=300_000, ratio=50, ratio_from_bytes=50_000)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def read(path: Path, limits: ArchiveLimits | None = None) -> list[Document | Drop]:
    return list(read_file(path, ReadOptions(archives=limits or ArchiveLimits(), sandbox=False)))


def outcome(path: Path, items: list[Document | Drop]) -> dict[str, str]:
    """Text or reason of each item, by its place in the archive."""
    return {
        item.source.removeprefix(str(path)): item.text if isinstance(item, Document) else item.reason for item in items
    }


def make_zip(path: Path, members: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_is_read_as_what_is_in_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"表.csv{suffix}"
    path.write_bytes(COMPRESS[suffix]("都市,雨\n東京,1528\n".encode()))
    (item,) = read(path)
    assert isinstance(item, Document)
    assert (item.source, item.text) == (str(path), "都市: 東京\n雨: 1528")


@pytest.mark.parametrize("suffix", COMPRESS)
def test_streams_that_follow_one_another_are_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"first, ") + COMPRESS[suffix](b"second"))
    assert outcome(path, read(path)) == {"": "first, second"}


def test_zstd_that_begins_with_a_frame_to_skip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<L", 4) + b"meta"
    path.write_bytes(skipped + COMPRESS[".zst"](b"words " * 100_000) + skipped)
    assert outcome(path, read(path)) == {"": "words " * 100_000}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_that_is_cut_is_a_drop(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](random.Random(0).randbytes(50_000).hex().encode())[:30_000])
    assert outcome(path, read(path)) == {"": "parse_error"}


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_the_members_of_a_tar_are_documents(tmp_path: Path, suffix: str) -> None:
    members = {"docs/猫.txt": "吾輩は猫である。".encode(), "b.json": b'[{"text": "one"}]', ".git/config": b"x"}
    path = tmp_path / f"data{suffix}.bin"  # told by its content
    path.write_bytes(COMPRESS.get(suffix, bytes)(make_tar(members)))
    assert outcome(path, read(path)) == {
        "!/docs/猫.txt": "吾輩は猫である。",
        "!/b.json": "one",
        "!/.git/config": "hidden",
    }


def test_the_members_of_a_zip_are_documents(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"deep.txt": "deep down"}).read_bytes()
    members: dict[str, bytes | str] = {
        "a.txt": "first", "folder/b.txt.gz": gzip.compress(b"packed"), "inner.zip": inner, "id_rsa": "secret",
        "key.json/.env.gz": gzip.compress(b"A=1"), "secrets.json.gz": gzip.compress(b"{}"), "photo.jpg": b"\xff\xd8",
        "node_modules/x.js": "no", "empty/": "",
    }  # fmt: skip
    path = make_zip(tmp_path / "a.zip", members)
    assert outcome(path, read(path)) == {
        "!/a.txt": "first", "!/folder/b.txt.gz": "packed", "!/inner.zip!/deep.txt": "deep down", "!/id_rsa": "secret",
        "!/key.json/.env.gz": "secret", "!/secrets.json.gz": "secret", "!/photo.jpg": "binary",
        "!/node_modules/x.js": "generated",
    }  # fmt: skip


def test_japanese_names_of_a_zip_made_on_windows_are_read(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "a.zip", {"NAME.txt": "本文"}).read_bytes()
    path = tmp_path / "b.zip"
    path.write_bytes(data.replace(b"NAME.txt", "資料".encode("cp932") + b".txt"))
    assert outcome(path, read(path)) == {"!/資料.txt": "本文"}


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/etc/passwd", "C:\\x.txt", "..\\up.txt"])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    for data in (make_zip(tmp_path / "z", {name: "x", "good.txt": "good"}).read_bytes(), make_tar({name: b"x"})):
        path.write_bytes(data)
        items = read(path)
        assert isinstance(items[0], Drop)
        assert items[0].reason == "unsafe_path"
    assert not (tmp_path.parent / "up.txt").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(name + ".txt")
            entry.type, entry.linkname = kind, str(tmp_path / "secret.txt")
            archive.addfile(entry)
    assert set(outcome(path, read(path)).values()) == {"not_a_file"}
    link = zipfile.ZipInfo("link.txt")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, str(tmp_path / "secret.txt"))
    assert [item.reason for item in read(tmp_path / "a.zip") if isinstance(item, Drop)] == ["not_a_file"]


def test_a_member_that_grows_too_much_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    ramble = random.Random(0).randbytes(40_000).hex()
    path = make_zip(tmp_path / "a.zip", {"bomb.txt": bytes(90_000), "ok.txt": "fine", "more.txt": ramble})
    found = outcome(path, read(path, SMALL))
    assert (found["!/bomb.txt"], found["!/ok.txt"], found["!/more.txt"]) == ("compression_bomb", "fine", ramble)


def test_a_size_in_the_header_is_not_believed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"bomb.txt": bytes(90_000), "ok.txt": "fine"})
    true, false = struct.pack("<L", 90_000), struct.pack("<L", 10)
    path.write_bytes(path.read_bytes().replace(true, false))
    found = outcome(path, read(path, SMALL))
    assert found["!/bomb.txt"] == "parse_error"  # Python stops at the size that is claimed, and the checksum is wrong
    assert found["!/ok.txt"] == "fine"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_stream_that_grows_too_much_is_refused_before_it_fills_the_disk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b" " * 5_000_000))
    for limits, reason in (
        (ArchiveLimits(ratio=50, ratio_from_bytes=50_000), "compression_bomb"),
        (ArchiveLimits(member_bytes=100_000), "too_large"),
        (ArchiveLimits(total_bytes=100_000), "too_large"),
    ):
        assert outcome(path, read(path, limits)) == {"": reason}


def test_what_is_passed_over_in_a_compressed_tar_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(make_tar({"x.png": bytes(5_000_000), "after.txt": b"after"})))
    assert outcome(path, read(path, SMALL)) == {"!/x.png": "binary", "": "compression_bomb"}


def test_the_whole_archive_has_a_limit_whatever_is_nested_in_it(tmp_path: Path) -> None:
    noise = random.Random(1)
    inner = make_zip(tmp_path / "i", {f"{n}.txt": noise.randbytes(30_000).hex() for n in range(3)}).read_bytes()
    path = make_zip(tmp_path / "a.zip", {f"{n}.zip": inner for n in range(4)}, zipfile.ZIP_STORED)
    limits = ArchiveLimits(member_bytes=200_000, total_bytes=400_000)
    items = read(path, limits)
    assert isinstance(items[-1], Drop)
    assert (items[-1].source, items[-1].reason) == (str(path), "too_large")
    assert sum(isinstance(item, Document) for item in items) < 12


def test_members_and_depth_are_limited(tmp_path: Path) -> None:
    many = make_zip(tmp_path / "many.zip", {f"{n}.txt": "x" for n in range(21)})
    assert outcome(many, read(many, SMALL))[""] == "too_many_members"
    data = make_zip(tmp_path / "0.zip", {"a.txt": "deep"}).read_bytes()
    for level in range(3):
        data = make_zip(tmp_path / "n.zip", {f"{level}.zip": data}).read_bytes()
    assert [item.reason for item in read(tmp_path / "n.zip") if isinstance(item, Drop)] == ["too_deep"]


def test_a_zip_in_a_method_that_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.txt": "text"}, zipfile.ZIP_BZIP2)
    assert outcome(path, read(path)) == {"!/a.txt": "unsupported"}


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_zip(tmp_path / "a.zip", {"a.txt": "text"}).read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    assert outcome(tmp_path / "a.zip", read(tmp_path / "a.zip")) == {"!/a.txt": "encrypted"}


def test_a_name_that_comes_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    assert [item.text if isinstance(item, Document) else item.reason for item in read(path)] == ["one", "repeated"]


@pytest.mark.parametrize("cut", [30, 100, 600, 1500])
def test_a_truncated_archive_is_a_drop_and_what_came_before_stands(tmp_path: Path, cut: int) -> None:
    members = {f"{n}.txt": b"some words " * 60 for n in range(4)}
    whole = make_tar(members)[: 4 * 1536]
    (tmp_path / "a.tar").write_bytes(whole[:-cut])
    items = read(tmp_path / "a.tar")
    assert isinstance(items[-1], Drop)
    assert items[-1].reason in ("parse_error", "binary")
    assert sum(isinstance(item, Document) for item in items) >= 2
    zipped = make_zip(tmp_path / "b.zip", dict(members)).read_bytes()
    (tmp_path / "a.zip").write_bytes(zipped[: -cut // 4])
    assert outcome(tmp_path / "a.zip", read(tmp_path / "a.zip")) == {"": "parse_error"}


def test_an_open_document_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.odt", {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>"})
    assert outcome(path, read(path)) == {"": "unsupported"}


def test_every_source_can_be_read_again(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "i.zip", {"deep.txt": "deep", "other.txt": "other"}).read_bytes()
    tarred = gzip.compress(make_tar({"rows.jsonl": b'{"text": "a"}\n{"text": "b"}', "i.zip": inner}))
    outer = tmp_path / "odd!" / "b.zip"
    outer.parent.mkdir()
    make_zip(outer, {"t.tgz": tarred, "plain.txt": "plain", "i.zip": inner})
    for item in [item for item in read(outer) if isinstance(item, Document)]:
        again = [other for other in read_source(item.source) if other.id == item.id]
        assert again == [item]
    assert list(read_source(f"{outer}!/nothing.txt")) == []
    (gone,) = read_source(str(tmp_path / "gone.txt"))
    assert isinstance(gone, Drop)


def test_nothing_of_an_archive_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = make_zip(tmp_path / "a.zip", {"a.txt": "one", "b.txt": "two"})
    reading = read_file(path)
    next(reading)
    assert list(scratch.iterdir())
    reading.close()
    assert not list(scratch.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_an_error_and_no_drop() -> None:
    with pytest.raises(StorageError, match="no room to unpack the archive"), unpacking("the archive"):
        copy_bounded(io.BytesIO(bytes(1_000_000)), Path("/dev/full"), Budget(ArchiveLimits(), 1_000_000))
