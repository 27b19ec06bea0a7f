"""The optimizers, all of torch's own: AdamW, SGD, Adafactor, and Muon with AdamW for what is no hidden matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Muon, Optimizer

from llmkit.config.sections import TrainOptions

FUSED_DEVICES = frozenset({"cpu", "cuda"})

Groups = list[dict[str, Any]]

LR_SCALES = "lr_scales"
"""Attribute of a model: by parameter name, how many times the learning rate it gets; 1 where it is not named. Its
groups have the number as `scale`, for whoever sets their `lr`."""


def optimizer_for(model: nn.Module, options: TrainOptions, device_type: str) -> Optimizer:
    """The optimizer that the options name, over the parameters that are trained.

    Only tensors of two or more dimensions decay (weights and embeddings); biases and norms do not, as in nanoGPT.
    """
    return OPTIMIZERS[options.optimizer](model, options, device_type)


def _adamw(model: nn.Module, options: TrainOptions, device_type: str) -> Optimizer:
    """Loshchilov and Hutter 2019 (arXiv:1711.05101). The fused one does a step in one pass over memory."""
    return _fused_adamw(_groups(model, _trained(model), options), options, device_type)


def _sgd(model: nn.Module, options: TrainOptions, device_type: str) -> Optimizer:
    """With Nesterov's momentum, `beta1`."""
    momentum = options.beta1
    return SGD(
        _groups(model, _trained(model), options),
        lr=options.lr,
        momentum=momentum,
        nesterov=momentum > 0,
        fused=device_type in FUSED_DEVICES,
    )


def _adafactor(model: nn.Module, options: TrainOptions, device_type: str) -> Optimizer:
    """Shazeer and Stern 2018 (arXiv:1804.04235): second moments of a matrix by its rows and columns, no first ones."""
    return Adafactor(_groups(model, _trained(model), options), lr=options.lr)


def _muon(model: nn.Module, options: TrainOptions, device_type: str) -> Optimizer:
    """Muon (https://kellerjordan.github.io/posts/muon/) for hidden matrices, AdamW for embeddings, heads and vectors.

    Updates have the size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so that one learning rate serves both.
    """
    outside = _inputs_and_outputs(model)
    trained = _trained(model)
    matrices = [parameter for parameter in trained if parameter.dim() == 2 and id(parameter) not in outside]
    chosen = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in trained if id(parameter) not in chosen]
    if not matrices:
        return _fused_adamw(_groups(model, rest, options), options, device_type)
    muon = Muon(
        _by_rate(model, matrices, options),
        lr=options.lr,
        weight_decay=options.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return Both(muon, _fused_adamw(_groups(model, rest, options), options, device_type)) if rest else muon


OPTIMIZERS: Mapping[str, Callable[[nn.Module, TrainOptions, str], Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "muon": _muon,
}


class Both(Optimizer):
    """Two optimizers over different parameters that step, save and resume as one."""

    def __init__(self, first: Optimizer, second: Optimizer) -> None:
        super().__init__([*first.param_groups, *second.param_groups], {})
        self._parts = (first, second)
        self._share()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # the loop has no use for closures
        """One step of each."""
        for part in self._parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer; the parts then go on from it."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Give the parts our groups (learning rates are set there) and our state (it is what is saved)."""
        start = 0
        for part in self._parts:
            end = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:end]
            part.state = self.state
            start = end


def _trained(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _groups(model: nn.Module, parameters: list[Tensor], options: TrainOptions) -> Groups:
    parts = (
        ([p for p in parameters if p.dim() >= 2], options.weight_decay),
        ([p for p in parameters if p.dim() < 2], 0.0),
    )
    return [{**group, "weight_decay": decay} for part, decay in parts for group in _by_rate(model, part, options)]


def _by_rate(model: nn.Module, parameters: list[Tensor], options: TrainOptions) -> Groups:
    """The parameters in a group for each learning rate, that of most of them first."""
    named: Mapping[str, float] = getattr(model, LR_SCALES, {})
    scales = {id(parameter): named.get(name, 1.0) for name, parameter in model.named_parameters()} if named else {}
    groups: dict[float, list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": groups[scale], "lr": options.lr * scale, "scale": scale} for scale in sorted(groups)]


def _fused_adamw(groups: Groups, options: TrainOptions, device_type: str) -> AdamW:
    betas = (options.beta1, options.beta2)
    return AdamW(groups, lr=options.lr, betas=betas, fused=device_type in FUSED_DEVICES)


def _inputs_and_outputs(model: nn.Module) -> set[int]:
    """The ids of the parameters of embeddings and of the output layer."""
    layers = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    head = getattr(model, "get_output_embeddings", lambda: None)()
    layers += [head] if head is not None else []
    return {id(parameter) for layer in layers for parameter in layer.parameters()}
