"""What pretraining reads: one dataset's tokens or several's, what is held out of them, and how documents are packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import DataError
from llmkit.reporting.reporter import Reporter

if TYPE_CHECKING:
    import numpy as np

    from llmkit.data.tokens import TokenStore
    from llmkit.models.load import LoadedModel
    from llmkit.stages.pretrain import PretrainConfig
    from llmkit.train.mixture import Share
    from llmkit.train.objectives import Objective
    from llmkit.train.samples import Samples

TOKENS = "tokens"
PROMPT_TOKENS = 12
"""How much of the first held-out text the samples before and after go on from."""


@dataclass(frozen=True)
class Source:
    """One dataset in tokens.

    Attributes:
        ref: of the dataset.
        store: of its tokens.
        training, held_out: ids, memory-mapped, shape (tokens,).
    """

    ref: str
    store: TokenStore
    training: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True)
class PretrainingData:
    """Samples to train on, those held out by dataset, where they come from and in which shares."""

    training: Samples
    held_out: Mapping[str, Samples]
    sources: Sequence[Source]
    shares: Sequence[Share]

    @property
    def prompt(self) -> list[int]:
        """Ids of the beginning of a held-out text, else of a text that is trained on."""
        texts = [ids for source in self.sources for ids in (source.held_out, source.training) if len(ids)]
        found: list[int] = texts[0][:PROMPT_TOKENS].tolist()
        return found

    def told(self, samples: int) -> list[dict[str, Any]]:
        """Of each dataset, JSON-ready, how much there is and how often it was read in so many samples of a run."""
        return [
            {
                "ref": source.ref,
                "tokens": len(source.training),
                "held_out": len(source.held_out),
                "share": share.weight,
                "epochs": samples / len(self.training) * share.epochs,
            }
            for source, share in zip(self.sources, self.shares, strict=True)
        ]

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of the held-out text for each of its tokens; None where nothing is held out.

        A tail held out of the text that is trained on is taken to be like the rest of it.
        """
        size = count = 0.0
        for source in self.sources:
            split = source.store.counts["validation"]
            counted = split if split.tokens else source.store.counts["train"]
            size += len(source.held_out) * counted.bytes / counted.tokens
            count += len(source.held_out)
        return size / count if count else None


def job_paths(folders: Sequence[Path]) -> dict[str, Path]:
    """The token caches as a job's paths, in the order of the datasets."""
    return {f"{TOKENS}-{number}": folder for number, folder in enumerate(folders)}


def open_data(
    cfg: PretrainConfig, paths: Mapping[str, Path], loaded: LoadedModel, reporter: Reporter
) -> PretrainingData:
    """Open the token caches of a job as samples for this model.

    Raises:
        DataError: too little text for one batch, or a damaged cache.
        ConfigError: the model cannot keep documents apart, or the tokenizer cannot serve its objective.
    """
    from llmkit.data.tokens import TokenStore
    from llmkit.train.batches import Windows
    from llmkit.train.mixture import Mixture

    stores = [TokenStore.open(paths[f"{TOKENS}-{number}"]) for number in range(len(cfg.data))]
    sources = [_source(cfg, ref, store) for ref, store in zip(cfg.data, stores, strict=True)]
    objective = _objective(cfg, loaded, sources)
    windows = [Windows(source.training, objective, seed=cfg.seed + at) for at, source in enumerate(sources)]
    if sum(map(len, windows)) < cfg.batch_size:
        raise DataError(
            f"too little text for one batch: {sum(map(len, windows)):,} samples of {cfg.sequence_length} tokens, "
            f"and a batch takes {cfg.batch_size}",
            where=", ".join(cfg.data),
            mend="use more text, a smaller --batch-size or a shorter --sequence-length",
        )
    mixture = Mixture(windows, cfg.weights or None, seed=cfg.seed)
    held_out = _held_out(cfg, sources, objective, reporter)
    return PretrainingData(mixture if len(windows) > 1 else windows[0], held_out, sources, mixture.shares)


def _source(cfg: PretrainConfig, ref: str, store: TokenStore) -> Source:
    tokens = store.tokens("train")
    if store.counts["validation"].tokens:
        return Source(ref, store, tokens, store.tokens("validation"))
    kept = len(tokens) - round(cfg.hold_out * len(tokens))
    return Source(ref, store, tokens[:kept], tokens[kept:])


def _objective(cfg: PretrainConfig, loaded: LoadedModel, sources: Sequence[Source]) -> Objective:
    from llmkit.train.isolation import isolation_for
    from llmkit.train.objectives import objective_for

    isolation = None
    if cfg.isolate:
        causal = loaded.objective == "causal"
        isolation = isolation_for(loaded.model, sources[0].store.eos, cfg.sequence_length, causal=causal)
    return objective_for(loaded.objective, loaded.tokenizer, cfg.sequence_length, isolation)


def _held_out(
    cfg: PretrainConfig, sources: Sequence[Source], objective: Objective, reporter: Reporter
) -> Mapping[str, Samples]:
    from llmkit.train.batches import Windows

    found: dict[str, Samples] = {}
    for source in sources:
        if len(source.held_out) >= objective.least:
            found[source.ref] = Windows(source.held_out, objective, seed=cfg.seed, shuffle=False)
        elif cfg.hold_out or len(source.held_out):
            reporter.warn(f"{source.ref}: its held-out part is too short for a sample, so nothing is measured on it")
    return found
