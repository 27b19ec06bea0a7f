"""Whatever bytes a file has, reading it ends in documents and drops: no reader raises, with or without a sandbox."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file
from llmkit.text.document import Document

NAMES = ["a", "a.txt", "a.html", "a.pdf", "a.docx", "a.eml", "a.ipynb", "a.jsonl", "a.json", "a.csv", "a.epub", "a.tar"]
MAGIC = [
    b"", b"%PDF-1.4\n", b"PAR1", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00",
    b"BZh91AY&SY", b"WARC/1.0\r\n", b"<html>", b"From: a\r\nDate: b\r\nTo: c\r\n", b'{"text": "', b"\xff\xfe",
]  # fmt: skip
DIRECT = ReadOptions(sandbox=False)
in_one_folder = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def saved(write: object) -> bytes:
    out = io.BytesIO()
    write(out)  # type: ignore[operator]
    return out.getvalue()


def _docx(out: io.BytesIO) -> None:
    document = docx.Document()
    document.add_paragraph("段落 and words")
    document.save(out)


def _pptx(out: io.BytesIO) -> None:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[0]).shapes.title.text = "題名"
    deck.save(out)


def _xlsx(out: io.BytesIO) -> None:
    book = openpyxl.Workbook()
    book.active.append(["名", "value"])
    book.active.append(["一", 1])
    book.save(out)


def _zip(out: io.BytesIO) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.txt", f"member {number} " * 20)


def _tar(out: io.BytesIO) -> None:
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number in range(3):
            entry = tarfile.TarInfo(f"{number}.txt")
            entry.size = 20
            archive.addfile(entry, io.BytesIO(b"twenty bytes of text"))


def _parquet(out: io.BytesIO) -> None:
    parquet.write_table(pa.table({"text": ["一", "two"] * 50}), out)


def _eml(out: io.BytesIO) -> None:
    out.write(b"From: a@example.com\r\nDate: today\r\nSubject: =?utf-8?b?5LiA?=\r\n")
    out.write(b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nbody\r\n--x\r\n')
    out.write(b"Content-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n--x--\r\n")


def _warc(out: io.BytesIO) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nSome words."
    out.write(b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.com/\r\n")
    out.write(b"WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n")
    out.write(b"Content-Length: %d\r\n\r\n%s\r\n\r\n" % (len(body), body))


def _ipynb(out: io.BytesIO) -> None:
    out.write(json.dumps({"cells": [{"cell_type": "code", "source": ["x = 1"]}], "metadata": {}}).encode())


WHOLE = {
    f".{maker.__name__[1:]}": saved(maker) for maker in (_docx, _pptx, _xlsx, _zip, _tar, _parquet, _eml, _warc, _ipynb)
}


def check(path: Path) -> list[Document | Drop]:
    items = list(read_file(path, DIRECT))
    assert items
    for item in items:
        item.id  # noqa: B018  # a source that is no text has none
        if isinstance(item, Drop):
            assert item.reason
            assert "llmkit-" not in item.detail  # the name of a temporary folder would differ from run to run
        else:
            item.text.encode("utf-8")
            assert list(item.pages) == sorted(item.pages)
            assert all(start <= len(item.text) for start in item.pages)
    return items


@in_one_folder
@given(st.sampled_from(NAMES), st.sampled_from(MAGIC), st.binary(max_size=600))
def test_random_bytes_end_in_a_drop_or_a_document(tmp_path: Path, name: str, magic: bytes, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(magic + data)
    check(path)
    path.write_bytes(gzip.compress(magic + data))
    check(path)


@pytest.mark.parametrize("suffix", WHOLE)
def test_a_whole_file_is_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "whole").write_bytes(WHOLE[suffix])
    if suffix != ".ipynb":  # told by its name
        assert any(isinstance(item, Document) for item in check(tmp_path / "whole"))


@settings(in_one_folder, max_examples=25)
@pytest.mark.parametrize("suffix", WHOLE)
@given(data=st.data())
def test_a_damaged_file_ends_in_a_drop_or_a_document(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    whole = WHOLE[suffix]
    content = bytearray(whole[: data.draw(st.integers(1, len(whole)), label="cut")])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6), label="places"):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    check(path)
