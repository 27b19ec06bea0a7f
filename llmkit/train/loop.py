"""The training loop: a generator of steps that knows neither the data's meaning nor who is watching.

The gradient of a step is that of its loss summed over all micro-batches and processes, divided once by the number of
trained tokens among them: splitting a step differently changes nothing but rounding.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llmkit.config.sections import TrainOptions
from llmkit.errors import ConfigError, DataError, RunError
from llmkit.train import checkpoint as checkpoints
from llmkit.train.interrupt import SIGNALS, HeldSignals
from llmkit.train.losses import Loss, token_loss, without_cache
from llmkit.train.optim import optimizer_for
from llmkit.train.options import Choices, trajectory
from llmkit.train.records import Evaluation, StepRecord
from llmkit.train.samples import Samples, random_source, samples_of_step, shares
from llmkit.train.schedule import multiplier
from llmkit.train.setup import Workload, accelerator_for, choose, compile_blocks


def train(
    model: nn.Module,
    samples: Samples,
    options: TrainOptions,
    *,
    loss: Loss = token_loss,
    validation: Samples | None = None,
    directory: Path | None = None,
) -> Iterator[StepRecord]:
    """Train a model in place, yielding a record before the first step and after each one.

    Closing the iterator, Ctrl-C and SIGTERM end the run between two steps, with a checkpoint. While a record is being
    looked at, the model is on the run's device and in training mode.

    Args:
        model: its parameters that require a gradient are trained, in float32.
        loss: `loss(model, batch) -> (sum, weight)`.
        validation: evaluated before the first step, every `options.eval_every` steps and after the last.
        directory: where checkpoints are; a run that finds one of its own there goes on from it, bit for bit on the
            same device and number of processes. None: no checkpoints.

    Raises:
        UnavailableError: the device is not there.
        ConfigError: the checkpoint in `directory` was made with other options.
        DataError: a step has nothing to train.
        RunError: the loss is not finite; the last checkpoint is kept.
        StorageError: a checkpoint cannot be written; earlier ones are kept.
    """
    run = _Run(model, samples, options, loss, validation, directory)
    try:
        with without_cache(model):
            yield from run.records()
    finally:
        run.accelerator.free_memory()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    samples: Samples,
    *,
    batch_size: int,
    loss: Loss = token_loss,
    precision: str = "fp32",
    accelerator: Accelerator | None = None,
) -> tuple[float, int]:
    """(summed negative log-likelihood in nats, positions predicted) over all samples, each once.

    The model stays on its device and returns to the mode it was in. With an accelerator, processes share the samples.
    """
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total = torch.zeros(2, dtype=_wide(device), device=device)
    try:
        with without_cache(model), _autocast(device, precision):
            for share in shares(samples_of_step(samples, 0, len(samples)), batch_size, rank, world):
                nll, weight = loss(model, samples.batch(share, batch_size).to(device))
                total += torch.stack([nll.to(total.dtype), weight.to(total.dtype)])
    finally:
        model.train(was_training)
    reduced = accelerator.reduce(total, "sum") if accelerator else total
    return float(reduced[0]), int(reduced[1])


class _Run:
    """One run of the loop: everything that lives as long as its generator."""

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        options: TrainOptions,
        loss: Loss,
        validation: Samples | None,
        directory: Path | None,
    ) -> None:
        self.accelerator = accelerator_for(options.device)
        self._options, self._samples, self._loss, self._validation = options, samples, loss, validation
        self._directory = directory
        self._bare = model.to(self.accelerator.device)
        self._bare.train()
        share = -(-options.batch_size // self.accelerator.num_processes)
        self._micro = min(options.micro_batch_size or share, share)
        self._held = HeldSignals()
        self._evaluations: tuple[Evaluation, ...] = ()
        self._step = self._saved = self._resumed_from = 0
        self._elapsed = 0.0
        self._notes: tuple[str, ...] = ()
        found = checkpoints.latest(directory) if directory else None
        self.choices = choose(options, self.accelerator, self._workload(), self._stored_choices(found))
        torch.set_num_threads(self.choices.threads)
        bare_optimizer = optimizer_for(model, options, self.accelerator.device.type)
        if found:
            self._resume(found, bare_optimizer)
        self._bare_optimizer = bare_optimizer
        if self.choices.compiled:
            compile_blocks(model)
        self._model, self._optimizer = self.accelerator.prepare(model, bare_optimizer)

    def records(self) -> Iterator[StepRecord]:
        evaluated = self._step == 0 and self._evaluate()
        yield from self._hand_over(self._record(evaluated, resumed_from=self._resumed_from, notes=self._notes))
        while not self._finished():
            with self._held.hold():
                facts, signals = self._train_step()
            if any(signals):
                self._save()
                self._held.deliver(signals)
            last = self._finished()
            due = self._options.eval_every and self._step % self._options.eval_every == 0
            evaluated = bool(due or last) and self._evaluate()
            due = self._options.checkpoint_every and self._step % self._options.checkpoint_every == 0
            path = self._save() if due or last else None
            yield from self._hand_over(self._record(evaluated, checkpoint=path, **facts))

    def _hand_over(self, record: StepRecord) -> Iterator[StepRecord]:
        try:
            yield record
        except BaseException:  # the caller closed us: it stops early, was interrupted or failed
            self._save()
            raise

    def _train_step(self) -> tuple[dict[str, Any], list[float]]:
        begin = time.perf_counter()
        device, processes = self.accelerator.device, self.accelerator.num_processes
        sums = self._accumulate(device)
        sums = self.accelerator.reduce(sums, "sum")
        total, weight, positions, elapsed, *signals = sums.tolist()
        if weight == 0:
            raise DataError(f"step {self._step + 1} has no trained token", mend="check the data's labels")
        loss = total / weight
        norm = self._scale_gradients(processes / weight)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RunError(
                f"the loss of step {self._step + 1} is {loss}, its gradient norm {norm}",
                where=str(self._directory) if self._directory else None,
                mend="use a lower --lr or a longer warm-up; --restart starts over, else the run goes on from its "
                f"last checkpoint (step {self._saved})",
            )
        lr = self._options.lr * multiplier(
            self._options.schedule,
            self._position(elapsed / processes),
            self._options.steps,
            warmup=self._options.warmup,
            floor=self._options.floor,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - begin
        self._step += 1
        self._elapsed = elapsed / processes + seconds
        facts = {"loss": loss, "lr": lr, "grad_norm": norm, "tokens": int(weight), "positions": int(positions)}
        return {**facts, "seconds": seconds}, signals

    def _accumulate(self, device: torch.device) -> Tensor:
        """Gradients of the summed loss of this process's share, and its sums.

        Returns a vector: summed loss, trained tokens, positions, seconds since the start, waiting signals.
        """
        options = self._options
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        # Seeded anew for each step, dropout needs no stored state, and nothing a caller draws in between disturbs it.
        torch.manual_seed(int(random_source(options.seed, "step", self._step, rank).integers(2**63)))
        chosen = samples_of_step(self._samples, self._step, options.batch_size, options.samples or None)
        mine = shares(chosen, self._micro, rank, world)
        sums = torch.zeros(4 + len(SIGNALS), dtype=_wide(device), device=device)
        for turn, share in enumerate(mine, start=1):
            batch = self._samples.batch(share, self._micro).to(device)
            synced = nullcontext() if turn == len(mine) else self.accelerator.no_sync(self._model)
            with synced:
                with _autocast(device, self.choices.precision):
                    total, weight = self._loss(self._model, batch)
                self.accelerator.backward(total)
            sums[:3] += torch.stack([total.detach(), weight, torch.tensor(batch.labels.numel(), device=device)])
        sums[3] = self._elapsed
        sums[4:] = torch.tensor(self._held.counts())
        return sums

    def _scale_gradients(self, scale: float) -> float:
        """Scale gradients of sums to those of the mean, and down to the clipping norm, in one pass; their norm."""
        gradients = [p.grad for p in self._bare.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients)) * scale
        clip = self._options.clip
        torch._foreach_mul_(gradients, scale * min(1.0, clip / norm) if clip and norm > 0 else scale)
        return norm

    def _position(self, elapsed: float) -> float:
        """Steps done, or where the clock says the run is, whichever is further."""
        minutes = self._options.minutes
        return max(self._step, self._options.steps * elapsed / (60.0 * minutes)) if minutes else self._step

    def _finished(self) -> bool:
        options = self._options
        ended = bool(options.samples) and self._step * options.batch_size >= options.samples
        return ended or self._position(self._elapsed) >= options.steps

    def _evaluate(self) -> bool:
        if self._validation is None:
            return False
        try:
            nll, tokens = evaluate(
                self._bare,
                self._validation,
                batch_size=self._micro,
                loss=self._loss,
                precision=self.choices.precision,
                accelerator=self.accelerator,
            )
        except BaseException:  # interrupted: the weights are those of a whole step
            self._save()
            raise
        self._evaluations = (*self._evaluations, Evaluation(self._step, nll, tokens))
        return True

    def _record(self, evaluated: bool, **facts: Any) -> StepRecord:
        return StepRecord(
            step=self._step,
            progress=min(1.0, self._position(self._elapsed) / self._options.steps),
            choices=self.choices,
            evaluations=self._evaluations,
            evaluated=evaluated,
            **facts,
        )

    def _save(self) -> Path | None:
        if self._directory is None or self._step == self._saved:
            return None
        self._saved = self._step
        if not self.accelerator.is_main_process:
            return None
        facts = {
            "options": trajectory(self._options),
            "samples": len(self._samples),
            "choices": dataclasses.asdict(self.choices),
            "elapsed": self._elapsed,
            "evaluations": [dataclasses.asdict(evaluation) for evaluation in self._evaluations],
        }
        return checkpoints.save(
            self._directory, self._step, self._bare, self._bare_optimizer, facts, keep=self._options.keep
        )

    def _resume(self, found: checkpoints.Checkpoint, optimizer: torch.optim.Optimizer) -> None:
        now = json.loads(json.dumps({**trajectory(self._options), "samples in the data": len(self._samples)}))
        then = {**found.facts["options"], "samples in the data": found.facts["samples"]}
        for key, value in now.items():
            if then.get(key) != value:
                raise ConfigError(
                    f"the run to resume had {key} {then.get(key)}, this one has {value}",
                    where=str(found.path),
                    mend="use the same options, or start over with --restart",
                )
        found.restore(self._bare, optimizer)
        self._step = self._saved = self._resumed_from = found.step
        self._elapsed = found.facts["elapsed"]
        self._evaluations = tuple(Evaluation(**facts) for facts in found.facts["evaluations"])
        self._notes = tuple(f"passed over a damaged checkpoint: {path}" for path in found.damaged)

    def _stored_choices(self, found: checkpoints.Checkpoint | None) -> Choices | None:
        return Choices(**found.facts["choices"]) if found else None

    def _workload(self) -> Workload:
        batch = self._samples.batch([], 1)
        rows = self._options.steps * self._options.batch_size // self.accelerator.num_processes
        return Workload(sum(p.numel() for p in self._bare.parameters()), rows * batch.labels.shape[1])


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
