"""Writing the documents of a set: from prepared shards into one parquet file, with drops and counts on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.data.corpus.contents import UNKNOWN, Contents
from llmkit.data.corpus.prepare import PrepareOptions
from llmkit.data.corpus.selection import Selection, duplicate_drop, repeated_drop
from llmkit.data.corpus.shardfile import ShardSet
from llmkit.data.corpus.tally import Tally, excerpt
from llmkit.data.dataset import DatasetWriter
from llmkit.data.document_table import document_of, place_columns
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.split import SPLITS, Split
from llmkit.data.steps.repeated import too_little
from llmkit.reporting.reporter import Progress


class DocumentsWriter:
    """Takes all prepared documents in order, writes those that were selected, and counts."""

    def __init__(
        self, shards: ShardSet, selection: Selection, writer: DatasetWriter, tally: Tally, options: PrepareOptions
    ) -> None:
        self._shards = shards
        self._selection = selection
        self._writer = writer
        self._tally = tally
        self._options = options
        self.contents = Contents()
        self.splits: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self.contaminated: list[Mapping[str, Sequence[str]]] = []
        """Of each document that holds text of evaluation sets: which items, by set."""

    def write(self, progress: Progress) -> None:
        """Write all shards."""
        for start, batch in self._shards.batches():
            rows = batch.to_pylist()
            for index, row in enumerate(rows, start=start):
                if self._keep(index, row):
                    self._writer.document_row(row)
            progress.advance(len(rows))

    def _keep(self, index: int, row: dict[str, Any]) -> bool:
        """Make the row what the set holds of it; False if it is dropped."""
        if self._selection.duplicate[index]:
            drop = duplicate_drop(self._shards, self._selection.clusters, index)
            self._drop(drop, row["text"])
            return False
        if self._selection.repeated[index]:
            self._drop(repeated_drop(row["source"], row["record"]), row["text"])
            return False
        self._passed("dedup", row["text"])
        facts = json.loads(row["facts"])
        if self._selection.lines is not None:
            if not self._remove_lines(row):
                return False
            self._passed("lines", row["text"])
        if hits := facts.get("contaminated"):
            self.contaminated.append(hits)
            if self._options.decontaminate.contaminated == "drop":
                names = ", ".join(f"{name} ({len(items)} items)" for name, items in sorted(hits.items()))
                drop = Drop(row["source"], "decontaminate", "contaminated", f"holds text of {names}", row["record"])
                self._drop(drop, row["text"])
                return False
        if self._options.grams is not None:
            self._passed("decontaminate", row["text"])
        split = SPLITS[int(self._selection.splits[index])]
        self._count(row, facts, split)
        row["split"] = split
        row["cluster"] = f"{int(self._selection.clusters.ids[index]):016x}"
        del row["origin"]
        return True

    def _remove_lines(self, row: dict[str, Any]) -> bool:
        """Take repeated lines out of the row; False if too little is left."""
        if is_code(row["media"]) or self._selection.lines is None:
            return True
        document = document_of(row)
        stripped, removed = self._selection.lines.remove(document)
        if not removed:
            return True
        self._tally.changed("lines", {"repeated_lines": removed})
        if too_little(stripped.text, self._options.clean.min_chars):
            size = len("".join(stripped.text.split()))
            detail = f"{removed} of its lines occur in many documents, and without them {size} characters are left"
            self._drop(Drop(document.source, "lines", "only_repeated_lines", detail, document.record), document.text)
            return False
        row["text"] = stripped.text
        row.update(place_columns(stripped))
        return True

    def _count(self, row: Mapping[str, Any], facts: Mapping[str, Any], split: Split) -> None:
        size = {"documents": 1, "characters": len(row["text"]), "bytes": len(row["text"].encode("utf-8"))}
        self.splits[split].update(size)
        self.contents.add_terms(facts.get("terms", {}))
        meta = json.loads(row["meta"])
        licence = meta.get("license") or UNKNOWN
        self.contents.add(
            size,
            {
                "language": row["language"],
                "origin": row["origin"],
                "media": row["media"],
                "licence": str(licence),
            },
        )

    def _passed(self, step: str, text: str) -> None:
        self._tally.passed(step, len(text), len(text.encode("utf-8")))

    def _drop(self, drop: Drop, text: str) -> None:
        self._writer.drop(drop)
        self._tally.dropped(drop, excerpt(text))
