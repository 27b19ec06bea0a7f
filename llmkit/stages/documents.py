"""The documents that an index takes in: which files are read anew, what comes of each, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

from llmkit.registry.values import digest_of, plain
from llmkit.reporting.reporter import Reporter

if TYPE_CHECKING:
    from llmkit.data.drops import Drop
    from llmkit.data.readers.base import ReadOptions
    from llmkit.data.sources.collect import Collected, SourceFile
    from llmkit.retrieval.sync import Item
    from llmkit.retrieval.writer import FileState
    from llmkit.text.document import Document

READERS_VERSION = 1
"""Raised when the readers would now make something else of the same bytes: every file is then read again."""

_PASSING = frozenset({"parser_timeout", "parser_crashed", "out_of_memory", "unreadable"})
"""What may go better the next time, so that the file is tried again although it is the same."""
_SHOWN = 10
"""Warnings of one kind: a folder of a thousand scans has one cause."""


@dataclass
class LeftOut:
    """What could not be used: how often for each reason, and the first of each."""

    reporter: Reporter
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    _told: Counter[str] = field(default_factory=Counter)

    def again(self, drops: Sequence[Drop]) -> None:
        """The files are gone through once more: counts begin anew with what could not be fetched of them."""
        self.counts.clear()
        self.examples.clear()
        self._told.clear()
        for drop in drops:
            self.add(drop)

    def add(self, drop: Drop) -> None:
        self.counts[drop.reason] += 1
        self.examples.setdefault(drop.reason, drop.source)
        if self._is_expected(drop.reason):
            return
        self._told[drop.reason] += 1
        if self._told[drop.reason] <= _SHOWN:
            self.reporter.warn(f"{drop.source}: {drop.detail}")
        elif self._told[drop.reason] == _SHOWN + 1:
            self.reporter.warn(f"more is left out as {drop.reason.replace('_', ' ')}; it is counted at the end")

    def repeated(self, count: int) -> None:
        """Documents whose source and record were those of one that came before."""
        if count:
            from llmkit.retrieval.sync import REPEATED

            self.counts[REPEATED] += count

    def told(self, collected: Collected) -> dict[str, Any]:
        """For the result: what was skipped of folders, what was dropped of files, and an example of each reason."""
        skipped = {str(reason): paths[0] for reason, paths in collected.examples.items()}
        return {
            "skipped": dict(collected.skipped),
            "drops": dict(self.counts),
            "examples": {**skipped, **self.examples},
        }

    @staticmethod
    def _is_expected(reason: str) -> bool:
        """Empty documents nobody misses, and what is skipped in archives is skipped in folders too."""
        from llmkit.data.sources.skipping import Skip

        return reason == "empty" or reason in set(get_args(Skip)) - {"unreadable", "binary"}


def documents(
    files: Sequence[SourceFile], options: ReadOptions, known: Mapping[str, FileState], left_out: LeftOut
) -> Iterator[Item]:
    """What `sync` is to be told of the files, in order.

    Args:
        known: the files that the store has, as they were when they were read: those that are so now are not read.
    """
    from llmkit.data.corpus.shards import Unit, read_unit
    from llmkit.data.drops import Drop
    from llmkit.retrieval.sync import FileRead, Incoming, Unchanged
    from llmkit.retrieval.writer import UNKNOWN, FileState, Stamp

    for file in files:
        path = str(file.path)
        state = FileState(Stamp.of(path), _read_as(file, options))
        before = known.get(path)
        if before is not None and before.same_as(state):
            left_out.counts.update(before.drops)
            for reason in before.drops:
                left_out.examples.setdefault(reason, file.source or path)
            yield Unchanged(path)
            continue
        lost: Counter[str] = Counter()
        for item in read_unit(Unit(file, file.size), options):
            if isinstance(item, Drop):
                lost[item.reason] += 1
                left_out.add(item)
            else:
                yield Incoming(with_language(item), path)
        settled = Stamp.of(path) == state.stamp and not _PASSING & lost.keys()
        yield FileRead(path, FileState(state.stamp if settled else UNKNOWN, state.read_as, lost))


def with_language(document: Document) -> Document:
    """The document with its language among its facts: as its record says, else as its text tells; of code, none."""
    from llmkit.data.media import is_code
    from llmkit.data.steps.language import KNOWN_LANGUAGES, identify
    from llmkit.retrieval.facts import LANGUAGE

    if is_code(document.media):
        return document
    said = document.meta.get(LANGUAGE, document.meta.get("language"))
    language = said if said in KNOWN_LANGUAGES else identify(document.text).language
    return replace(document, meta={**document.meta, LANGUAGE: language})


def _read_as(file: SourceFile, options: ReadOptions) -> str:
    """Digest of what, besides its bytes, decides which documents come of a file."""
    limits = (options.limits.seconds, options.limits.memory_bytes)
    # The name decides the format of what has no name of its own; the time of a download decides nothing.
    name = file.name if file.source else ""
    facts = {fact: str(value) for fact, value in file.meta.items() if fact != "retrieved"}
    said = [READERS_VERSION, options.text_field, options.id_field, *limits, file.source, file.form, name, facts]
    return digest_of(plain(said))[:16]
