"""`llmkit pretrain`: a language model from scratch, or going on from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from llmkit.config.base import changed, option
from llmkit.config.sections import FamilyOptions, TrainOptions
from llmkit.errors import NotFoundError
from llmkit.reporting.blocks import Block
from llmkit.reporting.reporter import Reporter
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage, StageConfig
from llmkit.stages.jobs import Job, run_job
from llmkit.stages.sampling import speaking
from llmkit.stages.tokens import cached_tokens
from llmkit.stages.training import LOG, Summary, curve, follow, samples

if TYPE_CHECKING:
    from llmkit.data.tokens import TokenStore
    from llmkit.models.load import LoadedModel
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.train.batches import Windows

DEFAULT_STEPS = 300
UNLIMITED_STEPS = 10**9
"""Where only minutes are given: the schedule then follows the clock."""
SAMPLE_TOKENS = 60
PROMPT_TOKENS = 12
"""How much of the first held-out document the samples before and after go on from."""


class PretrainConfig(FamilyOptions, TrainOptions, StageConfig):
    """Options of `llmkit pretrain`."""

    data: str = option(..., "Dataset of texts.")
    tokenizer: str | None = option(None, "Tokenizer; else the one made with the dataset, or that of --init.")
    init: str | None = option(None, "Go on from this model instead of random weights.")
    sequence_length: int = option(256, "Tokens of a training sample, and the model's context.", ge=8)
    tokens: int | None = option(None, "Budget in training tokens, instead of steps.", ge=1)
    processes: int = option(1, "Processes to train with on this machine.", ge=1, keyed=False)

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if self.steps and self.tokens:
            raise ValueError("--steps and --tokens are two budgets; give one of them")
        return self

    def budget(self) -> int:
        """Optimizer steps that the budget amounts to."""
        if self.tokens:
            return max(1, round(self.tokens / (self.batch_size * self.sequence_length)))
        return self.steps or (UNLIMITED_STEPS if self.minutes else DEFAULT_STEPS)


def inputs(cfg: PretrainConfig, registry: Registry) -> Inputs:
    """The dataset, and the tokenizer that was made with it or that goes with the model to go on from."""
    from llmkit.models.families import family, size_of

    size_of(family(cfg.family), cfg.size)
    data = registry.resolve(cfg.data, "dataset")
    models.require_schema(data, "text")
    found = Inputs({"data": data})
    if cfg.init:
        found = found.joined(models.find_model(cfg.init, registry, role="init"))
    if cfg.tokenizer:
        found = found.joined(models.find_tokenizer(cfg.tokenizer, registry))
    elif not cfg.init:
        found = found.joined(Inputs({"tokenizer": _partner(data, registry)}))
    return found


def run(cfg: PretrainConfig, found: Inputs, ctx: Context) -> Outcome:
    """Encode if nobody has, train (in as many processes as asked for), and hand the model over."""
    from llmkit.data.dataset import Dataset
    from llmkit.stages.training_report import write_report

    dataset = Dataset.open(found.artifacts["data"].path)
    init = models.folder(found, "init")
    tokenizer = models.folder(found, "tokenizer") or init
    assert tokenizer is not None  # noqa: S101  # inputs() found one of the two
    paths = {"tokens": cached_tokens(ctx, dataset, tokenizer).folder, "tokenizer": tokenizer}
    if init is not None:
        paths["init"] = init
    summary = run_job(Job("pretrain", cfg, paths, ctx.work), ctx.reporter, processes=cfg.processes)
    payload = {key: summary[key] for key in ("evaluations", "samples", "parameters")}
    made = Made("model", ctx.work / "model")
    write_report(made.directory, ctx.work / LOG, f"Model {_name(cfg, found)}", summary, changed(cfg))
    return Outcome([made], summary["metrics"], payload, summary["resumed_from"] or None, summary["device"])


def forecast(cfg: PretrainConfig, found: Inputs, registry: Registry) -> tuple[Mapping[str, Any], Sequence[Block]]:
    """What the run will take: memory, time, energy; nothing is allocated."""
    import torch

    from llmkit.config.planning import PlanOptions
    from llmkit.models.load import load_tokenizer
    from llmkit.stages import plan
    from llmkit.train.precision import probe, resolve_device

    tokenizer = models.folder(found, "tokenizer")
    precision = cfg.precision
    if precision == "auto":
        device = torch.device("cpu") if cfg.processes > 1 else resolve_device(cfg.device)
        precision = probe(device).precision
    planned = plan.plan(
        PlanOptions(
            family=cfg.family,
            size=cfg.size,
            model=cfg.init,
            vocab_size=len(load_tokenizer(tokenizer)) if tokenizer else 0,
            steps=0 if cfg.minutes and not (cfg.steps or cfg.tokens) else cfg.budget(),
            batch_size=cfg.batch_size,
            micro_batch_size=cfg.micro_batch_size,
            sequence_length=cfg.sequence_length,
            optimizer=cfg.optimizer,
            precision=precision,
            devices=cfg.processes,
        ),
        registry,
    )
    return plan.as_json(planned), plan.show(planned)


def work(job: Job[PretrainConfig], reporter: Reporter) -> dict[str, Any]:
    """The training itself, in each process; the main one saves the model. Called by `run_job`."""
    from llmkit.data.tokens import TokenStore
    from llmkit.train.loop import train

    cfg, store = job.config, TokenStore.open(job.paths["tokens"])
    loaded = _model(job)
    training = _windows(cfg, store, loaded, "train", shuffle=True)
    held_out = _windows(cfg, store, loaded, "validation", shuffle=False) if store.counts["validation"].tokens else None
    options = cfg.model_copy(update={"steps": cfg.budget()})
    records = train(loaded.model, training, options, validation=held_out, directory=job.work / "checkpoints")
    prompt = _prompt(loaded, store)
    shown = {}
    summary = Summary()
    for record, latest in follow(records, cfg.budget(), reporter, job.work / LOG):
        if record.step == 0:
            shown["before"] = _sample(loaded, prompt, cfg.seed)
        summary = latest
    shown["after"] = _sample(loaded, prompt, cfg.seed)
    if job.is_main:
        _save(loaded, job.work)
    per_token = _bytes_per_token(store)
    return {
        "evaluations": summary.evaluations,
        "samples": shown,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "metrics": summary.metrics(per_token),
        "resumed_from": summary.resumed_from,
        "device": summary.choices.get("device"),
    }


def _name(cfg: PretrainConfig, found: Inputs) -> str:
    return cfg.name or f"{found.artifacts['data'].name}-{cfg.family}-{cfg.size}"


def _partner(data: Artifact, registry: Registry) -> Artifact:
    """The tokenizer that `preprocess` published together with the dataset."""
    for ref in (*(data.manifest.completes or ()), f"{data.name}-tokenizer"):
        try:
            return registry.resolve(ref, "tokenizer")
        except NotFoundError:
            continue
    raise NotFoundError(
        f"the dataset {data.ref} has no tokenizer of its own",
        mend="name one by --tokenizer, or make the dataset again without --tokenizer none",
    )


def _model(job: Job[PretrainConfig]) -> LoadedModel:
    from llmkit.models.build import SpecialIds, new_model
    from llmkit.models.families import family
    from llmkit.models.load import LoadedModel, load_model, load_tokenizer

    cfg = job.config
    if "init" in job.paths:
        loaded = load_model(job.paths["init"])
        models.sequence_limit(loaded, cfg.sequence_length)
        return loaded
    tokenizer = load_tokenizer(job.paths["tokenizer"])
    model = new_model(
        cfg.family,
        cfg.size,
        vocab_size=len(tokenizer),
        ids=SpecialIds.of(tokenizer),
        sequence_length=cfg.sequence_length,
        seed=cfg.seed,
    )
    row = family(cfg.family)
    return LoadedModel(model, tokenizer, row, row.objective, cfg.sequence_length)


def _windows(cfg: PretrainConfig, store: TokenStore, loaded: LoadedModel, split: Any, *, shuffle: bool) -> Windows:
    from llmkit.train.batches import Windows
    from llmkit.train.objectives import objective_for

    objective = objective_for(loaded.objective, loaded.tokenizer, cfg.sequence_length)
    return Windows(store.tokens(split), objective, seed=cfg.seed, shuffle=shuffle)


def _prompt(loaded: LoadedModel, store: TokenStore) -> str:
    split: Literal["validation", "train"] = "validation" if store.counts["validation"].tokens else "train"
    return str(loaded.tokenizer.decode(store.tokens(split)[:PROMPT_TOKENS].tolist()))


def _sample(loaded: LoadedModel, prompt: str, seed: int) -> str:
    """What the model says now: a continuation, or, for a model that fills gaps, the words it would put in one."""
    from llmkit.generation.sampling import Sampling
    from llmkit.generation.scoring import fill_mask

    with speaking(loaded, loaded.model) as local:
        if loaded.objective == "masked":
            gap = prompt + loaded.tokenizer.mask_token
            return f"{gap}: {', '.join(fill.text for fill in fill_mask(local, gap)[0])}"
        return prompt + local.generate(prompt, Sampling(max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=seed)).text


def _save(loaded: LoadedModel, folder: Path) -> None:
    import shutil

    out = folder / "model"
    shutil.rmtree(out, ignore_errors=True)
    loaded.model.save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)


def _bytes_per_token(store: TokenStore) -> float | None:
    count = store.counts["validation"]
    return count.bytes / count.tokens if count.tokens else None


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The held-out curve, a verdict in words, and a sample before and after."""
    return [*curve(payload), *samples(payload)]


def headline(payload: Mapping[str, Any]) -> str:
    """`3.4 M parameters, loss 9.03 -> 5.70`, on the held-out part."""
    size = f"{payload['parameters'] / 1e6:.1f} M parameters"
    losses = [evaluation["loss"] for evaluation in payload["evaluations"]]
    return f"{size}, loss {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else size


STAGE = Stage(
    name="pretrain",
    version=1,
    kind="model",
    config=PretrainConfig,
    inputs=inputs,
    run=run,
    default_name=_name,
    show=show,
    headline=headline,
    resumable=True,
    forecast=forecast,
)
