"""An evaluation as Markdown, for a CI job's summary page: verdict first, figures below, text of others inert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.markdown import plain, table
from llmkit.stages.eval_view import (
    STOPPING,
    contamination_table,
    difference_tables,
    gate_blocks,
    headline,
    pairs_table,
    results_table,
    systems_table,
)


def summary(ref: str, payload: Mapping[str, Any]) -> str:
    """The whole summary, ending in a line break.

    Args:
        ref: of the report.
        payload: of the evaluation.
    """
    stopped = any(gate["outcome"] in STOPPING for gate in payload["gates"])
    mark = ("❌ " if stopped else "✅ ") if payload["gates"] else ""
    parts = [f"## {mark}llmkit eval: {plain(headline(payload))}", _markdown(gate_blocks(payload))]
    if payload.get("systems"):
        parts += [_markdown(systems_table(payload)), _markdown(pairs_table(payload))]
    else:
        # What the gates do not show is one click away.
        tables = _markdown([results_table(payload), *difference_tables(payload)])
        opened = "" if payload["gates"] else " open"
        parts.append(f"<details{opened}><summary>All figures</summary>\n\n{tables}\n\n</details>")
    parts.append(_markdown(contamination_table(payload)))
    parts += [f"- {plain(note)}" for note in payload["notes"]]
    parts += [
        f"- {plain(f'{task}: {count} items could not be evaluated')}" for task, count in payload["failures"].items()
    ]
    parts.append(f"Report: {plain(ref)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(blocks: Sequence[Block]) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, Table):
            title = [f"**{plain(block.title)}**"] if block.title else []
            parts += [*title, table([plain(name) or " " for name in block.columns], block.rows)]
        elif isinstance(block, Line):
            parts.append(plain(block.text))
    return "\n\n".join(parts)
