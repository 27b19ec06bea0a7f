"""A dataset of texts: what `preprocess` does with the libraries, from its options to the pages in the artifact."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.base import leaves
from llmkit.errors import UsageError
from llmkit.reporting.blocks import Block, Line
from llmkit.stages.base import Context, Inputs, Outcome
from llmkit.stages.sources import read_options

if TYPE_CHECKING:
    from llmkit.data.corpus.pipeline import CorpusOptions, Engine
    from llmkit.data.corpus.prepare import PrepareOptions
    from llmkit.data.dataset import Dataset
    from llmkit.data.sources.collect import Collected
    from llmkit.data.steps.decontamination.lookup import EvalGrams
    from llmkit.registry.artifact import Artifact
    from llmkit.stages.preprocess import PreprocessConfig

MERGE = "merge"

_EXAMPLE_OPTIONS = """
    for reader include exclude strict dedup.duplicates split seed name workers engine shard web
"""
_FOR_EXAMPLES = frozenset(_EXAMPLE_OPTIONS.split())
"""Options, and sections of them, that mean something for examples too."""

_PART = re.compile(r"(\d+)/(\d+)")
_TOKENIZER_CHARS = 500_000_000
"""A tokenizer is trained on at most so much text: more changes its merges hardly, and costs memory and time."""

_COMPARED_CHARS = 20_000_000
"""Text of either set from which the comparison with a reference is made."""


@dataclass(frozen=True)
class Part:
    """The i-th of n parts of the work, 1-based."""

    number: int
    of: int

    @property
    def name(self) -> str:
        return f"part-{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Built:
    """A finished set of texts, not published yet."""

    folder: Path
    dataset: Dataset
    report: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A trained tokenizer; `vocabulary` counts its tokens."""

    folder: Path
    vocabulary: int


def parse_part(text: str | None) -> Part | str | None:
    """`--shard`: a part of the work, `merge`, or None.

    Raises:
        UsageError: it is neither.
    """
    if text is None or text == MERGE:
        return text
    match = _PART.fullmatch(text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"'{text}' is no part of the work", where="--shard", mend="give i/n, such as 1/4, or merge")
    return Part(int(match[1]), int(match[2]))


def check_options(cfg: PreprocessConfig) -> None:
    """Find out at once what the steps would refuse later: a language or a rule that is none, an extra that is absent.

    Raises:
        ConfigError, UnavailableError, UsageError: an option cannot be.
    """
    from llmkit.data.steps.language import LanguageStep
    from llmkit.data.steps.privacy.step import PrivacyStep
    from llmkit.data.steps.quality.rules import QualityStep

    parse_part(cfg.shard)
    if cfg.for_ != "text" or cfg.reader != "auto":
        _refuse_options_of_texts(cfg)
    # Also of steps that are off: a threshold without its rules would do nothing, and nobody would know.
    LanguageStep(cfg.language)
    QualityStep(cfg.quality)
    PrivacyStep(cfg.privacy)


def _refuse_options_of_texts(cfg: PreprocessConfig) -> None:
    """Examples do not go through the steps of texts: an option of those would do nothing, and nobody would know."""
    given = [leaf for leaf in leaves(type(cfg)) if leaf.value(cfg) != leaf.default and not leaf.traits.argument]
    useless = [leaf for leaf in given if leaf.key not in _FOR_EXAMPLES and leaf.path[0] not in _FOR_EXAMPLES]
    useless = [leaf for leaf in useless if leaf.key != "tokenizer" or cfg.tokenizer != "none"]
    if useless:
        raise UsageError(
            f"{', '.join(leaf.flag for leaf in useless)}: for texts only, and would do nothing about examples",
            mend="leave that out; clean the texts first, where examples are made of them",
        )


def prepare_part(cfg: PreprocessConfig, found: Inputs, ctx: Context, part: Part) -> Outcome:
    """Do this part's shards, and leave them for the run that puts the parts together."""
    from llmkit.data.corpus.pipeline import prepare_shards

    shards = prepare_shards(
        found.raw["files"].value,
        corpus_options(cfg, found),
        work=ctx.work,
        engine=engine(cfg),
        reporter=ctx.reporter,
        part=(part.number, part.of),
    )
    return Outcome(payload={"part": str(part), "shards": len(shards.folders), "documents": len(shards)})


