"""From a dataset of texts to a dataset of examples made of them, each in the split of the text it comes from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from llmkit.data.chat import Example
from llmkit.data.dataset import DOCUMENTS, CorpusDocument, Dataset, DatasetResult, DatasetWriter
from llmkit.data.drops import Drop
from llmkit.data.engine import ordered_map
from llmkit.data.media import PYTHON
from llmkit.data.readers.docstrings import DocstringOptions, Pairs, Skipped, docstring_pairs
from llmkit.data.split import SPLITS, Split
from llmkit.data.steps.dedup import exact_hash
from llmkit.errors import DataError
from llmkit.reporting.reporter import Reporter

_WORTH_WORKERS = 4 << 20
"""Bytes of compressed text below which worker processes take longer to start than they save."""


def build_docstring_pairs(
    corpus: Dataset, out: Path, options: DocstringOptions, *, workers: int, reporter: Reporter
) -> DatasetResult:
    """Make a dataset of examples in the folder `out` from the Python sources of `corpus`.

    Pairs inherit the split of their file, so what the model is tested on was not in its corpus either. Of functions
    with the same source only the first is kept, so that none is in two splits.

    Raises:
        DataError: if `corpus` holds no texts, or no documented Python function.
        StorageError: if `out` cannot be written.
    """
    corpus.require("text")
    if (corpus.folder / DOCUMENTS).stat().st_size < _WORTH_WORKERS:
        workers = 1
    tally = _Tally()
    seen: set[bytes] = set()
    sources = (each for each in corpus.documents() if each.document.media == PYTHON)
    with DatasetWriter(out, "chat") as writer, reporter.progress("pairing", unit="files") as progress:
        for split, pairs in ordered_map(partial(_pairs_of, options), sources, workers=workers, lost=_lost):
            fresh, repeated = _without_repeats(pairs.examples, seen)
            for example in fresh:
                writer.example(example, split)
            for drop in (*pairs.drops, *repeated):
                writer.drop(drop)
            tally.file(split, fresh, (*pairs.drops, *repeated), pairs.skipped)
            progress.advance()
        if not tally.examples:
            raise DataError(
                f"no pair can be made of its {tally.files} Python files",
                where=str(corpus.folder),
                mend="use a corpus that has documented Python functions",
            )
        report = tally.report()
        writer.finish(report)
    rows = {split: tally.splits[split]["examples"] for split in SPLITS}
    return DatasetResult(rows, [split for split in SPLITS if not rows[split]], report)


class _Tally:
    def __init__(self) -> None:
        self.files = 0
        self.splits: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self._drops: dict[str, Counter[str]] = defaultdict(Counter)
        self._skipped: Counter[str] = Counter()

    @property
    def examples(self) -> int:
        return sum(count["examples"] for count in self.splits.values())

    def file(
        self, split: Split, kept: Sequence[Example], drops: Sequence[Drop], skipped: Mapping[Skipped, int]
    ) -> None:
        self.files += 1
        for example in kept:
            self.splits[split] += Counter(examples=1, characters=example.characters)
        for drop in drops:
            self._drops[drop.step][drop.reason] += 1
        self._skipped.update(skipped)

    def report(self) -> dict[str, object]:
        return {
            "schema": "chat",
            "steps": [
                {"step": "docstrings", "files": self.files},
                {"step": "dedup", "examples": self.examples},
            ],
            "skipped": dict(sorted(self._skipped.items())),
            "drops": {step: dict(sorted(reasons.items())) for step, reasons in self._drops.items()},
            "splits": {
                split: {name: count[name] for name in ("examples", "characters")}
                for split, count in self.splits.items()
            },
            "missing_splits": [split for split, count in self.splits.items() if not count["examples"]],
        }


def _pairs_of(options: DocstringOptions, each: CorpusDocument) -> tuple[Split, Pairs]:
    return each.split, docstring_pairs(each.document, options)


def _lost(each: CorpusDocument, why: str) -> tuple[Split, Pairs]:
    document = each.document
    drop = Drop(document.source, "docstrings", "crashed", f"while it was parsed, {why}", document.record)
    return each.split, Pairs(drops=[drop])


def _without_repeats(examples: Sequence[Example], seen: set[bytes]) -> tuple[list[Example], list[Drop]]:
    """The examples whose prompt was not `seen` before, and the others as drops; `seen` grows."""
    fresh: list[Example] = []
    repeated: list[Drop] = []
    for example in examples:
        key = exact_hash(example.prompt[0].content)
        if key in seen:
            detail = "a function with the same source was met before"
            repeated.append(Drop(example.source, "dedup", "exact_duplicate", detail, example.record))
        else:
            seen.add(key)
            fresh.append(example)
    return fresh, repeated
