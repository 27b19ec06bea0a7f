"""How the report of a dataset is shown: in short on the terminal, and in full on a page.

A report is the content of `report.json`. What it does not have is left out, so reports of earlier versions, and of
examples for fine-tuning (which have no languages or duplicates of their own), are shown by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from llmkit.reporting.blocks import Bars, Block, Figures, Fold, Heading, Line, Quote, Table
from llmkit.reporting.figures import number, share, size
from llmkit.stages.corpus_content import content_sections

Report = Mapping[str, Any]

BYTES_PER_TOKEN = 4.0
"""Where the set has no tokens to count by: what GPT-2's vocabulary gives on English prose (4.0 on Pride and Prejudice,
4.2 on WikiText-2). On Japanese and on source code it gives half as much."""

_SHOWN_REASONS = 25


def blocks(report: Report, tokens: Mapping[str, int] | None = None) -> Sequence[Block]:
    """The short form: what is left after each step, what was left out and why, and the splits.

    Args:
        report: the content of `report.json`.
        tokens: by split, if they were counted.
    """
    found: list[Block] = [_steps_table(report, tokens)]
    drops = _drops(report)
    if drops:
        found.append(Table(("left out by", "because", "count"), drops, "", frozenset({2})))
    found += _scans(report)
    if pii := report.get("pii"):
        kinds = ", ".join(f"{number(row.get('found', 0))} {_words(kind)}" for kind, row in sorted(pii.items()))
        found.append(Line(f"personal data {_PII_DONE.get(str(report.get('pii_mode')), 'found')}: {kinds}", "plain"))
    for name, row in report.get("contamination", {}).items():
        hit = f"{number(row.get('items_hit', 0))} of {number(row.get('items', 0))} items"
        hit += f", in {number(row.get('documents_hit', 0))} documents"
        found.append(Line(f"overlap with {name}: {hit}", "bad" if row.get("items_hit") else "good"))
    return [*found, *_splits(report, tokens)]


def full(report: Report, tokens: Mapping[str, int] | None = None) -> Sequence[Block]:
    """The long form for a page: all that the report knows, a section each, sections with nothing in them left out.

    Args:
        report: the content of `report.json`.
        tokens: by split, if they were counted; the tokens of earlier steps are then estimated by their bytes.
    """
    return [
        *_figures(report, tokens),
        *_waterfall(report, tokens),
        *_why(report),
        *_changes(report),
        *content_sections(report),
        *_privacy(report),
        *_contamination(report),
        *_section("Splits", _splits(report, tokens)),
    ]


def unit_of(report: Report) -> str:
    """`documents` for a dataset of texts, `examples` for one to fine-tune on."""
    return "documents" if report.get("schema", "text") == "text" else "examples"


_PII_DONE = {"count": "found, and kept", "replace": "replaced", "drop": "found; their documents were dropped"}


def _section(title: str, inside: Sequence[Block]) -> list[Block]:
    return [Heading(title), *inside] if inside else []


def _words(code: str) -> str:
    """A code in words; that of a rule stays as `--threshold` takes it."""
    return code if "." in code else code.replace("_", " ")


def _total(report: Report, what: str) -> int:
    return sum(split.get(what, 0) for split in report.get("splits", {}).values())


def _token_rate(report: Report, tokens: Mapping[str, int] | None) -> float | None:
    """Tokens per byte of the finished set, or the usual figure; None where sizes in bytes are not known."""
    if tokens and _total(report, "bytes"):
        return sum(tokens.values()) / _total(report, "bytes")
    return 1 / BYTES_PER_TOKEN if any("bytes" in step for step in _text_steps(report)) else None


def _text_steps(report: Report) -> list[Mapping[str, Any]]:
    """The steps that count rows: all but the collecting of files."""
    unit = unit_of(report)
    return [step for step in report.get("steps", []) if unit in step]


def _approximate(value: float) -> str:
    """Three digits and a sign that it is estimated."""
    rounded = float(f"{value:.3g}")
    return f"≈ {number(int(rounded) if rounded >= 100 else rounded)}"


def _steps_table(report: Report, tokens: Mapping[str, int] | None) -> Table:
    unit = unit_of(report)
    rate = _token_rate(report, tokens) if unit == "documents" else None
    rows: list[list[object]] = []
    before: int | None = None
    for step in report.get("steps", []):
        count = step.get(unit)
        gone = before - count if before is not None and count is not None else None
        before = count if count is not None else before
        weight = size(step["bytes"]) if "bytes" in step else None
        estimate = _approximate(step["bytes"] * rate) if rate and count is not None and "bytes" in step else None
        rows.append([step.get("step"), step.get("files"), count, gone, step.get("characters"), weight, estimate])
    columns = ["after", "files", unit, "dropped", "characters", "size", "tokens"]
    used = [n for n in range(len(columns)) if n == 0 or any(row[n] is not None for row in rows)]
    chosen = [[row[n] for n in used] for row in rows]
    return Table([columns[n] for n in used], chosen, "", frozenset(range(1, len(used))))


def _figures(report: Report, tokens: Mapping[str, int] | None) -> list[Block]:
    unit = unit_of(report)
    kept = _total(report, unit)
    steps = _text_steps(report)
    read = steps[0][unit] if steps else 0
    items: list[tuple[str, object, str]] = [(f"{unit} kept", kept, f"{share(kept, read)} of {read:,}" if read else "")]
    if bulk := _total(report, "bytes"):
        items.append(("of text", size(bulk), f"{_total(report, 'characters'):,} characters"))
    if tokens:
        items.append(("tokens", sum(tokens.values()), ""))
    elif bulk and unit == "documents":
        items.append(("tokens", _approximate(bulk / BYTES_PER_TOKEN), f"at {BYTES_PER_TOKEN:g} bytes each"))
    languages = [code for code in report.get("languages", {}) if code not in ("", "und")]
    if languages:
        top = sorted(languages, key=lambda code: -report["languages"][code].get("documents", 0))[:4]
        items.append(("languages", len(languages), ", ".join(top)))
    if "dedup" in report.get("drops", {}):
        count = sum(report["drops"]["dedup"].values())
        items.append(("duplicates dropped", count, f"{share(count, read)} of what was read"))
    if "pii" in report:
        done = _PII_DONE.get(str(report.get("pii_mode")), "")
        items.append(("personal data", sum(row.get("found", 0) for row in report["pii"].values()), done))
    return [Figures(items)] if kept or read else []


def _waterfall(report: Report, tokens: Mapping[str, int] | None) -> list[Block]:
    unit, steps = unit_of(report), _text_steps(report)
    if not report.get("steps"):
        return []
    found: list[Block] = []
    rate = _token_rate(report, tokens) if unit == "documents" else None
    for what, title, shown, scale in (
        (unit, unit.capitalize(), "", 1.0),
        ("bytes", "Text", "B", 1.0),
        ("bytes", "Tokens (≈, by bytes)", "", rate),
    ):
        counted = [step for step in steps if what in step]
        if scale and len(counted) > 1:
            found.append(_falling(counted, what, (title, shown), scale))
    found.append(_steps_table(report, tokens))
    if rate:
        by = (
            "the finished set's own rate" if tokens else f"{BYTES_PER_TOKEN:g} bytes a token, as no tokens were counted"
        )
        found.append(Line(f"Tokens are estimated from bytes, by {by}.", "dim"))
    return _section("What was left after each step", found)


def _falling(steps: Sequence[Mapping[str, Any]], what: str, head: tuple[str, str], scale: float) -> Bars:
    """A bar for each step, with what the step took away behind it. A step that added (repaired) took nothing away."""
    title, unit = head
    values = [step[what] * scale for step in steps]
    lost = [0.0, *(max(before - after, 0.0) for before, after in pairwise(values))]
    notes = ["", *(_loss(before, after) for before, after in pairwise(values))]
    rounded = [float(f"{value:.3g}") if scale != 1 else value for value in values]
    return Bars([str(step["step"]) for step in steps], rounded, title, unit, notes, lost, ("kept", "dropped here"))


def _loss(before: float, after: float) -> str:
    if before == after:
        return ""
    return f"−{share(before - after, before)}" if after < before else f"+{share(after - before, before)}"


def _drops(report: Report) -> list[tuple[str, str, int]]:
    """`(step, reason, count)`, files that were never opened last."""
    steps = report.get("drops", {})
    order = [str(step["step"]) for step in report.get("steps", [])]
    ranked = sorted(steps.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    by_step = [*ranked, ("skipped", report.get("skipped", {}))]
    return [
        (step, _words(reason), count)
        for step, reasons in by_step
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _scans(report: Report) -> list[Block]:
    scans = report.get("scans", {})
    pages, files = scans.get("pages", 0), scans.get("files", 0)
    if not pages:
        return []
    where = f" (in {number(files)} file{'s' if files != 1 else ''})" if files else ""
    said = "pages are scans: OCR them first" if pages != 1 else "page is a scan: OCR it first"
    return [Line(f"{number(pages)} {said}{where}", "bad")]


def _why(report: Report) -> list[Block]:
    drops = sorted(_drops(report), key=lambda drop: -drop[2])
    found: list[Block] = []
    if drops:
        shown = drops[:_SHOWN_REASONS]
        total = sum(count for _, _, count in drops)
        labels = [f"{step}: {reason}" for step, reason, _ in shown]
        notes = [share(count, total) for _, _, count in shown]
        found.append(Bars(labels, [count for _, _, count in shown], "Left out, by step and reason", "", notes))
        if len(drops) > len(shown):
            found.append(Line(f"and {len(drops) - len(shown)} rarer reasons", "dim"))
    found += _scans(report)
    samples = report.get("samples", {})
    folds = [
        Fold(f"{step}: {reason} ({number(count)})", [_sample(each) for each in quoted])
        for step, reason, count in _drops(report)
        if (quoted := samples.get(f"{step}/{reason}") or samples.get(f"{step}/{reason.replace(' ', '_')}"))
    ]
    if folds:
        found += [Heading("Samples of each reason", 2), *folds]
    return _section("What was left out, and why", found)


def _sample(sample: Mapping[str, Any]) -> Quote:
    place = str(sample.get("source", ""))
    if sample.get("record"):
        place += f" (record {sample['record']})"
    title = " · ".join(part for part in (place, str(sample.get("detail", "")), str(sample.get("id", ""))) if part)
    return Quote(str(sample.get("excerpt", "")), title)


def _changes(report: Report) -> list[Block]:
    changes = report.get("changes", {})
    # Reports of earlier versions had one level less: they did not say which step changed something.
    if any("documents" in row for row in changes.values()):
        changes = {"clean": changes}
    rows = [
        (step, _words(rule), row.get("documents"), row.get("changes"))
        for step, rules in changes.items()
        for rule, row in sorted(rules.items(), key=lambda item: (-item[1].get("documents", 0), item[0]))
    ]
    head = ("step", "rule", unit_of(report), "changes")
    return _section("What was changed", [Table(head, rows, "", frozenset({2, 3}))] if rows else [])


def _privacy(report: Report) -> list[Block]:
    mode, pii = report.get("pii_mode"), report.get("pii", {})
    if mode is None and not pii:
        return []
    said = {
        "count": Line("Looked for and counted; nothing was removed.", "bad" if pii else "plain"),
        "replace": Line("What was found was replaced by typed placeholders."),
        "drop": Line("Documents in which any was found were dropped."),
        "off": Line("Not looked for.", "bad"),
    }
    found: list[Block] = [said[mode]] if mode in said else []
    if pii:
        ranked = sorted(pii.items(), key=lambda item: (-item[1].get("found", 0), item[0]))
        labels = [_words(kind) for kind, _ in ranked]
        notes = [f"in {number(row.get('documents', 0))} documents" for _, row in ranked]
        found.append(Bars(labels, [row.get("found", 0) for _, row in ranked], "Found, by type", "", notes))
        found.append(Line("Names and postal addresses are not looked for by patterns.", "dim"))
    elif mode != "off":
        found.append(Line("None was found.", "good"))
    return _section("Personal data and keys", found)


def _contamination(report: Report) -> list[Block]:
    sets = report.get("contamination", {})
    if not sets:
        return []
    rows = []
    for name, row in sets.items():
        items, hit = row.get("items", 0), row.get("items_hit", 0)
        testable = items - row.get("too_short", 0)
        rows.append((name, items, hit, share(hit, testable), row.get("too_short"), row.get("documents_hit")))
    head = (
        "evaluation set",
        "items",
        "items found",
        "of those long enough",
        "too short to tell",
        "documents with them",
    )
    return _section("Overlap with evaluation sets", [Table(head, rows, "", frozenset(range(1, 6)))])


def _splits(report: Report, tokens: Mapping[str, int] | None) -> list[Block]:
    splits = report.get("splits", {})
    if not splits:
        return []
    unit = unit_of(report)
    total = _total(report, unit)
    counted = tokens or report.get("tokens") or {}
    rows = [
        [name, row.get(unit), share(row.get(unit, 0), total), row.get("characters"), counted.get(name)]
        for name, row in splits.items()
    ]
    columns = ["split", unit, "share", "characters", "tokens"]
    if not counted:
        rows, columns = [row[:-1] for row in rows], columns[:-1]
    found: list[Block] = [Table(columns, rows, "", frozenset(range(1, len(columns))))]
    if missing := report.get("missing_splits"):
        found.append(Line(f"too little text for a split of its own: {', '.join(missing)}", "dim"))
    return found
