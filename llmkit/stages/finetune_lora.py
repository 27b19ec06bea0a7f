"""`llmkit finetune-lora`: a model adapted to examples, with proof that the adapter does what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from llmkit.config.base import changed, option
from llmkit.config.sections import LoraOptions, SplitOptions, TrainOptions
from llmkit.errors import NotFoundError, UsageError, closest
from llmkit.registry.refs import PathRef, RegistryRef, parse_input
from llmkit.reporting.blocks import Block, Line, Quote
from llmkit.reporting.reporter import Reporter
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Raw, Stage, StageConfig
from llmkit.stages.jobs import Job, run_job
from llmkit.stages.publishing import CHECKPOINTS, add_last, settle
from llmkit.stages.sampling import speaking
from llmkit.stages.tracking import TrackOptions, announce, tracked
from llmkit.stages.training import LOG, Summary, View, curve, follow

if TYPE_CHECKING:
    from llmkit.data.chat import Example
    from llmkit.models.adapters import AdapterCheck
    from llmkit.models.load import LoadedModel
    from llmkit.registry.artifact import Kind
    from llmkit.registry.store import Registry
    from llmkit.train.examples import Fitted, Rendered

FULL_LR, ADAPTER_LR = 2e-5, 2e-4
SHOWN = 3
"""Held-out examples that are answered before and after."""
ANSWER_TOKENS = 40
ROW_FILES = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"})
PAYLOAD = ("evaluations", "best_step", "published_step", "stopped", "examples", "answers", "check")
"""What of a finished job is stored with what it made."""
CHECKED = 4
"""Examples on which the saved adapter is compared with the trained one."""


class FinetuneConfig(TrainOptions, TrackOptions, StageConfig):
    """Options of `llmkit finetune-lora`. Defaults: TRL, axolotl and LLaMA-Factory agree on them."""

    model: str = option(..., "Model or adapter to start from.")
    data: str = option(..., "Dataset of examples, or a JSONL, JSON, CSV or parquet file of them.")
    task: Literal["auto", "chat", "text"] = option(
        "auto", "chat: through the chat template; text: prompt and completion as they are; auto: by the template."
    )
    method: Literal["lora", "rslora", "dora", "full"] = option("lora", "What is trained: an adapter, or all weights.")
    lora: LoraOptions = LoraOptions()
    epochs: float = option(3.0, "Passes over the examples, where no --steps are given.", gt=0)
    lr: float = option(ADAPTER_LR, f"Peak learning rate; {FULL_LR:g} where all weights are trained.", gt=0)
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
        if isinstance(values, dict) and values.get("method") == "full":
            return {"lr": FULL_LR, **values}
        return values


def inputs(cfg: FinetuneConfig, registry: Registry) -> Inputs:
    """The model with its base, and the examples: a dataset or a file."""
    found = models.find_model(cfg.model, registry)
    if models.is_endpoint(found):
        raise UsageError(f"{cfg.model} answers over the network and cannot be tuned", mend="name a model that is here")
    _check_shape(cfg, found)
    ref = parse_input(cfg.data)
    if isinstance(ref, PathRef):
        if not ref.path.exists():
            raise NotFoundError(f"no such file: {cfg.data}", mend="check the path, or name a dataset of the registry")
        digest = registry.input_digest([ref.path]).digest
        return found.joined(Inputs(raw={"data": Raw(cfg.data, digest, ref.path)}))
    if not isinstance(ref, RegistryRef):
        raise UsageError(f"--data {cfg.data}: name a dataset of the registry or a file", mend="download it first")
    if Path(cfg.data).suffix in ROW_FILES and not registry.versions(ref.name):
        beside = [path.name for path in Path().iterdir()]
        raise NotFoundError(f"no such file: {cfg.data}{closest(cfg.data, beside)}", mend="check the path")
    data = registry.resolve(ref, "dataset")
    models.require_schema(data, "chat")
    return found.joined(Inputs({"data": data}))


def _check_shape(cfg: FinetuneConfig, found: Inputs) -> None:
    """Tuning an adapter goes on with the shape that it has; another one that was asked for is not silently ignored."""
    if "base" not in found.artifacts or cfg.method == "full":
        return
    adapter = found.artifacts["model"]
    has = LoraOptions.model_validate(adapter.manifest.config.get("lora", {}))
    if cfg.lora not in (has, LoraOptions()):
        raise UsageError(
            f"{adapter.ref} has rank {has.rank}, alpha {has.alpha}, and keeps its shape when it is tuned further",
            mend="leave these options out, or tune the base: --model " + found.artifacts["base"].ref,
        )


def run(cfg: FinetuneConfig, found: Inputs, ctx: Context) -> Outcome:
    """Read and check every example before anything is trained; train; prove what was saved."""
    from llmkit.stages.training_report import write_report

    announce(cfg, cfg.name or default_name(cfg, found), ctx)
    examples = _examples(cfg, found, ctx)
    paths = {"examples": examples, **_model_paths(found)}
    summary = run_job(Job("finetune-lora", cfg, paths, ctx.work), ctx.reporter, processes=cfg.processes)
    payload = {key: summary[key] for key in PAYLOAD}
    made = Made(_kind(cfg), ctx.work / "out")
    write_report(made.directory, ctx.work / LOG, f"Tuning of {cfg.model}", summary, changed(cfg))
    return Outcome([made], summary["metrics"], payload, summary["resumed_from"] or None, summary["device"])


def work(job: Job[FinetuneConfig], reporter: Reporter) -> dict[str, Any]:
    """The training itself, in each process; the main one saves and proves. Called by `run_job`."""
    from llmkit.data.dataset import Dataset
    from llmkit.stages.examples import fitted
    from llmkit.train.loop import train
    from llmkit.train.padding import Padded
    from llmkit.train.utilisation import utilisation

    cfg, dataset = job.config, Dataset.open(job.paths["examples"])
    loaded = _load(job)
    limit = models.sequence_limit(loaded, cfg.sequence_length)
    training = fitted(dataset, "train", loaded.tokenizer, cfg, limit)
    held_out = fitted(dataset, "validation", loaded.tokenizer, cfg, limit)
    _say(training, held_out, limit, reporter)
    model = _prepared(cfg, job, loaded)
    padded = Padded(training.examples, batch_size=cfg.batch_size, seed=cfg.seed)
    validation = None
    if held_out.examples:
        validation = Padded(held_out.examples, batch_size=cfg.batch_size, seed=cfg.seed, shuffle=False)
    options = _budget(cfg, len(padded))
    shown = [example for example in dataset.examples("validation") if example.prompt][:SHOWN]
    answers: dict[str, list[str]] = {}
    records = train(model, padded, options, validation=validation, directory=job.work / CHECKPOINTS)
    summary = Summary()
    length = sum(map(len, training.examples)) // len(training.examples)
    view = View(None, partial(utilisation, model, loaded.objective, length), tracked(cfg, job, reporter))
    for record, latest in follow(records, options.steps, reporter, job.work / LOG, view):
        if record.step == 0:
            answers["base"] = _answers(cfg, loaded, model, shown)
        summary = latest
    saves = model.save_pretrained if job.is_main else None
    published = settle(cfg, summary, model, job.work, saves)
    answers["tuned"] = _answers(cfg, loaded, model, shown)
    check = _save_and_prove(cfg, job, loaded, model, training.examples) if job.is_main else None
    return {
        "evaluations": summary.evaluations,
        "best_step": summary.best,
        "published_step": published,
        "stopped": summary.stopped,
        "examples": {"train": len(training.examples), "validation": len(held_out.examples)},
        "answers": [
            {"prompt": e.prompt[-1].content, "gold": e.completion} | {name: said[i] for name, said in answers.items()}
            for i, e in enumerate(shown)
        ],
        "check": vars(check) if check else None,
        "metrics": summary.metrics(published),
        "resumed_from": summary.resumed_from,
        "device": summary.choices.get("device"),
    }


def _budget(cfg: FinetuneConfig, examples: int) -> FinetuneConfig:
    """The options with a number of steps: as given, or whole passes over the examples, to the very last one."""
    if cfg.steps:
        return cfg
    samples = max(1, round(cfg.epochs * examples))
    return cfg.model_copy(update={"steps": -(-samples // cfg.batch_size), "samples": samples})


def _examples(cfg: FinetuneConfig, found: Inputs, ctx: Context) -> Path:
    """The folder of a dataset of examples, each with its split: the artifact's own, or one made of the file here."""
    from llmkit.data.dataset import Dataset, DatasetWriter
    from llmkit.data.examples import hold_out, read_examples

    if "data" in found.artifacts:
        folder = found.artifacts["data"].path
        Dataset.open(folder).require("chat")
        return folder
    read = read_examples([found.raw["data"].value], on_bad=cfg.bad_rows)
    if read.drops:
        ctx.reporter.warn(f"{len(read.drops)} rows are no examples and were dropped")
    held = hold_out(read.examples, SplitOptions(validation=cfg.validation, test=0.0), cfg.seed)
    if held.missing:
        ctx.reporter.warn(
            f"only {held.distinct} distinct examples: none is held out, nothing will say what was learned"
        )
    folder = ctx.work / "examples"
    with DatasetWriter(folder, "chat") as writer:
        for example in held.examples:
            writer.example(example, example.split or "train")
        writer.finish({"schema": "chat"})
    return folder


