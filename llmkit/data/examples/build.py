"""From files to a dataset of examples: read, check, drop what repeats or contradicts, split, write, report."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from llmkit.config.sections import SplitOptions
from llmkit.data.dataset import DatasetResult, DatasetWriter
from llmkit.data.drops import Drop
from llmkit.data.examples.fields import RowDrop
from llmkit.data.examples.held_out import article_of, group_of, holds_out, lacks_validation, splits_of_groups
from llmkit.data.examples.messages import NOUNS, SHOWN_BAD_ROWS, another_schema, listed, rows_refused
from llmkit.data.examples.reading import LAYOUTS, OnOther, read_training_rows
from llmkit.data.examples.report import Tally
from llmkit.data.schemas import ExampleSchema, LabelExample, TrainingExample
from llmkit.data.split import SPLITS, Split
from llmkit.errors import DataError
from llmkit.registry.disk import writing
from llmkit.reporting.reporter import Reporter

_GROUP_EXAMPLES = 256
_GROUP_CHARS = 1 << 20
"""Examples that wait are written when they are so many or hold so many characters: groups are faster."""


@dataclass(frozen=True)
class TrainingSetOptions:
    """What is done about rows that cannot be used, that repeat, or that contradict each other.

    Attributes:
        strict: bad rows are an error; else they are dropped and recorded.
        lenient: how to have them dropped, for the error's message.
        repeats: examples that equal an earlier one to the letter.
        conflicts: texts that have different labels. Nobody knows which is right, so `drop` drops all of them.
        split: shares held out of the examples that have no split of their own.
        seed: another one gives another split.
        named_splits: whether a file named `train`, `dev` or `test` gives its rows that split; rows may always name one.
    """

    strict: bool = False
    lenient: str = "leave out --strict to drop them"
    repeats: Literal["drop", "keep"] = "drop"
    conflicts: Literal["drop", "keep"] = "drop"
    split: SplitOptions = field(default_factory=SplitOptions)
    seed: int = 0
    named_splits: bool = True


def build_training_set(
    files: Sequence[Path], out: Path, schema: ExampleSchema, options: TrainingSetOptions, *, reporter: Reporter
) -> DatasetResult:
    """Make a dataset of examples in the folder `out`.

    Memory holds hashes of the examples, not the examples; a JSON file, however, is read as one piece. Every row is in
    the result or among its drops, with its file, its line and the reason.

    Raises:
        NotFoundError: if a file does not exist.
        DataError: if a file is damaged, in another format or holds another schema; if no example is left; with
            `strict`, if a row cannot be used.
        StorageError: if `out` cannot be written.
    """
    tally = Tally(schema, files)
    with DatasetWriter(out, schema) as writer, _Waiting(out) as waiting:
        seen = _read(files, schema, options, _Sinks(writer, waiting, tally), reporter)
        if options.strict and tally.bad:
            mend = f"mend these rows, or {options.lenient}"
            raise rows_refused(tally.first_bad, tally.bad, tally.rows, mend)
        contradicted = seen.contradicted if options.conflicts == "drop" else set()
        of = splits_of_groups(seen.groups, seen.given, options.split, options.seed, seen.articles)
        stays = holds_out(seen.given)
        moves: Split | None = "train" if lacks_validation(seen.given) else None
        with reporter.progress("writing examples", len(waiting), unit="examples") as progress:
            for example, group, inputs in waiting:
                progress.advance()
                if inputs in contradicted:
                    drop = Drop(
                        example.source, "conflicts", "conflicting_label", _contradiction(example), example.record
                    )
                    writer.drop(drop)
                    tally.drop(drop, example)
                    continue
                own = example.split if stays and example.split != moves else None
                split: Split = own or of[group]
                writer.example(example, split)
                tally.kept(example, split)
        if not tally.examples:
            raise _nothing_left(files, schema, tally)
        report = tally.report(_wanted(options.split), seen.facts())
        writer.finish(report)
    _warn(tally, seen, reporter)
    rows = {split: tally.splits[split]["examples"] for split in SPLITS}
    return DatasetResult(rows, tally.missing(_wanted(options.split)), report)


@dataclass(frozen=True)
class _Sinks:
    writer: DatasetWriter
    waiting: _Waiting
    tally: Tally


@dataclass
class _Seen:
    """Hashes of what was read: 16 bytes for each distinct example, group and labelled text.

    Attributes:
        groups: how many examples each group has.
        given: the split that the data give a group; the first one, if they give several.
        straddling: groups that the data have in several splits.
        articles: of a group that is a part of one; the first one, if it is a part of several.
        labels: a hash of the first label of a text.
        contradicted: texts that have several labels.
    """

    examples: set[bytes] = field(default_factory=set)
    groups: dict[str, int] = field(default_factory=dict)
    given: dict[str, Split] = field(default_factory=dict)
    straddling: set[str] = field(default_factory=set)
    articles: dict[str, str] = field(default_factory=dict)
    labels: dict[bytes, int] = field(default_factory=dict)
    contradicted: set[bytes] = field(default_factory=set)

    def repeats(self, example: TrainingExample) -> bool:
        digest = _digest(example.parts)
        if digest in self.examples:
            return True
        self.examples.add(digest)
        return False

    def take(self, example: TrainingExample) -> tuple[str, bytes]:
        """The group of an example and the hash of its inputs, which is empty where nothing can contradict it."""
        group = group_of(example)
        self.groups[group] = self.groups.get(group, 0) + 1
        if example.split and self.given.setdefault(group, example.split) != example.split:
            self.straddling.add(group)
        if article := article_of(example):
            self.articles.setdefault(group, article)
        if not isinstance(example, LabelExample):
            return group, b""
        inputs = _digest(example.inputs)
        label = _label_hash(example.label)
        if self.labels.setdefault(inputs, label) != label:
            self.contradicted.add(inputs)
        return group, inputs

    def facts(self) -> dict[str, object]:
        return {"groups": len(self.groups), "straddling": len(self.straddling) if holds_out(self.given) else 0}


def _label_hash(label: str) -> int:
    """64 bits of a label, the same in every process (Python's own hash of a string is not)."""
    return int.from_bytes(hashlib.blake2b(label.encode(), digest_size=8).digest(), "big")


def _digest(parts: Iterable[str]) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8")
        # With its length before it, or "a" + "bc" would be the same as "ab" + "c".
        hashed.update(len(data).to_bytes(8, "big"))
        hashed.update(data)
    return hashed.digest()


def _read(
    files: Sequence[Path], schema: ExampleSchema, options: TrainingSetOptions, sinks: _Sinks, reporter: Reporter
) -> _Seen:
    seen = _Seen()
    with reporter.progress("reading and checking", unit="examples") as progress:
        on_other, named = _refuse_other(schema, reporter), options.named_splits
        forms = sinks.tally.forms
        for item in read_training_rows(files, schema, named_splits=named, forms=forms, on_other=on_other):
            progress.advance()
            if isinstance(item, RowDrop):
                sinks.writer.drop(item)
                sinks.tally.bad_row(item)
                continue
            sinks.tally.checked(item)
            if options.repeats == "drop" and seen.repeats(item):
                drop = Drop(item.source, "dedup", "exact_duplicate", "an earlier example is the same", item.record)
                sinks.writer.drop(drop)
                sinks.tally.drop(drop, item)
                continue
            sinks.waiting.append(item, *seen.take(item))
    return seen


def _refuse_other(schema: ExampleSchema, reporter: Reporter) -> OnOther:
    """Refuse a file whose first rows are of another schema; one that may be read as this one as well is warned of."""

    def on_other(path: Path, found: ExampleSchema, fits: bool) -> None:
        if not fits:
            raise another_schema([path], found, schema)
        reporter.warn(f"{path} looks like {NOUNS[found]}: did you mean --for {found}?")

    return on_other


def _contradiction(example: TrainingExample) -> str:
    label = example.label if isinstance(example, LabelExample) else ""
    return f"it has the label '{label}' here, and another one elsewhere"


def _wanted(options: SplitOptions) -> tuple[Split, ...]:
    shares: dict[Split, float] = {"validation": options.validation, "test": options.test}
    return ("train", *(split for split, share in shares.items() if share > 0))


def _warn(tally: Tally, seen: _Seen, reporter: Reporter) -> None:
    if tally.bad:
        why = tally.reasons("read", "check")
        reporter.warn(f"{tally.bad:,} of {tally.rows:,} rows cannot be used and were dropped: {why}")
    if seen.straddling and holds_out(seen.given):
        reporter.warn(f"{len(seen.straddling):,} prompts or contexts are in several of the data's own splits")
    if not tally.splits["train"]["examples"]:
        reporter.warn("no example is there to train on: the data name all of them validation or test")
    if tally.schema == "label" and len(tally.labels) == 1:
        reporter.warn("all examples have the same label: there is nothing to tell apart")
    if tally.schema == "tag" and len(tally.labels) == 1:
        reporter.warn("all words have the same tag: there is nothing to tell apart")


def _nothing_left(files: Sequence[Path], schema: ExampleSchema, tally: Tally) -> DataError:
    what = listed(tally.first_bad[:SHOWN_BAD_ROWS], tally.bad) if tally.bad else "the files have no rows"
    if tally.checked_examples:
        what = f"all were dropped: {tally.reasons()}"
    mend = f"{what}\nrows need {LAYOUTS[schema].needs}"
    return DataError("there is no example to train on", where=", ".join(map(str, files)), mend=mend)


_Waits = tuple[TrainingExample, str, bytes]


class _Waiting:
    """Examples on disk until the splits are known; the file has no name, so nothing of it stays after a crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with writing(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._pending: list[_Waits] = []
        self._chars = 0
        self._groups = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, example: TrainingExample, group: str, inputs: bytes) -> None:
        self._pending.append((example, group, inputs))
        self._count += 1
        self._chars += example.characters
        if len(self._pending) >= _GROUP_EXAMPLES or self._chars >= _GROUP_CHARS:
            self._flush()

    def __iter__(self) -> Iterator[_Waits]:
        self._flush()
        with writing(self._folder):
            self._file.seek(0)
        for _ in range(self._groups):
            yield from pickle.load(self._file)  # noqa: S301  # a file without a name that this process wrote itself

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        with writing(self._folder):
            pickle.dump(self._pending, self._file, protocol=pickle.HIGHEST_PROTOCOL)
        self._pending, self._chars, self._groups = [], 0, self._groups + 1
