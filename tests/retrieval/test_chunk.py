"""Chunks: exact spans, nothing lost, never past the limit, cut at the text's own joints."""

from __future__ import annotations

import ast
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.errors import ConfigError
from llmkit.retrieval.chunk import Chunk, Chunker, ChunkSettings, Meter, chunk_document, iter_chunks
from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.sync import meter_of
from llmkit.text.document import Document, Span
from llmkit.text.sentences import sentence_spans

from .conftest import module

SMALL = ChunkSettings(size=24, overlap=6, merge=8)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def count_letters(texts: Sequence[str]) -> list[int]:
    """The worst tokenizer: white space between words costs as well."""
    return [len(" ".join(text.split())) for text in texts]


def check(document: Document, chunks: Sequence[Chunk], limit: int, count=count_words) -> None:
    covered = set()
    for chunk in chunks:
        start, end = chunk.span
        assert document.text[start:end] == chunk.text and chunk.text.strip()
        assert chunk.line == document.text[:start].replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
        covered.update(range(start, end))
    missed = [n for n, character in enumerate(document.text) if not character.isspace() and n not in covered]
    assert not missed
    sizes = count([chunk.embedded for chunk in chunks])
    assert all(size <= limit or len(chunk.text) == 1 for chunk, size in zip(chunks, sizes, strict=True))


MEDIA = ("text/plain", "text/markdown", "text/x-python", "text/x-c", "text/x-go", "application/json")
CHUNKERS = get_args(Chunker)


def spans_of_letters(text: str) -> list[Span]:
    """Tokens of a tokenizer that sees every letter, and passes over what it does not know: white space, `漢`."""
    return [Span(n, n + 1) for n, letter in enumerate(text) if not letter.isspace() and letter != "漢"]


METERS = (count_words, count_letters, Meter(count_letters, spans_of_letters), Meter(count_words, lambda text: None))


@settings(max_examples=250, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("abc DEF.,\n\n#`-=:(){};\"'。！あ漢\t\rdefclass x1\u200b\ud800é"), max_size=400),
    st.sampled_from(MEDIA),
    st.sampled_from(METERS),
    st.sampled_from(CHUNKERS),
)
def test_chunks_are_exact_complete_and_within_the_limit(text, media, meter, chunker) -> None:
    document = Document("s", text, media, record="1")
    count = meter.count if isinstance(meter, Meter) else meter
    chunks = chunk_document(document, meter, replace(SMALL, chunker=chunker))
    check(document, chunks, SMALL.size, count)
    assert [chunk.span.start for chunk in chunks] == sorted(chunk.span.start for chunk in chunks)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(CHUNKERS))
def test_so_they_are_of_any_text_with_the_real_tokenizer(minilm: Embedder, text: str, chunker: Chunker) -> None:
    tight = ChunkSettings(size=16, overlap=5, merge=0, chunker=chunker)
    document = Document("s", text, record="1")
    check(document, chunk_document(document, meter_of(minilm), tight), tight.size, minilm.count_tokens)


def test_windows_of_tokens_are_full_and_overlap_by_what_was_asked(minilm: Embedder) -> None:
    text = module("argparse").text
    tokens = ChunkSettings(size=100, overlap=20, merge=0, chunker="tokens")
    chunks = chunk_document(Document("s", text, record="1"), meter_of(minilm), tokens)
    counts = minilm.count_tokens([chunk.text for chunk in chunks])
    shared = minilm.count_tokens([text[b.span.start : a.span.end] for a, b in pairwise(chunks)])
    borders = {span.start for span in minilm.token_spans(text)}
    assert all(chunk.span.start in borders for chunk in chunks)
    assert min(counts[:-1]) > 85 and max(counts) <= 100 and max(shared) <= 20 and sum(shared) / len(shared) > 15


def test_sentences_stay_whole_whatever_they_stand_under() -> None:
    text = "# One\n\nA first sentence. A second one!\n\n# Two\n\nA third sentence here. 四つ目の文。五つ目の文。\n"
    sentences = ChunkSettings(size=16, overlap=0, merge=0, chunker="sentences")
    chunks = chunk_document(Document("/d/g.md", text, "text/markdown"), count_words, sentences)
    ends = {span.end for span in sentence_spans(text)}
    assert len(chunks) > 1 and {chunk.span.end for chunk in chunks} <= ends and chunks[0].heading == "g > One"
    whole = ChunkSettings(size=60, overlap=0, merge=0, chunker="sentences")
    (chunk,) = chunk_document(Document("/d/g.md", text, "text/markdown"), count_words, whole)
    assert "One" in chunk.text and "五つ目" in chunk.text


