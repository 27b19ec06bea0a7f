"""`llmkit finetune-lora`: a model adapted to examples, with proof that the adapter does what it should."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from llmkit.config.base import changed, option
from llmkit.config.sections import CausalOptions, DpoOptions, LoraOptions, TrainOptions
from llmkit.errors import RunError, UsageError
from llmkit.reporting.blocks import Block, Line, Quote
from llmkit.reporting.reporter import Reporter
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.jobs import Job, run_job
from llmkit.stages.publishing import CHECKPOINTS, settle
from llmkit.stages.tracking import TrackOptions, announce, tracked
from llmkit.stages.training import LOG, Summary, View, curve, follow
from llmkit.stages.tuning.data import examples_folder, find_examples
from llmkit.stages.tuning.table import ADAPTER_LR, FULL_LR, TaskName, rate_of
from llmkit.stages.tuning.words import score_lines

if TYPE_CHECKING:
    from llmkit.registry.artifact import Kind
    from llmkit.registry.store import Registry
    from llmkit.stages.tuning.task import Part, Task

ENDING = 0.5
"""Share of sample answers that should end by themselves."""
PAYLOAD = (
    *("evaluations", "best_step", "published_step", "stopped", "examples", "scores", "details", "answers", "ending"),
    *("memory", "check"),
)
"""What of a finished job is stored with what it made."""


class FinetuneConfig(TrainOptions, TrackOptions, StageConfig):
    """Options of `llmkit finetune-lora`. Defaults: TRL, axolotl and LLaMA-Factory agree on them."""

    model: str = option(..., "Model or adapter to start from.")
    data: str = option(..., "Dataset of examples, or a JSONL, JSON, CSV or parquet file of them.")
    task: TaskName = option("auto", "What is learned; auto: by the data, and chat or text by the template.")
    method: Literal["lora", "rslora", "dora", "qlora", "full"] = option(
        "lora", "What is trained: an adapter (qlora: on a base in four bits), or all weights."
    )
    lora: LoraOptions = LoraOptions()
    dpo: DpoOptions = DpoOptions()
    causal: CausalOptions = CausalOptions()
    epochs: float = option(3.0, "Passes over the examples, where no --steps are given.", gt=0)
    lr: float = option(
        ADAPTER_LR,
        f"Peak learning rate; {FULL_LR:g} where all weights are trained; of dpo and seq2seq their own.",
        gt=0,
    )
    floor: float = option(0.0, "Share of the peak learning rate at the end.", ge=0, le=1)
    beta2: float = option(0.999, "AdamW's average of squared gradients.", ge=0, lt=1)
    weight_decay: float = option(0.0, "AdamW's decay, on matrices only.", ge=0)
    sequence_length: int = option(0, "Longest example in tokens; 0: the model's context.", ge=0)
    over_length: Literal["error", "drop", "truncate", "split"] = option("error", "What happens to longer examples.")
    bad_rows: Literal["error", "drop"] = option("error", "What happens to rows that are no examples.")
    validation: float = option(0.1, "Share of the examples held out, where the data have no splits.", ge=0, lt=1)
    processes: int = option(
        0, "Processes to train with on this machine; 0: one, or those that a launcher started.", ge=0, keyed=False
    )

    @model_validator(mode="before")
    @classmethod
    def _rate_of_the_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and (rate := rate_of(values.get("task"), values.get("method"))) != ADAPTER_LR:
            return {"lr": rate, **values}
        return values


def inputs(cfg: FinetuneConfig, registry: Registry) -> Inputs:
    """The model with its base, and the examples: a dataset or a file."""
    found = models.find_model(cfg.model, registry)
    if models.is_endpoint(found):
        raise UsageError(f"{cfg.model} answers over the network and cannot be tuned", mend="name a model that is here")
    _check_shape(cfg, found)
    found = found.joined(_template(cfg))
    return found.joined(find_examples(cfg, registry))


def _template(cfg: FinetuneConfig) -> Inputs:
    """A template of the user's own is an input: another text makes another model."""
    if not cfg.causal.template:
        return Inputs()
    from llmkit.models.templates import find_template

    template = find_template(cfg.causal.template)
    return Inputs(raw={"template": Raw(cfg.causal.template, template.digest)})


