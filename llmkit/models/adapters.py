"""LoRA adapters: attach, save, and prove that what was saved does something and does it right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmkit.config.sections import LoraOptions
from llmkit.errors import DataError, RunError
from llmkit.models.families import Objective, family_of_type
from llmkit.models.quantised import four_bit_layers

Method = Literal["lora", "rslora", "dora", "qlora"]

_TASKS: dict[Objective, TaskType | None] = {
    "causal": TaskType.CAUSAL_LM,
    "masked": None,
    "seq2seq": TaskType.SEQ_2_SEQ_LM,
}
_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""What rounding does to outputs over a few dozen layers, as a share of the largest."""
_STRONG = 1e-3
"""What it does besides to a strong adapter, as a share of the change that it makes. One that was merged wrongly (its
scale or sign, a layer left out) is off by about the whole of its change."""


@dataclass(frozen=True)
class AdapterCheck:
    """What an adapter, read again from disk, does to a model's logits; absolute differences of the largest kind.

    Attributes:
        changed: adapted against base: what the adapter does.
        reloaded: adapted against the model that was saved.
        merged: merged into the weights against unmerged; None where the weights are too coarse to merge into.
        tolerance: the limit for `reloaded` and `merged`.
    """

    changed: float
    reloaded: float
    merged: float | None
    tolerance: float


def tolerance_of(dtype: torch.dtype, largest: float, changed: float = 0.0) -> float:
    """Largest difference of two models' outputs that rounding explains.

    Args:
        dtype: of their weights.
        largest: the largest output.
        changed: how far an adapter moves the outputs, where one of the two has it merged into its weights.
    """
    return largest * _ROUNDING.get(dtype, _ROUNDING[torch.float16]) + _STRONG * changed


@dataclass(frozen=True)
class NewParts:
    """What a model has that its base has not; it is stored with the adapter.

    Attributes:
        heads: names of modules that are new.
        tokens: ids whose embeddings are new; these rows, and no others, are trained.
    """

    heads: Sequence[str] = ()
    tokens: Sequence[int] = ()


def attach(
    model: PreTrainedModel,
    objective: Objective,
    options: LoraOptions,
    *,
    method: Method = "lora",
    new: NewParts | None = None,
    seed: int,
) -> PeftModel:
    """Put a new LoRA adapter on a model and freeze the rest. It changes nothing until it is trained.

    Args:
        method: `lora` (arXiv:2106.09685), `rslora` scales by the square root of the rank (arXiv:2312.03732), `dora`
            learns magnitudes apart (arXiv:2402.09353), `qlora` is `lora` on a model that was loaded in four bits.
        new: what is not in the base, and is trained and saved whole.

    Raises:
        DataError: the model has no layer with one of the target names.
    """
    new = new or NewParts()
    row = family_of_type(model.config.model_type)
    targets = list(options.targets or (row.lora_targets if row else ())) or "all-linear"
    config = LoraConfig(
        # peft's other task types only choose which heads are saved, and that is said here.
        task_type=None if new.heads else _TASKS[objective],
        modules_to_save=list(new.heads) or None,
        trainable_token_indices=_rows(model, new.tokens) if new.tokens else None,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        use_rslora=method == "rslora",
        use_dora=method == "dora",
        # GPT-2's layers are Conv1D, which keep their weights transposed.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise DataError(
                f"the adapter's targets do not fit this model: {error}", mend="name layers that the model has"
            ) from error


def _rows(model: PreTrainedModel, tokens: Sequence[int]) -> dict[str, list[int]]:
    """New rows by the embedding that has them. Where the output layer is not tied to the input's, it learns its own."""
    layers = [model.get_input_embeddings()]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not layers[0].weight:
        layers.append(head)
        if getattr(head, "bias", None) is not None:
            raise DataError(
                f"new tokens cannot be added to an adapter of a {model.config.model_type} model: its output layer has "
                "a bias, which peft leaves out there",
                mend="use --method full, or a --template without control tokens of its own (llama2, vicuna)",
            )
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)]: list(tokens) for layer in layers}


def faster_b(model: PeftModel, ratio: float) -> dict[str, float]:
    """How many times the learning rate each B matrix gets, by its name in the model (LoRA+, arXiv:2402.12354).

    B begins at zero and A at random, so the two want different rates. How different depends on model and task, its
    authors say (github.com/nikhil-ghosh-berkeley/loraplus); axolotl's documentation recommends 16.
    """
    return {name: ratio for name, _ in model.named_parameters() if ".lora_B." in name}


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter, and nothing of the base, as plain peft reads it."""
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)


@torch.no_grad()
def outputs_of(model: PreTrainedModel | PeftModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a model makes of a batch, in float32 and without dropout: its logits, else what it puts out first.

    Logits of several heads (start and end of a span) are stacked along a new last dimension.
    """
    was_training = model.training
    model.eval()
    try:
        made = model(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
    finally:
        model.train(was_training)
    if "start_logits" in made:
        return torch.stack([made.start_logits, made.end_logits], dim=-1).float()
    first: Tensor = made["logits"] if "logits" in made else made[0]
    return first.float()


def check_adapter(base: PreTrainedModel, folder: Path, inputs: Mapping[str, Tensor], trained: Tensor) -> AdapterCheck:
    """Prove a saved adapter: it changes the base, it is the one that was trained, and it merges into the weights.

    Args:
        base: the base model, freshly loaded from disk. It is used up: the adapter is merged into it.
        inputs: a batch to compare outputs on.
        trained: `outputs_of` the model that was saved, for the same batch.

    Raises:
        RunError: one of the three does not hold; the message says by how much.
    """
    plain = outputs_of(base, inputs)
    adapted_model = PeftModel.from_pretrained(base, folder)
    adapted = outputs_of(adapted_model, inputs)
    # Weights of four bits are rounded again when an adapter is merged into them: that is no adapter's fault.
    merged = None if four_bit_layers(base) else outputs_of(adapted_model.merge_and_unload(), inputs)
    scale = float(adapted.abs().max())
    changed = _distance(adapted, plain)
    check = AdapterCheck(
        changed=changed,
        reloaded=_distance(adapted, trained.to(adapted.device)),
        merged=None if merged is None else _distance(merged, adapted),
        tolerance=tolerance_of(base.dtype, scale, changed),
    )
    failure = ""
    # The smallest change that is not rounding; negated so that NaN fails too.
    if not check.changed > 1e-6 * scale:
        failure = "the saved adapter does nothing: its logits are those of the base"
    elif not check.reloaded <= check.tolerance:
        failure = f"the saved adapter is not the trained one: logits differ by {check.reloaded:.2g}"
    elif check.merged is not None and not check.merged <= check.tolerance:
        failure = f"merged into the base, the adapter gives other logits: they differ by {check.merged:.2g}"
    if failure:
        raise RunError(
            f"{failure} (tolerance {check.tolerance:.2g})",
            where=str(folder),
            mend="if it does nothing, train longer or with a higher --lr; otherwise report this with the config",
        )
    return check


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())
