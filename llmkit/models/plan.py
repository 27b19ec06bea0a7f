"""What a training run will take before it is started: parameters, work, memory, time, money, energy; and what fits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from llmkit.config.planning import PlanOptions
from llmkit.errors import UsageError
from llmkit.models.build import SpecialIds, new_config
from llmkit.models.dimensions import overrides
from llmkit.models.families import Objective, family, size_of
from llmkit.models.fitting import Change, changes_that_fit, usable
from llmkit.models.hardware import Hardware
from llmkit.models.memory import Estimator, Memory
from llmkit.models.tracing import Pass, head_of

TOKENS_PER_PARAMETER = 20
"""Compute-optimal, as the Chinchilla paper is summed up (Hoffmann et al. 2022, arXiv:2203.15556, table 3)."""

TUNING_STEPS = 1000
"""Steps of an adapter where no budget is given."""

LONGEST = 4096
"""Tokens of a sample where none is asked for and the model could read more."""

_READS_SOURCE = re.compile(r"(^|\.)encoder\.|(EncDecAttention|encoder_attn)\.(k|v)(_proj)?(\.|$)")
"""Names of layers in encoder-decoder models that see the encoder's tokens."""
_HOUR = 3600.0


@dataclass(frozen=True)
class Subject:
    """The model that is planned for, at its full depth."""

    name: str
    config: PretrainedConfig
    objective: Objective
    context: int | None
    """Longest sample in tokens; None where the architecture sets no limit."""


@dataclass(frozen=True)
class Parameters:
    """How many there are. `embedding` are looked up, `active` take part in one token, `trained` get a gradient."""

    total: int
    embedding: int
    active: int
    trained: int


@dataclass(frozen=True)
class Work:
    """What is computed.

    Attributes:
        tokens: read in training (by the encoder of an encoder-decoder model).
        steps: of the optimizer.
        flops: of the whole run, without recomputation: what MFU counts.
        hardware_flops: with recomputation.
        attention_share: part of the FLOPs that is attention's, which grows with the square of the length.
        tokens_per_parameter: Hoffmann et al. 2022 find about 20 compute-optimal.
    """

    tokens: int
    steps: int
    flops: float
    hardware_flops: float
    attention_share: float
    tokens_per_parameter: float


@dataclass(frozen=True)
class Cost:
    """What it takes; 0 where a price or a power is not known.

    Attributes:
        seconds: from the first step to the last, at the MFU that was assumed.
        device_hours: over all devices.
        price: in the currency of the price.
        energy: kWh of the site.
        carbon: kg of CO2e.
    """

    seconds: float
    device_hours: float
    price: float
    energy: float
    carbon: float


@dataclass(frozen=True)
class Plan:
    """All that is known of a run before it starts.

    Attributes:
        usable: bytes of a device that may be filled.
        fits: whether the peak is within them.
        changes: single changes, or few at once, with which it fits; none where it fits already.
    """

    model: str
    options: PlanOptions
    hardware: Hardware
    sequence_length: int
    parameters: Parameters
    work: Work
    memory: Memory
    usable: int
    fits: bool
    cost: Cost
    changes: tuple[Change, ...] = field(default=())


def subject_of(options: PlanOptions) -> Subject:
    """The model of a family and size, with the dimensions that are given.

    Raises:
        UsageError: no such family or size, or samples longer than its context.
        ConfigError: dimensions that do not fit together.
    """
    row = family(options.family)
    size = size_of(row, options.size)
    changed = overrides(options)
    config = new_config(
        options.family,
        options.size,
        vocab_size=options.architecture.vocab_size or size.vocabulary,
        ids=SpecialIds(eos=0, bos=0, pad=1, mask=2, cls=3, sep=4),
        sequence_length=options.sequence_length or size.context,  # as `pretrain` builds it, with so many positions
        overrides=changed,
    )
    return Subject(f"{options.family} {options.size}{', changed' * bool(changed)}", config, row.objective, size.context)


def plan_training(options: PlanOptions, hardware: Hardware, subject: Subject | None = None) -> Plan:
    """Plan a run without allocating anything of it; takes seconds at any size.

    Args:
        hardware: the devices; `options.gpu`, `device_memory` and `watts` have been settled into it by the caller.
        subject: the model; None: that of `options.family` and `size`.

    Raises:
        UsageError: no such family or size, or samples longer than the model's context.
        UnavailableError: torch cannot run the architecture without data, to count its memory.
    """
    subject = subject or subject_of(options)
    length = _length(options, subject)
    estimator = Estimator(subject.config, subject.objective, on_cpu=hardware.name == "cpu")
    one = estimator.work(options, length)
    model = estimator.model(one.weights, one.lora)
    parameters = count(model, subject.config)
    forward, backward, attention = flops(model, subject.config, one)
    work = _work(options, length, parameters, (forward / one.rows, backward / one.rows), attention)
    memory = estimator.memory(options, length)
    fits = memory.peak <= usable(hardware)
    return Plan(
        model=subject.name,
        options=options,
        hardware=hardware,
        sequence_length=length,
        parameters=parameters,
        work=work,
        memory=memory,
        usable=usable(hardware),
        fits=fits,
        cost=_cost(options, hardware, work),
        changes=() if fits else changes_that_fit(estimator, options, length, hardware),
    )


