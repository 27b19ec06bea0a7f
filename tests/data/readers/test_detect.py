import gzip
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from llmkit.data.readers.detect import HEAD_BYTES, Detected, detect

ROWS = '{"text": "a"}\n\n{"text": "b"}\n'
MAIL = "Received: from x\r\n by y\r\nFrom: a@example.com\r\nSubject: s\r\n\r\nbody\r\n"


def detected(path: Path, content: str | bytes, fields: tuple[str, ...] | None = ("text",)) -> Detected:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return detect(path, path.read_bytes()[:HEAD_BYTES], None, fields)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("nameless", ROWS, "jsonl"),
        ("rows.txt", ROWS, "jsonl"),
        ("rows.json", ROWS, "jsonl"),
        ("one.json", '{"text": "a"}\n', "json"),
        ("pretty.json", json.dumps({"a": {"b": 1}}, indent=1), "json"),
        ("log.txt", '{"level": 1}\n{"level": 2}\n', "text"),
        ("code.py", ROWS, "text"),
        ("notes.md", "<html><p>x</p></html>", "text"),
        ("page", "<!doctype html><p>x</p>", "html"),
        ("mail.txt", MAIL, "eml"),
        ("mail", "From a@example.com Wed May  1\n" + MAIL, "eml"),
        ("play.txt", "From: the beginning\nto the end\n", "text"),
        ("list.txt", "From: a\nTo: b\nCc: c\n", "text"),
        ("mail.md", MAIL, "text"),
        ("paper.txt", "%PDF-1.7 ...", "pdf"),
        ("paper.pdf", "a line of a printer\n%PDF-1.7 ...", "pdf"),
        ("crawl", "WARC/1.0\r\n", "warc"),
        ("packed.txt", gzip.compress(b"x", mtime=0), "gzip"),
        ("bz.txt", "BZhang wrote this", "text"),
        ("a.ipynb", "{}", "ipynb"),
        ("a.tsv", "a\tb", "csv"),
        ("damaged.docx", b"PK\x03\x04" + bytes(60), "zip"),
    ],
)
def test_content_decides_where_the_name_says_nothing_else(tmp_path: Path, name: str, content: str, form: str) -> None:
    assert detected(tmp_path / name, content).format == form


def test_rows_of_any_fields_count_where_nobody_asks_for_one(tmp_path: Path) -> None:
    chats = '{"messages": []}\n{"messages": []}\n'
    assert detected(tmp_path / "chats.txt", chats, None).format == "jsonl"


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"", b"BZ", bytes(600)])
def test_what_is_only_called_a_tar_is_none(tmp_path: Path, content: bytes) -> None:
    assert detected(tmp_path / "a.tar", content).format in ("text", "tar")


def test_a_tar_without_a_magic_number_is_told_by_its_name_and_checksum(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("a.txt").tobuf(tarfile.GNU_FORMAT)
    old = bytearray(entry[:257] + bytes(255))
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    assert detected(tmp_path / "a.tar", bytes(old) + bytes(1024)).format == "tar"
    assert detected(tmp_path / "a.txt", bytes(old) + bytes(1024)).format == "text"


def test_a_page_that_begins_with_hundreds_of_comments_is_told_at_once(tmp_path: Path) -> None:
    comments = "<!-- x -->" * 400
    assert detected(tmp_path / "a", f"{comments}<html>").format == "html"
    assert detected(tmp_path / "a", f"{comments}<p>").format == "text"


def test_the_table_of_readers_loads_no_parser() -> None:
    names = ("lxml", "pptx", "docx", "openpyxl", "warcio", "zstandard", "pypdfium2", "trafilatura", "pyarrow", "numpy")
    script = f"import sys, llmkit.data.readers.table\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
