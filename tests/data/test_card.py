"""A card is what the Hub and a person can read, says what was recorded, and carries nobody's markup."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmkit.data.card import CardFacts, CardInput, data_card
from llmkit.reporting.markdown import code, plain

REPORT: dict[str, Any] = {
    "schema": "text",
    "steps": [
        {"step": "collect", "files": 12, "bytes": 90_000},
        {"step": "read", "documents": 12, "characters": 60_000, "bytes": 80_000},
        {"step": "dedup", "documents": 9, "characters": 50_000, "bytes": 70_000},
    ],
    "skipped": {"hidden": 2},
    "drops": {"dedup": {"exact_duplicate": 3}},
    "languages": {
        "ja": {"documents": 5, "characters": 30_000},
        "en": {"documents": 3, "characters": 19_000},
        "und": {"documents": 1, "characters": 1_000},
        "": {"documents": 0, "characters": 0},
    },
    "pii": {"email": {"documents": 2, "found": 4}},
    "pii_mode": "count",
    "licences": {"CC-BY-4.0": {"documents": 6, "bytes": 1}, "unknown": {"documents": 3, "bytes": 1}},
    "scans": {"files": 1, "pages": 4},
    "contamination": {"squad": {"items": 10, "items_hit": 1, "too_short": 2, "documents_hit": 1}},
    "splits": {
        "train": {"documents": 8, "characters": 45_000, "bytes": 1},
        "test": {"documents": 1, "characters": 5_000},
    },
    "missing_splits": ["validation"],
}
FACTS = CardFacts(
    "corpus",
    REPORT,
    [CardInput("files", "docs/", "ab" * 32)],
    "llmkit preprocess docs/ --name corpus",
    {"quality.rules": ["c4"]},
    tokens={"train": 11_000},
    packages={"llmkit": "1.0"},
)


def front_matter(card: str) -> dict[str, Any]:
    opening, head, _ = card.split("---\n", 2)
    assert opening == ""
    value = yaml.safe_load(head)
    assert isinstance(value, dict)
    return value


def test_the_front_matter_is_what_the_hub_knows() -> None:
    head = front_matter(data_card(FACTS))
    assert head["language"] == ["en", "ja"]
    assert head["license"] == ["cc-by-4.0", "unknown"]
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["text-generation", "fill-mask"]
    assert head["configs"] == [{"config_name": "default", "data_files": "documents.parquet"}]


@pytest.mark.parametrize(
    ("rows", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**10, "n>1B")]
)
def test_the_size_category_is_that_of_the_rows(rows: int, category: str) -> None:
    report = {"schema": "text", "splits": {"train": {"documents": rows}}}
    assert front_matter(data_card(CardFacts("a", report)))["size_categories"] == [category]


def test_a_licence_the_hub_does_not_know_is_another_one() -> None:
    assert front_matter(data_card(CardFacts("a", {}, licence="Our own terms")))["license"] == "other"
    assert front_matter(data_card(CardFacts("a", {})))["license"] == "unknown"


def test_a_card_says_where_the_data_come_from_and_what_was_left_out() -> None:
    card = data_card(FACTS)
    assert f"| files | `docs/` | `{'ab' * 32}` |" in card
    assert "| dedup | exact duplicate | 3 |" in card
    assert "| skipped | hidden | 2 |" in card
    assert "| read | - | 12 | 80 kB |" in card
    assert '- `quality.rules`: `["c4"]`' in card
    assert "    llmkit preprocess docs/ --name corpus" in card


def test_a_card_says_what_a_user_must_know() -> None:
    card = data_card(FACTS)
    assert "They were not removed" in card
    assert "Scans without text are absent: 4 pages of 1 file." in card
    assert "The licence of 3 documents is not known" in card
    assert "The language of 1 document could not be told" in card
    assert "Too small for a split of its own: validation." in card
    assert "not compared with any evaluation set" not in card


@pytest.mark.parametrize(
    ("schema", "task"),
    [
        ("chat", "text-generation"),
        ("label", "text-classification"),
        ("span", "question-answering"),
        ("preference", "text-generation"),
    ],
)
def test_examples_have_a_card_too(schema: str, task: str) -> None:
    card = data_card(CardFacts("bot-data", {"schema": schema, "splits": {"train": {"examples": 20, "characters": 5}}}))
    assert front_matter(card)["task_categories"] == [task]
    assert "20 examples" in card
    assert "examples.parquet" in card
    assert "llmkit finetune-lora --model MODEL --data bot-data" in card


def test_equal_facts_give_equal_cards() -> None:
    assert data_card(FACTS) == data_card(FACTS)


HOSTILE = "a|b\n# x\n<script>alert(1)</script> [x](javascript:y) `code` ![i](http://e) **b** \u202e\x1b"


def test_text_from_the_data_is_inert() -> None:
    row = {"documents": 1, "found": 1, "items": 1, "bytes": 1}
    report = {
        "schema": "text",
        "drops": {HOSTILE: {HOSTILE: 1}},
        "steps": [{"step": HOSTILE, "documents": 1}],
        **{
            key: {HOSTILE: row}
            for key in ("languages", "pii", "sources", "formats", "licences", "contamination", "splits")
        },
        "missing_splits": [HOSTILE],
    }
    facts = CardFacts(HOSTILE, report, [CardInput(HOSTILE, HOSTILE, "ab")], HOSTILE, {HOSTILE: HOSTILE}, HOSTILE)
    card = data_card(facts)
    front_matter(card)
    assert "\u202e" not in card
    assert "\x1b" not in card
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(card.split("---\n", 2)[2])
    kinds = Counter(child.type for token in tokens for child in (token, *(token.children or ())))
    assert not {"html_inline", "html_block", "link_open", "image", "strong_open", "em_open"} & set(kinds)
    # One of its own title, and one for each section that has something.
    assert kinds["heading_open"] == 8
    # Every cell holds its text and none has become two.
    rows = [token for token in tokens if token.type == "inline" and "script" in token.content]
    assert all("a|b" in token.content.replace("\\", "") for token in rows)
    assert len(rows) > 10


@given(st.text(max_size=60))
def test_text_stays_on_one_line_and_acts_nowhere(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    bare = shown.replace("\\\\", "")
    for sign in "`*_[]<>|~&$":
        assert bare.count(sign) == bare.count("\\" + sign)


@given(st.text(max_size=60))
def test_a_code_span_cannot_be_left(text: str) -> None:
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    inside = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence)
    assert fence not in inside
    assert "\n" not in inside
