import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.sources.web.robots import ALLOW_ALL, DISALLOW_ALL, Rule, normalise, parse_robots


def allowed(rules: str, path: str) -> bool:
    return parse_robots(f"User-agent: *\n{rules}".encode(), "llmkit").allows(path)


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        # The examples that Google's documentation of robots.txt and RFC 9309, section 5, give.
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Disallow: /\nAllow: /p", "/page", True),
        ("Allow: /folder\nDisallow: /folder", "/folder/page", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Allow: /page\nDisallow: /*.ph", "/page.php5", True),
        ("Allow: /$\nDisallow: /", "/", True),
        ("Allow: /$\nDisallow: /", "/page.htm", False),
        ("Allow: /example/page/\nDisallow: /example/page/disallowed.gif", "/example/page/disallowed.gif", False),
        ("Disallow: /fish", "/fishheads/yummy.html", False),
        ("Disallow: /fish", "/Fish.asp", True),
        ("Disallow: /fish", "/catfish", True),
        ("Disallow: /fish/", "/fish", True),
        ("Disallow: /*.php$", "/folder/filename.php", False),
        ("Disallow: /*.php$", "/filename.php?parameters", True),
        ("Disallow: /fish*.php", "/fishheads/catfish.php?parameters", False),
        ("Disallow:", "/anything", True),
        ("Disallow: /", "/robots.txt", True),
        ("Disallow: /a?b=*", "/a?b=c", False),
        ("Disallow: /a*b*a$", "/aba", False),
        ("Disallow: /ab*ba$", "/aba", True),
    ],
)
def test_the_longest_matching_rule_decides(rules: str, path: str, expected: bool) -> None:
    assert allowed(rules, path) is expected


@pytest.mark.parametrize("rule", ["/日本語/", "/%E6%97%A5%E6%9C%AC%E8%AA%9E/", "/%e6%97%a5%e6%9c%ac%e8%aa%9e/"])
def test_escaped_and_plain_spellings_of_a_path_are_one(rule: str) -> None:
    assert not allowed(f"Disallow: {rule}", "/日本語/x")
    assert not allowed(f"Disallow: {rule}", "/%E6%97%A5%E6%9C%AC%E8%AA%9E/x")
    assert not allowed("Disallow: /%7Ejoe", "/~joe/")
    assert allowed("Disallow: /a%2Fb", "/a/b"), "an escaped slash is not a slash"


def test_the_group_that_names_us_replaces_the_one_for_all() -> None:
    text = b"User-agent: *\nDisallow: /\n\nUser-Agent: LLMkit/9.9\nDisallow: /private # not this\n"
    robots = parse_robots(text, "llmkit")
    assert robots.allows("/public")
    assert not robots.allows("/private/x")
    assert not parse_robots(text, "other").allows("/public")


def test_groups_for_one_agent_are_merged_and_agents_share_rules() -> None:
    text = b"\xef\xbb\xbfUser-agent: a\nUser-agent: llmkit\nDisallow: /x\r\rUser-agent: llmkit\r\n"
    text += b"Disallow: /y\nCrawl-delay: 2.5"
    robots = parse_robots(text, "llmkit")
    assert [robots.allows(path) for path in ("/x", "/y", "/z")] == [False, False, True]
    assert robots.crawl_delay == 2.5
    assert parse_robots(text, "a").allows("/y")


def test_another_products_rules_are_not_ours() -> None:
    assert parse_robots(b"User-agent: llmkit-news\nDisallow: /", "llmkit").allows("/")
    assert parse_robots(b"User-agent: llm\nDisallow: /", "llmkit").allows("/")
    assert parse_robots(b"User-agent: llmkit\n\nUser-agent: *\nDisallow: /", "llmkit").allows("/x") is False


def test_a_group_of_ours_without_rules_still_keeps_the_general_one_away() -> None:
    assert parse_robots(b"User-agent: *\nDisallow: /\nUser-agent: llmkit\n", "llmkit").allows("/x")


def test_other_records_do_not_end_a_group() -> None:
    text = b"User-agent: llmkit\nSitemap: https://example.org/s.xml\nUser-agent: b\nDisallow: /x"
    assert not parse_robots(text, "llmkit").allows("/x")


def test_everything_and_nothing() -> None:
    assert ALLOW_ALL.allows("/x")
    assert not DISALLOW_ALL.allows("/")


@given(st.binary(max_size=300))
def test_any_bytes_parse(data: bytes) -> None:
    robots = parse_robots(b"User-agent: *\nDisallow: /" + data, "llmkit")
    assert robots.allows("/x") in (True, False)
    assert robots.crawl_delay >= 0


@given(st.text("ab*$/", max_size=8), st.text("ab/", max_size=10))
def test_matching_is_that_of_the_equal_regular_expression(pattern: str, path: str) -> None:
    anchored = pattern.endswith("$")
    body = pattern[:-1] if anchored else pattern
    expression = ".*".join(re.escape(part) for part in body.split("*")) + (r"\Z" if anchored else "")
    assert Rule(False, pattern).matches(path) is bool(re.match(expression, path))


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(path: str) -> None:
    try:
        once = normalise(path)
    except UnicodeEncodeError:
        return
    assert normalise(once) == once


def test_a_hostile_pattern_is_matched_in_no_time() -> None:
    assert not Rule(False, "/" + "a*" * 200 + "b$").matches("/" + "a" * 5000)
