"""A model with its adapter and tokenizer, from local folders: safetensors only, no code from the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from llmkit.errors import DataError, NotFoundError
from llmkit.models.build import AUTO_CLASSES
from llmkit.models.families import Family, Objective, family_of_type
from llmkit.models.quantised import four_bits, prepared
from llmkit.models.templates import CHAT_TEMPLATES
from llmkit.models.tokens import make_room, rows_of

TASK_FILE = "task.json"
"""What an artifact was tuned for, and what is needed to use it: labels, limits."""


@dataclass(frozen=True)
class LoadedModel:
    """A language model that is ready to use, in evaluation mode.

    Attributes:
        model: the transformers model, inside a PeftModel if there is an adapter.
        family: its row in the families table; None for architectures that are not in it.
        objective: what it was trained for.
        context: longest sequence in tokens; None where the architecture sets no limit.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    family: Family | None
    objective: Objective
    context: int | None

    def save(self, folder: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write the model and its tokenizer as a folder that plain transformers loads.

        Args:
            state: its tensors by name, where the model does not have them whole itself.
        """
        self.model.save_pretrained(folder, state_dict=state)
        self.tokenizer.save_pretrained(folder)


def load_model(
    folder: Path,
    *,
    adapter: Path | None = None,
    dtype: torch.dtype = torch.float32,
    trainable: bool = False,
    quantised: bool = False,
    weights: bool = True,
) -> LoadedModel:
    """Load a base model, an adapter onto it, and the tokenizer (the adapter's own, if it has one), on the CPU.

    A tokenizer without a chat template gets that of its family, where the family has one.

    Args:
        trainable: let the adapter be trained on.
        quantised: the base's linear layers in four bits.
        weights: False gives the base's layers without their weights, and no adapter: see `read_weights`.

    Raises:
        UnavailableError: what reads four bits is not installed.
        NotFoundError: a folder, or a file that a model needs, is not there.
        DataError: a file is damaged, or is nothing this loads: an unknown architecture, or weights only as `.bin`, of
            which `llmkit.models.convert` makes safetensors.
    """
    config = read_config(folder)
    objective = objective_of(config, folder)
    extra = {"quantization_config": four_bits(dtype)} if quantised and weights else {}
    model = read_weights(AUTO_CLASSES[objective], folder, config, weights=weights, dtype=dtype, **extra)
    if quantised and weights:
        model = prepared(model)
    tokenizer = tokenizer_for(config, folder, adapter)
    if adapter is not None and weights:
        model = with_adapter(model, adapter, trainable)
    model.eval()
    context = getattr(config, "max_position_embeddings", None)
    return LoadedModel(model, tokenizer, family_of_type(config.model_type), objective, context)


def read_weights(auto: Any, folder: Path, config: PretrainedConfig, *, weights: bool = True, **options: Any) -> Any:
    """What an auto class of transformers makes of a folder: safetensors only, no code from it, no network.

    Args:
        auto: such as AutoModelForCausalLM.
        weights: False gives the model's layers on the meta device: they have shapes, take no memory, compute nothing.
        options: of `from_pretrained`.

    Raises:
        NotFoundError, DataError: as `check_weights`; DataError also where the weights do not fit the configuration, or
            the architecture has no such model.
    """
    if weights:
        check_weights(folder, "model.safetensors")
    try:
        if not weights:
            with torch.device("meta"):
                return auto.from_config(config, trust_remote_code=False)
        return auto.from_pretrained(
            folder, config=config, use_safetensors=True, trust_remote_code=False, local_files_only=True, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        what = auto.__name__.removeprefix("AutoModel").removeprefix("For")
        raise DataError(
            f"the model cannot be loaded{f' as one for {what}' if what else ''}: {error}",
            where=str(folder),
            mend="fetch or make it again, or use a model of a common family, such as bert, gpt2 or llama",
        ) from error


def tokenizer_for(config: PretrainedConfig, folder: Path, adapter: Path | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, or of an adapter that has its own.

    One without a chat template gets that of its family, where the family has one; but not where the model was taught
    plain text, which it is then asked in too.
    """
    holder = adapter if adapter is not None and has_tokenizer(adapter) else folder
    tokenizer = load_tokenizer(holder)
    row = family_of_type(config.model_type)
    if tokenizer.chat_template is None and row is not None and row.chat in CHAT_TEMPLATES and not _taught_text(holder):
        tokenizer.chat_template = CHAT_TEMPLATES[row.chat]
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer was saved with what is in a folder."""
    return (folder / "tokenizer_config.json").is_file()


def has_template(folder: Path) -> bool:
    """Whether a chat template was saved with the tokenizer in a folder."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def _taught_text(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / TASK_FILE).read_text("utf-8")).get("task") == "text")
    except (OSError, ValueError, AttributeError):
        return False


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder. Raises NotFoundError where there is none, DataError where it is damaged."""
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise NotFoundError("there is no tokenizer in this folder", where=str(folder))
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the Rust library raises plain Exception for a damaged file
        raise DataError(
            f"the tokenizer cannot be read: {error}", where=str(folder), mend="fetch or make it again"
        ) from error


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Raise DataError where the tokenizer has an id for which the model has no embedding."""
    rows = int(config.get_text_config().vocab_size)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise DataError(
            f"the tokenizer does not fit the model: its ids go up to {highest}, and the model has an embedding for "
            f"{rows} ids, the last of them {rows - 1}",
            mend="use the model's own tokenizer (leave --tokenizer out), and a dataset for which it is the right one",
        )


def objective_of(config: PretrainedConfig, folder: Path) -> Objective:
    """What a model is for, by its architecture. Raises DataError where it is no language model."""
    row = family_of_type(config.model_type)
    if row is not None:
        return row.objective
    mappings: dict[Objective, Any] = {
        "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        "causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    }
    named = set(config.architectures or ())
    known = {objective: mapping.get(config.model_type) for objective, mapping in mappings.items()}
    for objective, architecture in known.items():
        if architecture in named:
            return objective
    for objective, architecture in known.items():
        if architecture is not None:
            return objective
    raise DataError(
        f"'{config.model_type}' is no language model that llmkit can load", where=str(folder / "config.json")
    )


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of a model, without code from its folder. Raises NotFoundError or DataError."""
    path = folder / "config.json"
    if not path.is_file():
        raise NotFoundError(
            "there is no model in this folder: it has no config.json",
            where=str(folder),
            mend="give the folder of a transformers model; an adapter alone needs its base",
        )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the model's configuration cannot be used: {error}", where=str(path)) from error


def check_weights(folder: Path, name: str) -> None:
    """Open every weights file, which compares its header with its length. Raises NotFoundError, or DataError."""
    index = folder / f"{name}.index.json"
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else {name}
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(
            "the index of the weights is damaged", where=str(index), mend="fetch or make it again"
        ) from error
    for path in (folder / name for name in sorted(names)):
        if not path.is_file():
            published = next(folder.glob("*.bin"), None)
            if published is not None:
                raise DataError(
                    f"the weights are only there as {published.name}, a format that can run code when it is read",
                    where=str(folder),
                    mend="use a revision of the model that has safetensors",
                )
            raise NotFoundError("a weights file is missing", where=str(path), mend="fetch or make the model again")
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"the weights file is damaged or incomplete: {error}",
                where=str(path),
                mend="fetch or make the model again",
            ) from error


def with_adapter(model: PreTrainedModel, adapter: Path, trainable: bool) -> PeftModel:
    """Put a saved adapter onto its base. Raises NotFoundError where there is none, DataError where it does not fit."""
    if not (adapter / "adapter_config.json").is_file():
        raise NotFoundError("there is no adapter in this folder: it has no adapter_config.json", where=str(adapter))
    check_weights(adapter, "adapter_model.safetensors")
    make_room(model, rows_of(adapter, load_tokenizer(adapter) if has_tokenizer(adapter) else None))
    try:
        return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
        raise DataError(
            f"the adapter does not fit this model: {error}",
            where=str(adapter),
            mend="use it with the base it was made for",
        ) from error