def build(cfg: PreprocessConfig, found: Inputs, ctx: Context, *, merge: bool) -> Built:
    """Build the set; with `merge`, of parts that must all be there."""
    from llmkit.data.corpus.pipeline import build_corpus, require_shards
    from llmkit.data.dataset import Dataset

    collected: Collected = found.raw["files"].value
    if merge:
        require_shards(collected, ctx.work)
    folder = _fresh(ctx.work / "dataset")
    result = build_corpus(
        collected, folder, corpus_options(cfg, found), work=ctx.work, engine=engine(cfg), reporter=ctx.reporter
    )
    if result.missing:
        ctx.reporter.warn(f"too few documents: no {' and no '.join(result.missing)} split")
    report = dict(result.report)
    scans = result.report.get("scans")
    if isinstance(scans, dict) and scans.get("pages"):
        ctx.reporter.warn(f"{scans['pages']} pages in {scans['files']} files are scans without text: OCR them first")
    dataset = Dataset.open(folder)
    if "reference" in found.artifacts:
        with ctx.reporter.progress("comparing with the reference"):
            report["reference"] = _compared(dataset, found.artifacts["reference"])
    return Built(folder, dataset, report)


def train_tokenizer(cfg: PreprocessConfig, dataset: Dataset, ctx: Context) -> Trained:
    """Train on the train split, or on as much of it as makes a difference."""
    from llmkit.data.tokenizer import save_tokenizer, train_tokenizer

    folder = _fresh(ctx.work / "tokenizer")
    with ctx.reporter.progress("training the tokenizer") as bar:
        trained = train_tokenizer(_beginning(dataset, _TOKENIZER_CHARS), cfg.vocab_size, cfg.algorithm)
        bar.advance(1, vocabulary=trained.vocab_size)
    if trained.clipped:
        ctx.reporter.warn(f"the text gives a vocabulary of {trained.vocab_size}; {trained.wanted} were asked for")
    save_tokenizer(trained.tokenizer, folder)
    return Trained(folder, trained.vocab_size)


def count_tokens(dataset: Dataset, tokenizer: Path, ctx: Context) -> dict[str, int]:
    """Encode the set into the token cache; tokens per split."""
    from llmkit.stages.tokens import cached_tokens

    return {split: count.tokens for split, count in cached_tokens(ctx, dataset, tokenizer).counts.items()}


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """What came in, what was left out and why, and what each split holds; of a part of the work, how much was done."""
    if "part" in payload:
        return [
            Line(f"part {payload['part']}: {payload['documents']:,} documents in {payload['shards']:,} shards", "good"),
            Line("when every part is done, run the same command with --shard merge", "dim"),
        ]
    from llmkit.stages.corpus_report import blocks

    return blocks(payload["report"], payload.get("tokens"))


def corpus_options(cfg: PreprocessConfig, found: Inputs) -> CorpusOptions:
    """The options as the pipeline takes them."""
    from llmkit.data.corpus.pipeline import CorpusOptions

    return CorpusOptions(
        prepare=prepare_options(cfg, found), dedup=cfg.dedup, split=cfg.split, seed=cfg.seed, strict=cfg.strict
    )


def prepare_options(cfg: PreprocessConfig, found: Inputs) -> PrepareOptions:
    """The part of the options that concerns each document by itself."""
    from llmkit.data.corpus.prepare import PrepareOptions

    return PrepareOptions(
        read=read_options(cfg),
        clean=cfg.clean,
        language=cfg.language,
        quality=cfg.quality,
        privacy=cfg.privacy,
        decontaminate=cfg.decontaminate,
        grams=_grams(cfg, found),
    )


def engine(cfg: PreprocessConfig) -> Engine:
    """Who does the work."""
    from llmkit.data.corpus.pipeline import Engine

    return Engine(workers=cfg.workers or os.cpu_count() or 1, kind=cfg.engine)


def _grams(cfg: PreprocessConfig, found: Inputs) -> EvalGrams | None:
    if "against" not in found.raw:
        return None
    from llmkit.data.steps.decontamination.eval_sets import read_eval_set
    from llmkit.data.steps.decontamination.lookup import EvalGrams

    paths: list[Path] = found.raw["against"].value
    stems = Counter(path.stem for path in paths)
    named = {path.stem if stems[path.stem] == 1 else f"{path.parent.name}/{path.name}": path for path in paths}
    return EvalGrams.build({name: read_eval_set(path) for name, path in named.items()}, cfg.decontaminate.ngram)


def _compared(dataset: Dataset, reference: Artifact) -> Mapping[str, Any]:
    from llmkit.data.dataset import Dataset as AnyDataset
    from llmkit.data.reference import compare, profile

    theirs = AnyDataset.open(reference.path)
    ours = profile(_beginning(dataset, _COMPARED_CHARS))
    return {"name": reference.ref, **compare(ours, profile(_beginning(theirs, _COMPARED_CHARS)))}


def _beginning(dataset: Dataset, characters: int) -> Iterator[str]:
    """The texts of the train split, up to so many characters."""
    room = characters
    for each in dataset.documents("train"):
        yield each.document.text
        room -= len(each.document.text)
        if room <= 0:
            return


def _fresh(folder: Path) -> Path:
    """An empty place for what an interrupted run may have left half done."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
