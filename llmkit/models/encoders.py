"""Sentence encoders: a transformers model without a head, and what sentence-transformers does with its states."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from transformers import AutoModel

from llmkit.errors import DataError
from llmkit.models.families import family_of_type
from llmkit.models.load import LoadedModel, read_config, read_weights, tokenizer_for, with_adapter
from llmkit.models.sentence_files import (
    LEGACY,
    LENGTH,
    MODULES,
    POOLING,
    PROMPTS,
    Role,
    SentenceFiles,
    is_sentence_encoder,
    module_folders,
    read_sentence_files,
)
from llmkit.registry.disk import write_whole

Pooling = Literal["mean", "cls", "lasttoken"]


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder that is ready to be trained, in evaluation mode.

    Attributes:
        loaded: its objective is nominally `masked`: it has no head of any kind.
        pooling: how the states of a text become its vector.
        limit: longest text in tokens, special ones included, that sentence-transformers reads of it.
        files: what its folder says of texts before they are read.
    """

    loaded: LoadedModel
    pooling: Pooling
    limit: int | None
    files: SentenceFiles = field(default_factory=SentenceFiles)

    def written(self, text: str, role: Role) -> str:
        """The text as the tokenizer gets it."""
        return self.files.written(text, role)


def load_encoder(
    folder: Path, *, adapter: Path | None = None, trainable: bool = False, weights: bool = True
) -> SentenceEncoder:
    """Load an encoder, in float32 on the CPU. A folder that is not of sentence-transformers gets mean pooling.

    Args:
        weights: False gives layers without weights, and no adapter: see `read_weights`.

    Raises:
        NotFoundError: the folder, or a file that a model needs, is not there.
        DataError: a file is damaged, or the encoder has a part that cannot be trained here: a dense layer, or a pooling
            other than the mean, the first or the last token.
    """
    config = read_config(folder)
    files = read_sentence_files(folder)
    pooling = _pooling(folder, files)
    # A base without BERT's pooler gets one. Nothing reads it; drawn by a seed, it is the same every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = read_weights(AutoModel, folder, config, weights=weights, dtype=torch.float32)
    if getattr(config, "is_encoder_decoder", False):
        raise DataError("a model that reads and writes has no one vector of a text", where=str(folder))
    tokenizer = tokenizer_for(config, folder, adapter)
    if adapter is not None and weights:
        model = with_adapter(model, adapter, trainable)
    model.eval()
    context = getattr(config, "max_position_embeddings", None)
    loaded = LoadedModel(model, tokenizer, family_of_type(config.model_type), "masked", context)
    return SentenceEncoder(loaded, pooling, files.limit or context, files)


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
        for name in module_folders(base):
            if (base / name).is_dir():
                shutil.copytree(base / name, out / name, dirs_exist_ok=True)
        for name in (MODULES, LENGTH, PROMPTS):
            if (base / name).is_file():
                shutil.copyfile(base / name, out / name)
        return
    kinds = (("", "Transformer"), (POOLING, "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    (out / POOLING).mkdir(exist_ok=True)
    ways = {name: way == "mean" for name, way in LEGACY.items()}
    _write(out / MODULES, modules)
    _write(out / POOLING / "config.json", {"word_embedding_dimension": width, **ways})
    _write(out / LENGTH, {"max_seq_length": limit, "do_lower_case": False})


def _pooling(folder: Path, files: SentenceFiles) -> Pooling:
    if not files.kinds:
        return "mean"
    if [kind for kind in files.kinds if kind != "Normalize"] != ["Transformer", "Pooling"]:
        raise DataError(
            f"this encoder is made of {', '.join(files.kinds)}, and only a transformer with pooling can be tuned",
            where=str(folder / MODULES),
        )
    known: tuple[Pooling, ...] = get_args(Pooling)
    way = next((way for way in known if files.pooling == (way,)), None)
    if way is None:
        raise DataError(
            f"its pooling is {' and '.join(files.pooling)}, and only {', '.join(known)} can be tuned",
            where=str(folder),
        )
    return way


def _write(path: Path, value: object) -> None:
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())
