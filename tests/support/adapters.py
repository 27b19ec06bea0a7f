"""Adapters as if they had been trained."""

from __future__ import annotations

import torch
from torch import nn


def shake(model: nn.Module, seed: int) -> None:
    """Put every weight that an adapter trains a little off."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                parameter.add_(torch.randn_like(parameter) * 0.05)
