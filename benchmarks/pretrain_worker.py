"""One contestant of pretrain.py in a process of its own: llmkit's loop, or the transformers Trainer."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llmkit.config.sections import TrainOptions
from llmkit.models.build import SpecialIds, new_model
from llmkit.train.batches import Windows
from llmkit.train.evaluation import evaluate
from llmkit.train.objectives import NextToken

HELD_OUT = 480
"""Windows of the held-out loss."""


def main() -> None:
    """Print the seconds of each step, the time of day after the first, and the held-out loss, as JSON."""
    given = json.loads(sys.argv[1])
    work, place = given["work"], Path(given["place"])
    train, held_out = (np.fromfile(place / name, dtype=np.uint16) for name in ("train.bin", "val.bin"))
    model = model_of(work)
    contestant = {"llmkit": llmkit, "trainer": trainer}[given["kind"]]
    ends = contestant(model, train, work, given["setting"])
    windows = Windows(held_out, NextToken(work["length"]), seed=0, shuffle=False)
    nll, tokens = evaluate(model, windows, batch_size=16, limit=HELD_OUT)
    print(json.dumps({"seconds": np.diff(ends).tolist(), "first": ends[0], "loss": nll / tokens}))


def model_of(work: dict[str, Any]) -> nn.Module:
    """The same weights for every contestant."""
    layers, heads, width = work["layers"], work["heads"], work["width"]
    names = {
        "gpt2": {"n_layer": layers, "n_head": heads, "n_embd": width},
        "llama": {
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "hidden_size": width,
            "intermediate_size": 64 * round(width * 8 / 3 / 64),
        },
    }
    return new_model(
        work["family"],
        "tiny",
        vocab_size=8192,
        ids=SpecialIds(),
        sequence_length=work["length"],
        seed=0,
        overrides=names[work["family"]],
    )


def llmkit(model: nn.Module, tokens: np.ndarray, work: dict[str, Any], setting: dict[str, Any]) -> list[float]:
    """The times of day at which each step was done."""
    from llmkit.train.loop import train

    options = TrainOptions(steps=work["steps"], batch_size=work["batch"], lr=1e-3, eval_every=0, **setting)
    windows = Windows(tokens, NextToken(work["length"]), seed=0)
    return [time.time() for record in train(model, windows, options) if record.step]


def trainer(model: nn.Module, tokens: np.ndarray, work: dict[str, Any], setting: dict[str, Any]) -> list[float]:
    """The same by transformers, with the data as run_clm.py makes them."""
    from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.time())

    length = work["length"]
    blocks = [tokens[at : at + length].astype(np.int64) for at in range(0, len(tokens) - length, length)]
    dataset = [{"input_ids": block, "labels": block} for block in blocks]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=work["steps"],
            per_device_train_batch_size=work["batch"],
            learning_rate=1e-3,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr": 1e-4},
            warmup_steps=work["steps"] // 10,
            adam_beta2=0.95,
            weight_decay=0.1,
            max_grad_norm=1.0,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            **setting,
        )
        contestant = Trainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=default_data_collator,
            callbacks=[Clock()],
        )
        contestant.train()
    return ends


if __name__ == "__main__":
    main()
