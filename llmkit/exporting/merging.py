"""Adapters merged into the weights of their base, alone or as a weighted sum, and the proof that this is what was made.

An adapter's delta is its merged weights minus the base's: for LoRA and rsLoRA the scaled product of its two matrices,
for DoRA the change of direction and magnitude together, which is linear in nothing but the finished weights. Several
adapters give `base + sum of weight x delta` (task arithmetic, Ilharco et al. 2023, arXiv:2212.04089), computed on these
deltas in float32: exact for any ranks, where the sum or the concatenation of A and B matrices is not.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from torch import Tensor

from llmkit.errors import DataError, RunError, UsageError
from llmkit.exporting.opening import Opened, open_model, probe_of, save_whole
from llmkit.models.adapters import outputs_of, tolerance_of
from llmkit.models.load import has_tokenizer, load_tokenizer, read_config
from llmkit.models.tokens import WEIGHTS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class MergeCheck:
    """What was compared after merging; largest absolute differences of outputs.

    Attributes:
        changed: the merged model, read again from disk, against the base.
        exact: the merged weights in float32 against what they must equal, within rounding (`tolerance_of`).
        merged: the model read again from disk against the same; differs from `exact` by the rounding of `dtype`.
        oracle: what it must equal, in words.
        tolerance: the limit for `merged`.
        dtype: in which the weights were saved.
    """

    changed: float
    exact: float
    merged: float
    oracle: str
    tolerance: float
    dtype: str


@dataclass(frozen=True)
class Weighted:
    """An adapter's folder, with its name for messages and its share."""

    folder: Path
    name: str
    weight: float = 1.0


def merge(
    base: Path, adapters: Sequence[Weighted], out: Path, *, dtype: str = "auto", stops: Sequence[int] = ()
) -> MergeCheck:
    """Write `base + sum of weight x delta` as a whole model with tokenizer, template and facts, and prove it.

    Args:
        dtype: of the saved weights, `auto` for the base's own; computed in float32 whatever it is.
        stops: ids that end what it writes, besides those the base knows.

    Raises:
        DataError: a file is damaged, or the adapters cannot be combined: other tokenizers, tasks, or heads.
        RunError: what was saved is not what the adapters make of the base.
    """
    check_compatible(adapters)
    alone = len(adapters) == 1 and adapters[0].weight == 1.0
    opened, made = _alone(base, adapters[0]) if alone else _combined(base, adapters)
    exact = made.distance_of(opened, f"the merged model is not {made.oracle}")
    scale, changed = made.largest, _distance(made.outputs, made.plain)
    saved_as = _dtype(base, dtype)
    _stop_at(opened.model, stops)
    opened.model.to(saved_as)
    out.mkdir(parents=True, exist_ok=True)
    save_whole(opened, out, holder=adapters[0].folder)
    del opened  # it is as large as the one that is read now
    gc.collect()
    reread = outputs_of(open_model(out).model, made.inputs)
    name = str(saved_as).removeprefix("torch.")
    tolerance = tolerance_of(saved_as, scale, changed)
    check = MergeCheck(
        _distance(reread, made.plain), exact, _distance(reread, made.outputs), made.oracle, tolerance, name
    )
    _require(
        check.changed > 1e-6 * scale, "the merged model is its base: the adapters do nothing", check.changed, scale
    )
    _require(check.merged <= tolerance, f"what was saved as {name} is not {made.oracle}", check.merged, scale)
    _require(
        check.merged < check.changed / 2,
        f"rounding to {name} undoes what was learned, which changes outputs by {check.changed:.2g}",
        check.merged,
        scale,
    )
    return check


