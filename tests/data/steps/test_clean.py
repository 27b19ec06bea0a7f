import ast
import sysconfig
import unicodedata
from pathlib import Path

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import CleanOptions
from llmkit.data.drops import Drop
from llmkit.data.steps.clean import _REPAIR, _repaired_line, clean, normalise
from llmkit.data.steps.passed import Passed
from llmkit.text.document import Document

OPTIONS = CleanOptions()


def prose(text: str, **options: object) -> str:
    return normalise(text, CleanOptions(**options), code=False).text  # type: ignore[arg-type]


def code(text: str) -> str:
    return normalise(text, OPTIONS, code=True).text


def test_quotes_and_full_width_forms_are_left_alone() -> None:
    text = "“quoted” don’t ＡＢＣ１２３ ﾊﾝｶｸ ﬁne &amp; <b> … —"
    assert prose(text) == text


def test_nfkc_folds_full_width_and_half_width_forms_on_request() -> None:
    assert prose("ＡＢＣ１２３ ﾊﾝｶｸ", form="NFKC") == "ABC123 ハンカク"


def test_wrong_decodings_are_undone_in_prose_and_not_in_code() -> None:
    assert prose("The cafÃ© said itâ€™s open.") == "The café said it’s open."
    assert prose("The cafÃ© is open.", repair=False) == "The cafÃ© is open."
    assert code('assert fix("cafÃ©")\n') == 'assert fix("cafÃ©")\n'


_ENCODINGS = ("latin-1", "cp1252", "cp1250", "cp1251", "cp1253", "mac_roman", "cp437", "iso8859-2")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r")), st.sampled_from(_ENCODINGS), st.text())
def test_the_quick_look_before_the_repair_misses_nothing_that_ftfy_would_change(
    text: str, encoding: str, around: str
) -> None:
    """Oracle: ftfy itself, on text decoded wrongly once or twice."""
    wrong = around + text.encode("utf-8").decode(encoding, "replace") + around
    twice = wrong.encode("utf-8", "replace").decode(encoding, "replace")
    for line in (text, wrong, twice, wrong.replace("\xa0", " ")):
        assert _repaired_line(line) == ftfy.fix_text(line, _REPAIR)


def test_line_ends_become_one_kind_and_blank_lines_are_squeezed() -> None:
    assert prose("\n\na\r\nb\rc\fd\n\n\n\n\n\ne \t\nf\n\n\n") == "a\nb\nc\nd\n\n\ne\nf\n"


def test_control_characters_go_and_joiners_stay() -> None:
    assert prose("a\0b\x1bc\ufeffd\ufffee\x7f") == "abcde"
    assert prose("می\u200cخواهم 👩\u200d👩") == "می\u200cخواهم 👩\u200d👩"


def test_code_keeps_its_lines_its_indentation_and_its_form_feeds() -> None:
    source = "\n\n\ndef f():\n\tif x:\n\t\treturn 1   \n\n\n\n\n\x0c\nclass A:\n    pass\n"
    assert code(source) == source.replace("1   ", "1")


def test_every_change_is_counted_by_its_rule() -> None:
    text = "a\r\nb \ncafÃ©\n\n\n\n\n\0e\u0301"
    assert normalise(text, OPTIONS, code=False).changes == {
        "line_ends": 1,
        "trailing_space": 1,
        "mojibake": 1,
        "blank_lines": 1,
        "control_characters": 1,
        "unicode_form": 1,
    }
    assert normalise("nothing to do\n", OPTIONS, code=False).changes == {}


@given(st.text(), st.booleans())
def test_cleaning_twice_is_cleaning_once(text: str, is_code: bool) -> None:
    options = CleanOptions(repair=False)
    once = normalise(text, options, code=is_code).text
    assert normalise(once, options, code=is_code).text == once
    assert unicodedata.is_normalized("NFC", once)


def test_cleaned_standard_library_modules_parse_to_the_same_tree() -> None:
    """Oracle: Python's own parser."""
    for name in ("textwrap.py", "json/decoder.py", "difflib.py", "xml/dom/minidom.py"):
        source = (Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8")
        cleaned = code(source)
        assert cleaned.count("\n") == source.count("\n")
        assert ast.dump(ast.parse(cleaned)) == ast.dump(ast.parse(source))


@pytest.mark.parametrize("text", ["a" * 5_000_000, " " * 5_000_000 + "x", "é" * 2_000_000, "x \n" * 1_000_000])
def test_huge_lines_are_cleaned_in_linear_time(text: str) -> None:
    assert prose(text)


def test_a_document_that_is_too_short_is_dropped_and_another_keeps_its_origin() -> None:
    short = clean(Document("/a.txt", "hi   \n\n\n", record="3"), OPTIONS)
    assert isinstance(short, Drop)
    assert (short.reason, short.record) == ("too_short", "3")
    kept = clean(Document("/a.txt", "a text that is long enough", meta={"title": "T"}), OPTIONS)
    assert isinstance(kept, Passed)
    assert (kept.document.id, kept.document.meta) == (Document("/a.txt", "").id, {"title": "T"})
    assert isinstance(
        clean(Document("/a.txt", "これは二十文字より長い日本語の文章です。"), CleanOptions(min_chars=10)), Passed
    )


def test_the_pages_of_a_cleaned_document_begin_where_its_pages_begin() -> None:
    pages = ["First  \n\n\n\n\n\npage.", "", "Third page, \x00longer than  \nthe others."]
    starts = (0, len(pages[0]) + 2, len(pages[0]) + 4)
    cleaned = clean(Document("/a.pdf", "\n\n".join(pages), pages=starts), OPTIONS)
    assert isinstance(cleaned, Passed)
    document = cleaned.document
    assert document.page_at(document.text.index("First")) == 1
    assert document.page_at(document.text.index("Third")) == document.page_at(len(document.text) - 1) == 3


@given(st.lists(st.sampled_from(["a line", "", "  ", "another \t", "日本語", "c\x0cd", "e\u2028f"]), max_size=30))
def test_a_line_of_a_cleaned_text_leads_back_to_its_line_in_the_source(lines: list[str]) -> None:
    source = "\n".join(f"{line}{number}" if line.strip() else line for number, line in enumerate(lines, start=1))
    cleaned = clean(Document("/a.txt", source), CleanOptions(min_chars=0))
    assert isinstance(cleaned, Passed)
    document = cleaned.document
    for number, line in enumerate(document.text.split("\n"), start=1):
        if line and line[-1].isdigit():
            expected = int("".join(char for char in line if char.isascii() and char.isdigit()))
            assert document.source_line(document.lines.start(number)) == expected


def test_what_is_folded_and_removed_on_request_is_counted() -> None:
    text = "“Ｆｕｌｌ　ｗｉｄｔｈ” ﾊﾝｶｸ ★ → Ünïcode"
    options = CleanOptions(width="fold", quotes="straighten", symbols="remove", lowercase=True, min_chars=0)
    result = normalise(text, options, code=False)
    assert result.text == '"full width" ハンカク   ünïcode'
    assert result.changes == {"width": 1, "quotes": 1, "symbols": 2, "lowercase": 2}
    assert normalise(text, options, code=True).text == text
