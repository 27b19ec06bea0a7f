"""What a run decides before its first step: processes, device, precision, compilation, threads."""

from __future__ import annotations

import atexit
import math
import os
import shutil
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import nn

from llmkit.config.sections import TrainOptions
from llmkit.errors import RunError, UnavailableError
from llmkit.models.heads import COMPILED
from llmkit.train.launch import World
from llmkit.train.options import Choices
from llmkit.train.precision import probe, resolve_device, threads_for

_EARNS_COMPILE = {"cpu": 3e13, "cuda": 1e16}
"""FLOPs of training, per CPU thread or per GPU, from which compiling pays: some five minutes of work. Compiling costs
20 to 50 s on 2 cores and saves about a third. The work decides and not a measured speed: two equal runs must choose
alike even if the machine is busy during one of them, or their weights would differ."""


@dataclass(frozen=True)
class Workload:
    """Size of a run, to judge how long it will take."""

    parameters: int
    positions: int
    """Over all steps, of one process."""
    varying: bool = False
    """Whether batches have several widths: each would be compiled anew."""

    @property
    def flops(self) -> float:
        """6 per parameter and position (arXiv:2001.08361, table 1, with the backward pass)."""
        return 6.0 * self.parameters * self.positions


def accelerator_for(device_name: str) -> Accelerator:
    """One Accelerator for this process and device. Raises UnavailableError where the device is missing.

    Precision is left to the loop: accelerate fixes it once per process, and its wrapper copies all outputs to float32.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = resolve_device(device_name, local_rank)
    state = AcceleratorState._shared_state
    if state and state["device"].type != device.type:
        # An earlier stage of this process used another device; accelerate keeps the first for ever otherwise.
        AcceleratorState._reset_state(reset_partial_state=True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    world = World.current()
    if accelerator.num_processes != world.size:
        raise RunError(
            f"the launcher started {world.size} processes, and accelerate made a group of {accelerator.num_processes}",
            mend="start them with torchrun, or with --processes",
        )
    if world.size > 1 and device.type == "cpu":
        atexit.unregister(_leave)
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Gloo's threads, where nobody ends them, now and then abort a process that has finished its work."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def choose(options: TrainOptions, accelerator: Accelerator, work: Workload, stored: Choices | None) -> Choices:
    """Settle what the options leave open; the main process measures, all obey. `stored` choices win on their device.

    Raises:
        UnavailableError: `compile` is on and there is no C++ compiler.
    """
    kind = accelerator.device.type
    if stored is not None and stored.device == kind:
        precision, compiled, threads = stored.precision, stored.compiled, stored.threads
    else:
        threads = threads_for(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        torch.set_num_threads(threads)
        precision = probe(accelerator.device).precision if options.precision == "auto" else options.precision
        enough = _EARNS_COMPILE.get(kind, math.inf) * (threads if kind == "cpu" else 1)
        # With only a time budget the number of steps is nominal, and the work is not known beforehand.
        long = not options.minutes and not work.varying and work.flops > enough and _has_compiler()
        compiled = long if options.compile == "auto" else options.compile == "on"
    if compiled and not _has_compiler():
        raise UnavailableError(
            "compiling needs a C++ compiler, and none is installed", mend="install g++ or clang++, or use --compile off"
        )
    agreed = [Choices(kind, precision, compiled, threads, accelerator.num_processes)]
    broadcast_object_list(agreed)
    return agreed[0]


def seed_device(device: torch.device, seed: int) -> None:
    """Seed what the device draws, dropout for one."""
    if device.type == "cpu":
        # torch.manual_seed also notes down for GPUs that are not there where it was called: 0.2 ms in every step.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def compile_blocks(model: nn.Module) -> None:
    """Compile each repeated block of a model in place: one compilation serves all layers, and no name changes.

    On a GPU the softmax of the output layer is compiled too: it then passes over the logits twice, and not six times.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None and next(model.parameters()).device.type == "cuda":
        setattr(head, COMPILED, True)
    for part in model.modules():
        if isinstance(part, nn.ModuleList):
            for block in part:
                block.compile(dynamic=False)


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))
