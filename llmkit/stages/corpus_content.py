"""What a dataset's texts are, for its page: languages, lengths, duplicates, origin, and which people they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.data.card import language_name
from llmkit.reporting.blocks import Bars, Block, Fold, Heading, Line, Table
from llmkit.reporting.figures import number, share, size

Report = Mapping[str, Any]

_MOST = 20
"""Rows of a mix that are shown; the others are added up in one more."""

_TOP_LANGUAGES = 5
_TOP_TERMS = 4


def content_sections(report: Report) -> list[Block]:
    """Headed blocks for whatever of these the report has."""
    what = "Documents" if report.get("schema", "text") == "text" else "Examples"
    sections: Sequence[tuple[str, list[Block]]] = (
        ("Languages and scripts", _languages(report)),
        ("Lengths", _lengths(report.get("lengths", {}), what)),
        ("Duplicates", _clusters(report.get("clusters", {}))),
        ("Where it comes from", _origin(report)),
        ("Kinds of examples", _kinds(report)),
        ("Which people are named", _skew(report.get("skew", {}))),
        ("Difference from the reference set", _reference(report.get("reference", {}))),
    )
    return [block for title, inside in sections if inside for block in (Heading(title), *inside)]


def _amount(row: object, key: str = "documents") -> float:
    """A row of a mix is either a count or several of them."""
    return float(row.get(key, 0)) if isinstance(row, Mapping) else float(str(row))


def _mix(title: str, rows: Mapping[str, object], unit: str = "documents") -> list[Block]:
    """A bar for each of the most frequent, with its share and, where it is known, how much text it is."""
    if not rows:
        return []
    keys = [key for key in (unit, "examples", "bytes", "characters") if any(_has(row, key) for row in rows.values())]
    key = keys[0] if keys else unit
    ranked = sorted(rows.items(), key=lambda item: (-_amount(item[1], key), item[0]))
    total = sum(_amount(row, key) for row in rows.values())
    labels = [name or "(none)" for name, _ in ranked[:_MOST]]
    values = [_amount(row, key) for _, row in ranked[:_MOST]]
    weights = [_amount(row, "bytes") if _has(row, "bytes") else None for _, row in ranked[:_MOST]]
    if rest := ranked[_MOST:]:
        labels.append(f"{len(rest)} more")
        values.append(sum(_amount(row, key) for _, row in rest))
        weights.append(sum(_amount(row, "bytes") for _, row in rest) if _has(rest[0][1], "bytes") else None)
    notes = [
        share(value, total) + (f" · {size(weight)}" if weight is not None and key != "bytes" else "")
        for value, weight in zip(values, weights, strict=True)
    ]
    whole = [int(value) if value.is_integer() else value for value in values]
    return [Bars(labels, whole, title, "B" if key == "bytes" else "", notes)]


def _has(row: object, key: str) -> bool:
    return isinstance(row, Mapping) and key in row


def _languages(report: Report) -> list[Block]:
    named = {language_name(code): row for code, row in report.get("languages", {}).items()}
    return [
        *_mix("Documents by language", named),
        *_mix("Characters by script", report.get("scripts", {}), "characters"),
    ]


def _lengths(lengths: Mapping[str, Mapping[str, int]], what: str) -> list[Block]:
    found: list[Block] = []
    if overall := lengths.get("all"):
        found.append(_histogram(overall, f"{what} by length in characters"))
    ranked = sorted(
        ((code, buckets) for code, buckets in lengths.items() if code != "all" and buckets),
        key=lambda item: (-sum(item[1].values()), item[0]),
    )
    if len(ranked) > 1 or not overall:
        for code, buckets in ranked[:_TOP_LANGUAGES]:
            name = language_name(code)
            label = f"Lengths of {name} documents ({number(sum(buckets.values()))})"
            found.append(Fold(label, [_histogram(buckets, name)]))
    return found


def _histogram(buckets: Mapping[str, int], title: str) -> Bars:
    """`buckets[k]` documents have 2^k to 2^(k+1) - 1 characters; empty buckets in between are shown as such."""
    counts = {int(bucket): count for bucket, count in buckets.items()}
    span = range(min(counts), max(counts) + 1)
    total = sum(counts.values())
    labels = [_between(bucket) for bucket in span]
    values = [counts.get(bucket, 0) for bucket in span]
    return Bars(labels, values, title, "", [share(value, total) if value else "" for value in values])


def _between(bucket: int) -> str:
    if bucket < 1:
        return "0" if bucket < 0 else "1"
    return f"{2**bucket:,} – {2 ** (bucket + 1) - 1:,}"


def _clusters(clusters: Mapping[str, Any]) -> list[Block]:
    found: list[Block] = []
    if sizes := clusters.get("sizes"):
        binned: dict[int, int] = {}
        for members, count in sizes.items():
            # 2, 3 to 4, 5 to 8 …: a set of a million pages has clusters of every size.
            doubling = (int(members) - 1).bit_length()
            binned[doubling] = binned.get(doubling, 0) + count
        many = sum(int(members) * count for members, count in sizes.items())
        span = range(1, max(binned) + 1)
        labels = [f"{2 ** (n - 1) + 1:,} – {2**n:,} alike" if n > 1 else "2 alike" for n in span]
        total = sum(sizes.values())
        found.append(Line(f"{number(many)} documents are in {number(total)} clusters of texts that are alike."))
        found.append(Bars(labels, [binned.get(n, 0) for n in span], "Clusters by size"))
    if largest := clusters.get("largest"):
        head = ("documents alike", "for example", "record", "cluster")
        cells = [(row.get("size"), row.get("source"), row.get("record", ""), row.get("cluster")) for row in largest]
        found.append(Table(head, cells, "The largest clusters", frozenset({0})))
    return found


def _origin(report: Report) -> list[Block]:
    return [
        *_mix("Documents by source", report.get("sources", {})),
        *_mix("Documents by format", report.get("formats", {})),
        *_mix("Documents by licence", report.get("licences", {})),
    ]


def _kinds(report: Report) -> list[Block]:
    return [
        *_mix("Rows by the form they were written in", report.get("forms", {}), "examples"),
        *_mix("Examples by label", report.get("labels", {}), "examples"),
        *_mix("Words by tag", report.get("tags", {}), "words"),
    ]


def _skew(skew: Mapping[str, Any]) -> list[Block]:
    axes: Mapping[str, Any] = skew.get("axes", {})
    found: list[Block] = []
    for axis, row in axes.items():
        named = {name: group for name, group in row["groups"].items() if group["count"]}
        absent = [name for name, group in row["groups"].items() if not group["count"]]
        shown = list(named.items())[:12]
        notes = [f"{_percent(group['share'])} · {_terms(group)}" for _, group in shown]
        title = f"{axis.capitalize()}: {number(row['total'])} words"
        found.append(Bars([name for name, _ in shown], [group["count"] for _, group in shown], title, "", notes))
        if rest := [name for name, _ in list(named.items())[12:]]:
            found.append(Line(f"Less often: {', '.join(rest)}.", "dim"))
        if absent:
            found.append(Line(f"Not once: {', '.join(absent)}.", "dim"))
    if found:
        said = (
            "Counts of words from a fixed list, in English and Japanese: they show who is spoken of, not what is said."
        )
        found.insert(0, Line(said, "dim"))
    return found


def _terms(group: Mapping[str, Any]) -> str:
    terms = list(group.get("terms", {}).items())[:_TOP_TERMS]
    return ", ".join(f"{term} {number(count)}" for term, count in terms)


def _percent(part: float) -> str:
    return share(part, 1.0)


def _reference(reference: Mapping[str, Any]) -> list[Block]:
    if not reference:
        return []
    found: list[Block] = []
    divergence, floor = reference.get("divergence"), reference.get("floor")
    if divergence is not None:
        by_chance = f"; two samples of one source and of these sizes would have about {floor:.3f}" if floor else ""
        found.append(
            Line(
                f"The token distributions have a Jensen-Shannon divergence of {divergence:.3f} "
                f"(0: alike, 1: disjoint){by_chance}."
            )
        )
    sizes = [(what, *_pair(reference[what])) for what in ("documents", "tokens", "distinct") if what in reference]
    lengths = reference.get("lengths", {})
    for point in lengths.get("set", {}):
        label = f"characters of a document, {point}"
        sizes.append((label, lengths["set"].get(point), lengths.get("reference", {}).get(point)))
    if sizes:
        found.append(Table(("", "this set", "reference"), sizes, "Sizes", frozenset({1, 2})))
    for key, title in (("languages", "Languages"), ("scripts", "Scripts")):
        rows = [
            (language_name(name) if key == "languages" else name, *map(_percent, _pair(row)))
            for name, row in list(reference.get(key, {}).items())[:10]
        ]
        if rows:
            found.append(Table(("", "this set", "reference"), rows, title, frozenset({1, 2})))
    for key, title in (("over", "Tokens this set has more of"), ("under", "Tokens this set has less of")):
        tokens = [(row["token"], f"{row['z']:.1f}", *map(_rate, _pair(row))) for row in reference.get(key, [])]
        if tokens:
            head = ("token", "z score", "per million here", "in the reference")
            found.append(Table(head, tokens, title, frozenset({1, 2, 3})))
    return found


def _rate(per_million: float) -> str:
    return number(round(per_million)) if per_million >= 100 else f"{per_million:.1f}"


def _pair(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("set"), row.get("reference")
