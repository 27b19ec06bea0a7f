"""Sentence encoders: a transformers model without a head, and what sentence-transformers does with its states."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel

from llmkit.errors import DataError
from llmkit.models.families import family_of_type
from llmkit.models.load import LoadedModel, check_weights, read_config, tokenizer_for, with_adapter
from llmkit.registry.disk import write_whole

Pooling = Literal["mean", "cls", "lasttoken"]
Role = Literal["query", "document"]

MODULES = "modules.json"
"""What makes a folder one of sentence-transformers."""
_POOLING = "1_Pooling"
_LENGTH = "sentence_bert_config.json"
_PROMPTS = "config_sentence_transformers.json"

_LEGACY: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How the pooling was written before sentence-transformers 5.4: a flag for each way."""


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder that is ready to be trained, in evaluation mode.

    Attributes:
        loaded: its objective is nominally `masked`: it has no head of any kind.
        pooling: how the states of a text become its vector.
        limit: longest text in tokens, special ones included, that sentence-transformers reads of it.
        lower: texts are put into lower case before they are read.
        prompts: text that goes before a `query` and a `document`.
    """

    loaded: LoadedModel
    pooling: Pooling
    limit: int | None
    lower: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)

    def written(self, text: str, role: Role) -> str:
        """The text as the tokenizer gets it."""
        whole = self.prompts.get(role, "") + text
        return whole.lower() if self.lower else whole


def is_sentence_encoder(folder: Path) -> bool:
    """Whether sentence-transformers' own files lie in a model's folder."""
    return (folder / MODULES).is_file()


def load_encoder(folder: Path, *, adapter: Path | None = None, trainable: bool = False) -> SentenceEncoder:
    """Load an encoder, in float32 on the CPU. A folder that is not of sentence-transformers gets mean pooling.

    Raises:
        NotFoundError: the folder, or a file that a model needs, is not there.
        DataError: a file is damaged, or the encoder has a part that cannot be trained here: a dense layer, or a pooling
            other than the mean, the first or the last token.
    """
    config = read_config(folder)
    check_weights(folder, "model.safetensors")
    modules = _json(folder / MODULES, [])
    pooling = _pooling(folder, modules)
    try:
        # A base without BERT's pooler gets one. Nothing reads it; drawn by a seed, it is the same every time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModel.from_pretrained(
                folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
                local_files_only=True,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise DataError(
            f"the model cannot be loaded: {error}", where=str(folder), mend="fetch or make it again"
        ) from error
    if getattr(config, "is_encoder_decoder", False):
        raise DataError("a model that reads and writes has no one vector of a text", where=str(folder))
    tokenizer = tokenizer_for(config, folder, adapter)
    if adapter is not None:
        model = with_adapter(model, adapter, trainable)
    model.eval()
    context = getattr(config, "max_position_embeddings", None)
    lengths = _json(folder / _LENGTH, {})
    limit = lengths.get("max_seq_length") or context
    prompts = _prompts(_json(folder / _PROMPTS, {}).get("prompts") or {})
    loaded = LoadedModel(model, tokenizer, family_of_type(config.model_type), "masked", context)
    return SentenceEncoder(loaded, pooling, limit, bool(lengths.get("do_lower_case")), prompts)


def pooled(hidden: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """Vectors (rows, width) of length 1, in float32, of states (rows, length, width); `mask` is 1 on real tokens.

    Texts are padded on the right. Cosine similarity does not see the length, which sentence-transformers may leave.
    """
    states = hidden.float()
    if how == "cls":
        vectors = states[:, 0]
    elif how == "lasttoken":
        vectors = states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
    else:
        weight = mask[..., None].float()
        vectors = (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return torch.nn.functional.normalize(vectors, dim=-1)


def save_sentence_files(base: Path, out: Path, *, width: int, limit: int) -> None:
    """Add to a model or adapter what makes sentence-transformers read it as it reads its base.

    A base that is no such folder gets the files that say mean pooling and vectors of length 1.

    Args:
        width: of a vector.
        limit: tokens that are read of a text.
    """
    if is_sentence_encoder(base):
        for module in _json(base / MODULES, []):
            part = base / str(module.get("path", ""))
            if module.get("path") and part.is_dir():
                shutil.copytree(part, out / str(module["path"]), dirs_exist_ok=True)
        for name in (MODULES, _LENGTH, _PROMPTS):
            if (base / name).is_file():
                shutil.copyfile(base / name, out / name)
        return
    kinds = (("", "Transformer"), (_POOLING, "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    (out / _POOLING).mkdir(exist_ok=True)
    ways = {name: way == "mean" for name, way in _LEGACY.items()}
    _write(out / MODULES, modules)
    _write(out / _POOLING / "config.json", {"word_embedding_dimension": width, **ways})
    _write(out / _LENGTH, {"max_seq_length": limit, "do_lower_case": False})


def _pooling(folder: Path, modules: list[dict[str, Any]]) -> Pooling:
    if not modules:
        return "mean"
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if [kind for kind in kinds if kind != "Normalize"] != ["Transformer", "Pooling"]:
        raise DataError(
            f"this encoder is made of {', '.join(kinds)}, and only a transformer with pooling can be tuned",
            where=str(folder / MODULES),
        )
    config = _json(folder / str(modules[kinds.index("Pooling")].get("path", _POOLING)) / "config.json", {})
    found = config.get("pooling_mode") or [way for flag, way in _LEGACY.items() if config.get(flag)] or "mean"
    ways = [found] if isinstance(found, str) else list(found)
    known: tuple[Pooling, ...] = get_args(Pooling)
    way = next((way for way in known if ways == [way]), None)
    if way is None:
        raise DataError(
            f"its pooling is {' and '.join(map(str, ways))}, and only {', '.join(known)} can be tuned",
            where=str(folder),
        )
    return way


def _prompts(found: Mapping[str, str]) -> dict[str, str]:
    """By role, as `encode_query` and `encode_document` choose them, with which an index is built and asked."""
    return {role: found.get(role) or "" for role in get_args(Role)}


def _json(path: Path, missing: Any) -> Any:
    if not path.is_file():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), mend="fetch the model again") from error


def _write(path: Path, value: object) -> None:
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())
