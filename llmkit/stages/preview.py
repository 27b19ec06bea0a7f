"""`llmkit finetune-lora preview`: examples as a model would learn them, token by token. No weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import Config, option
from llmkit.config.sections import CausalOptions, Seeded, WordingOptions
from llmkit.errors import DataError, UsageError
from llmkit.reporting.blocks import Block, Heading, Ink, Line, Marked, Table
from llmkit.stages import models
from llmkit.stages.tuning.table import TaskName

if TYPE_CHECKING:
    from llmkit.registry.store import Registry
    from llmkit.stages.tuning.task import Given
    from llmkit.train.lengths import Fitted

OUTSIDE = "O"
"""The tag of a word that is of no kind: not written out."""


class PreviewOptions(Seeded, Config):
    """Options of `llmkit finetune-lora preview`: those of a run that decide what is learned."""

    model: str = option(..., "Model or adapter to start from.")
    data: str = option(..., "Dataset of examples, or a file of them, as in finetune-lora.")
    samples: int = option(3, "Examples that are shown.", ge=1, short="-n")
    html: str = option("", "Write them as a page to this file, too.")
    task: TaskName = option("auto", "As in finetune-lora.")
    causal: WordingOptions = WordingOptions()
    sequence_length: int = option(0, "Longest example in tokens; 0: the model's context.", ge=0)
    over_length: Literal["error", "drop", "truncate", "split"] = option("error", "What happens to longer examples.")


def preview(cfg: PreviewOptions, registry: Registry) -> dict[str, Any]:
    """What would be learned of the first examples. JSON-ready: `facts`, `samples`, `refused`.

    Raises:
        LlmkitError: the model or the data are not there, no template is, or the task cannot be taught to the model.
    """
    from llmkit.stages.tuning.seen import json_ready
    from llmkit.stages.tuning.table import open_task
    from llmkit.train.examples import ends_of

    given = _given(cfg, registry)
    task = open_task(given)
    tokenizer: Any = task.loaded.tokenizer
    ends = ends_of(tokenizer)
    samples: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    kept: list[Any] = []
    for item in islice(_items(given), cfg.samples):
        try:
            found = task.fitted([_example(item)])
        except DataError as error:
            refused.append({"where": error.where or "", "message": error.message, "mend": error.mend or ""})
            continue
        kept += found.examples
        told = {"where": f"{item.source}:{item.record}", "measured": task.measured}
        samples += [{**told, **fate} for fate in _fates(found)]
    seen = iter(task.seen(kept) if kept else ())
    for sample in samples:
        if sample["length_left"]:
            shown = next(seen)
            sample["target"] = shown.target
            sample["rows"] = [json_ready(strip, tokenizer, ends) for strip in shown.strips]
    facts = {
        **task.facts,
        "model": cfg.model,
        "learned": task.aim,
        "limit": task.limit,
        "bos": tokenizer.bos_token,
        "ends": sorted(tokenizer.convert_ids_to_tokens(sorted(ends))),
        "notes": list(task.wording_notes),
    }
    return {"facts": facts, "samples": samples, "refused": refused}


def _given(cfg: PreviewOptions, registry: Registry) -> Given:
    """What a run with these options is made from, but for the weights."""
    from llmkit.data.dataset import Dataset
    from llmkit.stages.finetune_lora import FinetuneConfig
    from llmkit.stages.tuning.data import FileRows, find_examples, schema_of
    from llmkit.stages.tuning.task import Given

    run = FinetuneConfig(
        model=cfg.model,
        data=cfg.data,
        task=cfg.task,
        causal=CausalOptions(**cfg.causal.model_dump()),
        sequence_length=cfg.sequence_length,
        over_length=cfg.over_length,
        seed=cfg.seed,
    )
    folder, adapter = _folders(cfg, registry)
    found = find_examples(run, registry)
    if "data" in found.artifacts:
        dataset: Dataset | FileRows = Dataset.open(found.artifacts["data"].path)
    else:
        file = found.raw["data"].value
        dataset = FileRows(file, schema_of(run, file))
    paths = {"model": folder, "adapter": adapter} if adapter else {"model": folder}
    return Given(run, dataset, paths, folder, weights=False)


def _folders(cfg: PreviewOptions, registry: Registry) -> tuple[Path, Path | None]:
    """As for training, but the weights of a folder are neither looked at nor compared."""
    folder = Path(cfg.model).expanduser()
    if cfg.model.startswith(("/", ".", "~")) and folder.is_dir() and not models.is_adapter(folder):
        return folder, None
    found = models.find_model(cfg.model, registry)
    if models.is_endpoint(found):
        raise UsageError(f"{cfg.model} answers over the network and cannot be tuned", mend="name a model that is here")
    return models.folders_of(found)


def _items(given: Given) -> Iterator[Any]:
    """The examples that are trained on, in order; of a file also the rows that are none."""
    from llmkit.stages.tuning.data import FileRows

    if isinstance(given.dataset, FileRows):
        return given.dataset.rows()
    schema: Any = given.dataset.schema
    return given.dataset.examples("train", schema)


def _example(item: Any) -> Any:
    from llmkit.data.examples.fields import RowDrop

    if isinstance(item, RowDrop):
        raise DataError(item.detail, where=f"{item.source}:{item.record}", mend="mend the row")
    return item


def _fates(found: Fitted[Any]) -> Iterator[dict[str, Any]]:
    """What is left of one example, piece by piece, or why nothing is."""
    told = {"length": found.longest, "limit": found.limit}
    for piece in found.examples:
        fate, cut = "whole", 0
        if found.truncated or found.split:
            fate = f"{'truncated' if found.truncated else 'split'} to {len(piece):,}"
            cut = found.longest - len(piece) if found.truncated else 0
        yield {**told, "fate": fate, "cut": cut, "length_left": len(piece)}
    if not found.examples:
        fate = "too long: left out" if found.dropped else "nothing to learn is left of it"
        yield {**told, "fate": fate, "cut": found.longest, "length_left": 0}


def show(told: Mapping[str, Any]) -> Sequence[Block]:
    """The facts, then each example with what is learned of it marked."""
    facts = told["facts"]
    rows = [("task", facts.get("tuned") or facts["task"]), ("learned", facts["learned"])]
    if facts["task"] in ("chat", "text"):
        template = facts.get("template")
        rows += [
            ("template", f"{template['name']} ({template['sha256'][:12]})" if template else "none: plain text"),
            ("begins with", facts["bos"] or "-"),
            ("a reply ends with", " or ".join(facts["ends"]) or "nothing that is known: it would never stop"),
        ]
    rows.append(("longest", f"{facts['limit']:,} tokens"))
    blocks: list[Block] = [Table(("", ""), rows, f"What {facts['model']} would learn")]
    blocks += [Line(note, "bad") for note in facts["notes"]]
    for sample in told["samples"]:
        blocks += _shown(sample)
    for bad in told["refused"]:
        blocks += [Line(""), Line(f"{bad['where']}: {bad['message']}", "bad"), Line(f"  {bad['mend']}", "dim")]
    return [*blocks, Line(""), Line("learned tokens are green on a terminal, else ⟦between such signs⟧", "dim")]


def _shown(sample: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading(sample["where"] or "example", 1)
    length = f"{sample['length']:,} {sample['measured']}, at most {sample['limit']:,}"
    if "rows" not in sample:
        yield Line(f"{length}: {sample['fate']}", "bad")
        return
    whole = sample["fate"] == "whole"
    yield Line(length if whole else f"{length}; {sample['fate']}", "dim" if whole else "bad")
    if sample["target"]:
        yield Line(sample["target"], "good")
    for row in sample["rows"]:
        yield from _row(row, sample["cut"])


def _row(row: Mapping[str, Any], cut: int) -> Iterator[Block]:
    """A row of a batch, and what is to be said of it where it is written token by token."""
    facts = [f"{row['trained']:,} learned"] if row["trained"] else []
    sound = True
    if "ends" in row:
        sound = row["bos"] < 2 and any(end["learned"] for end in row["ends"])
        ends = [f"{end['at']}{'' if end['learned'] else ' (not learned)'}" for end in row["ends"]]
        facts += [f"BOS {row['bos']}", f"ends at {', '.join(ends) or 'none'}"]
    elif row["special"]:
        facts.append("special tokens at " + ", ".join(str(each["at"]) for each in row["special"]))
    facts.append(row["place"])
    title = f"{row['title']}: " if row["title"] else ""
    yield Line(title + "; ".join(facts), "dim" if sound else "bad")
    pieces: list[tuple[str, Ink]] = [part for piece in row["pieces"] for part in _inked(piece)]
    if cut:
        pieces.append((f"{cut:,} tokens", "cut"))
    yield Marked(pieces)
    if "ends" in row and not any(end["learned"] for end in row["ends"]):
        yield Line("no end of turn or text is learned from it", "bad")


def _inked(piece: Mapping[str, Any]) -> Iterator[tuple[str, Ink]]:
    """A piece in its colour; a tag stands before the word, the space before a tagged word has no colour."""
    text, tag = str(piece["text"]), piece["tag"]
    if not tag:
        yield text, "learned" if piece["learned"] else "read"
        return
    word = text.lstrip()
    yield text[: len(text) - len(word)], "read"
    yield word if tag == OUTSIDE else f"{tag}:{word}", "learned"