def _model_paths(found: Inputs) -> dict[str, Path]:
    if "base" in found.artifacts:
        return {"model": found.artifacts["base"].path, "adapter": found.artifacts["model"].path}
    if "model" in found.artifacts:
        return {"model": found.artifacts["model"].path}
    return {"model": models.folder_of(found.raw["model"])}


def _load(job: Job[FinetuneConfig]) -> LoadedModel:
    from llmkit.models.load import load_model

    loaded = load_model(job.paths["model"], adapter=job.paths.get("adapter"), trainable=True)
    if loaded.objective != "causal":
        raise UsageError(
            f"a {loaded.objective} model cannot be tuned on conversations",
            mend="use a causal model, such as gpt2 or llama",
        )
    return loaded


def _prepared(cfg: FinetuneConfig, job: Job[FinetuneConfig], loaded: LoadedModel) -> Any:
    """The model as it is trained: with a new adapter, with the one it has, or all of it."""
    from llmkit.models.adapters import attach

    if cfg.method == "full":
        if "adapter" in job.paths:
            return _all_trainable(loaded.model.merge_and_unload())
        return loaded.model
    if "adapter" in job.paths:
        return loaded.model
    return attach(loaded.model, loaded.objective, cfg.lora, method=cfg.method, seed=cfg.seed)


