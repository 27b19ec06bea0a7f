"""A page shows what it was given, whatever is in it, and reaches for nothing outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.reporting.blocks import Bars, Block, Diff, Figures, Fold, Heading, Line, Marked, Quote, Table, Tree
from llmkit.reporting.page import page
from llmkit.reporting.svg import bars_svg

HOSTILE = "</style></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u202e\x1b[31m\ud800"
VOID = {"meta", "rect", "line", "i"} | {"br", "img"}


def everywhere(text: str) -> list[Block]:
    """Every shape of block with `text` in every place it has."""
    return [
        Heading(text),
        Heading(text, 2),
        Line(text, "bad"),
        Quote(text, text, "https://example.org/" + text),
        Table((text, "n"), [(text, 1), (text, text)], text, frozenset({1})),
        Tree(text, [Tree(text)]),
        Figures([(text, text, text)]),
        Bars([text, "b"], [1, 2], text, text, [text, ""], [0.5, 0], (text, text)),
        Diff(text + "\nsame\n", "x" + text + "\nsame\n", text),
        Marked([(text, "read"), (text, "learned"), (text, "cut")], text),
        Fold(text, [Line(text)]),
    ]


class Seen(HTMLParser):
    """Collects tags and attributes, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID - {"i"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    seen.close()
    assert seen.open == []
    return seen


def test_hostile_text_is_nothing_but_text_in_every_place() -> None:
    shown = page(HOSTILE, everywhere(HOSTILE), lead=HOSTILE)
    seen = parsed(shown)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert seen.tags.count("style") == 1
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    shown.encode("utf-8")
    assert sum("<script>alert(1)</script>" in words for words in seen.words) >= 10


@given(st.text(max_size=40))
def test_any_text_gives_a_page_whose_tags_are_those_of_a_harmless_one(text: str) -> None:
    harmless = set(parsed(page("é", everywhere("é"))).tags) | {"span", "ins", "del"}
    assert set(parsed(page(text, everywhere(text))).tags) <= harmless


def test_a_page_fetches_nothing_and_forbids_it() -> None:
    shown = page("t", everywhere("x"))
    assert "default-src 'none'" in shown
    assert not re.search(r"""(src|srcset|poster|data|action)=|@import|url\(|<link|<script""", shown)
    assert {value for name, value in parsed(shown).attributes if name == "href" and not value.startswith("#")} == {
        "https://example.org/x"
    }


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc/passwd"]
)
def test_only_links_to_the_web_can_be_followed(link: str) -> None:
    assert "href" not in page("t", [Quote("body", "title", link)])


def test_equal_blocks_give_equal_pages() -> None:
    assert page("t", everywhere("a")) == page("t", everywhere("a"))


def test_sections_are_listed_at_the_top_and_can_be_jumped_to() -> None:
    shown = page("t", [Heading("One"), Heading("Deeper", 2), Heading("Two"), Heading("三つ目")])
    links = {value for name, value in parsed(shown).attributes if name == "href"}
    ids = {value for name, value in parsed(shown).attributes if name == "id"}
    assert links == {"#s1", "#s2", "#s3"}
    assert {link[1:] for link in links} <= ids


def test_text_that_is_not_ascii_keeps_its_direction_to_itself() -> None:
    assert "<bdi>שלום</bdi>" in page("t", [Table(("a",), [("שלום",)])])
    assert "\u2068שלום\u2069" in page("t", [Bars(["שלום"], [1])])


def test_a_table_says_which_cells_are_headers_of_what() -> None:
    shown = page("t", [Table(("name", "n"), [("a", 1234)], "Counts", frozenset({1}))])
    assert '<th scope="col">name</th><th scope="col" class="num">n</th>' in shown
    assert '<th scope="row">a</th><td class="num">1,234</td>' in shown
    assert "<caption>Counts</caption>" in shown


def test_a_picture_says_in_words_what_it_shows_and_is_well_formed() -> None:
    svg = bars_svg(Bars(["read", "dedup"], [1000, 250], "Documents", "", ["", "−75%"], [0, 750]), "b1")
    root = ElementTree.fromstring(svg)
    assert root.findtext("title") == "Documents"
    assert root.findtext("desc") == "read: 1,000; dedup: 250 −75%"
    assert root.get("aria-labelledby") == "b1-t b1-d"


def test_bars_are_as_long_as_their_values_and_stay_inside_the_picture() -> None:
    root = ElementTree.fromstring(bars_svg(Bars(["a", "b", "c"], [100, 50, 0], rest=[0, 50, 0]), "b1"))
    bars = [(rect.get("class"), float(rect.get("width", 0)), float(rect.get("x", 0))) for rect in root.iter("rect")]
    (_, whole, left), (_, half, _), (kind, rest, start) = bars
    assert half == pytest.approx(whole / 2, abs=0.1)
    assert (kind, rest) == ("rest", pytest.approx(whole / 2, abs=0.1))
    assert start == pytest.approx(left + half, abs=0.1)
    assert left + whole < 960


def test_what_is_very_little_is_still_a_line() -> None:
    root = ElementTree.fromstring(bars_svg(Bars(["a", "b"], [10**9, 1]), "b1"))
    assert [float(rect.get("width", 0)) for rect in root.iter("rect")][1] == 1


def test_a_long_label_is_cut_and_said_in_full_where_it_is_pointed_at() -> None:
    svg = bars_svg(Bars(["長いラベル" * 20], [1]), "b1")
    assert "長いラベル" * 20 in (ElementTree.fromstring(svg).findtext("g/title") or "")
    assert "長いラベル" * 3 + "長い…" in svg


def test_a_diff_marks_what_went_and_what_came() -> None:
    shown = page("t", [Diff("one two\n", "one three\n", "step")])
    assert "<del>two</del>" in shown
    assert "<ins>three</ins>" in shown
    assert "nothing changed" in page("t", [Diff("a", "a")])


def test_a_reader_of_the_dark_and_one_of_paper_are_served() -> None:
    shown = page("t", [])
    assert "prefers-color-scheme:dark" in shown
    assert "@media print" in shown


def test_the_mark_of_a_changed_line_stands_outside_its_text() -> None:
    assert '<span class="gone"><b>-</b><bdi>שלום</bdi></span>' in page("t", [Diff("שלום", "x")])
