"""Quotes: word for word, readable, the signature before the code."""

from __future__ import annotations

import inspect
import re
import shlex
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.generation.extract import LONGEST, PYTHON, Passage, best_quotes


def terms(texts: Sequence[str]) -> list[list[str]]:
    return [re.findall(r"[a-z0-9]+", text.lower()) for text in texts]


def asked(question: str) -> dict[str, float]:
    return dict.fromkeys(terms([question])[0], 1.0)


def quotes(question: str, *passages: Passage, similarity=None, most: int = 3) -> list[str]:
    found = best_quotes(passages, asked(question), terms, similarity, most=most)
    return [passages[quote.passage].text[slice(*quote.span)] for quote in found]


def test_the_sentence_that_speaks_of_the_question_is_quoted() -> None:
    text = "The Normans were a people. They gave their name to Normandy, a region in France. They sailed a lot."
    assert quotes("normandy region france", Passage(text, "text/plain", 1.0), most=1) == [
        "They gave their name to Normandy, a region in France."
    ]


def test_meaning_decides_between_sentences_without_the_questions_words() -> None:
    passage = Passage("Cats sleep all day. Dogs bark at night.", "text/plain", 1.0)
    assert quotes("noise", passage, similarity=lambda ts: [float("bark" in t) for t in ts], most=1) == [
        "Dogs bark at night."
    ]


def test_of_python_the_signature_with_its_docstring_is_quoted_and_not_the_code() -> None:
    source = inspect.getsource(shlex.quote)
    (first, *_) = quotes("quote shell escaped string", Passage(source, PYTHON, 1.0))
    assert first == 'def quote(s):\n    """Return a shell-escaped version of the string *s*.'


def test_a_long_signature_and_a_single_quoted_docstring_are_taken_whole() -> None:
    source = "def f(a: dict[str, int] = {1: 2},\n      b=3) -> None:\n    'Adds things up. Really.'\n    return a + b\n"
    (first,) = quotes("adds things up", Passage(source, PYTHON, 1.0), most=1)
    assert first == "def f(a: dict[str, int] = {1: 2},\n      b=3) -> None:\n    'Adds things up. Really."


def test_sentences_that_follow_each_other_become_one_quote() -> None:
    text = "Alpha beta one. Alpha beta two. Something else stands here."
    assert quotes("alpha beta", Passage(text, "text/plain", 1.0)) == ["Alpha beta one. Alpha beta two."]


def test_banners_and_tables_are_not_quoted_where_there_is_prose() -> None:
    text = "# ==== parsing ====\n# ================\n\nx = 1\n\n# The parsing of arguments.\n"
    (first, *_) = quotes("parsing", Passage(text, PYTHON, 1.0))
    assert first == "# The parsing of arguments."


def test_a_huge_line_is_quoted_in_pieces_cut_between_words() -> None:
    text = "filler words " * 400 + "the needle stands here " + "more filler " * 400
    (first,) = quotes("needle", Passage(text, "text/plain", 1.0), most=1)
    assert "needle" in first and len(first) <= LONGEST
    at = text.index(first)
    assert text[at - 1] == " " and text[at + len(first)] == " "


def test_the_passage_found_first_is_preferred_between_equals() -> None:
    passages = [Passage("Same words here one.", "text/plain", 0.4), Passage("Same words here two.", "text/plain", 1.0)]
    assert quotes("same words", *passages, most=1) == ["Same words here two."]


def test_what_is_far_behind_the_best_is_not_shown_and_nothing_gives_nothing() -> None:
    passages = [Passage("Exactly the question asked.", "text/plain", 1.0), Passage("Unrelated.", "text/plain", 0.1)]
    assert quotes("exactly the question asked", *passages) == ["Exactly the question asked."]
    assert quotes("anything") == quotes("anything", Passage("  \n", "text/plain", 1.0)) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet=st.sampled_from("ab :.\n\"'#()。def\t"), max_size=200), max_size=3),
    st.sampled_from([PYTHON, "text/plain"]),
)
def test_quotes_are_verbatim_trimmed_apart_and_scored_within_bounds(texts, media) -> None:
    passages = [Passage(text, media, 0.5) for text in texts]
    found = best_quotes(passages, {"a": 1.0, "b": 2.0}, terms, lambda ts: [0.5] * len(ts))
    for quote in found:
        text = passages[quote.passage].text[slice(*quote.span)]
        assert text and text == text.strip() and 0 <= quote.score <= 1
    for n, a in enumerate(found):
        others = (b.span for b in found[:n] if b.passage == a.passage)
        assert all(a.span.end <= other.start or other.end <= a.span.start for other in others)


@pytest.mark.parametrize("name", ["argparse", "heapq", "this"])
def test_whole_modules_give_readable_quotes(name: str) -> None:
    text = Path(sysconfig.get_path("stdlib"), f"{name}.py").read_text(encoding="utf-8")
    for quote in quotes("the items of a list and their arguments", Passage(text, PYTHON, 1.0)):
        assert len(quote) <= LONGEST and quote in text