def export_merged(folder: Path, adapter: Weighted | None, out: Path, *, dtype: str = "auto") -> MergeCheck:
    """Write a model, or a base with an adapter merged into it, as plain transformers reads it, and prove it.

    Raises:
        RunError: what was saved is another model.
    """
    if adapter is not None:
        return merge(folder, [adapter], out, dtype=dtype)
    opened = open_model(folder)
    inputs = probe_of(opened)
    before = outputs_of(opened.model, inputs)
    saved_as = _dtype(folder, dtype)
    opened.model.to(saved_as)
    save_whole(opened, out, holder=folder)
    found, scale = _distance(outputs_of(open_model(out).model, inputs), before), float(before.abs().max())
    name, tolerance = str(saved_as).removeprefix("torch."), tolerance_of(saved_as, scale)
    _require(found <= tolerance, f"what was saved as {name} is another model", found, scale)
    return MergeCheck(0.0, 0.0, found, "the model it was made from", tolerance, name)


def open_merged(folder: Path, adapter: Path | None, name: str = "the adapter") -> Opened:
    """A model, or a base with an adapter merged into it, in float32.

    Raises:
        RunError: merged, the adapter gives other outputs.
    """
    if adapter is None:
        return open_model(folder)
    opened, expected = _alone(folder, Weighted(adapter, name))
    expected.distance_of(opened, f"{name}, merged, is not what it was")
    return opened


def _require(holds: bool, message: str, difference: float, scale: float) -> None:
    """Raise RunError unless a comparison holds; comparisons with NaN do not."""
    if not holds:
        raise RunError(
            f"{message}: outputs differ by {difference:.2g}, and reach {scale:.2g}",
            mend="try --dtype float32; if it fails there too, report this with the adapter's config",
        )


def check_compatible(adapters: Sequence[Weighted]) -> None:
    """Refuse a combination that means nothing.

    Raises:
        DataError: they were tuned for other tasks, have other vocabularies, or heads that are not the same.
    """
    first, others = adapters[0], adapters[1:]
    for other in others:
        for what, read in (("tasks", _purpose), ("vocabularies", _vocabulary)):
            if read(first.folder) != read(other.folder):
                raise DataError(
                    f"{first.name} and {other.name} have different {what}, and cannot be one model",
                    mend="merge each by itself",
                )
        heads = _stored_whole(first.folder), _stored_whole(other.folder)
        same = heads[0].keys() == heads[1].keys() and all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
        if not same:
            named = ", ".join(sorted({key.split(".")[-2] for found in heads for key in found}))
            raise DataError(
                f"{first.name} and {other.name} each have their own {named}, trained whole: the mean of two heads is "
                "no head",
                mend="merge each by itself, or tune one adapter on the data of both",
            )


@dataclass(frozen=True)
class _Expected:
    """What a merged model must put out, and what its base does."""

    inputs: Mapping[str, Tensor]
    plain: Tensor
    outputs: Tensor
    oracle: str

    @property
    def largest(self) -> float:
        """The largest output: what differences are shares of."""
        return float(self.outputs.abs().max())

    def distance_of(self, merged: Opened, otherwise: str) -> float:
        """How far the merged weights, in float32, are from this. Raises RunError `otherwise` if it is not rounding."""
        found = _distance(outputs_of(merged.model, self.inputs), self.outputs)
        limit = tolerance_of(torch.float32, self.largest, _distance(self.outputs, self.plain))
        _require(found <= limit, otherwise, found, self.largest)
        return found


def _alone(base: Path, adapter: Weighted) -> tuple[Opened, _Expected]:
    opened = open_model(base, adapter.folder)
    inputs = probe_of(opened)
    expected = outputs_of(opened.model, inputs)
    with opened.model.disable_adapter():
        plain = outputs_of(opened.model, inputs)
    merged = replace(opened, model=_merged(opened.model, adapter))
    return merged, _Expected(inputs, plain, expected, "its base with the adapter on it")


