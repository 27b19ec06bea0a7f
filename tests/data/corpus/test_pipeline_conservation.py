"""What holds for whatever is put in: every document is accounted for, leads back to its source, and is let go again."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.texts import ARABIC, FOOTER, JAPANESE, QUESTION, WORDS, prose

from llmkit.config.sections import (
    CleanOptions,
    DecontaminateOptions,
    DedupOptions,
    LanguageOptions,
    PrivacyOptions,
    QualityOptions,
    SplitOptions,
)
from llmkit.data.corpus.pipeline import CorpusOptions, Engine, build_corpus
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.shards import plan_shards, read_unit
from llmkit.data.dataset import Dataset
from llmkit.data.readers.base import ReadOptions
from llmkit.data.sources.collect import collect
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.errors import DataError
from llmkit.reporting.reporter import Silent


def build(inputs: Path, out: Path, options: CorpusOptions) -> None:
    work = out.with_name(f"{out.name}-work")
    build_corpus(collect([str(inputs)]), out, options, work=work, engine=Engine(), reporter=Silent())


DOCUMENT_TEXTS = st.one_of(
    st.integers(0, 6).map(prose),
    st.integers(0, 3).map(lambda seed: prose(seed).upper() + "\n"),
    st.integers(0, 3).map(lambda seed: prose(seed) + "\nA tail."),
    st.integers(0, 3).map(lambda number: JAPANESE * number),
    st.integers(1, 5).map(lambda number: ARABIC * number),
    st.sampled_from(["", "hi", f"{prose(9)} {QUESTION}.", f"{prose(8)}\nkeeper@example.org", "\0\1\2" * 400]),
    st.text(max_size=80),
)
OPTIONS = st.builds(
    lambda rules, pii, duplicates, lines, languages, minimum, contaminated: (
        PrepareOptions(
            read=ReadOptions(sandbox=False),
            clean=CleanOptions(min_chars=minimum),
            language=LanguageOptions(languages=languages),
            quality=QualityOptions(rules=rules),
            privacy=PrivacyOptions(pii=pii),
            decontaminate=DecontaminateOptions(against=("quiz",), contaminated=contaminated),
            grams=EvalGrams.build({"quiz": [("q1", QUESTION)]}, 8),
        ),
        DedupOptions(duplicates=duplicates, repeated_lines=lines),
    ),
    st.sets(st.sampled_from(["gopher_quality", "gopher_repetition", "c4", "fineweb"])).map(
        lambda each: tuple(sorted(each))
    ),
    st.sampled_from(["count", "replace", "drop", "off"]),
    st.sampled_from(["near", "exact", "none"]),
    st.sampled_from([0, 2, 3]),
    st.sampled_from([(), ("en",), ("ja", "ar")]),
    st.sampled_from([0, 20, 100]),
    st.sampled_from(["drop", "keep"]),
)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(DOCUMENT_TEXTS, min_size=1, max_size=12), rows=st.lists(DOCUMENT_TEXTS, max_size=6), options=OPTIONS
)
def test_every_document_is_kept_once_or_dropped_with_a_reason(
    texts: list[str],
    rows: list[str],
    options: tuple[PrepareOptions, DedupOptions],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "in").mkdir()
    for number, text in enumerate(texts):
        (root / "in" / f"{number}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    (root / "in" / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows) or "\n")
    prepare, dedup = options
    collected = collect([str(root / "in")])
    items = [
        item for shard in plan_shards(collected.files) for unit in shard.units for item in read_unit(unit, prepare.read)
    ]
    ids = Counter(item.id for item in items)
    chosen = CorpusOptions(prepare, dedup, SplitOptions(validation=0.2, test=0.2))
    try:
        build_corpus(collected, root / "out", chosen, work=root / "w", engine=Engine(), reporter=Silent())
    except DataError as error:
        assert "no text is left" in error.message
        assert error.mend
        return
    dataset = Dataset.open(root / "out")
    kept = [each.document.id for each in dataset.documents()]
    drops = list(dataset.drops())
    assert Counter(kept) + Counter(drop.id for drop in drops) == ids
    assert all(drop.step and drop.reason and drop.detail for drop in drops)
    report: dict[str, Any] = dataset.report()
    counts = report["drops"]
    left = len(items)
    for step in report["steps"][1:]:
        left -= sum(counts.get(step["step"], {}).values())
        assert step["documents"] == left, step
    assert left == len(kept) == sum(split["documents"] for split in report["splits"].values())
    assert sum(map(sum, (each.values() for each in counts.values()))) == len(drops)
    assert sum(size["bytes"] for size in report["splits"].values()) == report["steps"][-1]["bytes"]
    by_cluster: dict[str, set[str]] = {}
    for each in dataset.documents():
        by_cluster.setdefault(each.cluster, set()).add(each.split)
    assert all(len(splits) == 1 for splits in by_cluster.values())


def pdf(pages: list[list[str]]) -> bytes:
    """A PDF with these lines on its pages, as ISO 32000 has it: a catalogue, pages, a font, a stream each."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in enumerate(pages):
        shown = "BT /F1 9 Tf 40 800 Td 14 TL " + " T* ".join(f"({line}) Tj" for line in lines) + " ET"
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        bodies.append(f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(data)
    data += f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode()
    data += "".join(f"{offset:010} 00000 n \n" for offset in offsets).encode()
    return data + f"trailer << /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def test_a_phrase_leads_back_to_its_page_of_a_pdf(tmp_path: Path) -> None:
    """After normalising, lines that C4 removes, a placeholder, and a footer that all three papers have."""
    (tmp_path / "in").mkdir()
    texts = {number: [prose(10 * number + page, 12).split("\n") for page in range(3)] for number in range(3)}
    for number, pages in texts.items():
        printed = [
            ["Chapter", *lines[:6], "Mail keeper@example.org about the lamp.", *lines[6:], FOOTER] for lines in pages
        ]
        (tmp_path / "in" / f"{number}.pdf").write_bytes(pdf(printed))
    options = CorpusOptions(
        PrepareOptions(
            read=ReadOptions(sandbox=False),
            quality=QualityOptions(rules=("c4",)),
            privacy=PrivacyOptions(pii="replace"),
        ),
        DedupOptions(repeated_lines=3),
    )
    build(tmp_path / "in", tmp_path / "out", options)
    documents = [each.document for each in Dataset.open(tmp_path / "out").documents()]
    assert len(documents) == 3
    for document in documents:
        for gone in ("Chapter", "keeper@", FOOTER):
            assert gone not in document.text
        for page, lines in enumerate(texts[int(Path(document.source).stem)], start=1):
            for line in lines:
                assert document.page_at(document.text.index(line)) == page


@pytest.mark.slow
def test_texts_are_not_held_in_memory(tmp_path: Path) -> None:
    """Peak of Python's own allocations over 12 MB of rows, against that over 3 MB: shards go through one by one."""
    rng = random.Random(0)
    words = [f"{word}{n}" for word in WORDS for n in range(40)]

    def lines(count: int) -> Iterator[str]:
        for _ in range(count):
            yield json.dumps({"text": " ".join(rng.choices(words, k=200))}) + "\n"

    def peak(name: str, count: int) -> int:
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            file.writelines(lines(count))
        options = CorpusOptions(
            PrepareOptions(language=LanguageOptions(identify=False), privacy=PrivacyOptions(pii="off"))
        )
        run: Callable[[], object] = lambda: build(path, tmp_path / name, options)  # noqa: E731
        tracemalloc.start()
        try:
            run()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak("few", 2_200), peak("many", 8_800)
    assert many < few + (3 << 20)
    assert many < 24 << 20
