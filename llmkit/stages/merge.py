"""`llmkit merge`: one adapter, or several with weights, merged into their base; the result is proven to be that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import option
from llmkit.errors import DataError, UsageError
from llmkit.reporting.blocks import Block, Line
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Made, Outcome, Stage, StageConfig
from llmkit.stages.turns import stops_of

if TYPE_CHECKING:
    from llmkit.registry.store import Registry


class MergeConfig(StageConfig):
    """Options of `llmkit merge`."""

    adapters: tuple[str, ...] = option(
        ..., "Adapter to merge into its base; the changes of several are added up.", argument="ADAPTER", min_length=1
    )
    weights: tuple[float, ...] = option(
        (), "Weight of each adapter's change (0.7,0.3); else all of one, equal shares of several.", commas=True
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Of the saved weights; auto: as the base has them. They are computed in float32."
    )


def inputs(cfg: MergeConfig, registry: Registry) -> Inputs:
    """Every adapter in its place, and the base that all of them have in common."""
    _weights(cfg)
    every = [models.find_model(ref, registry, role=role) for role, ref in zip(_roles(cfg), cfg.adapters, strict=True)]
    bases: list[tuple[str, Inputs]] = []
    joined = Inputs()
    for role, ref, found in zip(_roles(cfg), cfg.adapters, every, strict=True):
        base = _of_base(found, f"{role}-{models.BASE}")
        if base is None:
            raise UsageError(
                f"{ref} is a whole model, and an adapter is needed",
                mend="name what `finetune-lora` made with another --method than full, or the folder of a PEFT adapter",
            )
        bases.append((ref, base))
        artifacts = {name: each for name, each in found.artifacts.items() if name == role}
        joined = joined.joined(Inputs(artifacts, {name: each for name, each in found.raw.items() if name == role}))
    first, base = bases[0]
    for ref, other in bases[1:]:
        if other.digests() != base.digests():
            raise DataError(
                f"{first} was made for {_base_name(base)}, and {ref} for {_base_name(other)}",
                mend="merge adapters of one base: the differences to two models do not add up",
            )
    return joined.joined(base)


def _of_base(found: Inputs, role: str) -> Inputs | None:
    """The base alone, under its own role; None for a whole model."""
    if role in found.artifacts:
        return Inputs({models.BASE: found.artifacts[role]})
    return Inputs(raw={models.BASE: found.raw[role]}) if role in found.raw else None


def run(cfg: MergeConfig, found: Inputs, ctx: Context) -> Outcome:
    """Merge, save, read again, compare."""
    from llmkit.exporting.merging import Weighted, merge
    from llmkit.models.load import has_tokenizer, load_tokenizer
    from llmkit.stages.model_card import Finished, write_card

    base = _folders(found, _roles(cfg)[0])[0]
    adapters = [
        Weighted(_folders(found, role)[1], ref, weight)
        for role, ref, weight in zip(_roles(cfg), cfg.adapters, _weights(cfg), strict=True)
    ]
    holder = adapters[0].folder if has_tokenizer(adapters[0].folder) else base
    out = ctx.work / "out"
    check = asdict(merge(base, adapters, out, dtype=cfg.dtype, stops=stops_of(load_tokenizer(holder))))
    payload = {
        "base": _base_name(found),
        "adapters": [{"ref": each.name, "weight": each.weight} for each in adapters],
        "check": check,
    }
    metrics = {"changed": check["changed"], "difference": check["merged"]}
    name = cfg.name or default_name(cfg, found)
    write_card(out, Finished("merge", name, cfg, found, {"metrics": metrics, "evaluations": []}))
    return Outcome([Made("model", out)], metrics, payload, device="cpu")


def _folders(found: Inputs, role: str) -> tuple[Path, Path]:
    """Of the base, and of the adapter with this role."""
    mine, base = f"{role}-{models.BASE}", models.BASE
    artifacts = {mine: found.artifacts[base]} if base in found.artifacts else {}
    raw = {mine: found.raw[base]} if base in found.raw else {}
    under, adapter = models.folders_of(found.joined(Inputs(artifacts, raw)), role)
    assert adapter is not None  # noqa: S101  # `inputs` took no whole model
    return under, adapter


def _roles(cfg: MergeConfig) -> list[str]:
    if len(cfg.adapters) == 1:
        return ["adapter"]
    return [f"adapter-{number}" for number in range(1, len(cfg.adapters) + 1)]


def _weights(cfg: MergeConfig) -> list[float]:
    """As many as there are adapters. Raises UsageError where others were given."""
    if not cfg.weights:
        return [1 / len(cfg.adapters)] * len(cfg.adapters)
    if len(cfg.weights) != len(cfg.adapters) or not all(map(math.isfinite, cfg.weights)):
        raise UsageError(
            f"{len(cfg.adapters)} adapters need as many weights, and --weights has {len(cfg.weights)}",
            mend="give one finite number an adapter, in their order: --weights 0.7,0.3",
        )
    if len(set(cfg.adapters)) != len(cfg.adapters):
        raise UsageError("an adapter is named twice", mend="name it once, with the sum of its weights")
    return list(cfg.weights)


def _base_name(found: Inputs) -> str:
    base = models.BASE
    return found.artifacts[base].ref if base in found.artifacts else found.raw[base].ref


def show(payload: Mapping[str, Any]) -> Sequence[Block]:
    """What was added up, and what was compared."""
    check = payload["check"]
    parts = " + ".join(
        each["ref"] if each["weight"] == 1 else f"{each['weight']:.3g} x {each['ref']}" for each in payload["adapters"]
    )
    return [
        Line(f"{payload['base']} + {parts}, saved as {check['dtype']}"),
        Line(
            f"read again from disk: outputs differ from those of {check['oracle']} by {check['merged']:.1g} "
            f"(tolerance {check['tolerance']:.1g}), from the base by {check['changed']:.2g}",
            "good",
        ),
    ]


def headline(payload: Mapping[str, Any]) -> str:
    """`2 adapters in base@1`."""
    count = len(payload["adapters"])
    return f"{count} adapter{'s' if count > 1 else ''} in {payload['base']}"


def default_name(cfg: MergeConfig, found: Inputs) -> str:
    """The first adapter's name with `-merged`."""
    from llmkit.registry.refs import slug

    role = _roles(cfg)[0]
    named = found.artifacts[role].name if role in found.artifacts else Path(found.raw[role].ref).name
    return slug(f"{named}-merged")


STAGE = Stage(
    name="merge",
    version=1,
    kind="model",
    config=MergeConfig,
    inputs=inputs,
    run=run,
    default_name=default_name,
    show=show,
    headline=headline,
)
