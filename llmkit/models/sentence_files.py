"""What sentence-transformers' files in a model's folder say of it, read without importing sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llmkit.errors import DataError

Role = Literal["query", "document"]

MODULES = "modules.json"
"""What makes a folder one of sentence-transformers."""
POOLING = "1_Pooling"
LENGTH = "sentence_bert_config.json"
PROMPTS = "config_sentence_transformers.json"

LEGACY: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How the pooling was written before sentence-transformers 5.4: a flag for each way."""

_PROMPTS_OF: Mapping[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names under which a model may say what goes before a text of each role; the first that is there counts."""


@dataclass(frozen=True)
class SentenceFiles:
    """A folder's modules and how they are used.

    Attributes:
        kinds: of its modules, in order (`Transformer`, `Pooling`, `Dense`, `Normalize`); empty for a folder that is
            none of sentence-transformers', which it reads as a transformer with the mean of its states.
        pooling: the ways in which the states of a text become its vector; joined where there are several.
        whole: the prompt's own states take part in that.
        limit: longest text in tokens, special ones included; None where only the model's context bounds it.
        lower: texts are put into lower case before they are read.
        prompts: text that goes before a `query` and a `document`.
    """

    kinds: tuple[str, ...] = ()
    pooling: tuple[str, ...] = ("mean",)
    whole: bool = True
    limit: int | None = None
    lower: bool = False
    prompts: Mapping[Role, str] = field(default_factory=dict)

    def written(self, text: str, role: Role) -> str:
        """The text as the tokenizer gets it."""
        whole = self.prompts.get(role, "") + text
        return whole.lower() if self.lower else whole


def is_sentence_encoder(folder: Path) -> bool:
    """Whether sentence-transformers' own files lie in a model's folder."""
    return (folder / MODULES).is_file()


def module_folders(folder: Path) -> list[str]:
    """Names of the subfolders that hold modules."""
    return [str(module["path"]) for module in _objects(folder / MODULES) if module.get("path")]


def read_sentence_files(folder: Path) -> SentenceFiles:
    """What the files say; the defaults of sentence-transformers where there are none.

    Raises:
        DataError: one of them is damaged.
    """
    modules = _objects(folder / MODULES)
    kinds = tuple(str(module.get("type", "")).rpartition(".")[2] for module in modules)
    pooling: Mapping[str, Any] = {}
    if "Pooling" in kinds:
        pooling = _object(folder / str(modules[kinds.index("Pooling")].get("path") or POOLING) / "config.json")
    found = pooling.get("pooling_mode") or [way for flag, way in LEGACY.items() if pooling.get(flag)] or "mean"
    lengths = _object(folder / LENGTH)
    return SentenceFiles(
        kinds=kinds,
        pooling=(found,) if isinstance(found, str) else tuple(map(str, found)),
        whole=bool(pooling.get("include_prompt", True)),
        limit=lengths.get("max_seq_length"),
        lower=bool(lengths.get("do_lower_case")),
        prompts=_prompts(_object(folder / PROMPTS).get("prompts") or {}),
    )


def _prompts(found: Mapping[str, Any]) -> dict[Role, str]:
    """By role. sentence-transformers' `encode_document` is meant to look under the same names, but takes the empty
    prompt of its own defaults for one that the model gives, and never gets to `passage` (6.2)."""
    return {
        role: next((str(found[name]) for name in _PROMPTS_OF[role] if found.get(name)), "") for role in get_args(Role)
    }


def _object(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = _json(path, dict)
    return found


def _objects(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _json(path, list)
    if not all(isinstance(row, dict) for row in rows):
        raise DataError("not a list of modules", where=str(path), mend="fetch the model again")
    return rows


def _json(path: Path, kind: type[Any]) -> Any:
    """What a file holds; an empty value where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return kind()
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), mend="fetch the model again") from error
    if not isinstance(value, kind):
        raise DataError(f"not a JSON {kind.__name__}", where=str(path), mend="fetch the model again")
    return value
