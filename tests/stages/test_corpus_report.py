"""A report is shown for what it has, in short and in full, and for whatever it lacks there is nothing."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from rich.console import Console

from llmkit.cli.render import print_blocks
from llmkit.data.reference import compare, profile
from llmkit.data.skew import count_terms, summary
from llmkit.reporting.blocks import Bars, Block, Figures, Fold, Heading, Line, Quote, Table
from llmkit.reporting.page import page
from llmkit.stages.corpus_report import blocks, full

TEXT = "She met him in England. 彼女は日本へ行った。"


def step(name: str, documents: int, size: int) -> dict[str, Any]:
    return {"step": name, "documents": documents, "characters": size, "bytes": size}


REPORT: dict[str, Any] = {
    "schema": "text",
    "steps": [
        {"step": "collect", "files": 50, "bytes": 9000},
        step("read", 40, 8000),
        step("quality", 30, 6000),
        step("dedup", 20, 4000),
    ],
    "skipped": {"hidden": 3},
    "drops": {"quality": {"c4.lorem_ipsum": 10}, "dedup": {"exact_duplicate": 4, "near_duplicate": 6}},
    "samples": {
        "dedup/near_duplicate": [
            {"id": "ab12", "source": "a.txt", "record": "7", "detail": "as b.txt", "excerpt": TEXT}
        ]
    },
    "changes": {"normalise": {"mojibake": {"documents": 2, "changes": 9}}},
    "pii": {"email": {"documents": 2, "found": 5}},
    "pii_mode": "count",
    "languages": {"en": {"documents": 12, "characters": 2400}, "ja": {"documents": 6}, "": {"documents": 2}},
    "lengths": {"all": {"6": 2, "8": 18}, "en": {"8": 12}, "ja": {"6": 2, "8": 4}},
    "clusters": {
        "sizes": {"2": 3, "3": 1, "40": 1},
        "largest": [{"cluster": "c1", "size": 40, "source": "a.txt", "record": ""}],
    },
    "sources": {"web": {"documents": 15, "bytes": 3000}, "mail": {"documents": 5, "bytes": 1000}},
    "formats": {"text/html": {"documents": 20, "bytes": 4000}},
    "licences": {"unknown": {"documents": 20, "bytes": 4000}},
    "scans": {"files": 2, "pages": 12},
    "skew": summary(count_terms(TEXT)),
    "reference": compare(profile([TEXT] * 30), profile(["The stock market fell."] * 30)),
    "contamination": {"squad": {"items": 10, "items_hit": 1, "too_short": 2, "documents_hit": 1}},
    "splits": {
        "train": {"documents": 18, "characters": 3600, "bytes": 3600},
        "test": {"documents": 2, "characters": 400, "bytes": 400},
    },
    "missing_splits": ["validation"],
}
TOKENS = {"train": 900, "test": 100}


def flat(shown: Iterable[Block]) -> Iterator[Block]:
    for block in shown:
        yield block
        if isinstance(block, Fold):
            yield from flat(block.blocks)


def only(shown: Iterable[Block], title: str) -> Bars:
    (found,) = [block for block in flat(shown) if isinstance(block, Bars) and block.title == title]
    return found


def headings(shown: Iterable[Block]) -> list[str]:
    return [block.text for block in shown if isinstance(block, Heading) and block.level == 1]


def test_the_waterfall_shows_what_is_left_and_what_each_step_took() -> None:
    bars = only(full(REPORT), "Documents")
    assert list(bars.labels) == ["read", "quality", "dedup"]
    assert list(bars.values) == [40, 30, 20]
    assert list(bars.rest) == [0, 10, 10]
    assert list(bars.notes) == ["", "−25.0%", "−33.3%"]


def test_tokens_of_earlier_steps_are_estimated_at_the_finished_sets_own_rate() -> None:
    assert list(only(full(REPORT, TOKENS), "Tokens (≈, by bytes)").values) == [2000, 1500, 1000]
    assert list(only(full(REPORT), "Tokens (≈, by bytes)").values) == [2000, 1500, 1000]
    assert list(only(full(REPORT, {"train": 400}), "Tokens (≈, by bytes)").values) == [800, 600, 400]


def test_all_sections_stand_in_the_order_of_the_work() -> None:
    assert headings(full(REPORT, TOKENS)) == [
        "What was left after each step",
        "What was left out, and why",
        "What was changed",
        "Languages and scripts",
        "Lengths",
        "Duplicates",
        "Where it comes from",
        "Which people are named",
        "Difference from the reference set",
        "Personal data and keys",
        "Overlap with evaluation sets",
        "Splits",
    ]


@pytest.mark.parametrize("key", sorted(REPORT))
def test_a_report_without_one_part_is_shown_without_it(key: str) -> None:
    rest = {name: value for name, value in REPORT.items() if name != key}
    page("t", full(rest, TOKENS))
    assert len(headings(full(rest))) in (11, 12)
    assert list(blocks(rest)) is not None


def test_an_empty_report_is_an_empty_page() -> None:
    assert list(full({})) == []


def test_each_reason_is_counted_and_has_its_samples() -> None:
    shown = full(REPORT)
    bars = only(shown, "Left out, by step and reason")
    assert dict(zip(bars.labels, bars.values, strict=True)) == {
        "quality: c4.lorem_ipsum": 10,
        "dedup: near duplicate": 6,
        "dedup: exact duplicate": 4,
        "skipped: hidden": 3,
    }
    (fold,) = [block for block in shown if isinstance(block, Fold) and block.label.startswith("dedup")]
    assert fold.label == "dedup: near duplicate (6)"
    assert fold.blocks == [Quote(TEXT, "a.txt (record 7) · as b.txt · ab12")]


def test_scans_are_named_with_what_to_do() -> None:
    line = Line("12 pages are scans: OCR them first (in 2 files)", "bad")
    assert line in list(full(REPORT))
    assert line in list(blocks(REPORT))
    assert Line("1 page is a scan: OCR it first (in 1 file)", "bad") in list(
        blocks({"scans": {"files": 1, "pages": 1}})
    )


def test_lengths_are_buckets_by_powers_of_two_with_the_empty_ones_between() -> None:
    bars = only(full(REPORT), "Documents by length in characters")
    assert list(zip(bars.labels, bars.values, strict=True)) == [("64 – 127", 2), ("128 – 255", 0), ("256 – 511", 18)]


def test_clusters_are_counted_by_doublings_of_their_size() -> None:
    bars = only(full(REPORT), "Clusters by size")
    counts = dict(zip(bars.labels, bars.values, strict=True))
    assert counts["2 alike"] == 3
    assert counts["3 – 4 alike"] == 1
    assert counts["33 – 64 alike"] == 1
    assert sum(counts.values()) == 5


def test_a_mix_of_very_many_is_cut_and_the_others_are_added_up() -> None:
    report = {**REPORT, "sources": {f"s{n:02}": {"documents": 1, "bytes": 10} for n in range(50)}}
    bars = only(full(report), "Documents by source")
    assert (len(bars.labels), bars.labels[-1], bars.values[-1]) == (21, "30 more", 30)


def test_the_overlap_is_a_share_of_the_items_that_could_be_looked_for() -> None:
    (table,) = [block for block in full(REPORT) if isinstance(block, Table) and "items found" in block.columns]
    assert table.rows[0] == ("squad", 10, 1, "12.5%", 2, 1)


def test_examples_for_fine_tuning_are_shown_by_the_same_code() -> None:
    report = {
        "schema": "chat",
        "steps": [{"step": "read", "examples": 100}, {"step": "dedup", "examples": 90}],
        "drops": {"examples": {"empty_turn": 4}, "dedup": {"exact_duplicate": 6}},
        "skipped": {},
        "forms": {"messages": 60, "alpaca": 30},
        "splits": {"train": {"examples": 90, "characters": 1000}},
        "missing_splits": [],
    }
    shown = full(report)
    assert headings(shown) == [
        "What was left after each step",
        "What was left out, and why",
        "Kinds of examples",
        "Splits",
    ]
    (figures,) = [block for block in shown if isinstance(block, Figures)]
    assert figures.items[0] == ("examples kept", 90, "90.0% of 100")


def test_a_report_of_an_earlier_version_is_still_shown() -> None:
    report = {
        "schema": "text",
        "steps": [
            {"step": "collect", "files": 3, "bytes": 500},
            {"step": "read", "documents": 3, "characters": 400},
            {"step": "clean", "documents": 2, "characters": 300},
        ],
        "drops": {"clean": {"too_short": 1}},
        "changes": {"mojibake": {"documents": 1, "changes": 2}},
        "skipped": {},
        "splits": {"train": {"documents": 2, "characters": 300, "bytes": 320}},
        "missing_splits": [],
    }
    (changes,) = [block for block in full(report) if isinstance(block, Table) and "rule" in block.columns]
    assert changes.rows == [("clean", "mojibake", 1, 2)]


def test_the_short_form_fits_a_terminal() -> None:
    out = io.StringIO()
    print_blocks(Console(file=out, width=100), blocks(REPORT, TOKENS))
    shown = out.getvalue()
    assert "near duplicate" in shown
    assert "personal data found, and kept: 5 email" in shown
    assert "overlap with squad: 1 of 10 items" in shown
    assert "too little text for a split of its own: validation" in shown
    assert max(map(len, shown.splitlines())) <= 100