def count(model: nn.Module, config: PretrainedConfig) -> Parameters:
    """Count parameters, a shared one once."""
    looked_up = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)}
    total = sum(p.numel() for p in model.parameters())
    idle = 1.0 - _expert_share(config)
    experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Parameters(total, sum(looked_up.values()), round(total - idle * experts), trained)


def flops(model: nn.Module, config: PretrainedConfig, work: Pass) -> tuple[float, float, float]:
    """(forward, backward, share of attention) of one pass of a device.

    Two FLOPs forward for each weight of a matrix and token, and backward two for the gradient of its input and two for
    its own if it is trained: the 6N of Kaplan et al. 2020 (arXiv:2001.08361, section 2.1), and 4N and a little for
    LoRA. Attention adds 12 x layers x width x length for a token forward and backward, causal or not (PaLM,
    arXiv:2204.02311, appendix B).
    """
    head = head_of(model)
    forward = backward = 0.0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            through = work.predicted if module is head else _tokens(name, work)
            each = 2.0 * module.weight.numel() * through * work.rows
            forward += each
            backward += each * (2 if module.weight.requires_grad else 1)
        elif name.endswith(".experts"):
            each = 2.0 * sum(p.numel() for p in module.parameters()) * _expert_share(config)
            forward += each * work.length * work.rows
            backward += each * work.length * work.rows * (2 if work.lora is None else 1)
    attention = 4.0 * attention_width(config) * _pairs(config, work) * work.rows
    every = forward + backward + 3 * attention
    return forward + attention, backward + 2 * attention, 3 * attention / every


def attention_width(config: PretrainedConfig) -> int:
    """Heads times the width of a head."""
    heads = int(config.num_attention_heads)
    each: Any = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads
    return heads * int(each)


def _pairs(config: PretrainedConfig, work: Pass) -> int:
    """Pairs of positions that attend to each other in all layers, for one sample."""
    layers = int(config.num_hidden_layers)
    if not work.answer:
        return layers * work.length**2
    decoder: Any = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", layers)
    return layers * work.length**2 + int(decoder) * work.answer * (work.answer + work.length)


def _tokens(name: str, work: Pass) -> int:
    return work.answer if work.answer and not _READS_SOURCE.search(name) else work.length


def _expert_share(config: PretrainedConfig) -> float:
    """Share of the experts that a token meets; 1 for models without."""
    there = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    used = getattr(config, "num_experts_per_tok", None)
    return used / there if there and used else 1.0


def _length(options: PlanOptions, subject: Subject) -> int:
    context = subject.context
    if context and options.sequence_length > context:
        raise UsageError(
            f"sequence length {options.sequence_length} is past the context of {subject.name}, {context} tokens",
            mend=f"use --sequence-length {context} or less, or a model with a longer context",
        )
    return options.sequence_length or min(context or LONGEST, LONGEST)


def _work(
    options: PlanOptions, length: int, parameters: Parameters, sample: tuple[float, float], attention: float
) -> Work:
    """The whole run, from the FLOPs of a sample forward and backward."""
    step = options.batch_size * length
    steps = options.steps or (TUNING_STEPS if options.method != "full" and not options.tokens else 0)
    steps = steps or max(1, round((options.tokens or TOKENS_PER_PARAMETER * parameters.total) / step))
    samples = steps * options.batch_size
    done = sum(sample) * samples
    again = sample[0] * samples if options.checkpointing else 0.0
    return Work(steps * step, steps, done, done + again, attention, steps * step / parameters.total)


def _cost(options: PlanOptions, hardware: Hardware, work: Work) -> Cost:
    # The share of the peak is that of the hardware: what is computed again takes its time too.
    seconds = work.hardware_flops / (options.mfu * hardware.peak(options.precision) * options.devices)
    hours = seconds / _HOUR * options.devices
    energy = hours * hardware.watts / 1000 * options.pue
    return Cost(seconds, hours, hours * options.price, energy, energy * options.carbon / 1000)
