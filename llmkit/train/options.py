"""The options of a training run, and what it chose where they left it the choice."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from llmkit.errors import ConfigError
from llmkit.train.precision import Precision
from llmkit.train.schedule import ScheduleName

Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class TrainOptions:
    """What a run does, independent of the machine. The defaults are those of a small model trained from scratch.

    Sources: nanoGPT's pretraining (betas 0.9/0.95, weight decay 0.1, clip 1.0, floor a tenth of the peak), and its
    recipe for very small models (lr 1e-3). `lora_options` gives those of fine-tuning.

    Attributes:
        steps: optimizer steps of the whole run, and the length of its schedule.
        batch_size: samples per optimizer step, over all processes.
        micro_batch_size: samples per forward pass of one process; 0 takes a process's whole share at once.
        samples: where the data ends, as a number of samples; the last step is then short. 0: it never does.
        minutes: time budget; the schedule then follows the clock where that is ahead of the steps. 0: none.
        lr: peak learning rate.
        floor: share of `lr` at the end of a decaying schedule.
        warmup: share of the run that warms up.
        clip: largest gradient norm; larger gradients are scaled down to it. 0: never.
        eval_every: steps between evaluations; 0: only before the first and after the last.
        checkpoint_every: steps between checkpoints; 0: only after the last and when interrupted.
        keep: checkpoints that are kept, newest first.
        seed: of data order, masks and dropout.
        precision: of matrix products; `auto` measures. Weights and optimizer state are float32 in either case.
        compile: `auto` compiles where the run is long enough to earn the compile time back.
        device: auto, cpu, cuda, cuda:N or mps.
    """

    steps: int
    batch_size: int = 16
    micro_batch_size: int = 0
    samples: int = 0
    minutes: float = 0.0
    lr: float = 1e-3
    floor: float = 0.1
    schedule: ScheduleName = "cosine"
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip: float = 1.0
    eval_every: int = 0
    checkpoint_every: int = 0
    keep: int = 2
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Compile = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.keep < 1:
            raise ConfigError("steps, batch size and keep must be at least 1")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warm-up is a share of the run in [0, 1), not {self.warmup}", where="warmup")

    def trajectory(self) -> dict[str, object]:
        """The options that decide what the weights become: a run can be resumed only with the same ones."""
        free = {"eval_every", "checkpoint_every", "keep", "device", "micro_batch_size"}
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in free}


def lora_options(steps: int, **changed: object) -> TrainOptions:
    """Options of a LoRA run: lr 2e-4, cosine to zero, 10% warm-up, no weight decay (TRL, axolotl, LLaMA-Factory)."""
    usual: dict[str, object] = {"lr": 2e-4, "floor": 0.0, "weight_decay": 0.0, "betas": (0.9, 0.999)}
    return TrainOptions(steps=steps, **{**usual, **changed})  # type: ignore[arg-type]  # keyword by keyword, by name


@dataclass(frozen=True)
class Choices:
    """What a run settled on; stored in its checkpoints and obeyed when it resumes on the same kind of device."""

    device: str
    precision: Precision
    compiled: bool
    threads: int
    processes: int
