"""Options of a plan: what would be trained, on what, and what is assumed about it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from llmkit.config.base import option
from llmkit.config.sections import ArchitectureOptions, FamilyOptions, StepOptions

Method = Literal["full", "lora", "qlora"]
Strategy = Literal["auto", "single", "ddp", "zero-1", "zero-2", "zero-3", "fsdp"]
PlanPrecision = Literal["fp32", "bf16", "bf16-weights"]


class PlanOptions(FamilyOptions, StepOptions):
    """What `llmkit plan` computes with."""

    model: str | None = option(None, "Plan for this model of the registry, or this folder, instead of a family.")
    tokens: int = option(0, "Training tokens; 0: as --steps say, else 20 a parameter (for adapters: 1000 steps).", ge=0)
    steps: int = option(0, "Optimizer steps, instead of tokens.", ge=0)
    sequence_length: int = option(0, "Tokens of a sample; 0: the model's context, at most 4096.", ge=0)
    precision: PlanPrecision = option(
        "bf16", "Of matrix products; weights stay float32, except with bf16-weights (and gradients and states too)."
    )
    checkpointing: bool = option(False, "Keep only the inputs of blocks, and compute the rest again going backward.")
    method: Method = option("full", "Train all weights, an adapter, or an adapter on weights of four bits.")
    rank: int = option(16, "Rank of the adapter.", ge=1)
    devices: int = option(1, "Devices that train together.", ge=1)
    strategy: Strategy = option("auto", "How devices share the work; auto: ddp where there are several.")
    gpu: str = option("auto", "Kind of the devices: h200, h100, a100-80gb, a100-40gb, l40s, rtx4090, ...; auto: here.")
    device_memory: float = option(0.0, "GiB of memory of a device; 0: as its kind has.", ge=0)
    mfu: float = option(0.4, "Share of the peak that training reaches; large runs publish 0.38 to 0.52.", gt=0, le=1)
    price: float = option(0.0, "Price of a device for an hour, in any currency.", ge=0)
    watts: float = option(0.0, "Power that a device draws; 0: its board's limit.", ge=0)
    pue: float = option(1.56, "Power of the site over that of its computers; Uptime Institute's average of 2024.", ge=1)
    carbon: float = option(473.0, "Grams of CO2e for a kWh; Ember's average of the world for 2024.", ge=0)

    @model_validator(mode="after")
    def _one_budget(self) -> PlanOptions:
        if self.steps and self.tokens:
            raise ValueError("--steps and --tokens are two budgets; give one of them")
        return self

    @model_validator(mode="after")
    def _one_architecture(self) -> PlanOptions:
        if self.model and self.architecture != ArchitectureOptions():
            raise ValueError("the model of --model has its own dimensions; give others with --family and --size")
        return self

    @model_validator(mode="after")
    def _shared_by_several(self) -> PlanOptions:
        if self.devices > 1 and self.strategy == "single":
            raise ValueError("--strategy single is for one device; use ddp, fsdp or a ZeRO stage")
        return self

    @property
    def sharing(self) -> Strategy:
        """The strategy with `auto` settled."""
        if self.strategy != "auto":
            return self.strategy
        return "ddp" if self.devices > 1 else "single"

    @property
    def rows(self) -> int:
        """Samples of a forward pass of one device."""
        share = -(-self.batch_size // self.devices)
        return min(self.micro_batch_size or share, share)

    @property
    def accumulates(self) -> bool:
        """Whether a step takes several forward passes, so that gradients wait between them."""
        return self.rows * self.devices < self.batch_size