def _combined(base: Path, adapters: Sequence[Weighted]) -> tuple[Opened, _Expected]:
    # Without its update an adapter's model is the base, with the rows of new tokens and the heads that it needs.
    start = open_model(base, adapters[0].folder).model.unload().state_dict()
    total: dict[str, Tensor] = {}
    for adapter in adapters:
        opened, alone = _alone(base, adapter)
        alone.distance_of(opened, f"{adapter.name}, merged, is not what it was")
        for name, value in opened.model.state_dict().items():
            if value.is_floating_point() and not torch.equal(value, start[name]):
                delta = (value - start[name]).mul_(adapter.weight)
                total[name] = total[name].add_(delta) if name in total else delta
    # Heads that the base does not have are the adapters' own (and equal): no delta, and taken as they are.
    own = tuple(map(_plain_name, _stored_whole(adapters[0].folder)))
    changes = {name: start[name] + delta for name, delta in total.items() if not name.endswith(own or ("\0",))}
    kept = {name: value for name, value in start.items() if name not in total}
    opened.model.load_state_dict({**opened.model.state_dict(), **kept, **changes})
    outputs, oracle = _side_by_side(base, adapters, opened, alone.inputs)
    return opened, _Expected(alone.inputs, alone.plain, outputs, oracle)


def _side_by_side(
    base: Path, adapters: Sequence[Weighted], opened: Opened, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, str]:
    """Outputs by another way than the merged weights, where there is one: the adapters side by side, unmerged.

    Only products of two matrices can be run side by side. For the others the outputs are those of the weights before
    they were saved; each adapter has then been compared with its own unmerged form.
    """
    if not all(_products_only(adapter.folder) for adapter in adapters):
        return outputs_of(opened.model, inputs), "the base with the weighted sum of the deltas"
    running = open_model(base, adapters[0].folder).model
    names = ["default", *(f"adapter{number}" for number in range(1, len(adapters)))]
    for name, adapter in zip(names[1:], adapters[1:], strict=True):
        running.load_adapter(str(adapter.folder), adapter_name=name)
    running.base_model.set_adapter(names)
    for layer in _layers(running):
        for name, adapter in zip(names, adapters, strict=True):
            if name in layer.scaling:
                layer.scaling[name] *= adapter.weight
    return outputs_of(running, inputs), "the base with all adapters running on it at their weights"


def _merged(model: Any, adapter: Weighted) -> Any:
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:  # peft's own word for weights that are no numbers
        raise RunError(
            f"{adapter.name} cannot be merged: {error}", where=str(adapter.folder), mend="train it again"
        ) from error


def _layers(model: Any) -> Iterator[Any]:
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and hasattr(module, "scaling"):
            yield module


def _products_only(folder: Path) -> bool:
    config = adapter_config(folder)
    return not (config.get("use_dora") or config.get("modules_to_save") or config.get("trainable_token_indices"))


def adapter_config(folder: Path) -> dict[str, Any]:
    """The `adapter_config.json` of a PEFT folder. Raises UsageError where it is none."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise UsageError("this is no adapter: it has no adapter_config.json", where=str(folder))
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _stored_whole(folder: Path) -> dict[str, Tensor]:
    """What an adapter stores besides its update: the modules that were trained whole, by their names in the file."""
    names = adapter_config(folder).get("modules_to_save") or ()
    if not names:
        return {}
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        keys = [key for key in file.keys() if set(names) & set(key.split("."))]  # noqa: SIM118  # no mapping
        # LoRA can sit inside of a module that is itself a part of such a name; those keys are its update.
        return {key: file.get_tensor(key) for key in keys if "lora_" not in key}


def _plain_name(key: str) -> str:
    return key.removeprefix("base_model.model.").replace(".modules_to_save", "")


def _purpose(folder: Path) -> object:
    from llmkit.models.load import TASK_FILE

    try:
        facts = json.loads((folder / TASK_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return [facts.get(key) for key in ("head", "labels", "regression", "pooling")]


def _vocabulary(folder: Path) -> object:
    return load_tokenizer(folder).get_vocab() if has_tokenizer(folder) else None


def _stop_at(model: Any, stops: Sequence[int]) -> None:
    config = getattr(model, "generation_config", None)
    if config is not None and stops:
        known = config.eos_token_id
        config.eos_token_id = sorted({*([known] if isinstance(known, int) else known or ()), *stops})


def _dtype(base: Path, wanted: str) -> torch.dtype:
    if wanted != "auto":
        return DTYPES[wanted]
    stored = getattr(read_config(base), "dtype", None)
    found = DTYPES.get(str(stored).removeprefix("torch."))
    return found or torch.float32


def _distance(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())
