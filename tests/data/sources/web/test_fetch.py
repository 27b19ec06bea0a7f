import gzip
import io
import time
import zlib
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from llmkit.data.sources.web.address import origin
from llmkit.data.sources.web.connect import Network
from llmkit.data.sources.web.fetch import Answer, Fetcher, Request
from llmkit.data.sources.web.options import USER_AGENT, FetchError, FetchOptions
from llmkit.errors import ConfigError

OPTIONS = FetchOptions(timeout=5, retries=0, max_bytes=1 << 20)


@pytest.fixture
def fetch(site: Any, clock: Any, resolver: Any) -> Any:
    """`fetch(path)` to the answer and its body."""
    fetchers = []

    def get(
        path: str, *, options: FetchOptions = OPTIONS, host: str = "127.0.0.1", **more: Any
    ) -> tuple[Answer, bytes]:
        fetcher = Fetcher(options, clock, resolver)
        fetchers.append(fetcher)
        url = httpx.URL(site.url(path, host))
        body = io.BytesIO()
        answer = fetcher.get(Request(url, origin(url), **more), body)
        return answer, body.getvalue()

    yield get
    for fetcher in fetchers:
        fetcher.close()


def reason(fetch: Any, path: str, **options: Any) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(path, **options)
    assert caught.value.detail
    return caught.value.reason


def test_a_page_is_fetched_under_our_own_name(site: Any, fetch: Any) -> None:
    site.page("/a?x=1", "日本語")
    answer, body = fetch("/a?x=1")
    assert (answer.status, body.decode(), answer.size) == (200, "日本語", 9)
    assert [path for path, _ in site.requests] == ["/robots.txt", "/a?x=1"]
    assert all(headers["user-agent"] == USER_AGENT for _, headers in site.requests)
    assert all("cookie" not in headers for _, headers in site.requests)


def test_robots_txt_is_obeyed_by_the_longest_match(site: Any, fetch: Any) -> None:
    site.page("/robots.txt", "User-agent: *\nAllow: /\n\nUser-agent: llmkit\nDisallow: /a\nAllow: /a/open\n")
    site.page("/a/open/x")
    site.page("/a/b")
    assert fetch("/a/open/x")[0].status == 200
    assert reason(fetch, "/a/b") == "robots_disallowed"
    assert site.asked("/a/b") == 0


@pytest.mark.parametrize(("status", "open_"), [(404, True), (403, True), (500, False), (503, False)])
def test_a_refused_robots_txt_opens_and_a_broken_one_closes(site: Any, fetch: Any, status: int, open_: bool) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /", status)
    site.page("/a")
    if open_:
        assert fetch("/a")[0].status == 200
    else:
        assert reason(fetch, "/a") == "robots_unreachable"
        assert site.asked("/a") == 0


def test_robots_txt_may_be_elsewhere_and_is_not_read_to_no_end(site: Any, fetch: Any) -> None:
    site.page("/robots.txt", status=301, Location="/other.txt")
    site.page("/other.txt", "User-agent: *\nDisallow: /a\n" + "# more\n" * 200_000)
    site.page("/a")
    assert reason(fetch, "/a") == "robots_disallowed"


def test_requests_to_one_host_keep_their_distance(site: Any, clock: Any, fetch: Any) -> None:
    site.page("/a")
    fetch("/a", options=FetchOptions(rate=4))
    assert clock.sleeps == [0.25]


def test_a_crawl_delay_is_kept_and_a_very_long_one_is_not_waited_for(site: Any, clock: Any, resolver: Any) -> None:
    site.page("/robots.txt", "User-agent: *\nCrawl-delay: 7")
    site.page("/a")
    site.page("/b")
    url = httpx.URL(site.url("/a"))
    for options in (OPTIONS, FetchOptions(longest_pause=5)):
        fetcher = Fetcher(options, clock, resolver)
        fetcher.get(Request(url, origin(url)), io.BytesIO()) if options is OPTIONS else None
        if options is OPTIONS:
            fetcher.get(Request(httpx.URL(site.url("/b")), origin(url)), io.BytesIO())
            assert clock.sleeps == [1.0, 7.0]
        else:
            with pytest.raises(FetchError, match="asks for 7 s"):
                fetcher.get(Request(url, origin(url)), io.BytesIO())
        fetcher.close()


