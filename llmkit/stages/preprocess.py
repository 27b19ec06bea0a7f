"""`llmkit preprocess`: from a folder of anything to clean, deduplicated, split data, with a tokenizer and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.config.sections import (
    CleanOptions,
    DecontaminateOptions,
    DedupOptions,
    LanguageOptions,
    PrivacyOptions,
    QualityOptions,
    SplitOptions,
)
from llmkit.errors import UsageError
from llmkit.registry.refs import RegistryRef, parse_input
from llmkit.stages import corpus, models, trainingset, trial
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage, Trial
from llmkit.stages.dataset_pages import write_pages
from llmkit.stages.sources import (
    Fetched,
    SourcesConfig,
    as_inputs,
    collect_files,
    fetch_inputs,
    find_datasets,
    name_from_inputs,
    named_files,
    with_datasets,
)

if TYPE_CHECKING:
    from llmkit.registry.store import Registry

TRAIN, NONE = "train", "none"


class PreprocessConfig(SourcesConfig):
    """Options of `llmkit preprocess`."""

    for_: Literal["text", "chat", "label", "span", "preference", "tag"] = option(
        "text", "What it is for: text to pretrain on, or examples to fine-tune on.", alias="for"
    )
    reader: Literal["auto", "docstrings"] = option(
        "auto", "auto: by each file's content; docstrings: from a dataset's Python functions to fine-tuning pairs."
    )
    strict: bool = option(False, "Stop at the first document or row that cannot be used.")
    tokenizer: str = option(TRAIN, "train: one on the train split; none; or a tokenizer's reference.")
    algorithm: Literal["bpe", "wordpiece", "unigram", "characters"] = option(
        "bpe", "Of a trained tokenizer; bpe and unigram work on bytes."
    )
    vocab_size: int = option(8000, "Tokens of a trained vocabulary, reserved ones included.", ge=364)
    reference: str | None = option(None, "A dataset of texts to compare with in the report.")
    clean: CleanOptions = CleanOptions()
    language: LanguageOptions = LanguageOptions()
    quality: QualityOptions = QualityOptions()
    privacy: PrivacyOptions = PrivacyOptions()
    dedup: DedupOptions = DedupOptions()
    decontaminate: DecontaminateOptions = DecontaminateOptions()
    split: SplitOptions = SplitOptions()
    workers: int = option(0, "Processes; 0: as many as cores.", ge=0, keyed=False)
    engine: Literal["local", "ray"] = option(
        "local", "Who does the work: our processes, or Ray (an extra).", keyed=False
    )
    shard: str | None = option(
        None, "i/n: only the i-th of n parts, for the jobs of an array; merge: put the parts together.", keyed=False
    )


def inputs(cfg: PreprocessConfig, registry: Registry, fetched: Fetched | None = None) -> Inputs:
    """Files and datasets; evaluation sets to keep out, a tokenizer, a dataset to compare with, where they are named."""
    corpus.check_options(cfg)
    found = Inputs() if cfg.tokenizer in (TRAIN, NONE) else models.find_tokenizer(cfg.tokenizer, registry)
    if cfg.reader == "docstrings":
        return found.joined(_one_dataset(cfg, registry))
    if cfg.reference is not None:
        reference = registry.resolve(cfg.reference, "dataset")
        models.require_schema(reference, "text")
        found = found.joined(Inputs({"reference": reference}))
    if cfg.decontaminate.against:
        found = found.joined(Inputs(raw={"against": named_files(cfg.decontaminate.against, registry)}))
    datasets = find_datasets(cfg.inputs, registry)
    for artifact in datasets.values():
        models.require_schema(artifact, "text")
    files = collect_files(cfg, registry, with_datasets(fetched or Fetched(), datasets))
    return found.joined(as_inputs(datasets)).joined(Inputs(raw={"files": files}))


def default_name(cfg: PreprocessConfig, found: Inputs) -> str:
    """The dataset's name with `-pairs` or `-clean`, or the first input's."""
    if "data" in found.artifacts:
        return f"{found.artifacts['data'].name}-{'pairs' if cfg.reader == 'docstrings' else 'clean'}"
    return name_from_inputs(cfg)


def run(cfg: PreprocessConfig, found: Inputs, ctx: Context) -> Outcome:
    """Build the dataset; then, unless told otherwise, a tokenizer, and the tokens of the one with the other."""
    part = corpus.parse_part(cfg.shard)
    if cfg.reader == "docstrings" or cfg.for_ != "text":
        if part is not None:
            raise UsageError("--shard is for texts", mend="leave it out: examples are read in one go")
        return trainingset.build(cfg, found, ctx)
    if isinstance(part, corpus.Part):
        return corpus.prepare_part(cfg, found, ctx, part)
    built = corpus.build(cfg, found, ctx, merge=part is not None)
    made = [Made("dataset", built.folder, schema="text")]
    metrics: dict[str, object] = {"splits": built.report["splits"]}
    payload: dict[str, Any] = {"report": built.report}
    tokenizer = models.folder(found, "tokenizer")
    if cfg.tokenizer == TRAIN:
        trained = corpus.train_tokenizer(cfg, built.dataset, ctx)
        tokenizer = trained.folder
        metrics["vocabulary"] = trained.vocabulary
        made.insert(0, Made("tokenizer", tokenizer, suffix="-tokenizer", metrics={"vocabulary": trained.vocabulary}))
    if tokenizer is not None:
        metrics["tokens"] = payload["tokens"] = corpus.count_tokens(built.dataset, tokenizer, ctx)
    write_pages(cfg, found, built.folder, built.report, payload.get("tokens", {}))
    return Outcome(made, metrics, payload)


def headline(payload: Mapping[str, Any]) -> str:
    """`1,204 documents, 1,103,442 tokens`."""
    if "part" in payload:
        return f"part {payload['part']}"
    report = payload["report"]
    unit = "documents" if report["schema"] == "text" else "examples"
    count = sum(split[unit] for split in report["splits"].values())
    tokens = sum(payload.get("tokens", {}).values())
    return f"{count:,} {unit}" + (f", {tokens:,} tokens" if tokens else "")


def _one_dataset(cfg: PreprocessConfig, registry: Registry) -> Inputs:
    ref = parse_input(cfg.inputs[0]) if len(cfg.inputs) == 1 else None
    if not isinstance(ref, RegistryRef):
        raise UsageError(
            "--reader docstrings reads one dataset of texts",
            mend="make one first: `llmkit preprocess FILES... --name corpus`, then give `corpus`",
        )
    data = registry.resolve(ref, "dataset")
    models.require_schema(data, "text")
    return Inputs({"data": data})


STAGE = Stage(
    name="preprocess",
    version=3,
    kind="dataset",
    config=PreprocessConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=corpus.show,
    headline=headline,
    partners={"tokenizer": "-tokenizer"},
    resumable=True,
    fetch=fetch_inputs,
    trial=Trial(trial.try_out, trial.show),
    part=lambda cfg: part.name if isinstance(part := corpus.parse_part(cfg.shard), corpus.Part) else None,
)
