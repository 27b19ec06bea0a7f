"""`llmkit preprocess --dry-run N`: the steps tried on N documents, with what each threshold would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.errors import UsageError
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.figures import share, size
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.stages.preprocess import PreprocessConfig


_KINDS = {
    "spaced": "texts with spaces between words",
    "cjk": "Japanese and Chinese",
    "korean": "Korean",
    "unspaced": "Thai, Lao, Khmer and Burmese",
    "code": "source code",
}


def try_out(cfg: PreprocessConfig, found: Inputs, count: int) -> dict[str, Any]:
    """The findings, JSON-ready.

    Raises:
        UsageError: the inputs are no texts.
    """
    from llmkit.data.corpus import trial
    from llmkit.stages.corpus import prepare_options

    if cfg.for_ != "text" or cfg.reader != "auto":
        raise UsageError("--dry-run N tries the steps that texts go through", mend="leave --for and --reader out")
    return trial.try_out(found.raw["files"].value, prepare_options(cfg, found), count, cfg.seed).to_json()


def show(trial: Mapping[str, Any]) -> Sequence[Block]:
    """Tables: the sample, what each rule would drop, personal data, duplicates."""
    count = trial["documents"]
    languages = ", ".join(f"{name or 'code'} {share(n, count)}" for name, n in trial["languages"].items())
    facts = [
        ("documents tried", f"{count:,} ({size(trial['bytes'])})"),
        ("not readable", _listed(trial["unreadable"])),
        ("too short", f"{trial['too_short']:,}"),
        ("languages", languages or "-"),
        ("personal data", f"{trial['pii']['documents']:,} documents: {_listed(trial['pii']['found'])}"),
        *((f"similar to an earlier one by {threshold}", f"{n:,}") for threshold, n in trial["near_duplicates"].items()),
    ]
    blocks: list[Block] = [Table(("", ""), facts, "A sample; nothing was made of it")]
    presets = dict.fromkeys((rule["rule"].split(".")[0], rule["text"]) for rule in trial["rules"])
    blocks += [_preset_table(preset, text, trial) for preset, text in presets]
    blocks.append(Line("switch rules on with --rules PRESET, change one with --threshold PRESET.RULE=VALUE", "dim"))
    return blocks


def _preset_table(preset: str, text: str, trial: Mapping[str, Any]) -> Table:
    """What each rule of a preset would drop by itself, and how the measured values lie."""
    rows = [
        (
            rule["rule"].split(".")[1],
            rule["threshold"],
            rule["drops"],
            share(rule["drops"], rule["documents"]),
            share(rule["bytes"], trial["bytes"]),
            *(rule[name] for name in ("p5", "p50", "p95")),
        )
        for rule in trial["rules"]
        if rule["rule"].startswith(f"{preset}.") and rule["text"] == text
    ]
    columns = ("rule", "threshold", "drops", "documents", "bytes", "5%", "median", "95%")
    return Table(columns, rows, f"{preset}, {_KINDS[text]}", frozenset(range(1, 8)))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items()) or "none"
