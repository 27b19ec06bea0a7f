"""Models with a head for a task: made new on a base, and loaded again from base, adapter and `task.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.models.families import family_of_type
from llmkit.models.load import (
    TASK_FILE,
    LoadedModel,
    objective_of,
    read_config,
    read_weights,
    tokenizer_for,
    with_adapter,
)

HeadKind = Literal["sequence", "token", "span"]

HEAD_CLASSES: Mapping[HeadKind, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
}


@dataclass(frozen=True)
class Head:
    """What stands on a model's last layer.

    Attributes:
        kind: one output for the text, one for each token, or the start and the end of a span.
        labels: what the outputs mean, in their order; none for spans.
        regression: the one output is a number.
    """

    kind: HeadKind
    labels: tuple[str, ...] = ()
    regression: bool = False

    def facts(self) -> dict[str, Any]:
        """JSON-ready, as `head_of` reads it."""
        return {"head": self.kind, "labels": list(self.labels), "regression": self.regression}


@dataclass(frozen=True)
class TaskModel:
    """A model with a head.

    Attributes:
        loaded: in evaluation mode; its limit is that of the model and of its tokenizer.
        new: names of the modules that the base did not have, drawn by the seed; they are trained and saved whole.
    """

    loaded: LoadedModel
    new: tuple[str, ...]


def with_head(
    folder: Path,
    head: Head,
    *,
    seed: int,
    adapter: Path | None = None,
    trainable: bool = False,
    weights: bool = True,
) -> TaskModel:
    """A model with a head, in float32 on the CPU: new where the folder has none, else the one that is there.

    Encoders that have no language-model head are as welcome as any. A tokenizer without a pad token pads with its end
    token, which no output depends on (`reading_at`).

    Args:
        seed: of the new weights.
        adapter: one that was tuned for the same head.
        trainable: let the adapter be trained on.
        weights: False gives layers without weights, and no adapter: see `read_weights`.

    Raises:
        UsageError: an encoder with a decoder.
        NotFoundError: a file is missing.
        DataError: a file is damaged, the architecture has no such head, or the model has one with other labels.
    """
    config = read_config(folder)
    objective = objective_of(config, folder)
    if objective == "seq2seq":
        raise UsageError(
            f"{config.model_type} reads with one half and writes with the other, and takes no head of this kind",
            mend="use an encoder such as bert, or a causal model such as gpt2 or llama",
        )
    _label(config, head, folder)
    model, new = (
        _built(folder, config, head, seed)
        if weights
        else (read_weights(HEAD_CLASSES[head.kind], folder, config, weights=False), ())
    )
    tokenizer = tokenizer_for(config, folder, adapter)
    _frame(tokenizer, encoder=objective == "masked")
    pad = _pad_id(tokenizer)
    # Not before it is built: an embedding of that id would be held at its value.
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = pad
    if adapter is not None and weights:
        model = with_adapter(model, adapter, trainable)
    model.eval()
    row = family_of_type(config.model_type)
    return TaskModel(LoadedModel(model, tokenizer, row, objective, _context(config, tokenizer)), new)


def load_for_task(folder: Path, *, adapter: Path | None = None) -> tuple[LoadedModel, Mapping[str, Any]]:
    """What `finetune-lora` made, ready to use, with the facts of its `task.json`.

    Args:
        folder: of the base, or of the model that was tuned whole.

    Raises:
        NotFoundError, DataError: as `with_head`; also where there is no `task.json`, or none of a task with a head.
    """
    facts = task_facts(adapter or folder)
    # Every new module is in the adapter, or the model is whole: the seed has no part in what comes out.
    made = with_head(folder, head_of(facts, adapter or folder), seed=0, adapter=adapter)
    return made.loaded, facts


def task_facts(folder: Path) -> Mapping[str, Any]:
    """The facts in an artifact's `task.json`. Raises NotFoundError where there is none, DataError if it is damaged."""
    path = folder / TASK_FILE
    try:
        facts = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            "it does not say what it was tuned for",
            where=str(path),
            mend="tune it with `llmkit finetune-lora`, which writes this file",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError("the file is damaged", where=str(path), mend="make the artifact again") from error
    if not isinstance(facts, dict):
        raise DataError("the file is damaged", where=str(path), mend="make the artifact again")
    return facts


def renamed_weights(config: PretrainedConfig, head: Head) -> Mapping[str, str]:
    """What a base calls its weights, as a pattern, and what the same architecture calls them beneath this head.

    transformers' Llama, Qwen and their kin are `transformer` under a span head and `model` elsewhere, so that plain
    `AutoModelForQuestionAnswering.from_pretrained` leaves the whole base at random. It takes this as `key_mapping`.
    """
    made = HEAD_CLASSES[head.kind]._model_mapping.get(type(config), None)
    usual = AutoModelForCausalLM._model_mapping.get(type(config), None)
    under, above = getattr(made, "base_model_prefix", ""), getattr(usual, "base_model_prefix", "")
    return {rf"^{above}\.": f"{under}."} if under and above and under != above else {}


