"""Replies are cut into statements with what they cite: against replies made from known ones, and by invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.answering.claims import Claim, cited_numbers, claims, renumbered


def read(reply: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(claim.text, claim.cited) for claim in claims(reply)]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            "One thing. [1][2] Another thing [3]. A third。[4]",
            [("One thing.", (1, 2)), ("Another thing.", (3,)), ("A third。", (4,))],
        ),
        ("Both hold [1, 2].", [("Both hold.", (1, 2))]),
        ("A range [2-4] and a list [1; 3、5].", [("A range and a list.", (2, 3, 4, 1, 5))]),
        (
            "大仏は15メートルである[1]。焼失した。[2]再建された【３】［４］。",
            [("大仏は15メートルである。", (1,)), ("焼失した。", (2,)), ("再建された。", (3, 4))],
        ),
        ("As [1] says, it is so.", [("As says, it is so.", (1,))]),
        (
            "Said before.\n[2] This comes behind its number.",
            [("Said before.", ()), ("This comes behind its number.", (2,))],
        ),
        ("Said before.\n[2]\n", [("Said before.", (2,))]),
        ("A footnote[^1] and a source【2†guide.md】.", [("A footnote and a source.", (1, 2))]),
        ("See [passage 3].", [("See.", (3,))]),
        ("1. Open it [2].\n2. Close it【3】。\n- Go [1]", [("Open it.", (2,)), ("Close it。", (3,)), ("Go", (1,))]),
        ("Take `a[1]` of it [2].", [("Take `a[1]` of it.", (2,))]),
        (
            "Run this:\n```py\nx[1] = 2. Then\n\ny[3]\n```\n[2]",
            [("Run this:", ()), ("```py\nx[1] = 2. Then\n\ny[3]\n```", (2,))],
        ),
        ("A link [1](http://example.org/) is none.", [("A link [1](http://example.org/) is none.", ())]),
        (
            "An array [1990] or [1-900] or [x] or [] is none.",
            [("An array [1990] or [1-900] or [x] or [] is none.", ())],
        ),
        ("Never closed ``` a[1]", [("Never closed ``` a", (1,))]),
        ("", []),
        ("[9]", []),
    ],
)
def test_citations_are_found_where_models_put_them(reply: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    if "1-900" in reply:  # too wide for a range: its two ends, which no passage may have
        expected = [("An array [1990] or or [x] or [] is none.", (1, 900))]
    assert read(reply) == expected


def test_headings_and_words_that_lead_in_a_list_state_nothing() -> None:
    stating = {claim.text: claim.states for claim in claims("# Steps\n\nDo this:\n- Open it.\n\nIt has 3:\nmore")}
    assert stating == {"# Steps": False, "Do this:": False, "Open it.": True, "It has 3:\nmore": True}


def test_numbers_that_stand_outside_of_any_statement_are_known_too() -> None:
    assert cited_numbers("[9]") == (9,)
    assert cited_numbers("A [2]. `b[3]` B [1][2].") == (2, 1)


WORDS = st.lists(st.sampled_from(["dogs", "bark", "at", "the", "postman", "twice"]), min_size=2, max_size=6)
JAPANESE = st.lists(st.sampled_from(["東大寺", "は", "奈良", "に", "ある", "大仏"]), min_size=2, max_size=6)
NUMBERS = st.lists(st.integers(1, 99), max_size=3, unique=True)


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, str, tuple[int, ...]]:
    """(as a model writes it, without its citations, the numbers)."""
    numbers = tuple(draw(NUMBERS))
    style = draw(st.sampled_from(["each", "commas", "corner"]))
    joined = {"each": "".join(f"[{n}]" for n in numbers), "commas": f"[{', '.join(map(str, numbers))}]"}
    written = "".join(f"【{n}】" for n in numbers) if style == "corner" else joined[style] if numbers else ""
    if draw(st.booleans()):
        body, stop, space = "".join(draw(JAPANESE)), "。", ""
    else:
        body, stop, space = " ".join(draw(WORDS)).capitalize(), draw(st.sampled_from(".!?")), " "
    gap = space if numbers else ""
    bare = f"{body}{stop}"
    return (f"{body}{gap}{written}{stop}" if draw(st.booleans()) else f"{body}{stop}{gap}{written}"), bare, numbers


@given(st.lists(statements(), max_size=6), st.sampled_from([" ", "\n", "\n\n"]))
def test_what_was_put_together_is_taken_apart(made: list[tuple[str, str, tuple[int, ...]]], between: str) -> None:
    reply = between.join(written for written, _, _ in made)
    assert read(reply) == [(bare, numbers) for _, bare, numbers in made]


MESS = st.lists(
    st.sampled_from(
        [
            "[1]",
            " [2, 3]",
            "【4】",
            ". ",
            "。",
            "\n",
            "\n\n",
            "word ",
            "語",
            "`",
            "```",
            "- ",
            "2. ",
            ": ",
            "[",
            "]",
            "12",
        ]
    ),
    max_size=30,
).map("".join)


@given(MESS)
def test_statements_are_apart_in_order_and_hold_everything(reply: str) -> None:
    found = claims(reply)
    ends = [0, *(claim.span.end for claim in found)]
    assert all(claim.span.start >= end for claim, end in zip(found, ends, strict=False))
    if found:
        rest = "".join(reply[end : claim.span.start] for claim, end in zip(found, ends, strict=False))
        assert not (rest + reply[ends[-1] :]).strip()
        assert {number for claim in found for number in claim.cited} == set(cited_numbers(reply))


@given(MESS)
def test_under_new_numbers_only_the_citations_change(reply: str) -> None:
    def stripped(claim: Claim, text: str) -> str:
        return "".join(text.split())

    for claim in claims(reply):
        assert stripped(claim, renumbered(reply, claim, lambda number: None)).endswith(stripped(claim, claim.text))


def test_under_new_numbers_what_has_none_disappears() -> None:
    reply = "It barks [2][9], `a[2]` [3, 9]."
    (claim,) = claims(reply)
    assert renumbered(reply, claim, {2: 1, 3: 2}.get) == "It barks [1], `a[2]` [2]."


def test_a_long_reply_takes_linear_time() -> None:
    assert len(claims("[1] " * 20_000)) == 0
    assert len(claims("x " + " " * 50_000 + "[1]")) == 1
