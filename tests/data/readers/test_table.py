import json
import random
import zipfile
from pathlib import Path

import docx
import pyarrow as pa
import pypdf
import pypdfium2
import pytest
from pyarrow import parquet

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file
from llmkit.text.document import Document


def read(path: Path, text_field: str | None = None) -> list[Document | Drop]:
    return list(read_file(path, ReadOptions(text_field)))


def only_document(path: Path, text_field: str | None = None) -> Document:
    (item,) = read(path, text_field)
    assert isinstance(item, Document), item
    return item


def only_drop(path: Path) -> Drop:
    (item,) = read(path)
    assert isinstance(item, Drop), item
    return item


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


PDF_OBJECTS = [
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 5 0 R /Resources << /Font << /F 7 0 R >> >> >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 6 0 R /Resources << /Font << /F 7 0 R >> >> >>",
    b"STREAM BT /F 12 Tf 20 200 Td (First page, one line) Tj 0 -20 Td (and a second line.) Tj ET",
    b"STREAM BT /F 12 Tf 20 200 Td (The second page.) Tj ET",
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
]


def make_pdf(objects: list[bytes]) -> bytes:
    """A PDF by hand: its format is a list of objects and a table of where they begin."""
    out, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        starts.append(len(out))
        if body.startswith(b"STREAM "):
            stream = body.removeprefix(b"STREAM ")
            body = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n%strailer\n" % (size, table)
    return out + b"<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, out.index(b"xref"))


def test_plain_text_is_the_files_own(tmp_path: Path) -> None:
    text = "one\r\ntwo  \n\n\n\nthree “quoted” ＡＢＣ\n"
    document = only_document(write(tmp_path / "a.txt", text))
    assert (document.text, document.media, document.source) == (text, "text/plain", str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.md", "text/markdown"),
        ("a.rst", "text/x-rst"),
        ("a.py", "text/x-python"),
        ("a.ts", "text/x-typescript"),
        ("Makefile", "text/x-makefile"),
        ("LICENSE", "text/plain"),
    ],
)
def test_the_name_gives_the_media_type_of_text(tmp_path: Path, name: str, media: str) -> None:
    assert only_document(write(tmp_path / name, "some text here")).media == media


def test_a_python_source_is_read_in_the_encoding_it_declares(tmp_path: Path) -> None:
    source = "#!/usr/bin/python\n# -*- coding: iso8859-2 -*-\nname = 'kůň'\n"
    assert only_document(write(tmp_path / "a.py", source.encode("iso8859-2"))).text == source


def test_content_counts_more_than_the_name(tmp_path: Path) -> None:
    page = "<!DOCTYPE html><html><head><title>A &amp; B</title></head><body><p>Hello there.</p></body></html>"
    document = only_document(write(tmp_path / "saved.txt", page))
    assert (document.media, document.meta["title"], document.text.strip()) == ("text/html", "A & B", "Hello there.")
    assert only_document(write(tmp_path / "paper.txt", make_pdf(PDF_OBJECTS))).media == "application/pdf"


def test_a_template_named_as_code_stays_code(tmp_path: Path) -> None:
    assert only_document(write(tmp_path / "a.vue", "<html>{{ x }}</html>")).media == "text/x-vue"


def test_of_a_web_page_the_main_text_is_read(tmp_path: Path) -> None:
    body = "".join(f"<p>Paragraph {n} of the article says something of interest to its readers.</p>" for n in range(9))
    page = f"<html><body><nav><a href='/'>Home</a><a href='/x'>Shop</a></nav><article>{body}</article></body></html>"
    text = only_document(write(tmp_path / "a.html", page)).text
    assert "Paragraph 8 of the article" in text
    assert "Shop" not in text


def test_a_web_page_is_read_in_the_charset_it_declares(tmp_path: Path) -> None:
    page = "<html><head><meta charset='shift_jis'></head><body><p>東京都の天気です</p></body></html>"
    assert "東京都の天気です" in only_document(write(tmp_path / "a.html", page.encode("shift_jis"))).text


def test_a_pdf_has_its_lines_and_the_offsets_of_its_pages(tmp_path: Path) -> None:
    document = only_document(write(tmp_path / "a.pdf", make_pdf(PDF_OBJECTS)))
    assert document.text == "First page, one line\nand a second line.\n\nThe second page."
    assert document.page_at(document.text.index("second line")) == 1
    assert document.page_at(document.text.index("The second page")) == 2


def test_a_pdf_without_text_is_said_to_be_a_scan(tmp_path: Path) -> None:
    objects = [*PDF_OBJECTS[:4], b"STREAM ", b"STREAM ", PDF_OBJECTS[6]]
    drop = only_drop(write(tmp_path / "a.pdf", make_pdf(objects)))
    assert (drop.reason, drop.pages) == ("no_text", 2)
    assert "2 pages are scans: OCR them first" in drop.detail


def test_a_pdf_with_a_password_is_dropped_for_that(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=write(tmp_path / "open.pdf", make_pdf(PDF_OBJECTS)))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    assert only_drop(tmp_path / "a.pdf").reason == "encrypted"


