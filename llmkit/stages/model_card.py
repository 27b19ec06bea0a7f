"""The model card of what a training run made, put together from its inputs, its options and its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.base import Config, changed, command_line
from llmkit.stages.base import Inputs
from llmkit.stages.models import BASE
from llmkit.stages.training_words import verdict

if TYPE_CHECKING:
    from llmkit.models.card import DataUsed, ModelFacts
    from llmkit.models.families import Objective

CARD = "README.md"

_SHAPE = (
    ("layers", ("num_hidden_layers", "n_layer", "num_layers")),
    ("width", ("hidden_size", "n_embd", "d_model")),
    ("heads", ("num_attention_heads", "n_head", "num_heads")),
    ("vocabulary", ("vocab_size",)),
    ("context", ("max_position_embeddings", "n_positions", "n_ctx")),
)
"""Dimensions by the names that transformers configurations give them."""


@dataclass(frozen=True)
class Finished:
    """A finished run: the command, its options and inputs, and what it returned."""

    command: str
    name: str
    config: Config
    found: Inputs
    summary: Mapping[str, Any]


def write_card(folder: Path, made: Finished) -> None:
    """Write the card into a finished artifact. Runs that make the same weights write the same card.

    Raises:
        StorageError: the folder cannot be written to.
    """
    from llmkit.models.card import model_card
    from llmkit.registry.disk import write_whole

    write_whole(folder / CARD, model_card(facts_of(folder, made)).encode("utf-8"))


def facts_of(folder: Path, made: Finished) -> ModelFacts:
    """What the card says, from the artifact's folder and its lineage."""
    from llmkit.models.card import ModelFacts
    from llmkit.models.load import TASK_FILE
    from llmkit.registry.provenance import package_versions

    artifacts = made.found.artifacts
    base = None if BASE in made.found.raw else artifacts.get(BASE) or artifacts.get("init") or artifacts.get("model")
    named = (
        base.ref
        if base
        else next((raw.ref for role, raw in made.found.raw.items() if role in (BASE, "init", "model")), None)
    )
    adapter = _json(folder / "adapter_config.json")
    config = _json(folder / "config.json") or (_json(base.path / "config.json") if base else {})
    named_by = [(label, next((key for key in keys if key in config), None)) for label, keys in _SHAPE]
    shape: list[tuple[str, object]] = [(label, config[key]) for label, key in named_by if key]
    if adapter:
        targets = adapter.get("target_modules")
        shape = [("rank", adapter.get("r")), ("alpha", adapter.get("lora_alpha"))]
        shape.append(("layers adapted", ", ".join(sorted(targets)) if isinstance(targets, list) else targets))
    return ModelFacts(
        name=made.name,
        kind="adapter" if adapter else "model",
        objective=_objective(config),
        task=_json(folder / TASK_FILE),
        model_type=str(config.get("model_type", "transformers")),
        parameters=_parameters(folder),
        shape=shape,
        data=list(_data(made)),
        base=named,
        base_inputs=[(ref.role, ref.ref, ref.digest) for ref in base.manifest.inputs] if base else (),
        inputs=[(ref.role, ref.ref, ref.digest) for ref in made.found.refs()],
        command=command_line(made.command, made.config),
        options=changed(made.config),
        metrics=made.summary["metrics"],
        scores=made.summary.get("scores") or {},
        compared_with=str((made.summary.get("details") or {}).get("compared_with", "")),
        verdict=str(verdict(made.summary)),
        packages=package_versions(),
    )


def _data(made: Finished) -> Iterator[DataUsed]:
    from llmkit.data.dataset import REPORT
    from llmkit.models.card import DataUsed

    told = list(made.summary.get("datasets") or ())
    datasets = [artifact for artifact in made.found.artifacts.values() if artifact.kind == "dataset"]
    for place, artifact in enumerate(datasets):
        read = told[place] if place < len(told) else {}
        report = _json(artifact.path / REPORT)
        yield DataUsed(
            artifact.ref, artifact.digest, report, artifact.manifest.licence, read.get("tokens"), read.get("epochs")
        )
    for role, raw in made.found.raw.items():
        if role == "data":
            counts = made.summary.get("examples") or {}
            report = {"splits": {name: {"examples": count} for name, count in counts.items()}}
            yield DataUsed(Path(raw.ref).name, raw.digest, report)


def _objective(config: Mapping[str, Any]) -> Objective:
    from llmkit.models.families import family_of_type

    row = family_of_type(str(config.get("model_type", "")))
    return row.objective if row else "causal"


def _parameters(folder: Path) -> int:
    """Numbers in the weights files, of which a shared one is stored once; by their headers alone."""
    from safetensors import safe_open

    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118  # not a mapping
        for shape in shapes:
            size = 1
            for length in shape:
                size *= length
            total += size
    return total


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