def _all_trainable(model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def _say(training: Fitted, held_out: Fitted, limit: int, reporter: Reporter) -> None:
    tokens = sum(len(example) for example in training.examples)
    learned = sum(int(example.trained.sum()) for example in training.examples)
    reporter.info(
        f"{len(training.examples):,} examples to train on, {len(held_out.examples):,} held out; {tokens:,} tokens, "
        f"{learned:,} of them learned; the longest has {training.longest:,} of {limit:,}",
        style="dim",
    )
    for name, part in (("training", training), ("held-out", held_out)):
        for what, count in (("dropped", part.dropped), ("truncated", part.truncated), ("split", part.split)):
            if count:
                reporter.warn(f"{count:,} {name} examples are longer than {limit:,} tokens and were {what}")


def _answers(cfg: FinetuneConfig, loaded: LoadedModel, model: Any, shown: Sequence[Example]) -> list[str]:
    from llmkit.generation.sampling import Sampling

    sampling = Sampling(max_tokens=ANSWER_TOKENS, seed=cfg.seed)
    with speaking(loaded, model) as local:
        return [
            local.generate([{"role": m.role, "content": m.content} for m in example.prompt], sampling).text
            for example in shown
        ]


def _save_and_prove(
    cfg: FinetuneConfig, job: Job[FinetuneConfig], loaded: LoadedModel, model: Any, examples: Sequence[Rendered]
) -> AdapterCheck | None:
    """Save; then read the adapter again from disk and compare. A full model is simply saved."""
    import shutil

    import torch

    from llmkit.models.adapters import check_adapter, logits_of, save_adapter
    from llmkit.models.load import load_model

    out = job.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    loaded.tokenizer.save_pretrained(out)
    add_last(job.work, out)
    if cfg.method == "full":
        # A turn may end with another token than a text does; generation must stop at either.
        ends = {loaded.tokenizer.eos_token_id, *(example.last_trained for example in examples[:CHECKED])}
        model.generation_config.eos_token_id = sorted(ends - {None})
        model.save_pretrained(out)
        return None
    save_adapter(model, out)
    shortest = min(len(example) for example in examples[:CHECKED])
    ids = torch.tensor([example.ids[:shortest].tolist() for example in examples[:CHECKED]])
    return check_adapter(load_model(job.paths["model"]).model, out, ids, logits_of(model, ids))


def _kind(cfg: FinetuneConfig) -> Kind:
    return "model" if cfg.method == "full" else "adapter"


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """The held-out curve, what was proven of the adapter, and answers of base and adapter side by side."""
    blocks: list[Block] = list(curve(payload))
    check = payload["check"]
    if check:
        blocks.append(
            Line(
                f"read again from disk: logits differ from the base by {check['changed']:.2g}, "
                f"from the merged model by {check['merged']:.1g} (tolerance {check['tolerance']:.1g})",
                "good",
            )
        )
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
