"""The data card of a dataset: a README.md, as the Hub reads it, written from what was recorded when it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmkit.reporting.figures import share, size
from llmkit.reporting.inert import inert
from llmkit.reporting.markdown import (
    front_matter,
    hub_licence,
    input_table,
    made_by,
    plain,
    table,
)

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
"""The Hub's size categories, each with the number of rows it ends at
(https://github.com/huggingface/hub-docs/blob/main/datasetcard.md)."""

_TASKS: Mapping[str, tuple[str, ...]] = {
    "text": ("text-generation", "fill-mask"),
    "chat": ("text-generation",),
    "label": ("text-classification",),
    "span": ("question-answering",),
    "preference": ("text-generation",),
    "tag": ("token-classification",),
}
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class CardInput:
    """One thing the dataset was made from: what it was used as, how it was named, its sha256, and what came of it."""

    role: str
    ref: str
    digest: str


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from: the lineage, and the report.

    Attributes:
        name: of the dataset.
        report: as in `report.json`.
        inputs: files and artifacts it was made from.
        command: the command that made it, as it could be given again.
        options: the options that were given explicitly, by dotted key.
        licence: of the whole, if somebody said; else the report's licence mix speaks.
        tokens: by split, if they were counted.
        packages: versions of what made it.
    """

    name: str
    report: Mapping[str, Any]
    inputs: Sequence[CardInput] = ()
    command: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    licence: str | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> str:
        return str(self.report.get("schema", "text"))

    @property
    def unit(self) -> str:
        return "documents" if self.schema == "text" else "examples"

    @property
    def rows(self) -> int:
        splits: Mapping[str, Mapping[str, int]] = self.report.get("splits", {})
        return sum(split.get(self.unit, 0) for split in splits.values())


def data_card(facts: CardFacts) -> str:
    """The card as Markdown with YAML front matter. Equal facts give equal text; foreign text in it is inert."""
    sections = (
        _intro(facts),
        _origin(facts),
        _left_out(facts),
        _languages(facts),
        _privacy(facts),
        _contamination(facts),
        _splits(facts),
        _limits(facts),
        _loading(facts),
    )
    return "\n\n".join([_head(facts), *(section for section in sections if section)]) + "\n"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _head(facts: CardFacts) -> str:
    languages = sorted(
        code for code in facts.report.get("languages", {}) if _LANGUAGE.fullmatch(code) and code != "und"
    )
    head: dict[str, object] = {"pretty_name": inert(facts.name)}
    if languages:
        head["language"] = languages
    licences = _hub_licences(facts)
    head["license"] = licences[0] if len(licences) == 1 else licences
    head["size_categories"] = [next((name for end, name in _SIZES if facts.rows < end), "n>1B")]
    head["task_categories"] = list(_TASKS.get(facts.schema, ("text-generation",)))
    head["tags"] = ["llmkit"]
    # Without this the Hub would take the dropped documents, which lie beside the rows, for data as well.
    head["configs"] = [{"config_name": "default", "data_files": _rows_file(facts)}]
    return front_matter(head)


def _hub_licences(facts: CardFacts) -> list[str]:
    names = [facts.licence] if facts.licence else list(facts.report.get("licences", {})) or ["unknown"]
    return sorted({hub_licence(name.strip().lower()) for name in names})


def _rows_file(facts: CardFacts) -> str:
    return f"{facts.unit}.parquet"


def _intro(facts: CardFacts) -> str:
    splits: Mapping[str, Mapping[str, int]] = facts.report.get("splits", {})
    characters = sum(split.get("characters", 0) for split in splits.values())
    tokens = f", {sum(facts.tokens.values()):,} tokens" if facts.tokens else ""
    said = f"{facts.rows:,} {facts.unit}, {characters:,} characters{tokens}."
    return f"# {plain(facts.name)}\n\n{said} Written by llmkit from the record of how the dataset was made."


def _origin(facts: CardFacts) -> str:
    parts = ["## Where it comes from"]
    if facts.inputs:
        parts.append(input_table((each.role, each.ref, each.digest) for each in facts.inputs))
    for title, key in (("source", "sources"), ("format", "formats"), ("licence", "licences")):
        mix: Mapping[str, Mapping[str, int]] = facts.report.get(key, {})
        if mix:
            ranked = sorted(mix.items(), key=lambda item: (-item[1].get("bytes", 0), item[0]))
            shown = [(name, row.get("documents"), size(row.get("bytes", 0))) for name, row in ranked[:20]]
            if len(ranked) > len(shown):
                rest = [row for _, row in ranked[len(shown) :]]
                documents = sum(row.get("documents", 0) for row in rest)
                shown.append((f"{len(rest)} more", documents, size(sum(row.get("bytes", 0) for row in rest))))
            parts.append(table((title, "documents", "text"), shown))
    parts += made_by(facts.command, facts.options, facts.packages)
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _left_out(facts: CardFacts) -> str:
    report = facts.report
    steps = report.get("steps", [])
    if not steps:
        return ""
    rows = [
        (step.get("step"), step.get("files"), step.get(facts.unit), size(step["bytes"]) if "bytes" in step else None)
        for step in steps
    ]
    parts = ["## What was left out", table(("after", "files", facts.unit, "size"), rows)]
    drops = [
        (step, reason.replace("_", " "), count)
        for step, reasons in [*report.get("drops", {}).items(), ("skipped", report.get("skipped", {}))]
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    if drops:
        head = "| left out by | because | count |\n|---|---|---:|\n"
        parts.append(head + "\n".join(f"| {plain(a)} | {plain(b)} | {plain(c)} |" for a, b, c in drops))
        parts.append("Every dropped row is in `drops.parquet`, with its reason.")
    return "\n\n".join(parts)


def _languages(facts: CardFacts) -> str:
    languages: Mapping[str, Mapping[str, int]] = facts.report.get("languages", {})
    if not languages:
        return ""
    total = sum(row.get("documents", 0) for row in languages.values())
    ranked = sorted(languages.items(), key=lambda item: (-item[1].get("documents", 0), item[0]))
    rows = [
        (language_name(code), row.get("documents"), share(row.get("documents", 0), total), row.get("characters"))
        for code, row in ranked
    ]
    return "## Languages\n\n" + table(("language", "documents", "share", "characters"), rows)


def language_name(code: str) -> str:
    """How a report's language code is shown: source code and unknown languages have no code of their own."""
    return {"": "source code", "und": "unknown"}.get(code, code)


def _privacy(facts: CardFacts) -> str:
    mode = facts.report.get("pii_mode")
    pii: Mapping[str, Mapping[str, int]] = facts.report.get("pii", {})
    if mode is None and not pii:
        return ""
    done = {
        "count": "Personal data and keys were looked for and counted. **They were not removed.**",
        "replace": "Personal data and keys that were found were replaced by typed placeholders.",
        "drop": "Documents in which personal data or keys were found were dropped.",
        "off": "**Personal data were not looked for.**",
    }.get(str(mode), "Personal data and keys were looked for.")
    parts = ["## Personal data", done]
    if pii:
        rows = [(kind, row.get("documents"), row.get("found")) for kind, row in sorted(pii.items())]
        parts.append(table(("type", "documents", "found"), rows))
    return "\n\n".join(parts)


def _contamination(facts: CardFacts) -> str:
    sets: Mapping[str, Mapping[str, int]] = facts.report.get("contamination", {})
    if not sets:
        return ""
    rows = [
        (name, row.get("items"), row.get("items_hit"), row.get("too_short"), row.get("documents_hit"))
        for name, row in sorted(sets.items())
    ]
    head = ("evaluation set", "items", "items found", "too short to tell", "documents with them")
    return "## Overlap with evaluation sets\n\n" + table(head, rows)


def _splits(facts: CardFacts) -> str:
    splits: Mapping[str, Mapping[str, int]] = facts.report.get("splits", {})
    if not splits:
        return ""
    rows = [(name, row.get(facts.unit), row.get("characters"), facts.tokens.get(name)) for name, row in splits.items()]
    text = "Rows with the same or nearly the same text are all in one split, by the hash of their cluster."
    missing = facts.report.get("missing_splits", [])
    if missing:
        text += f" Too small for a split of its own: {', '.join(map(plain, missing))}."
    return f"## Splits\n\n{table(('split', facts.unit, 'characters', 'tokens'), rows)}\n\n{text}"


def _limits(facts: CardFacts) -> str:
    """What the record shows that a user must know; nothing is said that was not measured."""
    report = facts.report
    limits: list[str] = []
    unread = report.get("scans", {})
    if unread.get("pages"):
        where = f"{_many(unread['pages'], 'page')} of {_many(unread.get('files', 0), 'file')}"
        limits.append(f"Scans without text are absent: {where}.")
    unknown = report.get("languages", {}).get("und", {}).get("documents", 0)
    if unknown:
        limits.append(f"The language of {_many(unknown, 'document')} could not be told.")
    unlicensed = report.get("licences", {}).get("unknown", {}).get("documents", 0)
    if unlicensed:
        limits.append(f"The licence of {_many(unlicensed, 'document')} is not known: ask before you publish.")
    if report.get("pii_mode") not in (None, "off"):
        limits.append("Personal data are found by patterns and check digits. Names and postal addresses are not.")
    if facts.schema == "text" and not report.get("contamination"):
        limits.append("It was not compared with any evaluation set.")
    if report.get("skew", {}).get("axes"):
        limits.append("The report counts words for groups of people. They show presence, not how people are spoken of.")
    return "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits) if limits else ""


def _loading(facts: CardFacts) -> str:
    rows = _rows_file(facts)
    # A name that is none by the registry's rule is left out, so that a command that is copied does nothing else.
    ref = facts.name if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", facts.name) else "NAME"
    use = f"llmkit pretrain --data {ref}"
    if facts.schema != "text":
        use = f"llmkit finetune-lora --model MODEL --data {ref}"
    return f"""## How to load it

    {use}

With pandas:

    import pandas
    rows = pandas.read_parquet("{rows}")
    train = rows[rows["split"] == "train"]

With datasets:

    from datasets import load_dataset
    rows = load_dataset("parquet", data_files="{rows}", split="train")
    train = rows.filter(lambda row: row["split"] == "train")"""