def _check_shape(cfg: FinetuneConfig, found: Inputs) -> None:
    """Tuning an adapter goes on with the shape that it has; another one that was asked for is not silently ignored."""
    if cfg.method == "full" and cfg.lora != LoraOptions():
        raise UsageError(
            "--method full trains all weights, and there is no adapter to shape",
            mend="leave --rank, --alpha, --dropout, --targets and --plus out, or use --method lora",
        )
    artifact, raw = found.artifacts.get("model"), found.raw.get("model")
    folder = artifact.path if artifact else raw.value if raw else None
    if cfg.method == "full" or not isinstance(folder, Path) or not models.is_adapter(folder):
        return
    has = json.loads((folder / models.ADAPTER_CONFIG).read_text("utf-8"))
    standard, targets = LoraOptions(), has.get("target_modules")
    asked = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
    differs = any(
        getattr(cfg.lora, name) not in (getattr(standard, name), has.get(key, getattr(standard, name)))
        for key, name in asked.items()
    )
    if differs or (cfg.lora.targets and {*cfg.lora.targets} != {*(targets or ())}):
        base = found.artifacts.get(models.BASE) or found.raw.get(models.BASE)
        raise UsageError(
            f"{cfg.model} has rank {has.get('r')}, alpha {has.get('lora_alpha')}, and keeps its shape when it is tuned "
            "further",
            mend=f"leave these options out, or tune the base: --model {base.ref if base else ''}",
        )


def run(cfg: FinetuneConfig, found: Inputs, ctx: Context) -> Outcome:
    """Read and check every example before anything is trained; train; prove what was saved."""
    from llmkit.stages.model_card import Finished, write_card
    from llmkit.stages.training_report import write_report

    name = cfg.name or default_name(cfg, found)
    announce(cfg, name, ctx)
    examples = examples_folder(cfg, found, ctx)
    paths = {"examples": examples, **_model_paths(found)}
    summary = run_job(Job("finetune-lora", cfg, paths, ctx.work), ctx.reporter, processes=cfg.processes)
    payload = {key: summary[key] for key in PAYLOAD}
    made = Made(_kind(cfg), ctx.work / "out")
    write_report(made.directory, ctx.work / LOG, f"Tuning of {cfg.model}", summary, changed(cfg))
    write_card(made.directory, Finished("finetune-lora", name, cfg, found, summary))
    return Outcome([made], summary["metrics"], payload, summary["resumed_from"] or None, summary["device"])


def work(job: Job[FinetuneConfig], reporter: Reporter) -> dict[str, Any]:
    """The training itself, in each process; the main one saves and proves. Called by `run_job`."""
    from llmkit.data.dataset import Dataset
    from llmkit.models.uses import use_of
    from llmkit.stages.tuning.proof import prove, save
    from llmkit.stages.tuning.scoring import compared
    from llmkit.stages.tuning.table import open_task
    from llmkit.stages.tuning.task import Given
    from llmkit.train.launch import World
    from llmkit.train.loop import train
    from llmkit.train.parallel import require_whole
    from llmkit.train.precision import resolve_device

    cfg = job.config
    require_whole("finetune-lora")
    task = open_task(Given(cfg, Dataset.open(job.paths["examples"]), job.paths, job.work))
    training, held_out = task.part("train"), task.part("validation")
    assert training.samples is not None  # noqa: S101  # a task refuses a dataset without examples
    _say(task, training, held_out, reporter)
    memory = _memory(task, training, reporter) if job.is_main else {}
    model = _prepared(cfg, job, task)
    # Before the loop, which may go on from a checkpoint: here the model is what it was before the very first step.
    model.to(resolve_device(cfg.device, World.current().local_rank))
    # A new head has learned nothing yet: what it says is a toss.
    before, said = task.baseline(model), {} if task.heads else {"base": task.answers(model)}
    options = _budget(cfg, len(training.samples))
    checkpoints = job.work / CHECKPOINTS
    records = train(
        model, training.samples, options, loss=task.loss, validation=held_out.samples, directory=checkpoints
    )
    summary = Summary()
    view = _view(job, task, training, reporter)
    budget = None if options.minutes else options.steps
    for _, latest in follow(records, budget, reporter, job.work / LOG, view):
        summary = latest
    published = settle(cfg, summary, model, job.work, model.save_pretrained if job.is_main else None)
    said["tuned"] = task.answers(model)
    ending = task.endings(model)
    _check_ending(ending, reporter, required=cfg.causal.require_eos)
    after = task.records(model)
    scores = compared(task.metrics, before, after)
    check = prove(task, model, save(task, model, job.work)) if job.is_main else None
    return {
        "evaluations": summary.evaluations,
        "best_step": summary.best,
        "published_step": published,
        "stopped": summary.stopped,
        "examples": {"train": training.counts["examples"], "validation": held_out.counts["examples"]},
        "scores": scores,
        "details": task.details(after),
        "answers": _side_by_side(task, said),
        "ending": ending,
        "memory": memory,
        "loss_unit": use_of(task.facts, task.loaded.objective).loss,
        "check": vars(check) if check else None,
        "metrics": summary.metrics(published)
        | {name: score["after"] for name, score in scores.items()}
        | ({"ended_share": ending["share"]} if ending else {}),
        "resumed_from": summary.resumed_from,
        "device": summary.choices.get("device"),
    }


