import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llmkit.data.sources.web.crawl import WebCollected, collect_web
from llmkit.data.sources.web.options import FetchOptions
from llmkit.errors import ConfigError, StorageError, UsageError
from llmkit.reporting.reporter import Silent

OPTIONS = FetchOptions(timeout=5, retries=0)
BY = "https://creativecommons.org/licenses/by/4.0/"


@pytest.fixture
def run(site: Any, clock: Any, resolver: Any, tmp_path: Path) -> Any:
    """`run(*urls)` to what was collected; `run.report` holds the warnings."""

    class Run:
        report = Silent()

        def __call__(self, *urls: str, options: FetchOptions = OPTIONS) -> WebCollected:
            self.report = Silent()
            folder = tmp_path / "web"
            return collect_web(urls, folder, options, self.report, clock=clock, resolver=resolver)

    return Run()


def texts(collected: WebCollected) -> list[str]:
    return [file.path.read_text(encoding="utf-8") for file in collected.files]


def reasons(collected: WebCollected) -> list[tuple[str, str]]:
    return [(drop.source, drop.reason) for drop in collected.drops]


def sitemap(*urls: str) -> str:
    return "<urlset>" + "".join(f"<url><loc>{url}</loc></url>" for url in urls) + "</urlset>"


def test_a_page_becomes_a_file_that_knows_where_it_came_from(site: Any, run: Any) -> None:
    site.page("/docs/a.php?x=1", f'<a rel="license" href="{BY}">CC</a> 日本語', Content_Type="text/html; charset=UTF-8")
    url = site.url("/docs/a.php?x=1")
    collected = run(url)
    [file] = collected.files
    assert file.source == url
    assert file.name == "127.0.0.1/docs/a.php?x=1"
    assert file.path.suffix == ".html", "a page that PHP made is no PHP"
    assert file.path.is_absolute()
    assert file.size == file.path.stat().st_size
    assert file.meta == {
        "retrieved": "2026-01-02T03:04:06+00:00",
        "content_type": "text/html",
        "charset": "utf-8",
        "license": BY,
    }
    beside = json.loads(file.path.with_suffix(".meta.json").read_text())
    assert beside["url"] == beside["final_url"] == url
    assert (beside["status"], beside["licence"], beside["size"]) == (200, BY, file.size)
    assert collected.found == {url: [file]}
    assert (list(collected.drops), collected.left) == ([], 0)
    assert len(list(file.path.parent.iterdir())) == 2, "no draft is left"


def test_any_kind_of_file_keeps_its_kind(site: Any, run: Any) -> None:
    site.page("/paper", b"%PDF-1.7", Content_Type="application/pdf")
    site.page("/data.JSONL", "{}", Content_Type="application/octet-stream")
    site.page("/dump.tar.gz", b"x", Content_Type="application/gzip")
    site.page("/v1.2/api", "{}", Content_Type="application/json")
    site.page("/plain", "x", Content_Type="text/plain")
    collected = run(*map(site.url, ("/paper", "/data.JSONL", "/dump.tar.gz", "/v1.2/api", "/plain")))
    assert ["".join(file.path.suffixes) for file in collected.files] == [".pdf", ".jsonl", ".tar.gz", ".json", ""]


def test_a_sitemap_index_with_gzipped_sitemaps_gives_its_pages_in_order(site: Any, run: Any) -> None:
    for name in "abcd":
        site.page(f"/{name}", f"page {name}")
    index = "<sitemapindex><sitemap><loc>{}</loc></sitemap><sitemap><loc>/two.xml</loc></sitemap></sitemapindex>"
    site.page("/sitemap.xml", index.format(site.url("/one.xml.gz")), Content_Type="application/xml")
    site.page("/one.xml.gz", gzip.compress(sitemap("/b", "/a").encode()), Content_Type="application/gzip")
    site.page("/two.xml", sitemap("/c", "/a#twice", "/missing", "/d"))
    collected = run(site.url("/sitemap.xml"))
    assert texts(collected) == ["page b", "page a", "page c", "page d"]
    assert reasons(collected) == [(site.url("/missing"), "http_404")]
    assert collected.drops[0].step == "collect"
    assert site.asked("/a") == 1


def test_feeds_give_the_pages_of_their_entries_and_their_licence(site: Any, run: Any) -> None:
    site.page("/1", "<p>one")
    site.page("/2", f'<p>two<link rel="license" href="{BY}">')
    site.page("/3", "<p>three")
    site.page(
        "/rss",
        f"<rss><channel><copyright>CC0</copyright><item><link>{site.url('/1')}</link></item>"
        "<item><link>/2</link></item></channel></rss>",
    )
    site.page(
        "/atom", '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="3"/><rights>MIT</rights></entry></feed>'
    )
    collected = run(site.url("/rss"), site.url("/atom"))
    assert [file.meta["license"] for file in collected.files] == ["CC0", BY, "MIT"]
    assert [len(files) for files in collected.found.values()] == [2, 1]


