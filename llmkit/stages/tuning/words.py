"""What fine-tuning changed, in words: scores with intervals, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.reporting.blocks import Block, Line, Table

_LABEL_CHARS = 24


def score_lines(payload: Mapping[str, Any]) -> Sequence[Block]:
    """A line per score: after, with its interval, and the paired difference; then the classes that are confused."""
    details = payload.get("details") or {}
    before = details.get("compared_with", "before")
    blocks: list[Block] = [_line(name, score, before) for name, score in (payload.get("scores") or {}).items()]
    return [*blocks, *_confusion(details.get("confusion"))]


def _line(name: str, score: Mapping[str, Any], before: str) -> Line:
    interval, apart = score["difference_ci"], _interval(score["difference_ci"], "{:+.3f}")
    sure = interval is not None and (interval[0] > 0 or interval[1] < 0)
    said = f"{name.replace('_', ' ')} {score['after']:.3f}{_interval(score['ci'])}, {before} {score['before']:.3f}"
    text = f"{said}: {score['difference']:+.3f}{apart} on {score['n']:,} held-out examples"
    return Line(text if sure else f"{text}, which may be chance", "plain")


def _interval(ends: Sequence[float] | None, form: str = "{:.3f}") -> str:
    return f" ({form.format(ends[0])} to {form.format(ends[1])})" if ends else ""


def _confusion(found: Mapping[str, Any] | None) -> Sequence[Block]:
    if not found:
        return []
    labels = [label if len(label) <= _LABEL_CHARS else label[: _LABEL_CHARS - 1] + "…" for label in found["labels"]]
    rows = [(label, *counts) for label, counts in zip(labels, found["counts"], strict=True)]
    return [Table(("gold \\ said", *labels), rows, "", frozenset(range(1, len(labels) + 1)))]