def test_redirects_are_followed_five_times_and_checked_each_time(site: Any, fetch: Any) -> None:
    site.page("/robots.txt", "User-agent: *\nDisallow: /closed")
    for n in range(6):
        site.page(f"/r{n}", status=302, Location=f"/r{n + 1}")
    site.page("/r6", "end")
    answer, body = fetch("/r1")
    assert (str(answer.url), body) == (site.url("/r6"), b"end")
    assert reason(fetch, "/r0") == "too_many_redirects"
    site.page("/loop", status=301, Location="/loop2")
    site.page("/loop2", status=308, Location="loop")
    assert reason(fetch, "/loop") == "redirect_loop"
    site.page("/to-closed", status=307, Location="/closed/x")
    assert reason(fetch, "/to-closed") == "robots_disallowed"
    for target in (
        "ftp://example.org/",
        "javascript:1",
        "file:///etc/passwd",
        "http:1",
        "http://a b/",
        "日".encode().decode("latin-1"),
    ):
        site.page("/bad", status=302, Location=target)
        assert reason(fetch, "/bad") in ("bad_address", "http_404"), target
    site.page("/password", status=302, Location="https://joe:hunter2@example.org/")
    assert reason(fetch, "/password") == "credentials"
    site.page("/nowhere", status=302)
    assert reason(fetch, "/nowhere") == "http_302"


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/", "http://[::1]:{port}/", "http://other.test:{port}/"]
)
def test_a_redirect_does_not_lead_into_the_private_network(site: Any, fetch: Any, target: str) -> None:
    site.page("/out", status=302, Location=target.format(port=site.port))
    before = site.asked("/")
    assert reason(fetch, "/out") == "private_address"
    assert site.asked("/") == before


def test_only_the_port_that_was_named_is_trusted(clock: Any, resolver: Any) -> None:
    network = Network(resolver)
    named = ("http", "a.test", 8000)
    with pytest.raises(FetchError) as caught:
        network.transport(httpx.URL("http://a.test:9200/"), named)
    assert caught.value.reason == "private_address"
    assert network.transport(httpx.URL("http://a.test:8000/x"), named)
    assert network.transport(httpx.URL("https://a.test/"), ("http", "a.test", 80)), "a site that moved to https"
    network.close()


def test_a_host_is_looked_up_once_and_connected_to_where_it_was_checked(site: Any, clock: Any) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    site.page("/a")
    site.page("/b")
    fetcher = Fetcher(OPTIONS, clock, lambda host, port: answers.pop(0))
    for path in ("/a", "/b"):
        url = httpx.URL(site.url(path, "rebound.test"))
        assert fetcher.get(Request(url, origin(url)), io.BytesIO()).status == 200
    fetcher.close()
    assert len(answers) == 1
    assert {headers["host"] for _, headers in site.requests} == {f"rebound.test:{site.port}"}


def test_an_unknown_host_and_a_closed_port_are_told_apart(site: Any, clock: Any, resolver: Any, fetch: Any) -> None:
    assert reason(fetch, "/", host="no-such-host.invalid") == "unknown_host"
    url = httpx.URL("http://127.0.0.1:1/")
    fetcher = Fetcher(OPTIONS, clock, resolver)
    with pytest.raises(FetchError) as caught:
        fetcher.get(Request(url, origin(url)), io.BytesIO())
    assert (caught.value.reason, caught.value.temporary) == ("connection", True)
    fetcher.close()


@pytest.mark.parametrize("status", [404, 410, 403, 500, 418, 204])
def test_other_answers_are_reasons(site: Any, fetch: Any, status: int) -> None:
    site.page("/a", "", status)
    assert reason(fetch, "/a") == f"http_{status}"


def busy_twice(site: Any, clock: Any, retry_after: Any) -> None:
    state = {"left": 2}

    def answer(handler: Any) -> None:
        state["left"] -= 1
        status, body = (429, b"slow down") if state["left"] >= 0 else (200, b"here")
        handler.send_response(status)
        if status == 429 and retry_after is not None:
            handler.send_header("Retry-After", retry_after())
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    site.pages["/busy"] = answer


def test_retry_after_is_waited_for_in_seconds_and_as_a_date(site: Any, clock: Any, fetch: Any) -> None:
    busy_twice(site, clock, lambda: "11")
    assert fetch("/busy", options=FetchOptions(retries=2))[1] == b"here"
    assert clock.sleeps == [1.0, 11.0, 11.0]
    clock.sleeps.clear()
    busy_twice(site, clock, lambda: format_datetime(clock.date() + timedelta(seconds=30)))
    assert fetch("/busy", options=FetchOptions(retries=2))[1] == b"here"
    assert all(28 < pause <= 30 for pause in clock.sleeps[1:])
    clock.sleeps.clear()
    busy_twice(site, clock, None)
    assert fetch("/busy", options=FetchOptions(retries=2))[1] == b"here"
    assert clock.sleeps == [1.0, 1.0, 2.0]


def test_retries_and_pauses_are_bounded(site: Any, clock: Any, fetch: Any) -> None:
    busy_twice(site, clock, lambda: "1")
    assert reason(fetch, "/busy", options=FetchOptions(retries=1)) == "http_429"
    assert site.asked("/busy") == 2
    busy_twice(site, clock, lambda: "86400")
    assert reason(fetch, "/busy", options=FetchOptions(retries=5)) == "http_429"
    assert site.asked("/busy") == 3
    assert max(clock.sleeps) < 60


