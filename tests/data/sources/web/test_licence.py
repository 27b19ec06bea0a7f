from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.sources.web.licence import page_licence

BY = "https://creativecommons.org/licenses/by/4.0/"
URL = httpx.URL("https://example.org/a/page.html")


def licence(tmp_path: Path, page: str | bytes, **headers: str) -> str:
    path = tmp_path / "page"
    path.write_bytes(page.encode() if isinstance(page, str) else page)
    named = {"content-type": "text/html; charset=utf-8"} | {key.replace("_", "-"): v for key, v in headers.items()}
    return page_licence(path, URL, httpx.Headers(named))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f'<link rel="license" href="{BY}">', BY),
        ('<p>By <a href="/terms" rel="nofollow License">us</a>', "https://example.org/terms"),
        ('<meta name="DC.rights" content=" All  rights reserved ">', "All rights reserved"),
        ('<meta name="dcterms.license" content="CC0-1.0">', "CC0-1.0"),
        (f'<div itemscope><a itemprop="license" href="{BY}">x</a></div>', BY),
        ('<script type="application/ld+json">{"@graph": [{"license": {"@id": "' + BY + '"}}]}</script>', BY),
        ('<script type="application/ld+json">[{"license": ["", "MIT"]}]</script>', "MIT"),
        ('<script type="application/ld+json">{"license": broken}</script>', ""),
        ('<a rel="licensed" href="/x">licence</a>', ""),
        ("<p>licence", ""),
        ("", ""),
        (f'<a rel="license" href="/later">b</a><link rel="license" href="{BY}">', BY),
        ('<a rel="license" href="">x</a><meta name="dc.rights" content="著作権あり">', "著作権あり"),
    ],
)
def test_a_pages_licence_is_found_where_programs_are_meant_to_look(tmp_path: Path, page: str, expected: str) -> None:
    assert licence(tmp_path, page) == expected


def test_a_link_header_comes_first_and_holds_for_any_format(tmp_path: Path) -> None:
    header = f'</style.css>; rel="stylesheet", <{BY}>; title="x"; rel="license"'
    assert licence(tmp_path, '<link rel="license" href="/other">', link=header) == BY
    assert licence(tmp_path, b"%PDF", link="<../l.txt>; rel=license", content_type="application/pdf") == (
        "https://example.org/l.txt"
    )
    assert licence(tmp_path, '<link rel="license" href="/other">', content_type="text/plain") == ""


def test_the_licence_is_read_in_the_pages_own_encoding(tmp_path: Path) -> None:
    page = '<meta charset="shift_jis"><meta name="dc.rights" content="著作権あり">'.encode("shift_jis")
    assert licence(tmp_path, page, content_type="text/html") == "著作権あり"
    assert (
        licence(tmp_path, page.replace(b"shift_jis", b"nonsense"), content_type="text/html; charset=sjis")
        == "著作権あり"
    )
    assert licence(tmp_path, '<meta name="dc.rights" content="رخصة">', content_type="text/html") == "رخصة"


def test_a_licence_is_cut_to_a_bearable_length(tmp_path: Path) -> None:
    assert len(licence(tmp_path, f'<meta name="dc.rights" content="{"word " * 1000}">')) == 500


@given(data=st.binary(max_size=200))
def test_any_page_is_survived(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(b"<a rel=license>" + data)
    assert isinstance(page_licence(path, URL, httpx.Headers({"content-type": "text/html"})), str)
