"""Memory of a training run on one device: what each way of training keeps, and how devices share it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from torch import nn
from transformers import PretrainedConfig

from llmkit.config.planning import PlanOptions, Strategy
from llmkit.config.sections import LoraOptions, Optimizer
from llmkit.models.families import Objective
from llmkit.models.heads import logits_at_once
from llmkit.models.tracing import Pass, Trace, built, head_of, trace

NF4_BYTES = 4.127 / 8
"""Of a weight in NormalFloat4 with double quantisation (QLoRA, arXiv:2305.14314, section 3)."""

_MASTER_BYTES = 4
"""DeepSpeed keeps a float32 copy of each trained weight with the optimizer's states (ZeRO, arXiv:1910.02054, section
3.1: 2 + 2 + 12 bytes for a parameter)."""
_BUCKET = 500_000_000
"""Elements of DeepSpeed's `reduce_bucket_size` and `allgather_bucket_size` (https://www.deepspeed.ai/docs/config-json)."""
_LIVE = 1_000_000_000
"""Elements of its `stage3_max_live_parameters`."""

MASKED_SHARE = 0.15
"""Of the positions of a masked model that are predicted (BERT, arXiv:1810.04805), and of the text that T5 cuts out."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. The parts do not all peak together, so `peak` may be less than their sum.

    Attributes:
        weights: of the model, adapters included.
        optimizer: its states, with float32 copies of the weights where the strategy keeps them.
        gradients: of the trained weights, at the end of the backward pass.
        activations: what the forward pass leaves for the backward pass, at most.
        logits: the part of the activations that is there for the loss.
        buffers: what devices send, gather or unpack.
        peak: most at once.
    """

    weights: int
    optimizer: int
    gradients: int
    activations: int
    logits: int
    buffers: int
    peak: int


@dataclass(frozen=True)
class Held:
    """What the weights of one way of training take in all, before devices share them; bytes and counts.

    Attributes:
        weights: bytes of all weights, `gradients` of the trained ones' gradients, `states` of the optimizer's.
        total: parameters, of which `trained` are.
        block: parameters of the largest repeated block; `root`: of what is outside of all blocks.
        unpacked: bytes of the largest quantised matrix when it is used.
    """

    weights: float
    gradients: int
    states: int
    total: int
    trained: int
    block: int
    root: int
    unpacked: int = 0


class Estimator:
    """Memory of one model under many options; models and traces that options have in common are made once.

    Args:
        on_cpu: whether it trains on a CPU, where the loss is computed in smaller slices.
    """

    def __init__(self, config: PretrainedConfig, objective: Objective, *, on_cpu: bool = False) -> None:
        self.config, self.objective = config, objective
        self._on_cpu = on_cpu
        self.model = cache(self._model)
        self._held = cache(self._counted)
        self._trace = cache(self._traced)

    def work(self, options: PlanOptions, length: int) -> Pass:
        """One pass of one device, with samples of `length` tokens."""
        half = options.precision != "fp32" or options.method == "qlora"
        plain = options.precision == "bf16" and options.method != "qlora" and options.sharing in ("single", "ddp")
        answer, predicted = positions(self.objective, length)
        return Pass(
            rows=options.rows,
            length=length,
            answer=answer,
            predicted=predicted,
            # DeepSpeed computes in bfloat16 weights, FSDP in those it gathers: neither needs autocast's copies.
            weights="bf16" if half and not plain else "fp32",
            autocast=plain,
            checkpointing=options.checkpointing,
            logits_at_once=logits_at_once("cpu" if self._on_cpu else "cuda"),
            fused_dropout=not self._on_cpu,
            lora=None if options.method == "full" else LoraOptions(rank=options.rank),
        )

    def memory(self, options: PlanOptions, length: int) -> Memory:
        """What a device holds at most in a training step."""
        work, devices, sharing = self.work(options, length), options.devices, options.sharing
        kept = self._held(*self._way(options, work))
        found = self._trace(work)
        weight_share, gradient_share, state_share = _shares(sharing, devices)
        weights = math.ceil(kept.weights * weight_share)
        gradients = math.ceil(kept.gradients * gradient_share)
        states = math.ceil(kept.states * state_share)
        buffers = _buffers(sharing, devices, kept, work) + kept.unpacked
        activations = found.peak(0.0)
        # FSDP keeps gradients in float32 where the trace has them in bfloat16.
        widened = 2 if sharing == "fsdp" and options.precision == "bf16" and options.method == "full" else 1
        traced = found.peak(gradient_share * widened)
        step = max(activations + gradients if options.accumulates else traced, gradients)
        peak = weights + states + buffers + step
        return Memory(weights, states, gradients, activations, found.loss, buffers, peak)

    def _way(self, options: PlanOptions, work: Pass) -> tuple[Pass, Optimizer, bool, bool]:
        """What decides how much is kept."""
        quantised = options.method == "qlora"
        gathered = options.sharing == "fsdp" and options.precision == "bf16" and not quantised
        master = options.sharing.startswith("zero") and options.precision == "bf16" and not quantised
        stored = Pass(1, 1, 0, 1, weights="fp32" if gathered else work.weights, lora=work.lora)
        return stored, options.optimizer, master, quantised

    def _counted(self, stored: Pass, optimizer: Optimizer, master: bool, quantised: bool) -> Held:
        return held(self.model(stored.weights, stored.lora), optimizer, master=master, quantised=quantised)

    def _model(self, weights: Literal["fp32", "bf16"], lora: LoraOptions | None) -> nn.Module:
        """The model on the meta device."""
        return built(self.config, self.objective, Pass(1, 1, 0, 1, weights=weights, lora=lora))

    def _traced(self, work: Pass) -> Trace:
        return trace(self.config, self.objective, work)