def _side_by_side(task: Task, said: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Each example that is shown, with what was said to it before and after."""
    return [
        {**example, **{who: answers[at] for who, answers in said.items()}} for at, example in enumerate(task.shown())
    ]


def _check_ending(ending: Mapping[str, Any], reporter: Reporter, *, required: bool) -> None:
    """Say if the model does not stop; raise RunError where it must."""
    if not ending:
        return
    if ending["empty"]:
        reporter.warn(f"{ending['empty']} of {ending['of']} sample answers are empty: the model stops before it begins")
    if ending["share"] >= ENDING:
        return
    said = (
        f"{ending['ended']} of {ending['of']} sample answers ended by themselves within {ending['tokens']} tokens: "
        "the model does not know yet when to stop"
    )
    if required:
        raise RunError(said, where="--require-eos", mend="train longer (--epochs), or on more examples")
    reporter.warn(f"{said}; train longer, or on more examples")


def _view(job: Job[FinetuneConfig], task: Task, training: Part, reporter: Reporter) -> View:
    from llmkit.train.utilisation import utilisation

    length = max(1, training.counts["tokens"] // training.counts["examples"])
    measure = partial(utilisation, task.loaded.model, task.loaded.objective, length)
    if job.config.method == "qlora":  # what it computes is not what its weights say
        return View(None, tracking=tracked(job.config, job, reporter), likelihood=task.likelihood)
    return View(None, measure, tracked(job.config, job, reporter), task.likelihood)


def _budget(cfg: FinetuneConfig, examples: int) -> FinetuneConfig:
    """The options with a number of steps: as given, or whole passes over the examples, to the very last one."""
    if cfg.method == "qlora" and cfg.compile == "auto":
        cfg = cfg.model_copy(update={"compile": "off"})  # nobody has compiled layers of four bits here
    if cfg.steps:
        return cfg
    samples = max(1, round(cfg.epochs * examples))
    return cfg.model_copy(update={"steps": -(-samples // cfg.batch_size), "samples": samples})


def _model_paths(found: Inputs) -> dict[str, Path]:
    folder, adapter = models.folders_of(found)
    return {"model": folder, "adapter": adapter} if adapter else {"model": folder}


def _prepared(cfg: FinetuneConfig, job: Job[FinetuneConfig], task: Task) -> Any:
    """The model as it is trained: with a new adapter, with the one it has, or all of it."""
    from llmkit.models.adapters import NewParts, attach, faster_b
    from llmkit.train.optim import LR_SCALES

    loaded = task.loaded
    if cfg.method == "full":
        return _all_trainable(loaded.model.merge_and_unload()) if "adapter" in job.paths else loaded.model
    model: Any = loaded.model
    if "adapter" not in job.paths:
        new = NewParts(task.heads, task.tokens)
        model = attach(loaded.model, loaded.objective, cfg.lora, method=cfg.method, new=new, seed=cfg.seed)
    if cfg.lora.plus:
        setattr(model, LR_SCALES, faster_b(model, cfg.lora.plus))
    return model


def _all_trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def _say(task: Task, train_part: Part, held_out_part: Part, reporter: Reporter) -> None:
    """What is trained on and held out, what was done about its length, and what the task has to tell."""
    training, held_out = train_part.counts, held_out_part.counts
    said = (
        f"{training['examples']:,} examples to train on, {held_out['examples']:,} held out; "
        f"{training['tokens']:,} tokens"
    )
    if "trained" in training:
        said += f", {training['trained']:,} of them learned"
    reporter.info(f"{said}; the longest has {training['longest']:,} of {training['limit']:,}", style="dim")
    for name, counts in (("training", training), ("held-out", held_out)):
        for what in ("dropped", "truncated", "split"):
            if counts[what]:
                reporter.warn(f"{counts[what]:,} {name} examples are too long and were {what}")
        if counts["untrainable"]:
            reporter.warn(
                f"{counts['untrainable']:,} {name} examples, or pieces of them, had nothing left to learn once they "
                "were cut, and were left out"
            )
    for note in task.notes:
        reporter.warn(note)
    for remark in task.remarks:
        reporter.info(remark, style="dim")


def _memory(task: Task, training: Part, reporter: Reporter) -> dict[str, Any]:
    """The memory that the largest step will take, said; a warning where the device has less."""
    from llmkit.stages.tuning.memory import memory_plan, said

    plan = memory_plan(task, training)
    if plan and plan["peak"] <= plan["usable"]:
        reporter.info(said(plan), style="dim")
    elif plan:
        changes = "; or ".join(plan["changes"][:2])
        reporter.warn(said(plan) + (f"; it would fit with {changes}" if changes else ""))
    return plan


def _kind(cfg: FinetuneConfig) -> Kind:
    return "model" if cfg.method == "full" else "adapter"


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The held-out curve, what was proven of the adapter, and answers of base and adapter side by side."""
    blocks: list[Block] = [*curve(payload), *score_lines(payload)]
    check = payload["check"]
    if check:
        blocks.append(
            Line(
                f"read again from disk: logits differ from the base by {check['changed']:.2g}"
                + (f", from the merged model by {check['merged']:.1g}" if check["merged"] is not None else "")
                + f" (tolerance {check['tolerance']:.1g})",
                "good",
            )
        )
    if ending := payload.get("ending"):
        good = ending["share"] >= ENDING
        where = "held-out" if ending["split"] == "validation" else "training"
        said = f"{ending['ended']} of {ending['of']} answers to {where} prompts ended by themselves"
        said += f" within {ending['tokens']} tokens" + (f", {ending['empty']} of them empty" if ending["empty"] else "")
        blocks.append(Line(said, "good" if good and not ending["empty"] else "bad"))
    for answer in payload["answers"][:1]:
        blocks.append(Quote(_short(answer["prompt"]), "a held-out example:"))
        blocks += [
            Quote(_short(answer[who]) or "(nothing)", f"{who}:") for who in ("base", "tuned", "gold") if who in answer
        ]
    return blocks


def headline(payload: Mapping[str, Any]) -> str:
    """`held-out loss 4.10 -> 3.21 (-22%)`."""
    losses = [evaluation["loss"] for evaluation in payload["evaluations"]]
    if not losses:
        return f"{payload['examples']['train']:,} examples, none held out"
    return f"held-out loss {losses[0]:.2f} -> {losses[-1]:.2f} ({losses[-1] / losses[0] - 1:+.0%})"


def _short(text: str, most: int = 320) -> str:
    text = text.strip()
    return text if len(text) <= most else text[:most].rstrip() + " …"


def default_name(cfg: FinetuneConfig, found: Inputs) -> str:
    """The model's name with `-lora` (or the method that it is)."""
    from llmkit.registry.refs import slug

    base = found.artifacts["model"].name if "model" in found.artifacts else Path(found.raw["model"].ref).name
    return slug(f"{base}-{cfg.method}")


STAGE = Stage(
    name="finetune-lora",
    version=1,
    kind="adapter",
    config=FinetuneConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
    resumable=True,
    kind_of=_kind,
)
