"""The model that pretraining starts from: a family's, with random weights, or one that is there; and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.config.sections import FamilyOptions
from llmkit.errors import ConfigError, UsageError
from llmkit.stages import models
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.models.load import LoadedModel
    from llmkit.registry.store import Registry
    from llmkit.stages.pretrain import PretrainConfig


def check_options(cfg: PretrainConfig) -> None:
    """Refuse what can be known to be wrong from the options alone.

    Raises:
        UsageError: no such family or size, or a sequence length beyond its context.
        ConfigError: dimensions that do not fit together, or that are given for a model that has its own.
    """
    from llmkit.models.dimensions import check_length, overrides
    from llmkit.models.families import family

    overrides(cfg)
    if not cfg.init:
        check_length(family(cfg.family), cfg.size, cfg.sequence_length)
        return
    defaults = FamilyOptions()
    for name in FamilyOptions.model_fields:
        if getattr(cfg, name) != getattr(defaults, name):
            raise ConfigError(
                "the model of --init has its own architecture and dimensions",
                where=name,
                mend="leave --family, --size and the options of the architecture out, or --init",
            )


def find_start(cfg: PretrainConfig, registry: Registry) -> Inputs:
    """What --init and --tokenizer name, as roles `init` and `tokenizer`; neither where it is not given.

    Raises:
        NotFoundError: it is not there.
        UsageError: it is an endpoint or an adapter.
    """
    found = Inputs()
    if cfg.init:
        found = models.find_model(cfg.init, registry, role="init")
        if models.is_endpoint(found, "init"):
            raise UsageError(f"{cfg.init} answers over the network", mend="name a model whose weights are here")
        if found.artifacts and found.artifacts["init"].kind == "adapter":
            raise UsageError(
                f"{cfg.init} is an adapter, and pretraining trains all weights",
                mend="name its base, or a model that `finetune-lora --method full` made",
            )
    if cfg.tokenizer:
        found = found.joined(models.find_tokenizer(cfg.tokenizer, registry))
    return found


def check_start(cfg: PretrainConfig, init: Path | None, tokenizer: Path) -> None:
    """Refuse a tokenizer or a sequence length that does not fit the model, before anything is encoded or loaded.

    Raises:
        DataError: the tokenizer has ids for which the model of --init has no embedding; a damaged file.
        ConfigError: a vocabulary smaller than the tokenizer is asked for.
        UsageError: the sequence length is beyond the model's context.
    """
    from llmkit.models.dimensions import rows_of
    from llmkit.models.load import check_vocabulary, load_tokenizer, read_config

    used = load_tokenizer(tokenizer)
    if init is None:
        rows_of(cfg.architecture, len(used))
        return
    config = read_config(init)
    check_vocabulary(used, config)
    models.check_context(getattr(config, "max_position_embeddings", None), cfg.sequence_length)


def starting_model(cfg: PretrainConfig, paths: Mapping[str, Path]) -> LoadedModel:
    """The model before its first step, on the CPU in float32, with the tokenizer that it is trained with.

    Args:
        paths: `tokenizer`, and `init` where there is a model to go on from.

    Raises:
        DataError: a file is damaged, or the tokenizer does not fit the model.
        UsageError, ConfigError: see `check_options`.
    """
    from dataclasses import replace

    from llmkit.models.build import SpecialIds, adopt_ids, new_model
    from llmkit.models.dimensions import overrides, rows_of
    from llmkit.models.families import family
    from llmkit.models.load import LoadedModel, check_vocabulary, load_model, load_tokenizer

    tokenizer = load_tokenizer(paths["tokenizer"])
    if "init" in paths:
        loaded = load_model(paths["init"])
        models.sequence_limit(loaded, cfg.sequence_length)
        if paths["tokenizer"] == paths["init"]:
            return loaded
        check_vocabulary(tokenizer, loaded.model.config)
        adopt_ids(loaded.model, loaded.family, SpecialIds.of(tokenizer))
        return replace(loaded, tokenizer=tokenizer)
    model = new_model(
        cfg.family,
        cfg.size,
        vocab_size=rows_of(cfg.architecture, len(tokenizer)),
        ids=SpecialIds.of(tokenizer),
        sequence_length=cfg.sequence_length,
        seed=cfg.seed,
        overrides=overrides(cfg),
    )
    row = family(cfg.family)
    return LoadedModel(model, tokenizer, row, row.objective, cfg.sequence_length)
