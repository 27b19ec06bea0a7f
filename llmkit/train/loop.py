"""The training loop: a generator of steps that knows neither the data's meaning nor who is watching.

The gradient of a step is that of its loss summed over all micro-batches and processes, divided once by the number of
trained tokens among them: splitting a step differently changes nothing but rounding.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.config.sections import TrainOptions
from llmkit.errors import ConfigError, DataError, RunError
from llmkit.models.kernels import quick_kernels, use_kernels
from llmkit.train import checkpoint as checkpoints
from llmkit.train.evaluation import HeldOut
from llmkit.train.interrupt import SIGNALS, HeldSignals
from llmkit.train.losses import Loss, token_loss, without_cache
from llmkit.train.optim import optimizer_for
from llmkit.train.options import Choices, trajectory
from llmkit.train.padding import ByLength
from llmkit.train.parallel import agree, parallel_for
from llmkit.train.precision import autocast, wide
from llmkit.train.records import Evaluation, StepRecord
from llmkit.train.samples import Samples, random_source, samples_of_step, shares
from llmkit.train.schedule import multiplier
from llmkit.train.setup import Workload, accelerator_for, choose, compile_blocks, seed_device
from llmkit.train.watch import LossWatch, best_of, stalled


def train(
    model: nn.Module,
    samples: Samples,
    options: TrainOptions,
    *,
    loss: Loss = token_loss,
    validation: Samples | Mapping[str, Samples] | None = None,
    directory: Path | None = None,
) -> Iterator[StepRecord]:
    """Train a model in place, yielding a record before the first step and after each one.

    Closing the iterator, Ctrl-C and SIGTERM end the run between two steps, with a checkpoint. While a record is being
    looked at, the model is on the run's device and in training mode.

    Args:
        model: its parameters that require a gradient are trained, in float32.
        loss: `loss(model, batch) -> (sum, weight)`.
        validation: evaluated before the first step, every `options.eval_every` steps and after the last; by name where
            it comes from several datasets.
        directory: where checkpoints are; a run that finds one of its own there goes on from it, bit for bit on the
            same device and number of processes. None: no checkpoints. The one with the lowest held-out loss is kept.

    Raises:
        UnavailableError: the device is not there.
        ConfigError: the checkpoint in `directory` was made with other options.
        DataError: a step has nothing to train.
        RunError: the loss is not finite, or rose by more than `options.spike`; a checkpoint from before is kept.
        StorageError: a checkpoint cannot be written; earlier ones are kept.
    """
    run = _Run(model, samples, options, loss, validation, directory)
    try:
        with without_cache(model), run.signals_held():
            yield from run.records()
    finally:
        run.accelerator.free_memory()


class _Run:
    """One run of the loop: everything that lives as long as its generator."""

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        options: TrainOptions,
        loss: Loss,
        validation: Samples | Mapping[str, Samples] | None,
        directory: Path | None,
    ) -> None:
        self.accelerator = accelerator_for(options.device)
        self._options, self._samples, self._loss = options, samples, loss
        self._directory = directory
        self._held_out = _held_out(validation, options, loss)
        self._parallel = parallel_for(self.accelerator)
        self._bare = self._parallel.place(model)
        self._bare.train()
        share = -(-options.batch_size // self.accelerator.num_processes)
        self._micro = min(options.micro_batch_size or share, share)
        self._held = HeldSignals()
        self._evaluations: tuple[Evaluation, ...] = ()
        self._watch = LossWatch()
        self._step = self._saved = self._resumed_from = 0
        self._elapsed = 0.0
        self._notes: tuple[str, ...] = ()
        found = checkpoints.latest(directory) if directory else None
        agree(found.step if found else 0)
        chosen = choose(options, self.accelerator, self._workload(), self._stored_choices(found))
        self.choices = dataclasses.replace(chosen, sharding=self._parallel.name)
        torch.set_num_threads(self.choices.threads)
        use_kernels(model)
        if self.choices.compiled:
            compile_blocks(model)
        self._parallel.prepare(
            model,
            lambda model: optimizer_for(model, options, self.accelerator.device.type),
            lambda model, optimizer: self._resume(found, model, optimizer) if found else None,
        )

    @contextmanager
    def signals_held(self) -> Iterator[None]:
        """Several processes end after the same step: between steps too, a signal waits until all know of it."""
        with self._held.hold() if self.accelerator.num_processes > 1 else nullcontext():
            yield
        self._held.deliver(self._held.counts())  # what came after the last step

    def records(self) -> Iterator[StepRecord]:
        evaluated = self._step == 0 and self._evaluate()
        yield from self._hand_over(self._record(evaluated, resumed_from=self._resumed_from, notes=self._notes))
        while not self._finished():
            with self._held.hold():
                facts, signals = self._train_step()
            if any(signals):
                self._save()
                self._held.deliver(signals)
            self._check_course()
            due = self._options.eval_every and self._step % self._options.eval_every == 0
            evaluated = bool(due or self._finished()) and self._evaluate()
            best = evaluated and best_of(self._evaluations) is self._evaluations[-1]
            due = self._options.checkpoint_every and self._step % self._options.checkpoint_every == 0
            path = self._save() if due or best or self._finished() else None
            yield from self._hand_over(self._record(evaluated, checkpoint=path, **facts))

    def _hand_over(self, record: StepRecord) -> Iterator[StepRecord]:
        try:
            yield record
        except BaseException:  # the caller closed us: it stops early, was interrupted or failed
            self._save_if_together()
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
        norm = self._parallel.scale_gradients(processes / weight, self._options.clip)
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
        self._parallel.step(lr)
        seconds = time.perf_counter() - begin
        self._step += 1
        self._watch = self._watch.after(self._step, loss)
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
        seed_device(device, int(random_source(options.seed, "step", self._step, rank).integers(2**63)))
        chosen = samples_of_step(self._samples, self._step, options.batch_size, options.samples or None)
        mine = shares(chosen, self._micro, rank, world)
        sums = torch.zeros(4 + len(SIGNALS), dtype=wide(device), device=device)
        for turn, share in enumerate(mine, start=1):
            batch = self._samples.batch(share, self._micro).to(device)
            # Around the backward pass as well: activations that were not kept must be computed as they were.
            with self._parallel.turn(last=turn == len(mine)), quick_kernels():
                with autocast(device, self.choices.precision):
                    total, weight = self._loss(self._parallel.model, batch)
                self._parallel.backward(total)
            # Numbers are written one by one: a tensor of them would have to be sent, and the GPU be waited for.
            sums[0] += total.detach()
            sums[1] += weight
            sums[2] += batch.positions
        for place, number in enumerate((self._elapsed, *self._held.counts()), start=3):
            sums[place] = number
        return sums

    def _position(self, elapsed: float) -> float:
        """Steps done, or where the clock says the run is, whichever is further."""
        minutes = self._options.minutes
        return max(self._step, self._options.steps * elapsed / (60.0 * minutes)) if minutes else self._step

    def _finished(self) -> bool:
        options = self._options
        ended = bool(options.samples) and self._step * options.batch_size >= options.samples
        return ended or self._position(self._elapsed) >= options.steps or self._stalled()

    def _stalled(self) -> bool:
        return stalled(self._evaluations, self._options.patience)

    def _check_course(self) -> None:
        """Raise RunError if the loss flew off; checkpoints of before are still there."""
        watch = self._watch
        if not watch.rose(self._options.spike):
            return
        good = checkpoints.before(self._directory, watch.lowest_step) if self._directory else None
        raise RunError(
            f"the loss rose from {watch.lowest:.3f} (smoothed, step {watch.lowest_step}) to {watch.smoothed:.3f} "
            f"(step {self._step})",
            where=str(good) if good else None,
            mend="use a lower --lr, a longer warm-up or larger batches; --spike 0 goes on regardless"
            + (", from the last checkpoint; that of before the rise is kept" if good else ""),
        )

    def _evaluate(self) -> bool:
        if self._held_out is None:
            return False
        try:
            evaluation = self._held_out.measure(
                self._bare,
                self._step,
                batch_size=self._micro,
                precision=self.choices.precision,
                accelerator=self.accelerator,
            )
        except BaseException:  # interrupted: the weights are those of a whole step
            self._save_if_together()
            raise
        self._evaluations = (*self._evaluations, evaluation)
        return True

    def _record(self, evaluated: bool, **facts: Any) -> StepRecord:
        best = best_of(self._evaluations)
        return StepRecord(
            step=self._step,
            progress=min(1.0, self._position(self._elapsed) / self._options.steps),
            choices=self.choices,
            evaluations=self._evaluations,
            evaluated=evaluated,
            best=best.step if best else None,
            stalled=self._stalled(),
            **facts,
        )

    def _save_if_together(self) -> None:
        """Save, unless that takes processes that are elsewhere: one of them failed alone."""
        if self._directory is not None and self._step != self._saved and self._parallel.together():
            self._save()

    def _save(self) -> Path | None:
        if self._directory is None or self._step == self._saved:
            return None
        self._saved = self._step
        tensors = self._parallel.snapshot()
        if not self.accelerator.is_main_process or tensors is None:
            return None
        facts = {
            "options": trajectory(self._options),
            "samples": len(self._samples),
            "choices": dataclasses.asdict(self.choices),
            "elapsed": self._elapsed,
            "evaluations": [dataclasses.asdict(evaluation) for evaluation in self._evaluations],
            "watch": dataclasses.asdict(self._watch),
        }
        path = checkpoints.save(self._directory, self._step, tensors, facts)
        best = best_of(self._evaluations)
        checkpoints.rotate(
            self._directory,
            keep=self._options.keep,
            best=best.step if best else None,
            good=self._watch.lowest_step if self._watch.lowest is not None else None,
        )
        return path

    def _resume(self, found: checkpoints.Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        now = json.loads(json.dumps({**trajectory(self._options), "samples in the data": len(self._samples)}))
        then = {**found.facts["options"], "samples in the data": found.facts["samples"]}
        for key, value in now.items():
            if then.get(key) != value:
                raise ConfigError(
                    f"the run to resume had {key} {then.get(key)}, this one has {value}",
                    where=str(found.path),
                    mend="use the same options, or start over with --restart",
                )
        found.restore(model, optimizer)
        self._step = self._saved = self._resumed_from = found.step
        self._elapsed = found.facts["elapsed"]
        self._evaluations = tuple(map(Evaluation.of, found.facts["evaluations"]))
        self._watch = LossWatch(**found.facts["watch"])
        self._notes = tuple(f"passed over a damaged checkpoint: {path}" for path in found.damaged)

    def _stored_choices(self, found: checkpoints.Checkpoint | None) -> Choices | None:
        return Choices(**found.facts["choices"]) if found else None

    def _workload(self) -> Workload:
        batch = self._samples.batch([], 1)
        rows = self._options.steps * self._options.batch_size // self.accelerator.num_processes
        parameters = sum(parameter.numel() for parameter in self._bare.parameters())
        return Workload(parameters, rows * batch.positions, varying=isinstance(self._samples, ByLength))


def _held_out(validation: Samples | Mapping[str, Samples] | None, options: TrainOptions, loss: Loss) -> HeldOut | None:
    if validation is None:
        if options.patience:
            raise ConfigError(
                "nothing is held out, so nothing says when to stop early",
                where="--patience",
                mend="hold a part of the data out, or leave --patience out",
            )
        return None
    parts = validation if isinstance(validation, Mapping) else {"": validation}
    return HeldOut(parts, options, loss=loss)
