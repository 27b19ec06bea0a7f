"""Examples to fine-tune on: what `preprocess --for` and `--reader docstrings` do with the libraries."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmkit.stages.base import Context, Inputs, Made, Outcome
from llmkit.stages.dataset_pages import write_pages

if TYPE_CHECKING:
    from llmkit.data.schemas import ExampleSchema
    from llmkit.stages.preprocess import PreprocessConfig


def build(cfg: PreprocessConfig, found: Inputs, ctx: Context) -> Outcome:
    """Make a dataset of examples: pairs of a dataset's functions and their docstrings, or what files hold."""
    folder = ctx.work / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    if cfg.reader == "docstrings":
        schema: ExampleSchema = "chat"
        report = _docstrings(cfg, found, folder, ctx)
    else:
        schema = cast("ExampleSchema", cfg.for_)
        report = _files(cfg, found, folder, ctx, schema)
    write_pages(cfg, found, folder, report, {})
    return Outcome([Made("dataset", folder, schema=schema)], {"splits": report["splits"]}, {"report": report})


def _docstrings(cfg: PreprocessConfig, found: Inputs, folder: Path, ctx: Context) -> Mapping[str, Any]:
    from llmkit.data.dataset import Dataset
    from llmkit.data.pairs import build_docstring_pairs
    from llmkit.data.readers.docstrings import DocstringOptions

    corpus = Dataset.open(found.artifacts["data"].path)
    workers = cfg.workers or os.cpu_count() or 1
    return build_docstring_pairs(corpus, folder, DocstringOptions(), workers=workers, reporter=ctx.reporter).report


def _files(
    cfg: PreprocessConfig, found: Inputs, folder: Path, ctx: Context, schema: ExampleSchema
) -> Mapping[str, Any]:
    from llmkit.data.examples.build import TrainingSetOptions, build_training_set

    paths = [file.path for file in found.raw["files"].value.files]
    options = TrainingSetOptions(
        strict=cfg.strict,
        repeats="keep" if cfg.dedup.duplicates == "none" else "drop",
        split=cfg.split,
        seed=cfg.seed,
    )
    result = build_training_set(paths, folder, schema, options, reporter=ctx.reporter)
    if result.missing:
        ctx.reporter.warn(f"too few examples: no {' and no '.join(result.missing)} split")
    return result.report
