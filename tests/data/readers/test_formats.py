import datetime
import email.message
import io
import json
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from pptx.util import Inches
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from llmkit.data.drops import Drop
from llmkit.data.readers.base import ReadOptions
from llmkit.data.readers.table import read_file, read_source
from llmkit.text.document import Document

DIRECT = ReadOptions(sandbox=False)


def read(path: Path, options: ReadOptions = DIRECT) -> list[Document | Drop]:
    return list(read_file(path, options))


def only_document(path: Path, options: ReadOptions = DIRECT) -> Document:
    (item,) = read(path, options)
    assert isinstance(item, Document), item
    return item


def texts(items: list[Document | Drop]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def make_epub(path: Path, chapters: dict[str, str], metadata: str = "", extra: dict[str, str] | None = None) -> Path:
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    # The spine turns the manifest's order round: it is what counts.
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/book.opf", package)
        for name, body in chapters.items():
            archive.writestr(
                f"OEBPS/{name}", f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">{body}</html>'
            )
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def make_mail(**headers: str) -> email.message.EmailMessage:
    message = email.message.EmailMessage()
    for name, value in headers.items():
        message[name] = value
    return message


def write_warc(path: Path, pages: list[tuple[str, str, bytes]], status: str = "200 OK", *, gzip: bool = True) -> Path:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=gzip)
        for url, content_type, body in pages:
            headers = StatusAndHeaders(status, [("Content-Type", content_type)], protocol="HTTP/1.1")
            record = writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), http_headers=headers,
                warc_headers_dict={"WARC-Date": "2024-05-01T12:00:00Z"},
            )  # fmt: skip
            writer.write_record(record)
    return path


