"""How the processes of a run share a model: whole in each of them, or in shards (FSDP), and what differs by that.

The loop computes sums and scales them; what is here places the model, hands gradients round, measures their norm, and
gathers what a checkpoint or a saved model holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, broadcast_object_list, fsdp2_prepare_model
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.optim import SGD, Adafactor, Optimizer
from torch.utils.checkpoint import checkpoint

from llmkit.errors import RunError, UnavailableError
from llmkit.train.checkpoint import Tensors, in_shards, tensors_of, whole

_TOGETHER_SECONDS = 20
"""How long processes that leave their run one by one wait for each other, to write a last checkpoint together."""


class Replicas:
    """The whole model in every process (DDP), or in the only one.

    Attributes:
        model: what is called with batches.
        bare: the same without wrappers, under its own names.
        optimizer: over the parameters of `bare`.
    """

    name = ""
    model: nn.Module
    bare: nn.Module
    optimizer: Optimizer

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def place(self, model: nn.Module) -> nn.Module:
        """The model where it will be trained, before anything looks at it."""
        return model.to(self.accelerator.device)

    def prepare(
        self, model: nn.Module, make: Callable[[nn.Module], Optimizer], fill: Callable[[nn.Module, Optimizer], None]
    ) -> None:
        """Share the model out, and make its optimizer.

        Args:
            make: the optimizer of a model.
            fill: puts a checkpoint's values, if there is one, into both.
        """
        self.bare, self.optimizer = model, make(model)
        fill(model, self.optimizer)
        self.model = self.accelerator.prepare_model(model)

    def turn(self, *, last: bool) -> AbstractContextManager[None]:
        """Around the forward and the backward pass of a micro-batch; gradients are exchanged in the last of a step."""
        synced: AbstractContextManager[None] = nullcontext() if last else self.accelerator.no_sync(self.model)
        return synced

    def backward(self, total: Tensor) -> None:
        self.accelerator.backward(total)

    def scale_gradients(self, scale: float, clip: float) -> float:
        """Scale gradients of sums to those of the mean, and down to the clipping norm, in one pass; their norm."""
        gradients = [p.grad for p in self.bare.parameters() if p.grad is not None]
        norm = float(whole(nn.utils.get_total_norm(gradients))) * scale
        torch._foreach_mul_(gradients, scale * min(1.0, clip / norm) if clip and norm > 0 else scale)
        return norm

    def step(self, lr: float) -> None:
        """One optimizer step at a learning rate; gradients are gone afterwards."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def together(self) -> bool:
        """Whether all processes that a checkpoint takes have come here to write it."""
        return True

    def snapshot(self) -> Tensors | None:
        """What a checkpoint holds, in the main process; None in the others."""
        return tensors_of(self.bare, self.optimizer) if self.accelerator.is_main_process else None


class Shards(Replicas):
    """Each process holds a part of every parameter, of its gradient and of its optimizer state (FSDP2, `fully_shard`).

    Accelerate's FSDP settings decide how layers are grouped. Gradients are reduced after every micro-batch: keeping
    them whole until the last one would take the memory that sharding saves.
    """

    name = "FSDP"

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator)
        # Accelerate passes over its own setting on CPUs.
        plugin = accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        if plugin.fsdp_version != 2:
            raise UnavailableError(
                "FSDP version 1 cannot write llmkit's checkpoints", mend="set fsdp_version: 2 in accelerate's config"
            )
        if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
            raise UnavailableError(
                "parameters that FSDP keeps on the CPU cannot be trained here yet",
                mend="set fsdp_offload_params: false in accelerate's config",
            )
        self._farewell = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=_TOGETHER_SECONDS))

    def place(self, model: nn.Module) -> nn.Module:
        return model  # on a GPU layer by layer, when it is cut up: it may not fit there whole

    def prepare(
        self, model: nn.Module, make: Callable[[nn.Module], Optimizer], fill: Callable[[nn.Module, Optimizer], None]
    ) -> None:
        plugin = self.accelerator.state.fsdp_plugin
        if plugin.activation_checkpointing:
            _recompute(model, plugin)
        self.model = self.bare = fsdp2_prepare_model(self.accelerator, model)
        self.optimizer = make(model)
        if isinstance(self.optimizer, Adafactor):
            raise UnavailableError("torch's Adafactor cannot train a model in shards", mend="use --optimizer adamw")
        if isinstance(self.optimizer, SGD):  # torch has no fused SGD of sharded tensors
            for group in self.optimizer.param_groups:
                group["fused"] = False
        fill(model, self.optimizer)

    def turn(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def together(self) -> bool:
        try:
            torch.distributed.monitored_barrier(self._farewell, timeout=timedelta(seconds=_TOGETHER_SECONDS))
        except RuntimeError:
            return False
        return True

    def snapshot(self) -> Tensors | None:
        return tensors_of(self.bare, self.optimizer, keep=self.accelerator.is_main_process)


def parallel_for(accelerator: Accelerator) -> Replicas:
    """How a run shares its model, by what accelerate was configured for.

    Raises:
        UnavailableError: in a way that llmkit does not train in.
    """
    if _asked_for("ACCELERATE_USE_DEEPSPEED"):
        raise UnavailableError(
            "DeepSpeed cannot write llmkit's checkpoints yet",
            mend="use FSDP, which shards the same things: docs/distributed.md has a configuration",
        )
    if _asked_for("ACCELERATE_USE_FSDP") and accelerator.num_processes > 1:
        return Shards(accelerator)
    return Replicas(accelerator)


def _recompute(model: nn.Module, plugin: FullyShardedDataParallelPlugin) -> None:
    """Compute the activations of each layer again in the backward pass, instead of keeping them.

    Around `forward` and inside the layer's hooks: recomputing must not gather the weights anew. Accelerate's own way
    puts a module around each layer, which gives parameters other names.
    """
    plugin.set_auto_wrap_policy(model)
    is_layer = fsdp2_prepare_auto_wrap_policy(plugin, model)
    for layer in filter(is_layer, model.modules()) if is_layer else ():
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def _asked_for(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in {"true", "1"}


def require_whole(command: str) -> None:
    """Raise UnavailableError where processes were configured to train in shards."""
    if _asked_for("ACCELERATE_USE_FSDP") or _asked_for("ACCELERATE_USE_DEEPSPEED"):
        raise UnavailableError(f"{command} does not train models in shards", mend="start it without FSDP and DeepSpeed")


def agree(step: int) -> None:
    """Raise RunError unless every process found the same checkpoint, told by its step, to go on from."""
    agreed = [step]
    broadcast_object_list(agreed)
    if agreed[0] != step:
        raise RunError(
            f"the main process goes on from step {agreed[0]}, but this one finds a checkpoint of step {step}",
            mend="put LLMKIT_HOME on a file system that all machines share, and run the same command again",
        )


def whole_state(model: nn.Module) -> dict[str, Tensor] | None:
    """The state of a model that is in shards, gathered on the CPU of the main process; None where it is whole.

    Every process must call it. Those that are not the main one get an empty dictionary.
    """
    if not in_shards(model):
        return None
    keep = torch.distributed.get_rank() == 0
    gathered: dict[int, Tensor] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        if id(tensor) not in gathered:  # tied parameters stay one
            full = whole(tensor)
            gathered[id(tensor)] = full.detach().cpu() if keep else full.new_empty(0)
    names = model.state_dict(keep_vars=True)
    return {name: gathered[id(tensor)] for name, tensor in names.items()} if keep else {}
