"""What the report of a dataset of examples says: counts after each step, samples of reasons, facts of the schema."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmkit.data.chat import Example
from llmkit.data.drops import Drop
from llmkit.data.examples.fields import RowDrop
from llmkit.data.examples.messages import SHOWN_BAD_ROWS
from llmkit.data.examples.span_rows import REPAIRED
from llmkit.data.schemas import ExampleSchema, LabelExample, PreferenceExample, SpanExample, TagExample, TrainingExample
from llmkit.data.split import SPLITS, Split

_SAMPLES = 5
_EXCERPT_CHARS = 300
_MOST_LABELS = 200
"""Labels that are listed by name; a file with more has free text or numbers where classes should be."""


class Tally:
    """Counts what happens to examples, in the order in which it does."""

    def __init__(self, schema: ExampleSchema, files: Sequence[Path]) -> None:
        self.schema = schema
        self.rows = 0
        self.bad = 0
        self.first_bad: list[Drop] = []
        self.forms: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.splits: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
        self._files = {"files": len(files), "bytes": sum(path.stat().st_size for path in files if path.is_file())}
        self._read: Counter[str] = Counter()
        self._lost: dict[str, Counter[str]] = defaultdict(Counter)
        self._drops: dict[str, Counter[str]] = defaultdict(Counter)
        self._samples: dict[str, list[dict[str, str]]] = defaultdict(list)
        self._facts: Counter[str] = Counter()
        self._turns: Counter[int] = Counter()
        self._lengths: Counter[int] = Counter()

    @property
    def examples(self) -> int:
        return sum(count["examples"] for count in self.splits.values())

    @property
    def checked_examples(self) -> int:
        return self.rows - self.bad

    def bad_row(self, drop: RowDrop) -> None:
        self.rows += 1
        self.bad += 1
        if len(self.first_bad) < SHOWN_BAD_ROWS:
            self.first_bad.append(drop)
        self._read["characters"] += drop.characters
        self._lost[drop.step] += Counter(examples=1, characters=drop.characters)
        self._count(drop, drop.excerpt)

    def checked(self, example: TrainingExample) -> None:
        self.rows += 1
        self._read["characters"] += example.characters

    def drop(self, drop: Drop, example: TrainingExample) -> None:
        """An example that was fine and is dropped all the same."""
        self._lost[drop.step] += Counter(examples=1, characters=example.characters)
        self._count(drop, _excerpt(example))

    def kept(self, example: TrainingExample, split: Split) -> None:
        self.splits[split]["examples"] += 1
        self.splits[split]["characters"] += example.characters
        self._lengths[max(0, example.characters.bit_length() - 1)] += 1
        match example:
            case Example():
                self._turns[len(example.messages)] += 1
            case LabelExample():
                self.labels[example.label] += 1
            case TagExample():
                self.labels.update(tag.tag for tag in example.tags)
            case SpanExample():
                self._facts["answerable" if example.answers else "unanswerable"] += 1
                repaired = example.meta.get(REPAIRED, 0)
                self._facts[REPAIRED] += repaired if isinstance(repaired, int) else 0
            case PreferenceExample():
                self._turns[len(example.prompt) + len(example.chosen)] += 1
                self._facts["chosen_characters"] += sum(len(each.content) for each in example.chosen)
                self._facts["rejected_characters"] += sum(len(each.content) for each in example.rejected)

    def reasons(self, *steps: str) -> str:
        """What was dropped by these steps, or by all, in words."""
        counts = sum((self._drops[step] for step in steps or tuple(self._drops)), Counter[str]())
        return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.most_common())

    def missing(self, wanted: Sequence[Split]) -> list[Split]:
        return [split for split in wanted if not self.splits[split]["examples"]]

    def report(self, wanted: Sequence[Split], facts: Mapping[str, object]) -> dict[str, object]:
        return {
            "schema": self.schema,
            "steps": self._steps(),
            "drops": {step: dict(sorted(reasons.items())) for step, reasons in self._drops.items()},
            "samples": dict(sorted(self._samples.items())),
            "forms": dict(sorted(self.forms.items())),
            **facts,
            **self._own(),
            # As of texts: examples of 2^k to 2^(k+1) - 1 characters under k.
            "lengths": {"all": {str(bucket): count for bucket, count in sorted(self._lengths.items())}},
            "splits": {
                split: {name: count[name] for name in ("examples", "characters")}
                for split, count in self.splits.items()
            },
            "missing_splits": self.missing(wanted),
        }

    def _steps(self) -> list[dict[str, object]]:
        """What each step left; rows that could not be read at all are counted among the drops only."""
        left = Counter(examples=self.rows, characters=self._read["characters"])
        left.subtract(self._lost["read"])
        steps: list[dict[str, object]] = [{"step": "collect", **self._files}, {"step": "read", **left}]
        for step in ("check", "dedup", *(["conflicts"] if self.schema == "label" else [])):
            left.subtract(self._lost[step])
            steps.append({"step": step, **left})
        return steps

    def _own(self) -> dict[str, object]:
        """What only examples of this schema have."""
        turns = {str(turns): count for turns, count in sorted(self._turns.items())}
        if self.schema == "chat":
            return {"turns": turns}
        if self.schema == "label":
            return {"labels": dict(self.labels.most_common(_MOST_LABELS)), "distinct_labels": len(self.labels)}
        if self.schema == "tag":
            return {"tags": dict(self.labels.most_common(_MOST_LABELS)), "distinct_tags": len(self.labels)}
        if self.schema == "span":
            return {name: self._facts[name] for name in ("answerable", "unanswerable", REPAIRED)}
        return {"turns": turns, **{name: self._facts[name] for name in ("chosen_characters", "rejected_characters")}}

    def _count(self, drop: Drop, excerpt: str) -> None:
        self._drops[drop.step][drop.reason] += 1
        samples = self._samples[f"{drop.step}/{drop.reason}"]
        if len(samples) < _SAMPLES:
            place = {"source": drop.source, "record": drop.record}
            samples.append({**place, "detail": drop.detail, "excerpt": excerpt})


def _excerpt(example: TrainingExample) -> str:
    match example:
        case LabelExample():
            text = " / ".join((*example.inputs, example.label))
        case SpanExample():
            text = example.question
        case _:
            text = example.group
    return text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1] + "…"
