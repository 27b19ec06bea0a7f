"""From hits to passages: neighbours joined, copies put aside, read again, spread out, and explained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmkit.answering.explain import explain
from llmkit.answering.retrieve import Ranking, _joined, retrieve
from llmkit.retrieval.diversity import maximal_marginal_relevance
from llmkit.retrieval.search import Hit

from .test_abstain import INSIDE, OUTSIDE

SHA = INSIDE[0]


def test_neighbours_become_one_passage_with_the_text_of_the_file(library) -> None:
    view = library.searcher.view
    rows, _ = view.vectors
    chunks = sorted(view.chunks(rows.tolist()).values(), key=lambda chunk: (chunk.source, chunk.span))
    joined = _joined([Hit(chunk, 0.5, 0.0, 0.5) for chunk in chunks])
    assert len(joined) < len(chunks) / 2 and sum(len(found.rows) for found in joined) == len(chunks)
    for found in joined:
        text = Path(found.source).read_text(encoding="utf-8")[slice(*found.span)]
        assert len(text) == len(found.text) and text.split() == found.text.split()


def test_a_cross_encoder_decides_the_order_of_the_first_ones(library) -> None:
    plain = retrieve(library.searcher, SHA)
    seen: list[str] = []

    def shortest_first(question: str, passages: Sequence[str]) -> list[float]:
        assert question == SHA
        seen.extend(passages)
        return [-float(len(passage)) for passage in passages]

    found = retrieve(library.searcher, SHA, Ranking(rerank=shortest_first, rerank_top=6))
    assert len(seen) == 6 and found.evidence == plain.evidence
    first = [len(each.hit.chunk.embedded) for each in found.considered[:6]]
    assert first == sorted(first) and {each.hit.chunk.row for each in found.considered[:6]} == {
        each.hit.chunk.row for each in plain.considered[:6]
    }
    assert [each.reread for each in found.considered[:7]] == [*(-float(n) for n in first), None]
    scores = [each.score for each in found.considered]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0 and scores[0] <= 1
    assert found.passages[0].rows[0] == found.considered[0].hit.chunk.row


def test_diversity_chooses_by_the_cosines_of_the_chunks(library) -> None:
    question = "How do I get the n largest items of an iterable?"
    found = retrieve(library.searcher, question, Ranking(most=4, diversity=0.6))
    pool = [each for each in found.considered if each.score > 0 and each.fate != "copy"][:16]
    rows, vectors = library.searcher.view.vectors_of([each.hit.chunk.row for each in pool])
    order = {int(row): n for n, row in enumerate(rows)}
    sorted_vectors = np.stack([vectors[order[each.hit.chunk.row]] for each in pool])
    expected = maximal_marginal_relevance(
        [each.score for each in pool], sorted_vectors @ sorted_vectors.T, diversity=0.6, most=4
    )
    chosen = {each.hit.chunk.row for each in found.considered if each.fate in ("used", "joined")}
    assert chosen == {pool[n].hit.chunk.row for n in expected}
    plain = retrieve(library.searcher, question, Ranking(most=4))
    assert chosen != {each.hit.chunk.row for each in plain.considered if each.fate in ("used", "joined")}
    assert "too_alike" in {each.fate for each in found.considered}


def test_without_vectors_likeness_is_that_of_words(lexical) -> None:
    found = retrieve(lexical, SHA, Ranking(most=3, diversity=0.9))
    assert sum(each.fate in ("used", "joined") for each in found.considered) == 3
    assert all(0 <= each.score <= 1 for each in found.considered)


@pytest.mark.parametrize("question", [SHA, INSIDE[8], OUTSIDE[0]])
def test_an_explanation_adds_up(library, question: str) -> None:
    found = retrieve(library.searcher, question)
    told = json.loads(json.dumps(explain(library.searcher, found, None, "hybrid"), allow_nan=False))
    assert sum(each["share"] for each in told["terms"]) == pytest.approx(1, abs=0.01)
    assert told["fusion"]["words"] + told["fusion"]["meaning"] == pytest.approx(1)
    assert told["hits"] and [hit["rank"] for hit in told["hits"]] == list(range(1, len(told["hits"]) + 1))
    for hit in told["hits"]:
        assert hit["score"] == pytest.approx(hit["by_words"] + hit["by_meaning"], abs=1e-5)
        assert sum(hit["words"].values()) == pytest.approx(hit["bm25"], abs=2e-3)
    best = told["hits"][0]
    assert best["fate"] == "used" and set(best["words"]) <= {each["word"] for each in told["words"]}
