"""`llmkit preprocess`: from files to clean, deduplicated, split documents, a tokenizer and encoded tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.config.sections import CleanOptions, SplitOptions
from llmkit.errors import UsageError
from llmkit.registry.refs import RegistryRef, parse_input
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage
from llmkit.stages.sources import FilesConfig, collect_files, name_from_inputs
from llmkit.stages.tokens import cached_tokens

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.registry.store import Registry

TRAIN, NONE = "train", "none"


class PreprocessConfig(FilesConfig):
    """Options of `llmkit preprocess`."""

    reader: Literal["auto", "docstrings"] = option(
        "auto", "auto: by each file's content; docstrings: from a dataset's Python functions to fine-tuning pairs."
    )
    clean: CleanOptions = CleanOptions()
    duplicates: Literal["near", "exact", "none"] = option("near", "Which duplicates are dropped.")
    similarity: float = option(0.8, "Jaccard similarity from which documents are near-duplicates.", gt=0, le=1)
    split: SplitOptions = SplitOptions()
    tokenizer: str = option(TRAIN, "train: a byte-level BPE on the train split; none; or a tokenizer's reference.")
    vocab_size: int = option(8000, "Tokens of a trained vocabulary, reserved ones included.", ge=364)
    workers: int = option(0, "Processes that read files; 0: as many as cores.", ge=0, keyed=False)


def inputs(cfg: PreprocessConfig, registry: Registry) -> Inputs:
    """Files, or one dataset of texts for the docstrings reader; and a tokenizer where one is named."""
    named = Inputs() if cfg.tokenizer in (TRAIN, NONE) else models.find_tokenizer(cfg.tokenizer, registry)
    if cfg.reader == "docstrings":
        ref = parse_input(cfg.inputs[0]) if len(cfg.inputs) == 1 else None
        if not isinstance(ref, RegistryRef):
            raise UsageError(
                "--reader docstrings reads one dataset of texts",
                mend="make one first: `llmkit preprocess FILES... --name corpus`, then give `corpus`",
            )
        data = registry.resolve(ref, "dataset")
        models.require_schema(data, "text")
        return named.joined(Inputs({"data": data}))
    return named.joined(Inputs(raw={"files": collect_files(cfg, registry)}))


def default_name(cfg: PreprocessConfig, found: Inputs) -> str:
    """The dataset's name with `-pairs`, or the first input's."""
    return f"{found.artifacts['data'].name}-pairs" if "data" in found.artifacts else name_from_inputs(cfg)


def run(cfg: PreprocessConfig, found: Inputs, ctx: Context) -> Outcome:
    """Build the dataset; then, unless told otherwise, a tokenizer, and the tokens of the one with the other."""
    from llmkit.data.dataset import Dataset

    folder = _fresh(ctx.work / "dataset")
    schema: Literal["text", "chat"] = "chat" if cfg.reader == "docstrings" else "text"
    report = _pairs(cfg, found, folder, ctx) if schema == "chat" else _corpus(cfg, found, folder, ctx)
    dataset = Dataset.open(folder)
    made = [Made("dataset", folder, schema=schema)]
    metrics: dict[str, object] = {"splits": report["splits"]}
    payload: dict[str, Any] = {"report": report}
    if cfg.tokenizer == TRAIN and schema == "text":
        tokenizer_folder = _fresh(ctx.work / "tokenizer")
        metrics["vocabulary"] = _train_tokenizer(cfg, dataset, tokenizer_folder, ctx)
        made.insert(
            0, Made("tokenizer", tokenizer_folder, suffix="-tokenizer", metrics={"vocabulary": metrics["vocabulary"]})
        )
    else:
        named = models.folder(found, "tokenizer")
        if named is None or schema != "text":
            return Outcome(made, metrics, payload)
        tokenizer_folder = named
    if schema == "text":
        tokens = cached_tokens(ctx, dataset, tokenizer_folder)
        metrics["tokens"] = payload["tokens"] = {split: count.tokens for split, count in tokens.counts.items()}
    return Outcome(made, metrics, payload)


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """What came in, what was dropped and why, and what each split holds."""
    report = payload["report"]
    unit = "examples" if report["schema"] == "chat" else "documents"
    steps = [
        (step["step"], step.get("files"), step.get("bytes"), step.get(unit), step.get("characters"))
        for step in report["steps"]
    ]
    tokens = payload.get("tokens", {})
    splits = [(name, count[unit], count["characters"], tokens.get(name)) for name, count in report["splits"].items()]
    drops = [
        (step, reason.replace("_", " "), count)
        for step, reasons in report["drops"].items()
        for reason, count in reasons.items()
    ]
    drops += [("skipped", reason.replace("_", " "), count) for reason, count in report["skipped"].items()]
    blocks: list[Block] = [Table(("after", "files", "bytes", unit, "characters"), steps, "", frozenset({1, 2, 3, 4}))]
    if drops:
        blocks.append(Table(("left out by", "because", "count"), drops, "", frozenset({2})))
    blocks.append(Table(("split", unit, "characters", "tokens"), splits, "", frozenset({1, 2, 3})))
    missing = report["missing_splits"]
    if missing:
        blocks.append(Line(f"too little text for a split of its own: {', '.join(missing)}", "dim"))
    return blocks


def headline(payload: Mapping[str, Any]) -> str:
    """`1,204 documents, 1,103,442 tokens`."""
    report = payload["report"]
    unit = "examples" if report["schema"] == "chat" else "documents"
    count = sum(split[unit] for split in report["splits"].values())
    tokens = sum(payload.get("tokens", {}).values())
    return f"{count:,} {unit}" + (f", {tokens:,} tokens" if tokens else "")


def _corpus(cfg: PreprocessConfig, found: Inputs, folder: Path, ctx: Context) -> Mapping[str, Any]:
    from llmkit.data.pipeline import CorpusOptions, build_corpus
    from llmkit.data.prepare import PrepareOptions
    from llmkit.data.readers.base import ReadOptions

    options = CorpusOptions(
        prepare=PrepareOptions(ReadOptions(cfg.text_field), cfg.clean),
        drop_duplicates=cfg.duplicates,
        similarity=cfg.similarity,
        split=cfg.split,
        seed=cfg.seed,
    )
    workers = cfg.workers or os.cpu_count() or 1
    built = build_corpus(found.raw["files"].value, folder, options, workers=workers, reporter=ctx.reporter)
    if built.missing:
        ctx.reporter.warn(f"too few documents: no {' and no '.join(built.missing)} split")
    return built.report


def _pairs(cfg: PreprocessConfig, found: Inputs, folder: Path, ctx: Context) -> Mapping[str, Any]:
    from llmkit.data.dataset import Dataset
    from llmkit.data.pairs import build_docstring_pairs
    from llmkit.data.readers.docstrings import DocstringOptions

    corpus = Dataset.open(found.artifacts["data"].path)
    workers = cfg.workers or os.cpu_count() or 1
    return build_docstring_pairs(corpus, folder, DocstringOptions(), workers=workers, reporter=ctx.reporter).report


def _train_tokenizer(cfg: PreprocessConfig, dataset: Dataset, folder: Path, ctx: Context) -> int:
    from llmkit.data.tokenizer import save_tokenizer, train_tokenizer

    texts = (each.document.text for each in dataset.documents("train"))
    with ctx.reporter.progress("training the tokenizer") as bar:
        trained = train_tokenizer(texts, cfg.vocab_size)
        bar.advance(1, vocabulary=trained.vocab_size)
    if trained.clipped:
        ctx.reporter.warn(f"the text gives a vocabulary of {trained.vocab_size}; {trained.wanted} were asked for")
    save_tokenizer(trained.tokenizer, folder)
    return trained.vocab_size


def _fresh(folder: Path) -> Path:
    """An empty place for what an interrupted run may have left half done."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    return folder


STAGE = Stage(
    name="preprocess",
    version=1,
    kind="dataset",
    config=PreprocessConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
    partners={"tokenizer": "-tokenizer"},
)
