import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.sources.web import links
from llmkit.data.sources.web.links import Link, Listing, read_listing
from llmkit.data.sources.web.options import FetchError


def listing(tmp_path: Path, text: str | bytes) -> Listing | None:
    path = tmp_path / "listing"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_listing(path)


SITEMAP = """<?xml version="1.0" encoding="UTF-8"?>
<!-- made by <urlmaker> -->
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <url><loc> https://example.org/a?x=1&amp;y=2 </loc><lastmod>2024-01-01</lastmod>
    <image:image><image:loc>https://example.org/a.png</image:loc></image:image></url>
  <url><loc>https://example.org/日本語</loc></url>
  <url><lastmod>2024-01-01</lastmod></url>
</urlset>"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_sitemap_lists_its_pages_and_not_their_pictures(tmp_path: Path, packed: bool) -> None:
    found = listing(tmp_path, gzip.compress(SITEMAP.encode()) if packed else SITEMAP)
    assert found == Listing("sitemap", [Link("https://example.org/a?x=1&y=2"), Link("https://example.org/日本語")])


def test_an_index_lists_sitemaps(tmp_path: Path) -> None:
    found = listing(tmp_path, "<sitemapindex><sitemap><loc>/one.xml</loc></sitemap></sitemapindex>")
    assert found == Listing("index", [Link("/one.xml")])


def test_rss_gives_links_else_permanent_guids_and_the_licence_of_the_channel(tmp_path: Path) -> None:
    text = """<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>ニュース</title>
    <link>https://example.org/</link><copyright>CC BY 4.0</copyright>
    <image><link>https://example.org/logo</link></image>
    <item><title>a</title><link>https://example.org/1</link><dc:rights>© 2024 Jane</dc:rights></item>
    <item><guid>https://example.org/2</guid></item>
    <item><guid isPermaLink="false">tag:3</guid></item></channel></rss>"""
    found = listing(tmp_path, text)
    assert found is not None
    assert found.links == [Link("https://example.org/1", "© 2024 Jane"), Link("https://example.org/2")]
    assert (found.kind, found.licence, found.broken) == ("feed", "CC BY 4.0", "")


def test_rss_1_is_rdf_and_other_rdf_is_no_feed(tmp_path: Path) -> None:
    head = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">'
    found = listing(tmp_path, head + "<item><link>https://example.org/1</link></item></rdf:RDF>")
    assert found == Listing("feed", [Link("https://example.org/1")])
    assert listing(tmp_path, '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>') is None


def test_atom_gives_alternate_links_and_licences(tmp_path: Path) -> None:
    text = """<feed xmlns="http://www.w3.org/2005/Atom"><link rel="self" href="/feed"/>
    <link rel="license" href="https://creativecommons.org/licenses/by/4.0/"/><rights>see the licence</rights>
    <entry><link rel="edit" href="/edit/1"/><link href="/1"/><rights>CC0</rights></entry>
    <entry><link rel="alternate" href="/2"/></entry><entry><title>no link</title></entry></feed>"""
    found = listing(tmp_path, text)
    assert found == Listing(
        "feed", [Link("/1", "CC0"), Link("/2")], licence="https://creativecommons.org/licenses/by/4.0/"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "urlset",
        "<!doctype html><html><body><urlset></body></html>",
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><rss/></html>',
        "See <rss> for more",
        b"%PDF-1.7",
        b"\x1f\x8b broken gzip",
        gzip.compress(b"just text", mtime=0),
    ],
)
def test_what_is_no_listing_is_none(tmp_path: Path, text: str | bytes) -> None:
    assert listing(tmp_path, text) is None


BOMB = '<!DOCTYPE urlset [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "]><urlset><url><loc>&j;</loc></url></urlset>",
        '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><item><link>&x;</link></item></rss>',
    ],
)
def test_entities_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FetchError) as caught:
        listing(tmp_path, text)
    assert caught.value.reason == "xml_entities"


def test_an_external_dtd_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "evil.dtd").write_text('<!ENTITY x "https://example.org/evil">')
    text = f'<!DOCTYPE rss SYSTEM "file://{tmp_path}/evil.dtd"><rss><item><link>&x;</link></item></rss>'
    found = listing(tmp_path, text)
    assert found is not None
    assert all("evil" not in link.address for link in found.links)


def test_broken_xml_gives_what_can_be_read_and_says_where_it_breaks(tmp_path: Path) -> None:
    found = listing(tmp_path, "<urlset>\n<url><loc>/a</loc></url>\n<url><loc>/b&nbsp;</loc></url>\n<url><loc>/c")
    assert found is not None
    assert found.links[0] == Link("/a")
    assert found.broken.startswith("line 3")


def test_a_gzip_bomb_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_BYTES", 100_000)
    with pytest.raises(FetchError) as caught:
        listing(tmp_path, gzip.compress(b"<urlset>" + b" " * 1_000_000 + b"</urlset>"))
    assert caught.value.reason == "too_large"


def test_a_gzip_sitemap_that_is_cut_off_gives_its_beginning(tmp_path: Path) -> None:
    text = "<urlset>" + "".join(f"<url><loc>/page/{n * 7919 % 10007}</loc></url>" for n in range(5000)) + "</urlset>"
    packed = gzip.compress(text.encode())
    found = listing(tmp_path, packed[: len(packed) // 2])
    assert found is not None
    assert 0 < len(found.links) < 5000
    assert found.broken


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for start in (b"", b"<urlset>", b"<rss><item>"):
        path.write_bytes(start + data)
        try:
            read_listing(path)
        except FetchError as error:
            assert error.reason == "xml_entities"
