"""Which of the prepared documents are in the set, and in which split: what can only be decided over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from llmkit.config.sections import DecontaminateOptions, DedupOptions, SplitOptions
from llmkit.data.corpus.clusters import Clusters, find_clusters
from llmkit.data.corpus.shardfile import ShardSet
from llmkit.data.drops import Drop
from llmkit.data.media import is_code
from llmkit.data.split import Split, assign_splits
from llmkit.data.steps.repeated import RepeatedLines, find_repeated, too_little
from llmkit.reporting.reporter import Reporter

_LARGEST_CLUSTERS = 10


@dataclass(frozen=True)
class SelectOptions:
    """How documents are compared with each other, and how they are split; `min_chars` as in `CleanOptions`."""

    dedup: DedupOptions
    decontaminate: DecontaminateOptions
    split: SplitOptions
    seed: int = 0
    min_chars: int = 0


@dataclass(frozen=True)
class Selection:
    """What is decided of each document, in order.

    Attributes:
        clusters: of duplicates, found whether or not they are dropped: the split needs them.
        repeated: bool; has the id of an earlier document and another text, which ids that the data bring can do.
        duplicate: bool; dropped as a duplicate.
        contaminated: bool; holds text of an evaluation set.
        splits: uint8, positions in `SPLITS`; meaningless for what is dropped.
        lines: which lines are removed, if any are.
        missing: splits that were asked for and got nothing.
    """

    clusters: Clusters
    repeated: np.ndarray
    duplicate: np.ndarray
    contaminated: np.ndarray
    splits: np.ndarray
    lines: RepeatedLines | None
    missing: tuple[Split, ...]


def select(shards: ShardSet, scratch: Path, options: SelectOptions, *, workers: int, reporter: Reporter) -> Selection:
    """Find duplicates, repeated lines and contaminated documents, and split what is left."""
    with reporter.progress("finding duplicates") as progress:
        clusters = find_clusters(
            shards.hashes(scratch),
            shards,
            scratch,
            threshold=options.dedup.similarity,
            workers=workers,
            progress=progress,
        )
    duplicate = clusters.original != np.arange(len(shards))
    if options.dedup.duplicates == "exact":
        duplicate &= clusters.exact
    elif options.dedup.duplicates == "none":
        duplicate[:] = False
    repeated = _repeated_ids(shards, ~duplicate)
    # Copies are counted once: the lines of a page that is there ten times are not for that the furniture of its site.
    counted = ~(duplicate | clusters.exact | repeated)
    least = options.dedup.repeated_lines
    lines = find_repeated(lambda: shards.line_hashes(counted), least) if least else None
    contaminated = _contaminated(shards) if options.decontaminate.against else np.zeros(len(shards), dtype=bool)
    kept = ~(duplicate | repeated)
    if options.decontaminate.contaminated == "drop":
        kept &= ~contaminated
    if lines is not None and lines.hashes:
        kept &= ~_emptied(shards, lines, options.min_chars)
    splits, missing = _split(shards, clusters, kept, options)
    return Selection(clusters, repeated, duplicate, contaminated, splits, lines, missing)


def duplicate_drop(shards: ShardSet, clusters: Clusters, index: int) -> Drop:
    """The record of a duplicate, which names the document it repeats."""
    original = int(clusters.original[index])
    source, record = shards.value(original, "source"), shards.value(original, "record")
    place = f"{source} (record {record})" if record else source
    exact = bool(clusters.exact[index])
    reason, what = ("exact_duplicate", "the same text as") if exact else ("near_duplicate", "nearly the text of")
    mine = shards.value(index, "source"), shards.value(index, "record")
    return Drop(mine[0], "dedup", reason, f"{what} {place}", mine[1], of=shards.value(original, "id"))


def cluster_report(shards: ShardSet, clusters: Clusters) -> Mapping[str, Any]:
    """How many clusters there are of each size above one, and the largest of them."""
    roots, sizes = np.unique(clusters.original, return_counts=True)
    several = sizes > 1
    roots, sizes = roots[several], sizes[several]
    counts = Counter(sizes.tolist())
    order = np.argsort(-sizes, kind="stable")[:_LARGEST_CLUSTERS]
    return {
        "sizes": {str(size): counts[size] for size in sorted(counts)},
        "largest": [
            {
                "cluster": f"{int(clusters.ids[root]):016x}",
                "size": int(size),
                "source": shards.value(int(root), "source"),
                "record": shards.value(int(root), "record"),
            }
            for root, size in zip(roots[order].tolist(), sizes[order].tolist(), strict=True)
        ],
    }


def repeated_drop(source: str, record: str) -> Drop:
    """The record of a document that has an earlier one's id."""
    what = f"the id '{record}'" if record else "this source"
    return Drop(source, "dedup", "repeated_id", f"another document with {what} came before it", record)


def _repeated_ids(shards: ShardSet, among: np.ndarray) -> np.ndarray:
    """Bool: documents with the id of an earlier one, of those `among` which are not dropped anyway."""
    ids = np.zeros(len(shards), dtype=np.uint64)
    for start, batch in shards.batches():
        ids[start : start + batch.num_rows] = [int(each, 16) for each in batch.column("id").to_pylist()]
    found = np.zeros(len(shards), dtype=bool)
    positions = np.flatnonzero(among)
    _, first = np.unique(ids[positions], return_index=True)
    found[positions] = True
    found[positions[first]] = False
    return found


def _contaminated(shards: ShardSet) -> np.ndarray:
    found = np.zeros(len(shards), dtype=bool)
    for start, batch in shards.batches():
        # Facts are JSON of our own making: the key is there only if something was found.
        hits = pc.match_substring(batch.column("facts"), '"contaminated":')
        found[start : start + batch.num_rows] = np.asarray(hits)
    return found


def _emptied(shards: ShardSet, lines: RepeatedLines, min_chars: int) -> np.ndarray:
    """Bool: documents of which too little is left without the lines. A split must not be made of them."""
    found = np.zeros(len(shards), dtype=bool)
    for start, batch in shards.batches():
        columns = (batch.column(name).to_pylist() for name in ("text", "media"))
        for index, (text, media) in enumerate(zip(*columns, strict=True), start=start):
            stripped, removed = ("", 0) if is_code(media) else lines.strip(text)
            found[index] = removed > 0 and too_little(stripped, min_chars)
    return found


def _split(
    shards: ShardSet, clusters: Clusters, kept: np.ndarray, options: SelectOptions
) -> tuple[np.ndarray, tuple[Split, ...]]:
    """The split of each document's cluster; only clusters of which something is kept count."""
    lengths = np.zeros(len(shards), dtype=np.int64)
    for start, batch in shards.batches():
        lengths[start : start + batch.num_rows] = np.asarray(pc.utf8_length(batch.column("text")))
    codes = np.zeros(len(shards), dtype=np.uint8)
    ids, position = np.unique(clusters.ids[kept], return_inverse=True)
    sizes = np.bincount(position, weights=lengths[kept], minlength=len(ids)).astype(np.int64)
    names = [f"{each:016x}" for each in ids.tolist()]
    of, missing = assign_splits(names, sizes, options.split, options.seed)
    codes[kept] = of[position]
    return codes, missing
