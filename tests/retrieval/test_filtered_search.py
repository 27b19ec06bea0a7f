"""Filters together with search: what is found inside is exactly what brute force over the filtered chunks gives."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmkit.errors import UnavailableError, UsageError
from llmkit.retrieval.embed import Embedder, Vectors
from llmkit.retrieval.language import Fusion
from llmkit.retrieval.lexical import question_words
from llmkit.retrieval.search import Searcher, similarities
from llmkit.retrieval.store import View
from llmkit.retrieval.vectors import ChromaVectors
from llmkit.retrieval.where import parse
from llmkit.text.document import Document

from .conftest import MODULES, Hashed, build, module

QUESTIONS = ("compute the digest of a file", "insert into a sorted list", "quote a string for the shell", "wrap text")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, minilm: Embedder) -> Path:
    """Modules as documents with a year and a language, in two versions; the first has other texts of half of them."""
    folder = tmp_path_factory.mktemp("shelf")
    documents = [
        replace(module(name), meta={"year": 2000 + n, "lang": ("en", "ja")[n % 2], "title": name})
        for n, name in enumerate(MODULES)
    ]
    older = [replace(document, text=document.text[:2000]) for document in documents[::2]]
    build(folder, older, minilm)
    build(folder, documents, minilm)
    chroma = ChromaVectors(folder, minilm.digest)
    list(chroma.catch_up())
    chroma.close()
    return folder


def chroma_of(folder: Path, minilm: Embedder) -> ChromaVectors:
    return ChromaVectors(folder, minilm.digest)


def inside(view: View, text: str) -> set[int]:
    """The rows a filter allows, worked out in Python from the documents themselves."""
    years = {name: 2000 + n for n, name in enumerate(MODULES)}
    chunks = view.chunks(view.vectors[0].tolist())
    names = {row: Path(chunk.source).stem for row, chunk in chunks.items()}
    if text == "year<2005":
        return {row for row, name in names.items() if years[name] < 2005}
    if text == "path~*lib.py":
        return {row for row, chunk in chunks.items() if fnmatch.fnmatchcase(chunk.source, "*lib.py")}
    if text == "path~[b-g]*.py and not path=glob.py":
        return {row for row, name in names.items() if name[0] in "bcdefg" and name != "glob"}
    assert text == "lang in (ja) or title=this"
    return {row for row, name in names.items() if years[name] % 2 or name == "this"}


ALL = ("year<2005", "path~*lib.py", "path~[b-g]*.py and not path=glob.py", "lang in (ja) or title=this")


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("how", ["exact", "chroma"])
def test_dense_search_within_a_filter_has_a_recall_of_one(shelf: Path, minilm: Embedder, text: str, how: str) -> None:
    view = View(shelf)
    allowed = inside(view, text)
    assert 0 < len(allowed) < view.counts[1]
    rows, vectors = view.vectors
    chroma = chroma_of(shelf, minilm)
    searcher = Searcher(view, minilm, Fusion(), where=parse(text))
    if how == "chroma":
        searcher = replace(searcher, exact=0, near=lambda: chroma)
    for question in QUESTIONS:
        cosines = vectors @ minilm.encode([question], role="query")[0]
        best = sorted((-float(c), int(row)) for row, c in zip(rows, cosines, strict=True) if int(row) in allowed)[:10]
        hits = searcher.search(question, most=10, mode="dense")
        assert {hit.chunk.row for hit in hits} <= allowed
        assert {row for _, row in best} <= {hit.chunk.row for hit in hits}
        assert [hit.cosine for hit in hits[: len(best)]] == pytest.approx([-c for c, _ in best], abs=1e-3)
    assert not searcher.notes
    chroma.close()


@pytest.mark.parametrize("text", ALL)
def test_lexical_and_hybrid_search_see_what_the_filter_shows(shelf: Path, minilm: Embedder, text: str) -> None:
    view = View(shelf)
    allowed = inside(view, text)
    searcher = Searcher(view, minilm, Fusion(), where=parse(text))
    assert set(np.flatnonzero(view.chosen(parse(text))).tolist()) == allowed and searcher.count == len(allowed)
    for question in QUESTIONS:
        every = view.lexical(question_words(question), 10_000)
        expected = [row for row in every if row in allowed][:5]
        found = [hit.chunk.row for hit in searcher.search(question, most=10, mode="lexical") if hit.score > 0]
        assert found[: len(expected)] == expected
        hybrid = searcher.search(question, most=10)
        assert hybrid and {hit.chunk.row for hit in hybrid} <= allowed
        sources = {view.chunks([row])[row].source for row in allowed}
        assert {hit.chunk.source for hit in hybrid} == sources or len({hit.chunk.source for hit in hybrid}) >= 10


def test_a_filter_of_an_older_version_shows_its_chunks(shelf: Path, minilm: Embedder) -> None:
    old = Searcher(View(shelf, 1), minilm, Fusion(), where=parse("title=hashlib"))
    new = Searcher(View(shelf, 2), minilm, Fusion(), where=parse("title=hashlib"))
    assert 0 < old.count < new.count
    assert {hit.chunk.row for hit in old.search("digest")}.isdisjoint({hit.chunk.row for hit in new.search("digest")})


def test_a_filter_that_leaves_nothing_finds_nothing_and_an_unknown_field_is_an_error(shelf: Path, minilm) -> None:
    searcher = Searcher(View(shelf), minilm, Fusion(), where=parse("lang=fr"))
    assert searcher.count == 0 and searcher.search("hash") == [] and searcher.search("hash", mode="lexical") == []
    assert View(shelf).values_of("lang") == [("en", 6), ("ja", 5)]
    with pytest.raises(UsageError, match="did you mean 'year'"):
        View(shelf).chosen(parse("yaer=3"))


def test_a_server_that_goes_away_while_asking_costs_nothing_but_a_note(shelf: Path, minilm: Embedder) -> None:
    class Gone:
        asked = 0

        def nearest(self, question: Vectors, most: int) -> dict[int, float]:
            self.asked += 1
            raise UnavailableError("the Chroma server does not answer")

    gone = Gone()
    searcher = Searcher(View(shelf), minilm, Fusion(), near=lambda: gone, exact=0)
    whole = Searcher(View(shelf), minilm, Fusion())
    for question in QUESTIONS:
        assert searcher.search(question) == whole.search(question)
    assert gone.asked == 1 and len(searcher.notes) == 1 and "SQLite" in searcher.notes[0]


def test_similarities_in_half_precision_are_those_of_float32(shelf: Path, minilm: Embedder) -> None:
    _, halves = View(shelf).halves()
    question = minilm.encode(["wrap text"])[0]
    assert np.abs(similarities(halves, question) - halves.astype(np.float32) @ question).max() < 1e-3


def test_an_index_of_nothing_but_one_document_can_be_filtered(tmp_path: Path, hashed: Hashed) -> None:
    build(tmp_path, [Document("/d/a.txt", "One apple.", meta={"lang": "en"})], hashed)
    for text, found in (("lang=en", 1), ("lang!=en", 0), ("path~a.txt", 1)):
        assert len(Searcher(View(tmp_path), hashed, Fusion(), where=parse(text)).search("apple")) == found
