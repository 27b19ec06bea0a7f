"""Memory of a training step, counted tensor by tensor as the step is run on tensors without data.

Formulas such as sbh(34 + 5as/h) bytes a layer (Korthikanti et al. 2022, arXiv:2205.05198, equation 2) hold for one
architecture and one set of kernels. Here the model's own code runs, forward and backward, under torch's FakeTensorMode:
every operation yields shapes, types and lifetimes, and nothing is computed or allocated. So gated and parallel blocks,
grouped heads, adapters, casts and recomputation are counted as they are. For GPT with attention's matrix kept, the
result is that formula's, which a test shows.

Blocks are alike, so a deep model is traced at two small depths and continued on the line through them.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig, PreTrainedModel

from llmkit.config.sections import LoraOptions
from llmkit.errors import UnavailableError
from llmkit.models.adapters import attach
from llmkit.models.build import AUTO_CLASSES
from llmkit.models.families import Objective
from llmkit.models.heads import LOGITS_AT_ONCE_ELSEWHERE, head_as_loss
from llmkit.models.kernels import quick_kernels, use_kernels

_DEPTHS, _OF_KINDS = (2, 4), (3, 6)
"""Depths that are traced, and those of models with blocks of several kinds: ModernBERT's repeat in threes."""

Moments = Sequence[tuple[int, int]]
"""(bytes of everything made in the step but gradients, bytes of gradients) after each operation of a phase."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of one device.

    Attributes:
        rows: samples.
        length: tokens of a sample that the model (of an encoder-decoder model the encoder) reads.
        answer: tokens that the decoder of an encoder-decoder model reads; 0 for all others.
        predicted: positions of a sample that have a label.
        weights: type of the weights.
        autocast: matrix products in bfloat16, with copies of the weights.
        checkpointing: blocks are computed again in the backward pass.
        logits_at_once: logits that are computed together; see `llmkit.models.heads`.
        fused_dropout: attention's kernel drops by itself, as on GPUs; False: it is computed as training on a CPU does.
        lora: an adapter that alone is trained.
    """

    rows: int
    length: int
    answer: int
    predicted: int
    weights: Literal["fp32", "bf16"] = "fp32"
    autocast: bool = False
    checkpointing: bool = False
    logits_at_once: int = LOGITS_AT_ONCE_ELSEWHERE
    fused_dropout: bool = True
    lora: LoraOptions | None = None


@dataclass(frozen=True)
class Trace:
    """What a pass takes besides weights and optimizer; bytes.

    Attributes:
        loss: the part of the activations that is held for logits and their loss.
        phases: the pass at one depth: forward, first half of the backward pass, second half.
        deeper: the same at another depth, with how far between the two (1: there) the model lies.
    """

    loss: int
    phases: Sequence[Moments]
    deeper: tuple[Sequence[Moments], float] | None = None

    def peak(self, gradient_share: float = 1.0) -> int:
        """Most bytes at once, where a device keeps this share of the gradients (0: activations alone)."""
        found = [_peak(phase, gradient_share) for phase in self.phases]
        if self.deeper is not None:
            phases, reach = self.deeper
            # Over a phase memory rises or falls steadily, so its peak is linear in the depth; the whole's is not.
            found = [
                low + reach * (_peak(phase, gradient_share) - low) for low, phase in zip(found, phases, strict=True)
            ]
        return round(max(found))


def _peak(phase: Moments, share: float) -> float:
    return max((rest + share * gradients for rest, gradients in phase), default=0.0)


