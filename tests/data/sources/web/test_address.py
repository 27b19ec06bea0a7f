import httpx
import pytest

from llmkit.data.sources.web.address import is_public, linked_address, origin, user_address
from llmkit.data.sources.web.options import FetchError
from llmkit.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.org/a b?q=1#part", "https://example.org/a%20b?q=1"),
        ("HTTP://EXAMPLE.org:80", "http://example.org"),
        ("https://ja.wikipedia.org/wiki/日本語", "https://ja.wikipedia.org/wiki/%E6%97%A5%E6%9C%AC%E8%AA%9E"),
        ("https://日本語.jp/", "https://xn--wgv71a119e.jp/"),
    ],
)
def test_an_address_is_written_in_one_way(text: str, expected: str) -> None:
    assert str(user_address(text)) == expected


@pytest.mark.parametrize(
    "text", ["ftp://example.org/", "http://", "http://a:99999/", "https://[::1", "file:///etc/passwd"]
)
def test_what_is_no_web_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no web address"):
        user_address(text)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        user_address("https://joe:hunter2@example.org/a")
    assert "hunter2" not in str(caught.value)
    assert caught.value.where == "https://…@example.org/a"


def test_links_are_relative_to_their_page() -> None:
    base = httpx.URL("https://example.org/a/b.html")
    assert str(linked_address(base, " ../c?x=1#y ")) == "https://example.org/c?x=1"
    assert str(linked_address(base, "//other.org/")) == "https://other.org/"
    for link in (
        "javascript:alert(1)",
        "mailto:a@b.c",
        "data:text/plain,x",
        "https://u:p@example.org",
        "http://[",
        "a\0b",
    ):
        with pytest.raises(FetchError) as caught:
            linked_address(base, link)
        assert "u:p" not in caught.value.detail


def test_an_origin_has_its_port() -> None:
    assert origin(httpx.URL("https://example.org/x")) == ("https", "example.org", 443)
    assert origin(httpx.URL("http://127.0.0.1:8080")) == ("http", "127.0.0.1", 8080)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "nonsense",
    ],
)
def test_addresses_of_this_machine_and_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)
