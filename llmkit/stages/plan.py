"""`llmkit plan`: what a training run will take, and what would make it fit; nothing is allocated or made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.planning import PlanOptions
from llmkit.errors import NotFoundError, UsageError
from llmkit.models.hardware import GIB, Hardware, by_driver_name, hardware
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.reporting.figures import BYTES, duration, quantity

if TYPE_CHECKING:
    from llmkit.models.plan import Plan, Subject
    from llmkit.registry.store import Registry


def plan(options: PlanOptions, registry: Registry) -> Plan:
    """Plan for a family's size, or for a model that is there, on the devices named or on this machine.

    Raises:
        NotFoundError: no such model.
        UsageError: no such family, size or GPU; samples longer than the model's context.
    """
    subject = subject_of(options.model, registry) if options.model else None
    device = settled(options)
    from llmkit.models.plan import plan_training

    return plan_training(options, device, subject)


def settled(options: PlanOptions) -> Hardware:
    """The device of the options: by name or of this machine, with its memory and power where they are given."""
    device = this_machine() if options.gpu == "auto" else hardware(options.gpu)
    if device.name == "cpu" and options.devices > 1:  # processes on one machine share what it has
        parts = options.devices
        device = replace(device, memory=device.memory // parts, bf16=device.bf16 / parts, fp32=device.fp32 / parts)
    memory = round(options.device_memory * GIB) or device.memory
    return replace(device, memory=memory, watts=options.watts or device.watts)


def this_machine() -> Hardware:
    """The device that training would use here: a GPU with its published peaks where the table has it, else measured."""
    import torch

    from llmkit.train.precision import probe, resolve_device

    device = resolve_device("auto")
    if device.type != "cuda":
        measured = probe(device)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Hardware(device.type, measured.bf16 / 1e3, measured.fp32 / 1e3, memory, 0.0)
    properties = torch.cuda.get_device_properties(device)
    known = by_driver_name(properties.name, properties.total_memory)
    if known is not None:
        return replace(known, memory=properties.total_memory)
    measured = probe(device)
    return Hardware(properties.name, measured.bf16 / 1e3, measured.fp32 / 1e3, properties.total_memory, 0.0)


def subject_of(ref: str, registry: Registry) -> Subject:
    """The model that a reference names, from its config.json; an adapter's base.

    Raises:
        NotFoundError: it is not there.
        UsageError: its configuration is not here: it is behind an endpoint, or on the Hub and was never fetched.
    """
    from llmkit.stages.models import BASE, find_model

    found = find_model(ref, registry)
    if "model" in found.artifacts and BASE not in found.raw:
        folder = found.artifacts.get(BASE, found.artifacts["model"]).path
    elif (known := _here(found.raw[BASE if BASE in found.raw else "model"].value)) is not None:
        folder = known
    else:
        raise UsageError(
            f"the configuration of {ref} is not on this machine",
            mend="give its folder, a model of the registry, or --family and --size",
        )
    if not (folder / "config.json").is_file():
        raise NotFoundError("there is no model in this folder: it has no config.json", where=str(folder))
    from llmkit.models.load import objective_of, read_config
    from llmkit.models.plan import Subject

    config = read_config(folder)
    return Subject(ref, config, objective_of(config, folder), getattr(config, "max_position_embeddings", None))


def _here(value: object) -> Path | None:
    """The folder of a model that is no artifact, if its configuration is on this machine; nothing is fetched."""
    from llmkit.registry.refs import HubRef

    if isinstance(value, HubRef):
        from llmkit.models.hub import cached

        return cached(value.repo, revision=value.revision)
    return value if isinstance(value, Path) else None


def as_json(planned: Plan) -> dict[str, Any]:
    """The plan, JSON-ready: bytes, FLOPs, seconds, kWh, kg; the options it was made with are part of it."""
    values = {f.name: getattr(planned, f.name) for f in fields(planned)}
    values |= {name: asdict(part) for name, part in values.items() if is_dataclass(part) and not isinstance(part, type)}
    values["options"] = planned.options.model_dump(mode="json")
    values["changes"] = [asdict(change) | {"flags": change.flags} for change in planned.changes]
    return values


def show(planned: Plan) -> Sequence[Block]:
    """The plan as tables: the model, its memory, the run, and what would make it fit."""
    return [_model(planned), _memory(planned), _run(planned), *_verdict(planned)]


def _model(planned: Plan) -> Table:
    there, work, options = planned.parameters, planned.work, planned.options
    rows = [
        ("parameters", f"{there.total:,}", f"{there.embedding:,} of them looked up as embeddings"),
        ("active", f"{there.active:,}", "take part in one token"),
        ("trained", f"{there.trained:,}", _method(options)),
        ("tokens", f"{work.tokens:,}", f"{work.steps:,} steps of {options.batch_size} x {planned.sequence_length}"),
        ("tokens per parameter", f"{work.tokens_per_parameter:.3g}", _ratio(work.tokens_per_parameter, options)),
        ("FLOPs", f"{work.flops:.3g}", f"6 per parameter and token, and {work.attention_share:.0%} in attention"),
    ]
    if options.method != "full":
        rows[-1] = (
            "FLOPs",
            f"{work.flops:.3g}",
            f"of frozen weights 4 and not 6; {work.attention_share:.0%} attention",
        )
    return Table(("model", planned.model, ""), rows, numeric=frozenset({1}))


def _method(options: PlanOptions) -> str:
    names = {"full": "all of them", "lora": f"an adapter of rank {options.rank}"}
    return names.get(options.method, f"an adapter of rank {options.rank} on NF4 weights")


def _ratio(ratio: float, options: PlanOptions) -> str:
    if options.method != "full":
        return "compute-optimal pretraining has about 20"
    if ratio < 10:
        return "compute-optimal is about 20 (Chinchilla): a smaller model would learn more from as much work"
    return "compute-optimal is about 20 (Chinchilla)" + (": a longer run, for a smaller model to serve" * (ratio > 40))


def _memory(planned: Plan) -> Table:
    memory, options = planned.memory, planned.options
    notes = {
        "weights": _kept_as(planned),
        "optimizer": options.optimizer,
        "gradients": "",
        "activations": f"{options.rows} x {planned.sequence_length} tokens at once"
        + (", blocks computed again" if options.checkpointing else ""),
        "of them logits": "and the loss, in float32",
        "buffers": "sent, gathered or unpacked",
        "peak": "not all of it is there at once",
    }
    values = asdict(memory)
    values["of them logits"] = values["logits"]
    rows = [(name, quantity(values[name], BYTES), note) for name, note in notes.items() if values[name]]
    rows.append(("usable", quantity(planned.usable, BYTES), f"{planned.hardware.name}, less 8% for driver and gaps"))
    count = f"{options.devices} x {options.sharing}" if options.devices > 1 else "one device"
    return Table(("memory of a device", "", count), rows, numeric=frozenset({1}))


def _kept_as(planned: Plan) -> str:
    each = planned.memory.weights / planned.parameters.total
    if planned.options.method == "qlora":
        return "NF4 where there is an adapter, else bfloat16"
    whole = each * (planned.options.devices if planned.options.sharing in ("zero-3", "fsdp") else 1)
    return f"{'float32' if whole > 3 else 'bfloat16'}, {each:.3g} bytes for each"


def _run(planned: Plan) -> Table:
    cost, options, device = planned.cost, planned.options, planned.hardware
    peak = device.peak(options.precision) / 1e12
    rows = [
        ("time", _long(cost.seconds), f"at {options.mfu:.0%} of {peak:,.4g} TFLOP/s each"),
        ("device hours", f"{cost.device_hours:,.4g}", f"{options.devices} x {device.name}"),
    ]
    if options.price:
        rows.append(("price", f"{cost.price:,.4g}", f"{options.price:g} for a device and hour"))
    if device.watts:
        rows.append(("energy", f"{cost.energy:,.4g} kWh", f"{device.watts:g} W a device, PUE {options.pue:g}"))
        rows.append(("CO2e", f"{cost.carbon:,.4g} kg", f"{options.carbon:g} g for a kWh"))
    else:
        rows.append(("energy", "-", "the power of this device is not known: give --watts"))
    return Table(("run", "", "assumed"), rows, numeric=frozenset({1}))


def _long(seconds: float) -> str:
    if seconds < 3 * 86400:
        return duration(seconds)
    days = seconds / 86400
    return f"{days:,.1f} days" if days < 730 else f"{days / 365.25:,.1f} years"


def _verdict(planned: Plan) -> Iterator[Block]:
    if planned.fits:
        yield Line(f"it fits: {quantity(planned.memory.peak, BYTES)} of {quantity(planned.usable, BYTES)}", "good")
        return
    yield Line(f"it does not fit: {quantity(planned.memory.peak, BYTES)} of {quantity(planned.usable, BYTES)}", "bad")
    if not planned.changes:
        yield Line("no change that was tried makes it fit: use shorter samples, a smaller model, or model parallelism")
        return
    rows = [(change.flags, quantity(change.peak, BYTES), change.note) for change in planned.changes]
    yield Table(("it would fit with", "peak", ""), rows, numeric=frozenset({1}))