def trace(config: PretrainedConfig, objective: Objective, work: Pass) -> Trace:
    """Trace one pass of a model; its weights count for nothing.

    Args:
        config: of the model at its full depth.

    Raises:
        UnavailableError: torch cannot run the architecture without data.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.disabled
    log.disabled = True  # it would print the stack of what is raised below
    try:
        return _on_the_line(config, objective, work)
    except RuntimeError as error:
        raise UnavailableError(
            f"the memory of {config.model_type} models cannot be counted in these types: {str(error).splitlines()[0]}",
            mend="try --precision bf16-weights, or plan for a family of the table",
        ) from error
    finally:
        log.disabled = before


def _on_the_line(config: PretrainedConfig, objective: Objective, work: Pass) -> Trace:
    depth = int(config.num_hidden_layers)
    shallow, deep = _OF_KINDS if len(set(getattr(config, "layer_types", None) or ())) > 1 else _DEPTHS
    if depth <= deep:
        return traced(config, objective, work)
    low = traced(at_depth(config, shallow), objective, work)
    high = traced(at_depth(config, deep), objective, work)
    return Trace(high.loss, low.phases, (high.phases, (depth - shallow) / (deep - shallow)))


def at_depth(config: PretrainedConfig, depth: int) -> PretrainedConfig:
    """The configuration with that many blocks (of each kind, where there is an encoder and a decoder)."""
    changed = copy.deepcopy(config)
    changed.num_hidden_layers = depth
    if getattr(changed, "num_decoder_layers", None):
        changed.num_decoder_layers = depth
    if getattr(changed, "layer_types", None):
        changed.layer_types = changed.layer_types[:depth]
    return changed


def built(config: PretrainedConfig, objective: Objective, work: Pass) -> nn.Module:
    """The model of a pass on the meta device, in training mode, with nothing computed or allocated."""
    changed = copy.deepcopy(config)
    changed.use_cache = False
    dtype = torch.bfloat16 if work.weights == "bf16" else torch.float32
    with torch.device("meta"):
        model: PreTrainedModel = AUTO_CLASSES[objective].from_config(changed, dtype=dtype)
        if work.checkpointing:
            # Without the random state, which tensors without data cannot have; its few kilobytes are no matter.
            given = {"use_reentrant": False, "preserve_rng_state": False}
            model.activation_checkpointing_enable(given)
        adapted: nn.Module = attach(model, objective, work.lora, seed=0) if work.lora is not None else model
        use_kernels(adapted)
    return adapted.train()


def head_of(model: nn.Module) -> Any:
    """The output layer of a model, which may be inside an adapter."""
    inner: Any = model
    return (inner.get_base_model() if hasattr(inner, "get_base_model") else inner).get_output_embeddings()


def _onto_cpu(model: nn.Module) -> None:
    """Move a model of the meta device onto the CPU of the open FakeTensorMode, whose kernels and casts then apply."""
    moved: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    there = torch.empty(parameter.shape, dtype=parameter.dtype)
                    moved[id(parameter)] = nn.Parameter(there, requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def traced(config: PretrainedConfig, objective: Objective, work: Pass) -> Trace:
    """Trace one pass at the depth that the configuration has, however deep."""
    model = built(config, objective, work)
    with FakeTensorMode():
        _onto_cpu(model)
        given = {"input_ids": torch.zeros(work.rows, work.length, dtype=torch.long)}
        if work.answer:
            given["decoder_input_ids"] = torch.zeros(work.rows, work.answer, dtype=torch.long)
        targets = torch.zeros(work.rows * work.predicted, dtype=torch.long)
        meter = _Meter(model, [*given.values(), targets])
        body = 0

        def predicted(hidden: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal body
            body = meter.rest
            return hidden.flatten(0, 1)[: len(targets)].clone(), targets

        losing = head_as_loss(head_of(model), predicted, work.logits_at_once)
        with meter, losing, _attention(work.fused_dropout):
            with torch.autocast("cpu", torch.bfloat16) if work.autocast else nullcontext():
                loss = model(**given).logits.sum()  # one number, unless the model adds a bias to it
            made = meter.highest - body
            meter.begin_backward()
            loss.backward()
        return Trace(max(0, made), meter.phases)


@contextmanager
def _attention(fused_dropout: bool) -> Iterator[None]:
    """While open, attention has the memory of a GPU's kernel, which draws its own dropout, or of a CPU's training."""
    if not fused_dropout:
        with quick_kernels():
            yield
        return
    plain = functional.scaled_dot_product_attention

    def undropped(*args: Any, **kwargs: Any) -> Tensor:
        return plain(*args, **{**kwargs, "dropout_p": 0.0})

    functional.scaled_dot_product_attention = undropped
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = plain


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Follows the memory of every tensor that an operation makes, from its making to its end."""

    def __init__(self, model: nn.Module, given: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.phases: list[list[tuple[int, int]]] = [[(0, 0)], [], []]
        self.rest = self.highest = 0
        self._gradients = 0
        self._phase = 0
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._awaited = len(trained)
        self._done = 0
        self._known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
        for tensor in (*model.parameters(), *model.buffers(), *given):
            self._known[tensor.untyped_storage()] = True
        for parameter in trained:
            hooked: Any = parameter  # torch has no types for its hooks
            hooked.register_post_accumulate_grad_hook(self._accumulated)

    def begin_backward(self) -> None:
        self._phase = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        self.phases[self._phase].append((self.rest, self._gradients))
        return made

    def _add(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        size = storage.nbytes()
        self.rest += size
        self.highest = max(self.highest, self.rest)
        weakref.finalize(storage, self._drop, size).atexit = False

    def _drop(self, size: int) -> None:
        self.rest -= size

    def _accumulated(self, parameter: Tensor) -> None:
        # The gradient of a parameter changes sides: it was memory of the pass, and is now to be kept.
        assert parameter.grad is not None  # noqa: S101  # the hook runs after it was set
        size = parameter.grad.untyped_storage().nbytes()
        self.rest -= size
        self._gradients += size
        self.phases[self._phase].append((self.rest, self._gradients))
        self._done += 1
        if 2 * self._done >= self._awaited:
            self._phase = 2