def test_a_page_that_fails_costs_that_page(site: Any, run: Any) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /closed")
    site.page("/big", b"x" * 5000)
    site.page("/good", "good")
    listed = (
        "/closed",
        "/missing",
        "/big",
        "http://169.254.169.254/",
        "ftp://x/y",
        f"http://u:p@127.0.0.1:{site.port}/",
    )
    site.page("/sitemap.xml", sitemap(*listed, "/good"))
    collected = run(site.url("/sitemap.xml"), options=FetchOptions(max_bytes=4000, retries=0))
    assert texts(collected) == ["good"]
    assert sorted(reason for _, reason in reasons(collected)) == [
        "bad_address", "credentials", "http_404", "private_address", "robots_disallowed", "too_large",
    ]  # fmt: skip
    assert "u:p" not in str(collected.drops)


def test_an_xml_bomb_and_an_empty_feed_are_drops(site: Any, run: Any) -> None:
    site.page("/bomb", '<!DOCTYPE rss [<!ENTITY a "x">]><rss><item><link>&a;</link></item></rss>')
    site.page("/empty", "<rss></rss>")
    assert [reason for _, reason in reasons(run(site.url("/bomb"), site.url("/empty")))] == [
        "xml_entities",
        "empty_listing",
    ]


def test_a_second_run_asks_whether_anything_changed(site: Any, run: Any, clock: Any) -> None:
    site.page("/same", "same", ETag='"1"')
    site.page("/dated", "dated", Last_Modified="Fri, 02 Jan 2026 00:00:00 GMT")
    urls = (site.url("/same"), site.url("/dated"))
    first = run(*urls)
    clock.time += 3600
    site.requests.clear()
    second = run(*urls)
    assert second.files == first.files, "with the time at which they were got"
    asked = dict(site.requests)
    assert asked["/same"]["if-none-match"] == '"1"'
    assert asked["/dated"]["if-modified-since"] == "Fri, 02 Jan 2026 00:00:00 GMT"
    beside = json.loads(second.files[0].path.with_suffix(".meta.json").read_text())
    assert beside["checked"] > beside["retrieved"]
    site.page("/same", "other", ETag='"2"')
    third = run(*urls)
    assert texts(third) == ["other", "dated"]
    assert third.files[0].meta["retrieved"] != first.files[0].meta["retrieved"]


def test_young_copies_are_not_asked_about(site: Any, run: Any, clock: Any) -> None:
    site.page("/a", "a")
    run(site.url("/a"))
    clock.time += 50
    run(site.url("/a"), options=FetchOptions(max_age=100))
    assert site.asked("/a") == 1
    clock.time += 100
    run(site.url("/a"), options=FetchOptions(max_age=100))
    assert site.asked("/a") == 2


def test_offline_uses_what_is_there_and_asks_nobody(site: Any, run: Any) -> None:
    site.page("/a", "a")
    site.page("/sitemap.xml", sitemap("/a", "/missing"))
    online = run(site.url("/sitemap.xml"))
    site.requests.clear()
    offline = run(site.url("/sitemap.xml"), site.url("/never"), options=FetchOptions(offline=True))
    assert site.requests == []
    assert offline.files == online.files
    assert reasons(offline) == [(site.url("/never"), "offline"), (site.url("/missing"), "offline")]


def test_a_copy_stands_for_a_page_that_is_out_of_order_but_not_for_one_that_was_taken_back(site: Any, run: Any) -> None:
    site.page("/a", "a")
    run(site.url("/a"))
    site.page("/a", "", 503)
    collected = run(site.url("/a"))
    assert texts(collected) == ["a"]
    assert "copies of earlier runs stand for what did not answer (1)" in run.report.warnings[0]
    assert "robots.txt" not in run.report.warnings[0]
    assert "answers 503" in run.report.warnings[0]
    site.page("/a", "", 410)
    assert reasons(run(site.url("/a"))) == [(site.url("/a"), "http_410")]
    assert run(site.url("/a"), options=FetchOptions(offline=True)).files == []


def test_a_copy_that_was_tampered_with_is_fetched_again(site: Any, run: Any) -> None:
    site.page("/a", "a", ETag='"1"')
    [file] = run(site.url("/a")).files
    file.path.write_text("other")
    assert texts(run(site.url("/a"))) == ["a"]
    file.path.with_suffix(".meta.json").write_text('{"file": "../../etc/passwd"}')
    assert texts(run(site.url("/a"))) == ["a"]


