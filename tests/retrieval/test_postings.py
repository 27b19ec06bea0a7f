"""Postings: the scores of FTS5 itself, whatever runs made them, and for a reader always of one moment."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmkit.retrieval import postings
from llmkit.retrieval.chunk import ChunkSettings
from llmkit.retrieval.lexical import question_words
from llmkit.retrieval.schema import connect, transaction
from llmkit.retrieval.store import View
from llmkit.retrieval.writer import open_writer
from llmkit.text.document import Document

from .conftest import build

WORDS = ("apple", "apples", "red", "running", "run", "東京タワー", "ラーメン", "readFile", "the", "café", "x1")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
QUESTIONS = ("apple red", "running runs run", "東京のラーメン", "how to read a file", "the", "café x1 apple", "nothing")


def documents(bodies: list[str]) -> list[Document]:
    return [Document(f"/d/{n}.txt", body) for n, body in enumerate(bodies)]


def by_fts5(view: View, question: str) -> dict[int, float]:
    return view._lexical_by_fts5(question_words(question), 1000, view.shown)


def same(view: View, questions: tuple[str, ...] = QUESTIONS) -> None:
    for question in questions:
        expected = by_fts5(view, question)
        found = view.lexical(question_words(question), 1000)
        assert found == pytest.approx(expected, rel=1e-5), question
        assert list(found.values()) == sorted(found.values(), reverse=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(texts, min_size=1, max_size=6), min_size=1, max_size=4))
def test_scores_are_those_of_fts5_after_any_run_of_versions(tmp_path_factory: pytest.TempPathFactory, runs) -> None:
    folder = tmp_path_factory.mktemp("index")
    for bodies in runs:
        build(folder, documents(bodies), None)
    for version in View(folder)._db.execute("SELECT version FROM versions").fetchall():
        same(View(folder, *version))


def test_real_texts_score_as_in_fts5_and_the_best_come_first(library: Path) -> None:
    view = View(library)
    for question in ("compute the digest of a file", "sorted list insert", "quote shell string", "hsv to rgb"):
        expected = by_fts5(view, question)
        found = view.lexical(question_words(question), 1000)
        assert found == pytest.approx(expected, rel=1e-5)
        few = view.lexical(question_words(question), 3)
        assert list(few.values()) == pytest.approx(sorted(expected.values(), reverse=True)[:3], rel=1e-5)


def test_each_version_adds_a_segment_and_many_are_joined(tmp_path: Path) -> None:
    numbers = []
    for n in range(postings.MOST_SEGMENTS + 3):
        build(tmp_path, documents([f"apple number{k} red" for k in range(n + 1)]), None)
        view = View(tmp_path)
        numbers.append([segment.number for segment in postings.segments(view._db)])
        same(view, ("apple", "number2 red", "number9"))
        view.close()
    assert max(map(len, numbers)) <= postings.MOST_SEGMENTS
    assert any(len(later) < len(earlier) for earlier, later in pairwise(numbers))


def test_a_reader_goes_on_while_segments_are_joined_and_rows_pruned(tmp_path: Path) -> None:
    build(tmp_path, documents(["apple red", "apple green"]), None)
    view = View(tmp_path)
    before = view.lexical(["apple"], 10)
    assert len(before) == 2
    for n in range(postings.MOST_SEGMENTS + 1):
        build(tmp_path, documents(["apple red", "apple green", f"apple number{n}"]), None)
        assert set(view.lexical(["apple"], 10)) == set(before)
    with open_writer(tmp_path, None, ChunkSettings()) as writer:
        writer.prune({1, writer.version - 1})
    assert set(view.lexical(["apple"], 10)) == set(before)
    same(View(tmp_path), ("apple", "number3", "number8"))


def test_a_rebuild_gives_the_same(tmp_path: Path) -> None:
    for n in range(4):
        build(tmp_path, documents([f"apple {n} running", "red", "東京タワー"][: n + 1]), None)
    view = View(tmp_path)
    before = {question: view.lexical(question_words(question), 10) for question in QUESTIONS}
    db = connect(tmp_path, write=True)
    with transaction(db, tmp_path):
        postings.rebuild(db)
    after = View(tmp_path)
    assert {q: after.lexical(question_words(q), 10) for q in QUESTIONS} == {
        q: pytest.approx(s) for q, s in before.items()
    }


def test_a_term_that_stands_more_often_than_can_be_packed_still_ranks_first(tmp_path: Path) -> None:
    db = connect(tmp_path, write=True)
    rows = postings.np.array([5, 9], postings.np.int64)
    listed = postings.np.array([5] * 300 + [9], postings.np.int64)
    with transaction(db, tmp_path):
        postings._add(db, rows, iter([("apple", listed), ("rare", rows[:1])]))
    found, values = postings.scores(db, postings.segments(db), ["apple"])
    assert found.tolist() == [5, 9] and values[0] > values[1] > 0
