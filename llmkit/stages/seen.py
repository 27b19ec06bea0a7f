"""Contamination: which items of an evaluation occur in what this very model was trained on, and what that changes.

The training data are those that the model's lineage names; an item counts as seen where one of its texts shares a
13-gram with a training document (Brown et al. 2020, arXiv:2005.14165, appendix C), by the same code as
`preprocess --decontaminate`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from llmkit.registry.shelf import find_input
from llmkit.stages.base import Context, Inputs

if TYPE_CHECKING:
    from llmkit.evaluation.result import ItemRecord, TaskResult
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

AREA = "seen"
FOUND = "seen.json"
TRAINED = ("pretrain", "finetune-lora", "merge")
"""Commands whose inputs are what a model was trained on."""
_VERSION = 1


def training_data(found: Inputs, registry: Registry, role: str = "model") -> list[Artifact]:
    """The datasets that the model of a role was trained on, its base's and their base's included."""
    datasets: dict[str, Artifact] = {}
    left = [found.artifacts[each] for each in (role, _base_of(role)) if each in found.artifacts]
    visited: set[str] = set()
    while left:
        model = left.pop()
        if model.digest in visited or model.manifest.command not in TRAINED:
            continue
        visited.add(model.digest)
        for used in model.manifest.inputs:
            artifact = find_input(registry.layout, used)
            if artifact is None:
                continue
            if artifact.kind == "dataset":
                datasets[artifact.digest] = artifact
            elif artifact.kind in ("model", "adapter"):
                left.append(artifact)
    return sorted(datasets.values(), key=lambda artifact: artifact.ref)


def mark_seen(results: Sequence[TaskResult], found: Inputs, ctx: Context, role: str = "model") -> list[TaskResult]:
    """The results, each item that occurs in the model's training data marked with the dataset's reference."""
    datasets = training_data(found, ctx.registry, role)
    if not datasets:
        return list(results)
    where: dict[str, dict[str, str]] = {}
    for artifact in datasets:
        for task, ids in _found_in(artifact, results, ctx).items():
            for item in ids:
                where.setdefault(task, {}).setdefault(item, artifact.ref)
    return [_marked(result, where.get(result.task, {})) for result in results]


def split_scores(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """Of every task that has seen items: how many, from where, and each metric without them and on them alone."""
    from llmkit.evaluation.aggregate import estimates

    parts = []
    for result in results:
        seen = [record for record in result.items if record.seen]
        if not seen:
            continue
        clean = [record for record in result.items if not record.seen]
        figures: dict[str, dict[str, Any]] = {name: {} for name in result.metrics}
        for side, records in (("clean", clean), ("seen", seen)):
            for name, estimate in estimates(records, list(result.metrics))[0].items() if records else ():
                figures[name][side] = estimate.model_dump(mode="json")
        parts.append(
            {
                "task": result.task,
                "items": len(result.items),
                "seen": len(seen),
                "sources": sorted({record.seen for record in seen}),
                "metrics": figures,
            }
        )
    return parts


def _found_in(artifact: Artifact, results: Sequence[TaskResult], ctx: Context) -> dict[str, list[str]]:
    """For each task the ids of its items that occur in the dataset; looked up once for the same data and items."""
    from llmkit.registry.values import digest_of

    wanted = {result.task: [(record.id, _texts(record)) for record in result.items] for result in results}
    key = digest_of([_VERSION, artifact.digest, json.dumps(wanted, sort_keys=True)])

    def build(folder: Path) -> None:
        with ctx.reporter.progress(f"looking for the items in {artifact.ref}", unit="documents") as bar:
            hits = _look_up(artifact, wanted, bar.advance)
        (folder / FOUND).write_text(json.dumps(hits), encoding="utf-8")

    folder = ctx.registry.cached(AREA, key, sources=[artifact.digest], build=build)
    hits: dict[str, list[str]] = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    return hits


def _look_up(
    artifact: Artifact, wanted: Mapping[str, Sequence[tuple[str, Sequence[str]]]], advance: Any
) -> dict[str, list[str]]:
    from llmkit.data.steps.decontamination.lookup import EvalGrams

    # Each text of an item by itself: its question and its answer need not stand together in the training data.
    grams = EvalGrams.build(
        {task: [(item, text) for item, texts in items for text in texts] for task, items in wanted.items()}
    )
    hits: dict[str, set[str]] = {task: set() for task in wanted}
    for text in _training_texts(artifact):
        for task, ids in grams.found_in(text).items():
            hits[task].update(ids)
        advance(1)
    return {task: sorted(ids) for task, ids in hits.items() if ids}


def _training_texts(artifact: Artifact) -> Iterator[str]:
    """What a model was trained on of a dataset: its training split."""
    from llmkit.data.dataset import Dataset

    dataset = Dataset.open(artifact.path)
    if dataset.schema == "text":
        for each in dataset.documents("train"):
            yield each.document.text
        return
    schema: Any = dataset.schema
    for example in dataset.examples("train", schema):
        yield "\n".join(_strings(example))


def _texts(record: ItemRecord) -> list[str]:
    """What was put to the model, and what would have been right; not what it said."""
    from llmkit.evaluation.result import SAID

    return [text for key, value in record.detail.items() if key not in SAID for text in _strings(value)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        yield from _strings(value.model_dump())
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _strings(getattr(value, name))


def _marked(result: TaskResult, where: Mapping[str, str]) -> TaskResult:
    if not where:
        return result
    items = tuple(record.model_copy(update={"seen": where.get(record.id, "")}) for record in result.items)
    return result.model_copy(update={"items": items})


def _base_of(role: str) -> str:
    return "base" if role == "model" else f"{role}-base"