def head_of(facts: Mapping[str, Any], folder: Path) -> Head:
    """The head that an artifact's facts describe. Raises DataError where they describe none."""
    kind = next((kind for kind in HEAD_CLASSES if kind == facts.get("head")), None)
    if kind is None:
        raise DataError(
            f"it was tuned for '{facts.get('task')}', which has no head", where=str(folder), mend="use it as it is"
        )
    return Head(kind, tuple(map(str, facts.get("labels", ()))), bool(facts.get("regression")))


@contextmanager
def reading_at(model: Any, last: Tensor) -> Iterator[None]:
    """While open, a causal model with a sequence head reads each row at a given position, and no other.

    transformers looks for the rightmost id that is not the pad id, and so misses the end of a text that ends with that
    id (which is often the end-of-text token's). Here the head gets the state at that position, whatever is looked for.

    Args:
        model: a transformers model, adapted or not, but not distributed; encoders are left as they are.
        last: shape (rows,): the position of each row's last token.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    score = getattr(inner, "score", None)
    if not isinstance(score, nn.Module):
        yield
        return

    def at_last(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = given
        chosen = hidden[torch.arange(len(last), device=hidden.device), last.to(hidden.device)]
        return (chosen[:, None].expand_as(hidden),)

    handle = score.register_forward_pre_hook(at_last)
    try:
        yield
    finally:
        handle.remove()


def _built(folder: Path, config: PretrainedConfig, head: Head, seed: int) -> tuple[Any, tuple[str, ...]]:
    how: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    if renamed := renamed_weights(config, head):
        how["key_mapping"] = renamed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, info = read_weights(HEAD_CLASSES[head.kind], folder, config, **how)
    missing = set(info["missing_keys"])
    strange = {key for key in missing if key.split(".")[0] == model.base_model_prefix and "pooler" not in key}
    if strange:
        raise DataError(
            f"the file lacks weights of the model: {sorted(strange)[0]} and {len(strange) - 1} more",
            where=str(folder),
            mend="fetch or make the model again",
        )
    return model, _new_modules(model, missing)


def _new_modules(model: nn.Module, missing: set[str]) -> tuple[str, ...]:
    """The largest modules all of whose parameters are new."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = [f"{name}.{key}" for key, _ in module.named_parameters()]
        covered = any(name.startswith(f"{above}.") for above in found)
        if name and inside and not covered and missing.issuperset(inside):
            found.append(name)
    return tuple(found)


def _label(config: PretrainedConfig, head: Head, folder: Path) -> None:
    """Write the labels into the configuration; a head that is there must have the same."""
    if head.kind == "span":
        return
    suffix = "ForSequenceClassification" if head.kind == "sequence" else "ForTokenClassification"
    has = [config.id2label[number] for number in sorted(config.id2label)] if config.id2label else []
    if any(name.endswith(suffix) for name in config.architectures or ()) and has != list(head.labels):
        raise DataError(
            f"this model was tuned for the labels {_listed(has)}, and the data have {_listed(head.labels)}",
            where=str(folder),
            mend="tune the base it was made from, or name its labels in the data as it does",
        )
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: number for number, label in enumerate(head.labels)}
    config.problem_type = "regression" if head.regression else None
    if head.kind == "sequence" and not head.regression:
        config.problem_type = "single_label_classification"


def _listed(labels: Any, most: int = 5) -> str:
    shown = ", ".join(f"'{label}'" for label in list(labels)[:most])
    return shown + (f" and {len(labels) - most} more" if len(labels) > most else "")


def _frame(tokenizer: Any, *, encoder: bool) -> None:
    """Have a tokenizer that adds no special tokens frame texts, in the tokenizer itself, so that it is saved with it.

    An encoder gets its CLS and SEP tokens, which it saw in pretraining; a causal model only what keeps two texts apart.
    """
    from tokenizers.processors import Sequence, TemplateProcessing

    if not tokenizer.is_fast or tokenizer.num_special_tokens_to_add(pair=True):
        return
    if encoder and tokenizer.cls_token and tokenizer.sep_token:
        single, pair, used = "{0} $A {1}", "{0} $A {1} $B:1 {1}:1", [tokenizer.cls_token, tokenizer.sep_token]
    elif not encoder and tokenizer.eos_token:
        single, pair, used = "$A", "$A {0} $B:1", [tokenizer.eos_token]
    else:
        return
    frame = TemplateProcessing(
        single=single.format(*used).split(),
        pair=pair.format(*used).split(),
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in used],
    )
    own = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = Sequence([own, frame]) if own is not None else frame


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.pad_token_id is None:
        token = tokenizer.eos_token or tokenizer.unk_token
        if token is None:
            return 0
        tokenizer.pad_token = token
    return int(tokenizer.pad_token_id)


def _context(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Longest sequence in tokens. RoBERTa and its kin count positions from behind the pad id (their `padding_idx`)."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    # Tokenizers that know no limit say 10^30.
    known = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < 10**9]
    return int(min(known)) if known else None


_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"})