def test_of_a_long_document_no_more_than_a_part_is_cut_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that cutting takes, apart from the text and the chunks, does not grow with the text."""
    monkeypatch.setattr("llmkit.retrieval.chunk.PART", 40_000)
    line = "2026-11-20 12:00:00 INFO the pump is running\n"

    def peak(lines: int) -> int:
        document = Document("s", line * lines, record="1")
        _ = document.lines
        tracemalloc.start()
        for _ in iter_chunks(document, count_words, ChunkSettings(100, 10, 0)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(6_000) < 1.3 * peak(2_000)


@pytest.mark.parametrize("name", ["hashlib", "argparse", "heapq"])
def test_real_modules_are_cut_completely_within_the_real_limit(name: str, minilm: Embedder) -> None:
    document = module(name)
    chunks = chunk_document(document, minilm.count_tokens, ChunkSettings(size=minilm.max_tokens))
    check(document, chunks, minilm.max_tokens, minilm.count_tokens)


def test_a_function_that_fits_is_one_chunk_under_its_name(minilm: Embedder) -> None:
    document = module("bisect")
    chunks = chunk_document(document, minilm.count_tokens, ChunkSettings())
    whole = {node.name for node in ast.parse(document.text).body if isinstance(node, ast.FunctionDef)}
    found = {chunk.heading.split(".")[-1] for chunk in chunks if chunk.text.startswith("def ")}
    assert found == whole


def test_definitions_under_try_and_in_classes_have_their_qualified_names() -> None:
    text = (
        "try:\n    def f():\n        return 1\nexcept E:\n    pass\n"
        "class A:\n    x = 1\n    async def g(self):\n        pass\n"
    )
    tight = ChunkSettings(size=16, overlap=0, merge=0)
    chunks = chunk_document(Document("/lib/mod.py", text, "text/x-python"), count_words, tight)
    assert [chunk.heading for chunk in chunks] == ["lib.mod", "lib.mod.f", "lib.mod", "lib.mod.A", "lib.mod.A.g"]


@pytest.mark.parametrize("text", ["def broken(:\n    pass\n" * 5, "x = '\ud800'\n", "a\x00b\n", "(" * 5000])
def test_source_that_does_not_parse_is_cut_by_lines(text: str) -> None:
    document = Document("/a/b.py", text, "text/x-python")
    check(document, chunk_document(document, count_words, SMALL), SMALL.size)


def test_definitions_on_one_line_are_not_repeated() -> None:
    document = Document("/a/b.py", "class A: pass; x = 1\nclass B: pass\n", "text/x-python")
    chunks = chunk_document(document, count_words, ChunkSettings(size=16, overlap=0, merge=0))
    assert "".join(chunk.text for chunk in chunks).count("class") == 2


def test_markdown_sections_carry_their_heading_path_and_fences_hide_hashes() -> None:
    text = "# Guide\n\nIntro.\n\n## Install\n\n```sh\n# not a heading\npip\n```\n\nUsage\n-----\nRun it.\n"
    chunks = chunk_document(Document("/d/g.md", text, "text/markdown"), count_words, ChunkSettings(40, 0, 0))
    assert [chunk.heading for chunk in chunks] == ["g > Guide", "g > Guide > Install", "g > Guide > Usage"]


def test_a_heading_path_that_would_fill_the_chunk_is_shortened_or_left_out() -> None:
    text = f"# {'long ' * 30}\n\n## Short\n\nBody text here.\n\n## {'wide ' * 30}\n\nMore text here.\n"
    chunks = chunk_document(Document("s", text, "text/markdown", record="1"), count_words, ChunkSettings(40, 0, 0))
    assert [chunk.heading for chunk in chunks if "text here" in chunk.text] == ["Short", ""]
    check(Document("s", text, "text/markdown", record="1"), chunks, 40)


def test_japanese_is_cut_at_its_own_sentence_ends(minilm: Embedder) -> None:
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 12
    chunks = chunk_document(Document("s", text, record="1"), minilm.count_tokens, ChunkSettings(64, 0, 0))
    assert len(chunks) > 3 and all(chunk.text.endswith("。") for chunk in chunks)


def test_neighbouring_chunks_of_a_section_overlap_a_little() -> None:
    text = " ".join(f"Sentence number {n} stands here." for n in range(60))
    chunks = chunk_document(Document("s", text, record="1"), count_words, ChunkSettings(40, 10, 0))
    shared = [a.span.end - b.span.start for a, b in pairwise(chunks)]
    assert len(chunks) > 5 and all(0 < size < 100 for size in shared)


def test_pages_and_titles_come_along() -> None:
    document = Document("/d/x.pdf", "First page.\n\nSecond page.", pages=(0, 13), meta={"title": "A  Title"})
    chunks = chunk_document(document, count_words, ChunkSettings(16, 0, 0))
    assert [(chunk.page, chunk.heading) for chunk in chunks] == [(1, "A Title")]


def test_a_line_of_megabytes_is_cut_and_no_chunk_is_huge() -> None:
    for text in ("x" * 3_000_000, "word " * 600_000, "." * 1_000_000):
        document = Document("s", text, record="1")
        chunks = chunk_document(document, count_words, ChunkSettings(254, 0, 64))
        assert sum(len(chunk.text.replace(" ", "")) for chunk in chunks) == len(text.replace(" ", ""))
        assert max(len(chunk.text) for chunk in chunks) <= 254 * 254


def test_settings_that_cannot_be_are_refused() -> None:
    for size, overlap, merge in ((8, 0, 0), (100, 60, 0), (100, -1, 0), (100, 10, 101)):
        with pytest.raises(ConfigError):
            ChunkSettings(size, overlap, merge)