def test_a_server_that_says_nothing_is_a_timeout(site: Any, fetch: Any) -> None:
    site.pages["/slow"] = lambda handler: time.sleep(1)
    assert reason(fetch, "/slow", options=FetchOptions(timeout=0.1, retries=0)) == "timeout"


def test_a_server_that_drips_is_a_timeout(site: Any, clock: Any, fetch: Any) -> None:
    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        clock.time += 1000
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.3)

    site.pages["/drip"] = drip
    assert reason(fetch, "/drip", options=FetchOptions(longest=100, retries=0, timeout=0.2)) == "timeout"


def chunked(*pieces: bytes, **headers: str) -> Any:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        try:
            for piece in pieces:
                handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:  # it hung up, as it should
            handler.close_connection = True

    return answer


def test_more_than_the_limit_is_too_large_whether_announced_or_not(site: Any, fetch: Any) -> None:
    site.page("/announced", b"x" * 2000)
    site.pages["/chunked"] = chunked(*[b"x" * 100] * 20)
    site.page("/fits", b"x" * 1000)
    options = FetchOptions(max_bytes=1000)
    assert reason(fetch, "/announced", options=options) == "too_large"
    assert reason(fetch, "/chunked", options=options) == "too_large"
    assert len(fetch("/fits", options=options)[1]) == 1000


def test_gzip_is_unpacked_and_its_bombs_are_too_large(site: Any, fetch: Any) -> None:
    packed = gzip.compress(b"some text ") + gzip.compress(b"and more")
    site.page("/gz", packed, Content_Encoding="gzip")
    assert fetch("/gz")[1] == b"some text and more"
    site.page("/bomb", gzip.compress(b"\0" * (200 << 20)), Content_Encoding="gzip")
    assert reason(fetch, "/bomb") == "too_large"
    site.page("/cut", gzip.compress(b"some text" * 100)[:-12], Content_Encoding="gzip")
    assert reason(fetch, "/cut") == "connection"
    site.page("/no-gzip", b"plain", Content_Encoding="gzip")
    assert reason(fetch, "/no-gzip") == "connection"
    site.page("/deflate", zlib.compress(b"x"), Content_Encoding="deflate")
    assert reason(fetch, "/deflate") == "bad_encoding"


def test_a_body_that_is_cut_off_is_no_page(site: Any, fetch: Any) -> None:
    def cut(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"too little")
        handler.close_connection = True

    site.pages["/cut"] = cut
    assert reason(fetch, "/cut") == "connection"


def test_conditions_are_sent_to_the_address_they_are_about(site: Any, fetch: Any) -> None:
    site.page("/moved", status=301, Location="/new", ETag='"1"')
    site.page("/new", "x", ETag='"1"')
    answer, _ = fetch("/moved", conditions={"If-None-Match": '"1"'}, known=site.url("/new"))
    assert answer.status == 304
    assert "if-none-match" not in site.requests[1][1]
    assert site.requests[2][1]["if-none-match"] == '"1"'


def test_cookies_are_not_carried_from_page_to_page(site: Any, clock: Any, resolver: Any) -> None:
    site.page("/a", Set_Cookie="id=1; Path=/")
    site.page("/b")
    fetcher = Fetcher(OPTIONS, clock, resolver)
    for path in ("/a", "/b"):
        url = httpx.URL(site.url(path))
        fetcher.get(Request(url, origin(url)), io.BytesIO())
    fetcher.close()
    assert "cookie" not in site.requests[-1][1]


@pytest.mark.parametrize("proxy", ["gopher://u:secret@host:1", "http://host:port", "socks9://host"])
def test_a_proxy_that_cannot_be_one_is_a_config_error(monkeypatch: Any, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError) as caught:
        Network(lambda host, port: ["8.8.8.8"]).transport(httpx.URL("https://example.org/"), None)
    assert caught.value.where == "https_proxy"
    assert "secret" not in f"{caught.value} {caught.value.mend}"


def test_a_proxy_is_used_for_what_is_public_only(site: Any, clock: Any, resolver: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", site.url(""))
    site.page("http://elsewhere.example/a", "by proxy")
    site.page("/local")
    fetcher = Fetcher(OPTIONS, clock, resolver)
    url, body = httpx.URL("http://elsewhere.example/a"), io.BytesIO()
    fetcher.get(Request(url, origin(url)), body)
    assert body.getvalue() == b"by proxy"
    local = httpx.URL(site.url("/local"))
    fetcher.get(Request(local, origin(local)), io.BytesIO())
    assert site.requests[-1][0] == "/local"
    metadata = httpx.URL("http://169.254.169.254/")
    with pytest.raises(FetchError, match="own network"):
        fetcher.get(Request(metadata, origin(url)), io.BytesIO())
    fetcher.close()