def test_a_presentation_has_a_page_for_each_slide_with_tables_and_notes(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text, first.placeholders[1].text = "四半期報告", "売上は増えました。\nProfit rose too."
    first.notes_slide.notes_text_frame.text = "ここで質問を受ける。"
    second = deck.slides.add_slide(deck.slide_layouts[6])
    table = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for row, column, text in ((0, 0, "City"), (0, 1, "Rain"), (1, 0, "Oslo"), (1, 1, "763")):
        table.cell(row, column).text = text
    deck.save(str(tmp_path / "a.pptx"))
    document = only_document(tmp_path / "a.pptx")
    assert document.text == (
        "四半期報告\n売上は増えました。\nProfit rose too.\nNotes: ここで質問を受ける。\n\nCity\tRain\nOslo\t763"
    )
    assert document.meta == {"pages_are": "slides"}
    assert document.page_at(document.text.index("Oslo")) == 2


def test_text_in_grouped_shapes_is_part_of_a_slide(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    group = deck.slides.add_slide(deck.slide_layouts[6]).shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "inside a group"
    deck.save(str(tmp_path / "a.pptx"))
    assert only_document(tmp_path / "a.pptx").text == "inside a group"


def test_a_spreadsheet_is_read_as_a_person_reads_it(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Rainfall of the year"])
    sheet.append([])
    sheet.append(["都市", "rain", "share", "when", "note"])
    sheet.append(["東京", 1528.8, 0.125, datetime.datetime(2024, 5, 1), None])
    sheet.append(["Oslo", 763.0, 0.5, datetime.datetime(2024, 5, 1, 9, 30), True])
    sheet["C4"].number_format = "0.0%"
    book.create_sheet("Empty")
    book.save(tmp_path / "a.xlsx")
    document = only_document(tmp_path / "a.xlsx")
    assert document.text == (
        "Rainfall of the year\n\n都市: 東京\nrain: 1528.8\nshare: 12.5%\nwhen: 2024-05-01\n\n"
        "都市: Oslo\nrain: 763\nshare: 0.5\nwhen: 2024-05-01 09:30\nnote: TRUE"
    )
    assert document.meta == {"pages_are": "sheets"}


def test_each_sheet_is_a_page_and_rows_without_a_header_are_cells(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "一月"
    for row in ([1, 2], [3, 4]):
        book.active.append(row)
    book.create_sheet("二月").append(["only", "names"])
    book.save(tmp_path / "a.xlsx")
    document = only_document(tmp_path / "a.xlsx")
    assert document.text == "一月\n1\t2\n3\t4\n\n二月\nonly\tnames"
    assert document.page_at(document.text.index("only")) == 2


def test_a_book_has_its_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    chapters = {
        "two.xhtml": "<head><title>x</title></head><body><h1>第二章</h1><p>終わり&nbsp;です。</p></body>",
        "one%20a.xhtml": "<body><p><ruby>漢字<rp>(</rp><rt>かんじ</rt></ruby>を読む。<br/>Next line.</p></body>",
    }
    facts = {"title": "猫", "creator": "夏目漱石", "language": "ja", "rights": "CC0"}
    metadata = "".join(f"<dc:{name}>{value}</dc:{name}>" for name, value in facts.items())
    path = make_epub(tmp_path / "a.epub", chapters, metadata)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("OEBPS/one a.xhtml", archive.read("OEBPS/one%20a.xhtml"))
    document = only_document(path)
    assert document.text == "漢字を読む。\nNext line.\n\n第二章\n\n終わり\xa0です。"
    assert document.page_at(document.text.index("第二章")) == 2
    assert document.meta == {
        "pages_are": "chapters", "title": "猫", "author": "夏目漱石", "language": "ja", "license": "CC0"
    }  # fmt: skip


def test_a_book_whose_chapters_are_locked_is_dropped_and_one_with_locked_fonts_is_not(tmp_path: Path) -> None:
    for member, reason in (("OEBPS/one.xhtml", "encrypted"), ("OEBPS/font.otf", None)):
        locked = f'<encryption xmlns:e="urn:e"><e:CipherReference URI="{member}"/></encryption>'
        chapters = {"one.xhtml": "<body><p>Words.</p></body>"}
        (item,) = read(make_epub(tmp_path / "a.epub", chapters, extra={"META-INF/encryption.xml": locked}))
        assert (item.reason if isinstance(item, Drop) else None) == reason


def test_an_entity_that_names_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("top secret")
    chapter = "<body><p>Before. &leak; After.</p></body>"
    path = make_epub(tmp_path / "a.epub", {"one.xhtml": chapter})
    doctype = f'<!DOCTYPE html [<!ENTITY leak SYSTEM "file://{tmp_path}/secret.txt">]>'
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["OEBPS/one.xhtml"] = f'{doctype}<html xmlns="http://www.w3.org/1999/xhtml">{chapter}</html>'.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert "secret" not in only_document(path).text


def test_a_mail_has_its_headers_its_text_and_its_attachments(tmp_path: Path) -> None:
    mail = make_mail(
        Subject="会議の件", From="田中 <tanaka@example.com>", To="b@example.com", Date="Wed, 1 May 2024 10:00:00 +0900"
    )
    mail.set_content("明日の会議は十時からです。\n", charset="iso-2022-jp")
    mail.add_attachment(
        "品名,説明\nりんご,赤いりんごです。\n".encode("cp932"), maintype="text", subtype="csv", filename="表.csv"
    )
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="logo.png")
    mail.add_attachment(b"KEY=1", maintype="text", subtype="plain", filename="../.env")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    document, table, image, secret = read(tmp_path / "a.eml")
    assert isinstance(document, Document)
    assert document.text == (
        "Subject: 会議の件\nFrom: 田中 <tanaka@example.com>\nTo: b@example.com\n"
        "Date: Wed, 01 May 2024 10:00:00 +0900\n\n"
        "明日の会議は十時からです。"
    )
    assert document.meta["title"] == "会議の件"
    assert isinstance(table, Document)
    assert (table.source, table.text) == (f"{tmp_path}/a.eml!/表.csv", "品名: りんご\n説明: 赤いりんごです。")
    assert isinstance(image, Drop)
    assert isinstance(secret, Drop)
    assert (image.reason, secret.reason, secret.source) == ("binary", "secret", f"{tmp_path}/a.eml!/.env")


def test_a_mail_in_html_alone_is_read_as_text(tmp_path: Path) -> None:
    mail = make_mail(Subject="News", From="a@example.com")
    mail.set_content("<html><body><style>p{}</style><p>First &amp; last.</p><p>Bye.</p></body></html>", subtype="html")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    assert only_document(tmp_path / "a.eml").text == "Subject: News\nFrom: a@example.com\n\nFirst & last.\n\nBye."


def test_a_forwarded_mail_is_a_document_of_its_own(tmp_path: Path) -> None:
    inner = make_mail(Subject="Inner", From="a@example.com")
    inner.set_content("The original.")
    inner.add_attachment("of the inner mail", filename="notes.txt")
    outer = make_mail(Subject="Fwd", From="b@example.com")
    outer.set_content("See below.")
    outer.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(outer.as_bytes())
    first, second, notes = read(tmp_path / "a.eml")
    assert isinstance(second, Document)
    assert second.source.startswith(f"{first.source}!/part")
    assert "The original." in second.text
    assert notes.source == f"{second.source}!/notes.txt"
    assert list(read_source(notes.source, DIRECT)) == [notes]


def test_a_notebook_has_its_cells_in_order_with_code_in_fences(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# 見出し\n", "text"]},
        {"cell_type": "code", "source": "print('```')\n", "outputs": [{"text": "noise"}]},
        {"cell_type": "code", "source": "", "outputs": []},
        {"cell_type": "raw", "source": "as it is"},
    ]
    notebook = {"nbformat": 4, "metadata": {"language_info": {"name": "python"}}, "cells": cells}
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    document = only_document(tmp_path / "a.ipynb")
    assert document.text == "# 見出し\ntext\n\n````python\nprint('```')\n````\n\nas it is"


def test_a_word_document_with_a_password_is_dropped_for_that(tmp_path: Path) -> None:
    content = b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600)
    (tmp_path / "a.docx").write_bytes(content)
    (item,) = read(tmp_path / "a.docx")
    assert isinstance(item, Drop)
    assert item.reason == "encrypted"


@pytest.mark.parametrize("content", ["[]", "{}", "{", '{"cells": 3}', '{"worksheets": [3]}'])
def test_a_notebook_that_is_none_is_a_drop(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    (item,) = read(tmp_path / "a.ipynb")
    assert isinstance(item, Drop)


@pytest.mark.parametrize("gzip", [True, False])
def test_the_pages_of_a_web_archive_are_documents_with_their_urls(tmp_path: Path, gzip: bool) -> None:
    page = "<html lang='ja'><head><title>天気</title></head><body><p>東京の天気は晴れです。</p></body></html>"
    pages = [
        ("https://example.com/ja", "text/html; charset=utf-8", page.encode()),
        ("https://example.com/logo", "image/png", b"\x89PNG"),
        ("https://example.com/a.txt", "text/plain", b"Plain words."),
    ]
    path = write_warc(tmp_path / ("a.warc.gz" if gzip else "a.warc"), pages, gzip=gzip)
    first, image, plain = read(path)
    assert isinstance(first, Document)
    assert (first.source, first.text.strip()) == ("https://example.com/ja", "東京の天気は晴れです。")
    assert {**first.meta} == {
        "title": "天気", "language": "ja", "url": "https://example.com/ja",
        "retrieved": "2024-05-01T12:00:00Z", "archive": str(path),
    }  # fmt: skip
    assert isinstance(image, Drop)
    assert (image.reason, image.source) == ("not_a_page", "https://example.com/logo")
    assert texts([plain]) == ["Plain words."]
    assert len({first.record, image.record, plain.record, ""}) == 4


def test_an_error_page_of_a_web_archive_is_dropped(tmp_path: Path) -> None:
    pages = [("https://example.com/gone", "text/html", b"<p>Not found, sorry.</p>")]
    (item,) = read(write_warc(tmp_path / "a.warc", pages, "404 Not Found"))
    assert isinstance(item, Drop)
    assert item.reason == "not_ok"


def test_text_in_a_form_field_of_a_word_document_is_read_where_it_stands(tmp_path: Path) -> None:
    source = docx.Document()
    source.add_paragraph("Before.")
    names = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    field = f"<w:sdt {names}><w:sdtContent><w:p><w:r><w:t>In the field.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    source.element.body.insert(1, parse_xml(field))
    source.add_paragraph("After.")
    source.save(str(tmp_path / "a.docx"))
    assert only_document(tmp_path / "a.docx").text == "Before.\nIn the field.\nAfter."


def test_a_cell_over_several_columns_is_read_once(tmp_path: Path) -> None:
    source = docx.Document()
    table = source.add_table(rows=1, cols=3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(0, 2).text = "narrow"
    source.save(str(tmp_path / "a.docx"))
    assert only_document(tmp_path / "a.docx").text == "wide\tnarrow"


@pytest.mark.parametrize(
    ("mark", "licence"),
    [
        ('<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">', "https://creativecommons.org/licenses/by/4.0/"),
        ("<a href='/terms?a=1&amp;b=2' rel='nofollow license'>terms</a>", "/terms?a=1&b=2"),
        ('<meta name="dc.rights" content="CC BY-SA 4.0">', "CC BY-SA 4.0"),
        ('<a href="/x" rel="nofollow">no licence</a>', None),
    ],
)  # fmt: skip
def test_a_web_page_says_its_licence_and_language(tmp_path: Path, mark: str, licence: str | None) -> None:
    page = f'<html dir="rtl" lang="he-IL"><head></head><body>{mark}<p>שלום לכולם, זה דף קצר.</p></body></html>'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    document = only_document(tmp_path / "a.html")
    assert document.meta.get("license") == licence
    assert document.meta["language"] == "he-IL"
    assert "שלום לכולם" in document.text


def test_the_id_field_names_records_and_a_row_without_one_is_dropped(tmp_path: Path) -> None:
    rows = [
        {"id": "甲", "text": "a"},
        {"text": "b"},
        {"id": 7, "text": "c", "licence": "MIT"},
        {"id": True, "text": "d"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = read(tmp_path / "a.jsonl", ReadOptions(id_field="id"))
    assert [(item.record, item.reason if isinstance(item, Drop) else item.text) for item in items] == [
        ("甲", "a"), ("2", "bad_id"), ("7", "c"), ("4", "bad_id")
    ]  # fmt: skip
    assert isinstance(items[2], Document)
    assert items[2].meta == {"license": "MIT"}


def test_a_download_keeps_the_name_and_the_address_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "0001").write_text("city,rain\nOslo,763\n")
    (item,) = read_file(tmp_path / "0001", source="https://example.com/rain.csv", name="rain.csv")
    assert isinstance(item, Document)
    assert (item.source, item.text) == ("https://example.com/rain.csv", "city: Oslo\nrain: 763")
