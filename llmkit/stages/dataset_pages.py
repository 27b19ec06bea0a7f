"""What people read of a dataset, beside its data: the report as a page, and the data card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.base import changed, command_line
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.stages.preprocess import PreprocessConfig

PAGE, CARD = "report.html", "README.md"


def write_pages(
    cfg: PreprocessConfig, found: Inputs, folder: Path, report: Mapping[str, Any], tokens: Mapping[str, int]
) -> None:
    """Write the report (JSON and HTML) and the card.

    Raises:
        StorageError: the folder cannot be written to.
    """
    from llmkit.data.card import CardFacts, CardInput, data_card
    from llmkit.data.dataset import REPORT
    from llmkit.registry.disk import write_whole
    from llmkit.registry.provenance import package_versions
    from llmkit.reporting.page import page
    from llmkit.stages.corpus_report import full
    from llmkit.stages.preprocess import default_name

    name = cfg.name or default_name(cfg, found)
    counted = {**report, **({"tokens": dict(tokens)} if tokens else {})}
    card = CardFacts(
        name=name,
        report=counted,
        inputs=[CardInput(ref.role, ref.ref, ref.digest) for ref in found.refs()],
        command=command_line("preprocess", cfg),
        options=changed(cfg),
        tokens=tokens,
        packages=package_versions(),
    )
    files = {
        REPORT: json.dumps(counted, ensure_ascii=False, indent=2, allow_nan=False) + "\n",
        PAGE: page(f"Dataset {name}", full(counted, tokens)),
        CARD: data_card(card),
    }
    for file, text in files.items():
        write_whole(folder / file, text.encode("utf-8"))
