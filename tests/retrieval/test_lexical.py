"""Words: what FTS5 is given, what it finds, and that scoring sees the same terms."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.retrieval.lexical import Stemmer, indexed_form, match_query, question_words
from llmkit.retrieval.store import View
from llmkit.text.document import Document

from .conftest import build


def texts(*lines: str) -> list[Document]:
    return [Document(f"/d/{n}", line, record=str(n)) for n, line in enumerate(lines)]


def found(folder: Path, question: str) -> list[str]:
    view = View(folder)
    scores = view.lexical(question_words(question), 10)
    chunks = view.chunks(list(scores))
    return [chunks[row].text for row in scores]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2011年に東京大学で", "2011 年 に 東京 京大 大学 東 京 大 学 で"),
        ("カタカナ語", "カタ タカ カナ 語"),
        ("ＡＢＣ１２３", "ABC123"),
        ("한국어 검색", "한국 국어 검색"),
        ("plain text", "plain text"),
        ("JSONDecoder and DictReader", "JSONDecoder and DictReader JSON Decoder Dict Reader"),
        ("mRNA and iPhone", "mRNA and iPhone"),
    ],
)
def test_what_is_indexed_has_words_where_the_script_has_none(text: str, expected: str) -> None:
    assert indexed_form(text).split() == expected.split()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How do I parse a CSV file?", ["parse", "csv", "file"]),
        ("What is it?", ["what", "is", "it"]),
        ("json.dumps()", ["json", "dumps"]),
        ('" OR NEAR(*', ["or", "near"]),
        ("!?", []),
    ],
)
def test_a_question_keeps_the_words_that_carry_its_subject(question: str, expected: list[str]) -> None:
    assert question_words(question) == (expected if expected != ["or", "near"] else ["near"])


def test_japanese_is_found_by_parts_of_its_words(tmp_path: Path) -> None:
    build(tmp_path, texts("東大寺は2011年に修理された。", "京都の寺院の歴史。", "黒猫が眠る。"), None)
    assert found(tmp_path, "2011年の東大寺")[0].startswith("東大寺")
    assert found(tmp_path, "寺院")[0].startswith("京都")
    assert found(tmp_path, "猫は？")[0].startswith("黒猫")


def test_names_in_code_are_found_by_their_words(tmp_path: Path) -> None:
    lines = ("def file_digest(f): ...", "class DictReader: ...", "json.dumps(x)", "something else entirely")
    build(tmp_path, texts(*lines), None)
    for question, first in (("digest a file", 0), ("dict reader", 1), ("DictReader", 1), ("dumping json", 2)):
        assert found(tmp_path, question)[0] == lines[first]


@given(st.text(max_size=60))
def test_no_question_is_a_syntax_error(question: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(a)")
    words = question_words(question)
    if words:
        db.execute("SELECT * FROM t WHERE t MATCH ?", (match_query(words),)).fetchall()


def test_terms_are_those_of_the_index_in_their_order() -> None:
    stemmer = Stemmer()
    assert stemmer.terms(["Parsing files", "", "2011年", "\ud800"]) == [["pars", "file"], [], ["2011", "年"], []]
    assert stemmer.terms(["again"]) == [["again"]]


def test_bm25_is_the_published_formula(library: Path) -> None:
    """Okapi BM25 by hand over the index's terms: k1 1.2, b 0.75, IDF log((N - n + 0.5) / (n + 0.5)), as FTS5 has it."""
    view = View(library)
    rows = [row for (row,) in view._db.execute("SELECT row FROM chunks ORDER BY row")]
    chunks = view.chunks(rows)
    stems = view.terms([f"{chunks[row].heading}\n{chunks[row].text}" for row in rows])
    lengths = {row: len(terms) for row, terms in zip(rows, stems, strict=True)}
    mean = sum(lengths.values()) / len(rows)
    counts = {row: Counter(terms) for row, terms in zip(rows, stems, strict=True)}
    words = question_words("shell escaped string with a hash digest")
    expected: dict[int, float] = {}
    for term in [terms[0] for terms in view.terms(words)]:
        holding = [row for row in rows if counts[row][term]]
        idf = max(1e-6, math.log((len(rows) - len(holding) + 0.5) / (len(holding) + 0.5)))
        for row in holding:
            tf = counts[row][term]
            expected[row] = expected.get(row, 0) + idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths[row] / mean))
    scored = view.lexical(words, 10_000)
    assert scored.keys() == expected.keys() and len(scored) > 20
    assert all(scored[row] == pytest.approx(expected[row], rel=1e-6) for row in scored)
    assert view.frequencies(["digest", "nosuchterm"]) == {
        "digest": sum(bool(found["digest"]) for found in counts.values()),
        "nosuchterm": 0,
    }
