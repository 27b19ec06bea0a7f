"""`llmkit pretrain`: a language model from scratch, or going on from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from llmkit.config.base import changed, option
from llmkit.config.sections import FamilyOptions, TrainOptions
from llmkit.reporting.blocks import Block
from llmkit.reporting.reporter import Reporter
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage, StageConfig
from llmkit.stages.jobs import Job, run_job
from llmkit.stages.pretraining_data import job_paths, open_data
from llmkit.stages.publishing import CHECKPOINTS, add_last, saver, settle
from llmkit.stages.sampling import Samples, speaking
from llmkit.stages.starting import check_options, check_start, find_start, starting_model
from llmkit.stages.tokens import tokens_of
from llmkit.stages.tracking import TrackOptions, announce, tracked
from llmkit.stages.training import LOG, Summary, View, curve, follow, samples

if TYPE_CHECKING:
    from llmkit.models.load import LoadedModel
    from llmkit.registry.store import Registry

DEFAULT_STEPS = 300
UNLIMITED_STEPS = 10**9
"""Where only minutes are given: the schedule then follows the clock."""
SAMPLE_TOKENS = 60
PAYLOAD = ("evaluations", "best_step", "published_step", "stopped", "datasets", "prompt", "samples", "parameters")
"""What of a finished job is stored with the model."""


class PretrainConfig(FamilyOptions, TrainOptions, TrackOptions, StageConfig):
    """Options of `llmkit pretrain`."""

    data: tuple[str, ...] = option(..., "Datasets of texts (several: a,b).", commas=True, min_length=1)
    weights: tuple[float, ...] = option((), "Shares of several datasets (3,1); else by their sizes.", commas=True)
    hold_out: float = option(
        0.1, "Share of the tokens, at the end, held out where a dataset has no validation split.", ge=0, lt=1
    )
    isolate: bool = option(False, "Documents in one sample do not see each other.")
    tokenizer: str | None = option(None, "Tokenizer; else the one made with the dataset, or that of --init.")
    init: str | None = option(None, "Go on from this model instead of random weights.")
    sequence_length: int = option(256, "Tokens of a training sample, and the model's context.", ge=8)
    tokens: int | None = option(None, "Budget in training tokens, instead of steps.", ge=1)
    sample_every: int = option(0, "Steps between generated samples; 0: before and after only.", ge=0)
    processes: int = option(
        0, "Processes to train with on this machine; 0: one, or those that a launcher started.", ge=0, keyed=False
    )

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if self.steps and self.tokens:
            raise ValueError("--steps and --tokens are two budgets; give one of them")
        return self

    @model_validator(mode="after")
    def _a_weight_for_each(self) -> PretrainConfig:
        if self.weights and len(self.weights) != len(self.data):
            raise ValueError(f"--weights has {len(self.weights)} values for {len(self.data)} datasets")
        if any(weight <= 0 for weight in self.weights):
            raise ValueError("--weights must be positive; leave a dataset out instead of giving it none")
        if len(set(self.data)) < len(self.data):
            raise ValueError("--data names a dataset twice; give it more of --weights instead")
        return self

    def budget(self) -> int:
        """Optimizer steps that the budget amounts to."""
        if self.tokens:
            return max(1, round(self.tokens / (self.batch_size * self.sequence_length)))
        return self.steps or (UNLIMITED_STEPS if self.minutes else DEFAULT_STEPS)


def inputs(cfg: PretrainConfig, registry: Registry) -> Inputs:
    """The dataset, and the tokenizer that was made with it or that goes with the model to go on from."""
    check_options(cfg)
    found = Inputs({_role(number): registry.resolve(ref, "dataset") for number, ref in enumerate(cfg.data)})
    for data in found.artifacts.values():
        models.require_schema(data, "text")
    found = found.joined(find_start(cfg, registry))
    if not cfg.tokenizer and not cfg.init:
        found = found.joined(Inputs({"tokenizer": models.tokenizer_of(found.artifacts["data"], registry)}))
    return found


def run(cfg: PretrainConfig, found: Inputs, ctx: Context) -> Outcome:
    """Encode if nobody has, train (in as many processes as asked for), and hand the model over."""
    from llmkit.stages.model_card import Finished, write_card
    from llmkit.stages.training_report import write_report

    announce(cfg, _name(cfg, found), ctx)
    init = models.folder(found, "init")
    tokenizer = models.folder(found, "tokenizer") or init
    assert tokenizer is not None  # noqa: S101  # inputs() found one of the two
    check_start(cfg, init, tokenizer)
    datasets = [found.artifacts[_role(number)] for number in range(len(cfg.data))]
    paths = job_paths([tokens_of(ctx, data, tokenizer).folder for data in datasets]) | {"tokenizer": tokenizer}
    if init is not None:
        paths["init"] = init
    summary = run_job(Job("pretrain", cfg, paths, ctx.work), ctx.reporter, processes=cfg.processes)
    payload = {key: summary[key] for key in PAYLOAD}
    payload["samples"] = {when: text for when, text in summary["samples"].items() if when in ("before", "after")}
    made = Made("model", ctx.work / "model")
    write_report(made.directory, ctx.work / LOG, f"Model {_name(cfg, found)}", summary, changed(cfg))
    write_card(made.directory, Finished("pretrain", _name(cfg, found), cfg, found, summary))
    return Outcome([made], summary["metrics"], payload, summary["resumed_from"] or None, summary["device"])


def forecast(cfg: PretrainConfig, found: Inputs, registry: Registry) -> tuple[Mapping[str, Any], Sequence[Block]]:
    """What the run will take: memory, time, energy; nothing is allocated."""
    import torch

    from llmkit.config.planning import PlanOptions
    from llmkit.models.dimensions import rows_of
    from llmkit.models.load import load_tokenizer
    from llmkit.stages import plan
    from llmkit.train.precision import probe, resolve_device

    tokenizer = models.folder(found, "tokenizer")
    rows = rows_of(cfg.architecture, len(load_tokenizer(tokenizer))) if tokenizer and not cfg.init else 0
    precision = cfg.precision
    if precision == "auto":
        device = torch.device("cpu") if cfg.processes > 1 else resolve_device(cfg.device)
        precision = probe(device).precision
    planned = plan.plan(
        PlanOptions(
            family=cfg.family,
            size=cfg.size,
            model=cfg.init,
            architecture=cfg.architecture.model_copy(update={"vocab_size": rows}),
            steps=0 if cfg.minutes and not (cfg.steps or cfg.tokens) else cfg.budget(),
            batch_size=cfg.batch_size,
            micro_batch_size=cfg.micro_batch_size,
            sequence_length=cfg.sequence_length,
            optimizer=cfg.optimizer,
            precision=precision,
            devices=cfg.processes or 1,
        ),
        registry,
    )
    return plan.as_json(planned), plan.show(planned)


def work(job: Job[PretrainConfig], reporter: Reporter) -> dict[str, Any]:
    """The training itself, in each process; the main one saves the model. Called by `run_job`."""
    from llmkit.train.loop import train
    from llmkit.train.utilisation import utilisation

    cfg, loaded = job.config, starting_model(job.config, job.paths)
    data = open_data(cfg, job.paths, loaded, reporter)
    options = cfg.model_copy(update={"steps": cfg.budget()})
    checkpoints = job.work / CHECKPOINTS
    records = train(loaded.model, data.training, options, validation=data.held_out or None, directory=checkpoints)
    prompt = str(loaded.tokenizer.decode(data.prompt))
    said = Samples(job.work / "samples", partial(_sample, loaded, prompt, cfg.seed))
    summary = Summary()
    view = View(
        data.bytes_per_token if loaded.objective == "causal" else None,
        partial(utilisation, loaded.model, loaded.objective, cfg.sequence_length),
        tracked(cfg, job, reporter),
    )
    budget = None if cfg.minutes else cfg.budget()
    for record, latest in follow(records, budget, reporter, job.work / LOG, view):
        if record.resumed_from is not None:
            said.take(0)
        if cfg.sample_every and record.step and record.step % cfg.sample_every == 0:
            text = said.take(record.step)
            reporter.info(f"step {record.step:,}: {' '.join(text.split())}", style="dim")
        summary = latest
    save = saver(job, loaded)
    published = settle(cfg, summary, loaded.model, job.work, save)
    shown = said.shown(_sample(loaded, prompt, cfg.seed))
    _save(job, save)
    return {
        "evaluations": summary.evaluations,
        "best_step": summary.best,
        "published_step": published,
        "stopped": summary.stopped,
        "datasets": data.told(summary.steps * cfg.batch_size),
        "prompt": prompt,
        "samples": shown,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "metrics": summary.metrics(published),
        "resumed_from": summary.resumed_from,
        "device": summary.choices.get("device"),
    }


def _name(cfg: PretrainConfig, found: Inputs) -> str:
    what = "continued" if cfg.init else f"{cfg.family}-{cfg.size}"
    return cfg.name or f"{found.artifacts['data'].name}-{what}"


def _role(number: int) -> str:
    """The role of a dataset among the inputs: `data`, `data-2`, ..."""
    return f"data-{number + 1}" if number else "data"


def _sample(loaded: LoadedModel, prompt: str, seed: int) -> str:
    """What the model says now: a continuation, or, for a model that fills gaps, the words it would put in one."""
    from llmkit.generation.sampling import Sampling
    from llmkit.generation.scoring import fill_mask

    with speaking(loaded, loaded.model) as local:
        if loaded.objective == "masked":
            gap = prompt + loaded.tokenizer.mask_token
            return f"{gap}: {', '.join(fill.text for fill in fill_mask(local, gap)[0])}"
        return prompt + local.generate(prompt, Sampling(max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=seed)).text


def _save(job: Job[PretrainConfig], save: Callable[[Path], None]) -> None:
    import shutil

    out = job.work / "model"
    if job.is_main:
        shutil.rmtree(out, ignore_errors=True)
    save(out)
    if job.is_main:
        add_last(job.work, out)


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