def test_a_pdf_that_one_parser_cannot_open_is_read_by_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise pypdfium2.PdfiumError("Data format error.", err_code=pypdfium2.raw.FPDF_ERR_FORMAT)

    path = write(tmp_path / "a.pdf", make_pdf([*PDF_OBJECTS[:5], b"STREAM ", PDF_OBJECTS[6]]))
    by_first = only_document(path)
    monkeypatch.setattr(pypdfium2, "PdfDocument", fails)
    (by_second,) = read_file(path, ReadOptions(sandbox=False))
    assert isinstance(by_second, Document)
    assert by_second.text == by_first.text == "First page, one line\nand a second line.\n\n"
    assert by_second.meta == by_first.meta == {"pages_without_text": 1}


def test_a_truncated_pdf_is_dropped(tmp_path: Path) -> None:
    assert only_drop(write(tmp_path / "a.pdf", b"%PDF-1.7\ngarbage")).reason == "parse_error"


def test_a_word_document_has_its_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    source = docx.Document()
    source.add_paragraph("Before the table.")
    table = source.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    source.add_paragraph("日本語の段落。")
    source.save(str(tmp_path / "a.docx"))
    document = only_document(tmp_path / "a.docx")
    assert document.text == "Before the table.\nleft\tright\n日本語の段落。"


def test_a_zip_that_is_no_document_is_an_archive_whatever_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("x.bin", random.Random(0).randbytes(5000))
    drop = only_drop(tmp_path / "a.docx")
    assert (drop.source, drop.reason) == (f"{tmp_path}/a.docx!/x.bin", "binary")


def test_each_line_of_a_jsonl_is_a_document_and_a_bad_one_costs_itself(tmp_path: Path) -> None:
    lines = [
        '{"text": "first", "title": "T", "n": 1}',
        "",
        "{not json}",
        '{"other": "x"}',
        "[1]",
        '{"text": 5}',
        '{"text": "last"}',
    ]
    items = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert [(item.record, item.text if isinstance(item, Document) else item.reason) for item in items] == [
        ("1", "first"),
        ("3", "bad_json"),
        ("4", "no_text_field"),
        ("5", "not_an_object"),
        ("6", "text_field_not_text"),
        ("7", "last"),
    ]
    assert isinstance(items[0], Document)
    assert items[0].meta == {"title": "T"}


def test_a_missing_text_field_is_answered_with_the_fields_there_are(tmp_path: Path) -> None:
    drop = only_drop(write(tmp_path / "a.jsonl", '{"story": "x", "id": 1}'))
    assert "story" in drop.detail
    assert only_document(tmp_path / "a.jsonl", text_field="story").text == "x"


def test_half_a_surrogate_pair_in_json_does_not_reach_the_text(tmp_path: Path) -> None:
    document = only_document(write(tmp_path / "a.jsonl", r'{"text": "bad \ud83d here, good \ud83d\ude00"}'))
    assert document.text == "bad \ufffd here, good 😀"


def test_a_json_list_is_records_and_a_settings_file_is_text(tmp_path: Path) -> None:
    records = read(write(tmp_path / "a.json", json.dumps({"data": [{"text": "a"}, {"text": "b"}]})))
    assert [item.text for item in records if isinstance(item, Document)] == ["a", "b"]
    settings = '{\n  "name": "x",\n  "version": 1\n}\n'
    assert only_document(write(tmp_path / "b.json", settings)).text == settings


def test_a_deeply_nested_json_is_a_drop_and_not_a_crash(tmp_path: Path) -> None:
    assert only_drop(write(tmp_path / "a.json", "[" * 100_000)).reason == "bad_json"


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_rows_of_a_table_are_documents(tmp_path: Path, suffix: str, separator: str) -> None:
    rows = [["id", "text"], ["1", '"two\nlines"'], ["2", "short"]]
    path = write(tmp_path / f"a.{suffix}", "\n".join(separator.join(row) for row in rows))
    items = read(path)
    assert [(item.record, item.text) for item in items if isinstance(item, Document)] == [
        ("3", "two\nlines"),
        ("4", "short"),
    ]


def test_a_table_without_a_text_column_is_read_cell_by_cell(tmp_path: Path) -> None:
    assert only_document(write(tmp_path / "a.csv", "city,rain\nOslo,763\n")).text == "city: Oslo\nrain: 763"


def test_a_japanese_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    table = "品名,説明\nりんご,青森でとれた赤いりんごです。\n"
    assert "青森でとれた" in only_document(write(tmp_path / "a.csv", table.encode("cp932"))).text


def test_a_parquet_file_is_records(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    assert [item.text for item in read(tmp_path / "a.parquet") if isinstance(item, Document)] == ["one", "two"]


def test_a_damaged_parquet_file_is_a_drop(tmp_path: Path) -> None:
    assert only_drop(write(tmp_path / "a.parquet", b"PAR1" + bytes(50))).reason == "parse_error"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t\n", "empty"),
        ("a.txt", random.Random(3).randbytes(200_000), "binary"),
        ("a.py", bytes(1000), "binary"),
        ("a.html", b"<html><body></body></html>", "empty"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    assert only_drop(write(tmp_path / name, content)).reason == reason


def test_a_file_that_vanished_is_a_drop(tmp_path: Path) -> None:
    assert only_drop(tmp_path / "gone.txt").reason == "unreadable"
