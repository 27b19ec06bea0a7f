"""The optimizer: AdamW with weight decay on matrices only."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

FUSED_DEVICES = frozenset({"cpu", "cuda"})


def adamw(model: nn.Module, *, lr: float, betas: tuple[float, float], weight_decay: float, device_type: str) -> AdamW:
    """AdamW (arXiv:1711.05101) over the parameters that are trained.

    Only tensors of two or more dimensions decay (weights and embeddings); biases and norms do not, as in nanoGPT. The
    fused implementation does a step in one pass over memory, where the device has it.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, fused=device_type in FUSED_DEVICES)
