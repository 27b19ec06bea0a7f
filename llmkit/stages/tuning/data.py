"""The examples of a fine-tuning run: a dataset of the registry, or one made here of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config.sections import SplitOptions
from llmkit.errors import DataError, NotFoundError, UsageError, closest
from llmkit.registry.refs import PathRef, RegistryRef, parse_input
from llmkit.stages import models
from llmkit.stages.base import Context, Inputs, Raw
from llmkit.stages.tuning.table import SCHEMAS

if TYPE_CHECKING:
    from llmkit.data.examples.fields import RowDrop
    from llmkit.data.schemas import ExampleSchema, TrainingExample
    from llmkit.registry.store import Registry
    from llmkit.stages.finetune_lora import FinetuneConfig


@dataclass(frozen=True)
class FileRows:
    """The rows of a file of examples, read anew each time, all of them to train on: a file that is only looked at."""

    path: Path
    schema: ExampleSchema

    def rows(self) -> Iterator[TrainingExample | RowDrop]:
        """Every row, in order: as an example, or with the reason why it is none."""
        from llmkit.data.examples.reading import read_training_rows

        return read_training_rows([self.path], self.schema, named_splits=False)

    def examples(self, split: str | None = None, schema: Any = None) -> Iterator[Any]:
        """The rows that are examples; none where those that are held out are asked for. `schema` has no choice."""
        from llmkit.data.examples.fields import RowDrop

        if split in (None, "train"):
            yield from (row for row in self.rows() if not isinstance(row, RowDrop))


ROW_FILES = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".conll"})


def find_examples(cfg: FinetuneConfig, registry: Registry) -> Inputs:
    """What --data names, as the role `data`: a file, or a dataset that the task can learn from.

    Raises:
        NotFoundError: it is not there.
        UsageError: it is on the Hub.
        DataError: the dataset holds something else than the task needs.
    """
    ref = parse_input(cfg.data)
    if isinstance(ref, PathRef):
        if not ref.path.exists():
            raise NotFoundError(f"no such file: {cfg.data}", mend="check the path, or name a dataset of the registry")
        return Inputs(raw={"data": Raw(cfg.data, registry.input_digest([ref.path]).digest, ref.path)})
    if not isinstance(ref, RegistryRef):
        raise UsageError(f"--data {cfg.data}: name a dataset of the registry or a file", mend="download it first")
    if Path(cfg.data).suffix in ROW_FILES and not registry.versions(ref.name):
        beside = [path.name for path in Path().iterdir()]
        raise NotFoundError(f"no such file: {cfg.data}{closest(cfg.data, beside)}", mend="check the path")
    data = registry.resolve(ref, "dataset")
    if cfg.task != "auto":
        models.require_schema(data, *SCHEMAS[cfg.task])
    elif data.manifest.data_schema == "text":
        models.require_schema(data, "chat")
    return Inputs({"data": data})


def examples_folder(cfg: FinetuneConfig, found: Inputs, ctx: Context) -> Path:
    """The folder of a dataset in which each example has its split: the artifact's own, or one made of the file."""
    if "data" in found.artifacts:
        return found.artifacts["data"].path
    from llmkit.data.examples.build import TrainingSetOptions, build_training_set

    file = found.raw["data"].value
    options = TrainingSetOptions(
        strict=cfg.bad_rows == "error",
        lenient="drop them with --bad-rows drop",
        repeats="keep",
        split=SplitOptions(validation=cfg.validation, test=0.0),
        seed=cfg.seed,
        named_splits=False,  # one file is what there is to learn from, whatever it is called
    )
    folder = ctx.work / "examples"
    result = build_training_set([file], folder, schema_of(cfg, file), options, reporter=ctx.reporter)
    if not result.rows["train"]:
        raise DataError(
            "its rows say that all of them are held out, so nothing is there to train on",
            where=str(file),
            mend="leave their field 'split' out, or give rows of the split 'train'",
        )
    if result.missing:
        ctx.reporter.warn("too few distinct examples: none is held out, nothing will say what was learned")
    return folder


def schema_of(cfg: FinetuneConfig, file: Path) -> ExampleSchema:
    """What the file holds, as far as its first rows tell, among what the task can learn from."""
    from llmkit.data.examples.reading import detect_schema

    found = detect_schema([file])
    wanted = SCHEMAS[cfg.task] if cfg.task != "auto" else ()
    if found is not None and (not wanted or found[0] in wanted):
        return found[0]
    if wanted:
        return wanted[0]  # reading it as that says what is wrong with its rows
    raise DataError(
        "the fields of its rows are not known",
        where=str(file),
        mend="examples are `messages`, or `prompt` and `completion`, or `text` and `label`, or `tokens` and `tags`; "
        "see docs/finetune-lora.md",
    )
