from pathlib import Path
from typing import Any

import pytest

from llmkit.config.sections import CleanOptions, DecontaminateOptions, DedupOptions, SplitOptions
from llmkit.data.corpus.documents import DocumentsWriter
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.selection import SelectOptions, select
from llmkit.data.corpus.shardfile import Row, ShardSet, ShardWriter
from llmkit.data.corpus.tally import Tally
from llmkit.data.dataset import Dataset, DatasetWriter
from llmkit.data.steps.decontamination.lookup import EvalGrams
from llmkit.data.steps.dedup import line_hashes, sketch
from llmkit.reporting.reporter import Silent
from llmkit.text.document import Document

FOOTER = "All rights reserved by the lighthouse"
WORDS = ("stone", "river", "light", "tower", "garden", "harbour")
TEXTS = ["\n".join(f"{word} {n} stands at the {n}th gate" for n in "abc") + f"\n{FOOTER}" for word in WORDS]


class Written:
    """A dataset written from given documents, with what was counted on the way."""

    def __init__(self, folder: Path, documents: list[tuple[Document, dict[str, Any]]], **options: Any) -> None:
        prepare = PrepareOptions(
            clean=CleanOptions(min_chars=10),
            decontaminate=options.get("decontaminate", DecontaminateOptions()),
            grams=EvalGrams.build({"quiz": [("q1", "what is the answer")]}, 3) if "decontaminate" in options else None,
        )
        writer = ShardWriter(folder / "000000")
        for document, facts in documents:
            row = Row(document, document.digest[:16], "in", facts)
            writer.add(row, sketch(document.text), line_hashes(document.text))
        writer.finish(Tally().to_json())
        shards = ShardSet([folder / "000000"])
        dedup = options.get("dedup", DedupOptions())
        scratch = folder / "scratch"
        scratch.mkdir()
        chosen = SelectOptions(dedup, prepare.decontaminate, SplitOptions())
        selection = select(shards, scratch, chosen, workers=1, reporter=Silent())
        self.tally = Tally()
        with DatasetWriter(folder / "out", "text") as out, Silent().progress("") as progress:
            self.documents = DocumentsWriter(shards, selection, out, self.tally, prepare)
            self.documents.write(progress)
            out.finish({})
        self.dataset = Dataset.open(folder / "out")
        self.kept = {each.document.source: each for each in self.dataset.documents()}
        self.drops = {drop.source: drop for drop in self.dataset.drops()}


def plain(texts: list[str]) -> list[tuple[Document, dict[str, Any]]]:
    return [(Document(f"/in/{number}.txt", text), {"language": "en"}) for number, text in enumerate(texts)]


def test_a_kept_document_has_its_split_its_cluster_its_facts_and_its_places(tmp_path: Path) -> None:
    document = Document("/in/a.pdf", "one page\n\nand another", "application/pdf", "3", (0, 10), {"license": "cc0"})
    written = Written(tmp_path, [(document, {"language": "en", "confidence": 0.9, "terms": {"she": 2}})])
    (each,) = written.dataset.documents()
    assert each.document == document
    assert (each.split, len(each.cluster)) == ("train", 16)
    row = written.dataset.row(document.id)
    assert row is not None
    assert (row["language"], row["facts"]) == ("en", '{"confidence": 0.9, "terms": {"she": 2}}')
    assert "origin" not in row
    assert written.documents.contents.to_json()["licences"] == {"cc0": {"documents": 1, "characters": 21, "bytes": 21}}


def test_repeated_lines_go_from_prose_and_stay_in_code(tmp_path: Path) -> None:
    documents = plain(TEXTS)
    documents[5] = (Document("/in/5.py", TEXTS[5], "text/x-python"), {})
    written = Written(tmp_path, documents, dedup=DedupOptions(repeated_lines=3))
    assert all(FOOTER not in written.kept[f"/in/{number}.txt"].document.text for number in range(5))
    assert FOOTER in written.kept["/in/5.py"].document.text
    assert written.tally.changes == {"lines": {"repeated_lines": {"documents": 5, "changes": 5}}}
    sizes = written.documents.splits
    assert sum(count["characters"] for count in sizes.values()) == written.tally.steps["lines"]["characters"]


def test_a_document_of_nothing_but_repeated_lines_is_dropped_for_that(tmp_path: Path) -> None:
    written = Written(tmp_path, plain([*TEXTS[:4], FOOTER]), dedup=DedupOptions(repeated_lines=3))
    drop = written.drops["/in/4.txt"]
    assert (drop.step, drop.reason) == ("lines", "only_repeated_lines")
    assert drop.detail == "1 of its lines occur in many documents, and without them 0 characters are left"
    assert written.tally.steps["dedup"]["documents"] == 5
    assert written.tally.steps["lines"]["documents"] == 4


@pytest.mark.parametrize("what", ["drop", "keep"])
def test_contaminated_documents_are_dropped_or_kept_and_recorded_either_way(tmp_path: Path, what: Any) -> None:
    documents = plain(TEXTS[:3])
    documents[1][1]["contaminated"] = {"quiz": ["q1", "q7"]}
    options = DecontaminateOptions(against=("quiz.jsonl",), contaminated=what)
    written = Written(tmp_path, documents, decontaminate=options)
    assert written.documents.contaminated == [{"quiz": ["q1", "q7"]}]
    assert len(written.kept) == (2 if what == "drop" else 3)
    assert written.tally.steps["decontaminate"]["documents"] == len(written.kept)
    if what == "drop":
        drop = written.drops["/in/1.txt"]
        assert (drop.step, drop.reason, drop.detail) == (
            "decontaminate",
            "contaminated",
            "holds text of quiz (2 items)",
        )


def test_a_duplicate_is_counted_nowhere_but_among_the_drops(tmp_path: Path) -> None:
    written = Written(tmp_path, plain([TEXTS[0], TEXTS[0].upper(), TEXTS[1]]))
    assert set(written.kept) == {"/in/0.txt", "/in/2.txt"}
    drop = written.drops["/in/1.txt"]
    assert (drop.reason, drop.of) == ("exact_duplicate", Document("/in/0.txt", "").id)
    assert written.tally.steps == {
        "dedup": {"documents": 2, "characters": len(TEXTS[0] + TEXTS[1]), "bytes": len(TEXTS[0] + TEXTS[1])}
    }
    assert written.tally.samples["dedup/exact_duplicate"][0]["excerpt"].startswith("STONE A")
    assert sum(count["documents"] for count in written.documents.splits.values()) == 2