def positions(objective: Objective, length: int) -> tuple[int, int]:
    """(tokens that the decoder of an encoder-decoder model reads, positions with a label) of a sample."""
    if objective == "masked":
        return 0, max(1, round(MASKED_SHARE * length))
    if objective == "causal":
        return 0, length
    # 15% of the text in spans of three: a token of text is 0.85 + 0.05 tokens to read and 0.15 + 0.05 to answer with,
    # and each side ends with one more.
    answer = max(1, round((MASKED_SHARE + MASKED_SHARE / 3) * (length - 1) / (1 - MASKED_SHARE + MASKED_SHARE / 3)) + 1)
    return answer, answer


def held(model: nn.Module, optimizer: Optimizer, *, master: bool = False, quantised: bool = False) -> Held:
    """Count what a model and its optimizer keep; the model may be on the meta device.

    Args:
        master: the optimizer keeps weights and states in float32 beside bfloat16 weights.
        quantised: frozen linear layers with adapters are in NormalFloat4.
    """
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    outer = {id(head_of(model).weight), *(id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding))}
    weights: float = sum(map(_bytes, parameters))
    unpacked = 0
    if quantised:
        layers = [m.weight for name, m in model.named_modules() if name.endswith("base_layer") and hasattr(m, "weight")]
        packed = [w for w in layers if isinstance(w, nn.Parameter)]
        weights -= sum(_bytes(w) - w.numel() * NF4_BYTES for w in packed)
        unpacked = max(map(_bytes, packed), default=0)
    states = 0
    for p in trained:
        kept = _states(p, optimizer, inner=id(p) not in outer)
        states += kept * (4 if master else p.element_size()) + (_MASTER_BYTES * p.numel() if master else 0)
    blocks = [sum(p.numel() for p in block.parameters()) for block in _blocks(model)]
    total = sum(p.numel() for p in parameters)
    return Held(
        weights=weights,
        gradients=sum(map(_bytes, trained)),
        states=states,
        total=total,
        trained=sum(p.numel() for p in trained),
        block=max(blocks, default=0),
        root=total - sum(blocks),
        unpacked=unpacked,
    )


def _states(parameter: nn.Parameter, optimizer: Optimizer, *, inner: bool) -> int:
    """Numbers that torch's optimizers keep for a parameter (SGD with momentum, Adafactor without)."""
    count, shape = parameter.numel(), parameter.shape
    if optimizer == "adafactor" and len(shape) >= 2:
        return count // shape[-1] + count // shape[-2]
    if optimizer in ("sgd", "adafactor") or (optimizer == "muon" and inner and len(shape) == 2):
        return count
    return 2 * count


def _shares(strategy: Strategy, devices: int) -> tuple[float, float, float]:
    """Shares of the weights, gradients and optimizer states that a device keeps (arXiv:1910.02054, figure 1)."""
    part = 1 / devices
    if strategy in ("zero-3", "fsdp"):
        return part, part, part
    if strategy == "zero-2":
        return 1.0, part, part
    return 1.0, 1.0, part if strategy == "zero-1" else 1.0


def _buffers(strategy: Strategy, devices: int, kept: Held, work: Pass) -> int:
    if devices == 1:
        return 0
    size = 2 if work.weights == "bf16" else 4
    if strategy == "ddp":
        # Its buckets are a second copy of the gradients, unless `gradient_as_bucket_view` is set (torch's own page).
        return kept.gradients
    if strategy in ("zero-1", "zero-2"):
        return 2 * min(_BUCKET, kept.trained) * size
    if strategy == "zero-3":
        return (min(_LIVE, kept.total) + min(_BUCKET, kept.trained)) * size
    # FSDP gathers the root once and two blocks at a time, the one in use and the next, and has one block's gradients
    # whole before they are scattered (https://docs.pytorch.org/docs/stable/fsdp.html).
    return (kept.root + 3 * kept.block) * size


def _blocks(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated blocks: the members of the outermost lists of modules."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def _bytes(tensor: nn.Parameter) -> int:
    return tensor.numel() * tensor.element_size()
