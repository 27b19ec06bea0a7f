"""Checkpoints: safetensors and JSON, whole or not there, verified when read.

A checkpoint is a directory `step-00000120` with `weights.safetensors` (what is trained), `optimizer.safetensors` and
`state.json`, which holds the step, what the run chose, and the sha256 of the other two. It is written under another
name, forced to disk, and renamed; a kill at any moment leaves the earlier ones and at most a directory to sweep up.
No random state is stored: each step's dropout and each sample's mask follow from the seed and their numbers.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from llmkit.errors import StorageError
from llmkit.registry.digests import hash_file
from llmkit.registry.disk import sync

_WEIGHTS, _OPTIMIZER, _STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
_UNFINISHED = ".unfinished-"
_FORMAT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk.

    Attributes:
        step: optimizer steps that were done when it was written.
        facts: what the loop stored beside the tensors.
        damaged: newer checkpoints that were passed over, because a file of theirs is missing or not what was written.
    """

    path: Path
    step: int
    facts: Mapping[str, Any]
    damaged: tuple[Path, ...] = ()

    def restore_weights(self, model: nn.Module) -> None:
        """Put the stored weights into a model, which must be built as it was then."""
        weights = load_file(self.path / _WEIGHTS)
        targets = _trained_tensors(model)
        if {name: tensor.shape for name, tensor in weights.items()} != {n: t.shape for n, t in targets.items()}:
            raise StorageError(
                "the checkpoint is of another model", where=str(self.path), mend="start over with --restart"
            )
        with torch.no_grad():
            for name, tensor in targets.items():
                tensor.copy_(_as(tensor, weights[name]))

    def restore(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Put the stored values into a model and its optimizer, which must be built as they were then."""
        self.restore_weights(model)
        scalars = self.facts["optimizer"]
        moments = load_file(self.path / _OPTIMIZER)
        names = _names_by_position(model, optimizer)
        parameters = dict(model.named_parameters())
        state: dict[int, dict[str, Any]] = {position: dict(scalars.get(name, {})) for position, name in names.items()}
        positions = {name: position for position, name in names.items()}
        for key, tensor in moments.items():
            name, _, entry = key.rpartition("/")
            state[positions[name]][entry] = _as(parameters[name], tensor)
        filled = {position: entries for position, entries in state.items() if entries}
        optimizer.load_state_dict({"state": filled, "param_groups": optimizer.state_dict()["param_groups"]})


@dataclass(frozen=True)
class Tensors:
    """What a checkpoint holds beside its facts, by the names of the model's parameters.

    Attributes:
        weights: what the run changes.
        moments: the optimizer's tensors, by `NAME/ENTRY`.
        scalars: the optimizer's other values.
    """

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    scalars: Mapping[str, Mapping[str, Any]]


def tensors_of(model: nn.Module, optimizer: Optimizer, *, keep: bool = True) -> Tensors:
    """What is to be saved of a model and its optimizer.

    Where they are in shards, every process must call this, and each tensor is gathered by itself: no device ever holds
    more than one of them whole.

    Args:
        keep: whether this process is the one that keeps them, on its CPU.
    """
    weights = _trained_tensors(model)  # first, as it leaves the model with the parameters that the optimizer knows
    moments, scalars = _optimizer_state(model, optimizer)
    return Tensors(_gathered(weights, keep), _gathered(moments, keep), scalars)


def whole(tensor: Tensor) -> Tensor:
    """A tensor, or the one of which the processes each hold a shard."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def in_shards(model: nn.Module) -> bool:
    """Whether a model is in shards (FSDP); whole parameters that a forward pass has left behind are let go of."""
    found = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in found:
        module.reshard()
    return bool(found)


def _gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if keep:
            found[name] = full.cpu() if full is not tensor else full
    return found


def _as(target: Tensor, value: Tensor) -> Tensor:
    """A whole tensor cut as `target` is; a tensor of another shape (a step count) stays whole."""
    if not isinstance(target, DTensor) or value.shape != target.shape:
        return value
    # Every process has read the whole: each takes its part, and nothing is sent.
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


def save(directory: Path, step: int, tensors: Tensors, facts: Mapping[str, Any]) -> Path:
    """Write a checkpoint. Raises StorageError; earlier checkpoints stay."""
    target = _path(directory, step)
    with _storage(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob(_UNFINISHED + "*"):
            shutil.rmtree(leftover, ignore_errors=True)
        work = directory / f"{_UNFINISHED}{target.name}"
        work.mkdir()
        try:
            digests = {
                _WEIGHTS: _write_tensors(work / _WEIGHTS, tensors.weights),
                _OPTIMIZER: _write_tensors(work / _OPTIMIZER, tensors.moments),
            }
            state = {"format": _FORMAT, "step": step, "files": digests, **facts, "optimizer": tensors.scalars}
            (work / _STATE).write_text(json.dumps(state, indent=1, allow_nan=False), encoding="utf-8")
            sync(work / _STATE)
            sync(work)
            if target.exists():
                shutil.rmtree(target)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        sync(directory)
    return target


def rotate(directory: Path, *, keep: int, best: int | None, good: int | None) -> None:
    """Remove all checkpoints but the newest `keep`, that of the step `best`, and the newest one up to the step `good`.

    Args:
        best: the step with the lowest held-out loss.
        good: the last step at which the training loss was still falling; what came after may be spoilt.
    """
    found = _found(directory)
    kept: set[Path | None] = {*found[:keep]}
    kept |= {_path(directory, best)} if best is not None else set()
    kept |= {before(directory, good)} if good is not None else set()
    for path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def latest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that is undamaged, or None. Every byte is compared with its recorded digest."""
    damaged: list[Path] = []
    for path in _found(directory):
        state = _verified(path)
        if state is not None:
            return Checkpoint(path, state["step"], state, tuple(damaged))
        damaged.append(path)
    return None


def before(directory: Path, step: int) -> Path | None:
    """The newest checkpoint up to a step."""
    return next((path for path in _found(directory) if path <= _path(directory, step)), None)


def of_step(directory: Path, step: int) -> Checkpoint | None:
    """The checkpoint of one step, if it is there and undamaged."""
    path = _path(directory, step)
    state = _verified(path)
    return Checkpoint(path, step, state) if state is not None else None


def _verified(path: Path) -> dict[str, Any] | None:
    """What a checkpoint's state says, if every file is there as it was written."""
    try:
        state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
        whole = state["format"] == _FORMAT and all(
            hash_file(path / name) == digest for name, digest in state["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if whole else None


def _path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:08d}"


def _found(directory: Path) -> list[Path]:
    """Newest first."""
    return sorted(directory.glob("step-*"), reverse=True)


def _trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a run changes: trained parameters, and buffers that are saved with a model (tied ones once)."""
    in_shards(model)
    kept = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {name for name, parameter in model.named_parameters(remove_duplicate=False)}
    saved = model.state_dict().keys()
    kept |= {name: buffer for name, buffer in model.named_buffers() if name in saved and name not in frozen}
    return kept


def _names_by_position(model: nn.Module, optimizer: Optimizer) -> dict[int, str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {position: names[id(parameter)] for position, parameter in enumerate(parameters)}


def _optimizer_state(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    names = _names_by_position(model, optimizer)
    for position, entries in optimizer.state_dict()["state"].items():
        for entry, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{names[position]}/{entry}"] = value
            else:
                scalars.setdefault(names[position], {})[entry] = value
    return tensors, scalars


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    sync(path)
    return hash_file(path)


@contextmanager
def _storage(directory: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors reports a full disk as an error of its own, with the operating system's text in it.
        code = error.errno if isinstance(error, OSError) else None
        full = code in {errno.ENOSPC, errno.EDQUOT} or "No space left" in str(error)
        if not full and not isinstance(error, OSError):
            raise
        raise StorageError(
            f"a checkpoint could not be written: {error}",
            where=str(directory),
            mend=("free space there" if full else "make it writable")
            + " and run the same command again: it goes on from the last checkpoint, nothing was lost",
        ) from error