def test_no_more_pages_than_allowed_and_the_rest_is_counted(site: Any, run: Any) -> None:
    pages = [f"/{n}" for n in range(10)]
    for page in pages:
        site.page(page, page)
    site.page("/sitemap.xml", sitemap(*pages))
    collected = run(site.url("/sitemap.xml"), site.url("/other.xml"), options=FetchOptions(max_pages=3))
    assert texts(collected) == ["/0", "/1", "/2"]
    assert collected.left == 8
    assert site.asked("/3") == 0


def test_a_host_is_asked_while_another_is_waited_for(site: Any, run: Any, clock: Any) -> None:
    pages = ("/1", "/2", "/3", "/4")
    for page in pages:
        site.page(page, page)
    hosts = ("a.test", "b.test")
    for host in hosts:
        site.page(f"/{host}.xml", sitemap(*(site.url(page, host) for page in pages)))
    collected = run(*(site.url(f"/{host}.xml", host) for host in hosts))
    assert [file.source for file in collected.files] == [site.url(page, host) for host in hosts for page in pages]
    assert sum(clock.sleeps) <= 7, "twelve requests, six to each host, one per second"


def test_an_interrupted_run_leaves_what_it_has_fetched(site: Any, run: Any, tmp_path: Path) -> None:
    site.page("/a", "a")
    site.page("/sitemap.xml", sitemap("/a", "/stop"))

    def stop(handler: Any) -> None:
        handler.close_connection = True

    site.pages["/stop"] = stop
    run(site.url("/a"))
    import llmkit.data.sources.web.fetch as fetch_module

    original = fetch_module.Fetcher._once

    def interrupted(self: Any, transport: Any, request: Any, body: Any, **more: Any) -> Any:
        if request.url.path == "/stop":
            body.write(b"half")
            raise KeyboardInterrupt
        return original(self, transport, request, body, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch_module.Fetcher, "_once", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(site.url("/sitemap.xml"))
    assert not [path for path in (tmp_path / "web").iterdir() if path.name.startswith(".")]
    offline = run(site.url("/sitemap.xml"), options=FetchOptions(offline=True))
    assert texts(offline) == ["a"]


def test_an_index_that_lists_itself_ends(site: Any, run: Any) -> None:
    site.page("/s", "<sitemapindex><sitemap><loc>/s</loc></sitemap><sitemap><loc>/t</loc></sitemap></sitemapindex>")
    site.page("/t", "<sitemapindex><sitemap><loc>/s</loc></sitemap></sitemapindex>")
    assert run(site.url("/s")).files == []


def test_listings_without_end_end(site: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmkit.data.sources.web.crawl._MAX_LISTINGS", 5)
    for n in range(20):
        site.page(f"/s{n}", f"<sitemapindex><sitemap><loc>/s{n + 1}</loc></sitemap></sitemapindex>")
    collected = run(site.url("/s0"), options=FetchOptions(max_pages=1))
    assert (collected.files, collected.left) == ([], 1)


def test_an_address_the_user_names_is_fetched_though_a_stranger_named_it_before(site: Any, run: Any) -> None:
    site.page("/s", sitemap(site.url("/private", "127.0.0.1")))
    site.page("/mine", "mine")
    collected = run(site.url("/s", "stranger.test"), site.url("/mine"))
    assert texts(collected) == ["mine"]
    assert reasons(collected) == [(site.url("/private"), "private_address")]


def test_a_validator_that_no_header_can_hold_is_not_sent(site: Any, run: Any) -> None:
    site.page("/a", "a", ETag='"caf\xe9"')
    run(site.url("/a"))
    assert texts(run(site.url("/a"))) == ["a"]
    assert "if-none-match" not in site.requests[-1][1]


def test_a_rate_of_nothing_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        FetchOptions(rate=0)


def test_broken_sitemaps_warn(site: Any, run: Any) -> None:
    site.page("/a", "a")
    site.page("/s", "<urlset><url><loc>/a</loc></url><url><loc>/")
    assert texts(run(site.url("/s")))[0] == "a"
    assert "its XML is broken (line 1" in run.report.warnings[0]


def test_bad_addresses_stop_before_anything_is_fetched(site: Any, run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(site.url("/a"), "https://joe:secret@example.org/")
    with pytest.raises(UsageError):
        run(site.url("/a"), "https://")
    assert site.requests == []
    (tmp_path / "web").write_text("a file")
    with pytest.raises(StorageError):
        run(site.url("/a"))
