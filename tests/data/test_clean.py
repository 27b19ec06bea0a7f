import ast
import sysconfig
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config.sections import CleanOptions
from llmkit.data.clean import clean, normalise
from llmkit.data.drops import Drop
from llmkit.data.steps import Passed
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
    kept = clean(Document("/a.pdf", "a text that is long enough", pages=(0, 5), meta={"title": "T"}), OPTIONS)
    assert isinstance(kept, Passed)
    assert (kept.document.id, kept.document.meta, kept.document.pages) == (
        Document("/a.pdf", "").id,
        {"title": "T"},
        (),
    )
    assert isinstance(
        clean(Document("/a.txt", "これは二十文字より長い日本語の文章です。"), CleanOptions(min_chars=10)), Passed
    )
