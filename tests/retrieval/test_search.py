"""Search: the modes, their fusion, many sources, and Chroma in the place of the exact scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmkit.errors import UsageError
from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.language import KNOWN_WEIGHT, UNKNOWN_WEIGHT, Fusion, measure_fusion
from llmkit.retrieval.search import Searcher, _fused
from llmkit.retrieval.store import View
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.text.document import Document

from .conftest import MODULES, Hashed, build

QUESTIONS = {
    "How do I compute the SHA-256 digest of a file?": "hashlib.file_digest",
    "How do I quote a string for the shell?": "shlex.quote",
    "How do I insert into a sorted list?": "bisect.insort",
    "Wrap a paragraph of text to a width": "textwrap.wrap",
    "convert colours from RGB to HSV": "colorsys.rgb_to_hsv",
}


@pytest.fixture
def searcher(library: Path, minilm: Embedder) -> Searcher:
    return Searcher(View(library), minilm, Fusion())


@pytest.mark.parametrize("mode", ["lexical", "dense", "hybrid"])
def test_questions_about_the_standard_library_find_their_function(searcher: Searcher, mode) -> None:
    for question, function in QUESTIONS.items():
        hits = searcher.search(question, most=5, mode=mode)
        assert any(function in hit.chunk.heading for hit in hits[:5]), (question, [h.chunk.heading for h in hits])
        scores = [hit.score for hit in hits[:5]]
        assert scores == sorted(scores, reverse=True)


def test_a_hit_is_the_text_at_its_place(searcher: Searcher) -> None:
    for hit in searcher.search("sorted list"):
        text = Path(hit.chunk.source).read_text(encoding="utf-8")
        assert text[slice(*hit.chunk.span)] == hit.chunk.text
        assert text.count("\n", 0, hit.chunk.span.start) + 1 == hit.chunk.line


def test_ten_distinct_sources_come_where_there_are_as_many(searcher: Searcher) -> None:
    for mode in ("lexical", "dense", "hybrid"):
        for question in (*QUESTIONS, "shlex", "zzzz qqqq", "?"):
            hits = searcher.search(question, most=3, mode=mode)
            assert len({hit.chunk.source for hit in hits}) >= 10, (mode, question)
            assert len({hit.chunk.row for hit in hits}) == len(hits)
    assert len(MODULES) == 11


def test_fewer_sources_than_ten_all_come(tmp_path: Path, hashed: Hashed) -> None:
    build(
        tmp_path, [Document(f"/d/{n}.txt", f"Only {word}.") for n, word in enumerate(("one", "two", "three"))], hashed
    )
    for embedder in (None, hashed):
        hits = Searcher(View(tmp_path), embedder, Fusion()).search("one")
        assert hits[0].chunk.source == "/d/0.txt" and len(hits) == 3


def test_hybrid_scores_are_the_convex_sum_of_normalised_scores() -> None:
    fused = _fused({1: 8.0, 2: 4.0, 9: 2.0}, {1: 0.2, 2: 0.6, 3: 0.4}, 0.5)
    assert {row: round(scores.score, 6) for row, scores in fused.items()} == {1: 0.5, 2: 0.75, 3: 0.25, 9: 0.125}
    assert fused[3].bm25 == 0 and fused[9].cosine is None


def test_cosines_of_hits_are_those_of_their_texts(searcher: Searcher, minilm: Embedder) -> None:
    question = "How do I quote a string for the shell?"
    vector = minilm.encode([question])[0]
    for hit in searcher.search(question, most=5)[:5]:
        assert hit.cosine == pytest.approx(float(minilm.encode([hit.chunk.embedded])[0] @ vector), abs=2e-3)


def test_above_the_limit_chroma_gives_the_same_hits(searcher: Searcher, library: Path, minilm: Embedder) -> None:
    chroma = ChromaVectors(library, minilm.digest)
    list(chroma.catch_up())
    asked = []

    class Counting:
        def nearest(self, question, most):
            asked.append(most)
            return chroma.nearest(question, most)

    approximate = replace(searcher, near=Counting, exact=0)
    for question in QUESTIONS:
        for mode in ("dense", "hybrid"):
            exact = [hit.chunk.row for hit in searcher.search(question, mode=mode)]
            assert [hit.chunk.row for hit in approximate.search(question, mode=mode)] == exact
    assert len(asked) >= 2 * len(QUESTIONS)
    chroma.close()


def test_without_vectors_dense_search_is_refused_and_hybrid_is_lexical(tmp_path: Path) -> None:
    build(tmp_path, [Document("/d/a.txt", "Apples are red."), Document("/d/b.txt", "Bananas.")], None)
    searcher = Searcher(View(tmp_path), None, Fusion())
    with pytest.raises(UsageError, match="no vectors"):
        searcher.search("apples", mode="dense")
    first = searcher.search("apples")[0]
    assert first.chunk.source == "/d/a.txt" and first.cosine is None and 0 < first.score <= 1


def test_japanese_gets_the_weight_of_an_unknown_language_and_english_beside_it_keeps_its_own(minilm: Embedder) -> None:
    texts = ["東大寺は奈良時代に聖武天皇が建立した寺院である。", "The temple was built in the eighth century."]
    fusion = measure_fusion(minilm, texts)
    assert fusion == Fusion(spaced=KNOWN_WEIGHT, unspaced=UNKNOWN_WEIGHT) == Fusion.from_json(fusion.to_json())
    assert fusion.bm25_weight("東大寺とは？") == UNKNOWN_WEIGHT and fusion.bm25_weight("temple") == KNOWN_WEIGHT
    assert fusion.knows("temple") and not fusion.knows("東大寺")
    assert measure_fusion(minilm, []) == measure_fusion(minilm, texts[1:]) == fusion
    assert Fusion.from_json(None) == Fusion()


def test_searching_twice_gives_the_same(searcher: Searcher) -> None:
    first, second = (searcher.search("hash of a file") for _ in range(2))
    assert first == second and np.isfinite([hit.score for hit in first]).all()
