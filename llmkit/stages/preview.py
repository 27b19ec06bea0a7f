"""`llmkit finetune-lora preview`: examples as a model would learn them, token by token. No weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmkit.config.base import Config, option
from llmkit.config.sections import Seeded, WordingOptions
from llmkit.errors import DataError, UsageError
from llmkit.reporting.blocks import Block, Heading, Ink, Line, Marked, Table
from llmkit.stages import models

if TYPE_CHECKING:
    from llmkit.data.chat import Example
    from llmkit.data.examples.fields import RowDrop
    from llmkit.registry.store import Registry
    from llmkit.stages.tuning.rendering import Wording
    from llmkit.train.examples import Rendered
    from llmkit.train.samples import Batch


class PreviewOptions(Seeded, Config):
    """Options of `llmkit finetune-lora preview`: those of a run that decide what is learned."""

    model: str = option(..., "Model or adapter to start from.")
    data: str = option(..., "Dataset of examples, or a JSONL, JSON, CSV or parquet file of them.")
    samples: int = option(3, "Examples that are shown.", ge=1, short="-n")
    html: str = option("", "Write them as a page to this file, too.")
    task: Literal["auto", "chat", "text"] = option("auto", "As in finetune-lora.")
    causal: WordingOptions = WordingOptions()
    sequence_length: int = option(0, "Longest example in tokens; 0: the model's context.", ge=0)
    over_length: Literal["error", "drop", "truncate", "split"] = option("error", "What happens to longer examples.")


def preview(cfg: PreviewOptions, registry: Registry) -> dict[str, Any]:
    """What would be learned of the first examples. JSON-ready: `facts`, `samples`, `refused`.

    Raises:
        LlmkitError: the model or the data are not there, or no template is.
    """
    from llmkit.models.load import objective_of, read_config, tokenizer_for
    from llmkit.stages.tuning.rendering import wording
    from llmkit.train.examples import ends_of

    folder, adapter = _folders(cfg, registry)
    config = read_config(folder)
    if objective_of(config, folder) != "causal":
        raise UsageError("only what causal models learn can be shown", mend="use a causal model, such as gpt2 or llama")
    context = getattr(config, "max_position_embeddings", None)
    models.check_context(context, cfg.sequence_length)
    limit = cfg.sequence_length or context or models.UNKNOWN_CONTEXT
    words = wording(tokenizer_for(config, folder, adapter), cfg.task, cfg.causal)
    tokenizer = words.tokenizer
    found = list(islice(_examples(cfg, registry), cfg.samples))
    rendered: list[Rendered] = []
    refused: list[dict[str, str]] = []
    for item in found:
        try:
            rendered.append(_rendered(item, words))
        except DataError as error:
            refused.append({"where": error.where or "", "message": error.message, "mend": error.mend or ""})
    ends = ends_of(tokenizer)
    facts = {
        "model": cfg.model,
        **words.facts,
        "limit": limit,
        "bos": tokenizer.bos_token,
        "ends": sorted(tokenizer.convert_ids_to_tokens(sorted(ends))),
        "notes": words.notes,
    }
    shown = [sample for each in rendered for sample in _fitted(cfg, each, limit)]
    kept = [sample["example"] for sample in shown if sample["example"] is not None]
    batches = list(_collated(cfg, kept, limit)) if kept else []
    for sample in shown:
        example = sample.pop("example")
        seen = batches.pop(0) if example is not None else None
        sample.update(_told(example, seen, words, ends) if example is not None and seen else {})
    return {"facts": facts, "samples": shown, "refused": refused}


def _folders(cfg: PreviewOptions, registry: Registry) -> tuple[Path, Path | None]:
    """As for training, but weights are neither looked at nor compared."""
    from llmkit.registry.refs import PathRef, parse

    parsed = parse(cfg.model)
    if isinstance(parsed, PathRef) and parsed.path.is_dir() and not models.is_adapter(parsed.path):
        return parsed.path, None
    found = models.find_model(cfg.model, registry)
    if models.is_endpoint(found):
        raise UsageError(f"{cfg.model} answers over the network and cannot be tuned", mend="name a model that is here")
    return models.folders_of(found)


def _examples(cfg: PreviewOptions, registry: Registry) -> Iterator[Example | RowDrop]:
    """The examples that are trained on, in order; of a file also the rows that are none."""
    from llmkit.data.chat import Example
    from llmkit.data.dataset import Dataset
    from llmkit.data.examples.fields import RowDrop
    from llmkit.data.examples.reading import read_training_rows
    from llmkit.stages.tuning.data import find_examples

    found = find_examples(cfg, registry)
    if "data" in found.artifacts:
        yield from Dataset.open(found.artifacts["data"].path).examples("train")
        return
    for item in read_training_rows([found.raw["data"].value], "chat"):
        if isinstance(item, Example | RowDrop):
            yield item


def _rendered(item: Example | RowDrop, words: Wording) -> Rendered:
    from llmkit.data.chat import Example
    from llmkit.stages.tuning.rendering import check_start

    if not isinstance(item, Example):
        raise DataError(item.detail, where=f"{item.source}:{item.record}", mend="mend the row")
    example = words.rendered(item)
    check_start(example, words)
    return example


def _fitted(cfg: PreviewOptions, example: Rendered, limit: int) -> Iterator[dict[str, Any]]:
    """The pieces of an example that are trained on, under the over-length policy, or what happens to it instead."""
    from llmkit.train.examples import fit

    told = {"where": example.where, "length": len(example), "limit": limit}
    if len(example) <= limit:
        yield {**told, "fate": "whole", "cut": 0, "example": example}
    elif cfg.over_length in ("error", "drop"):
        fate = "too long: the run stops" if cfg.over_length == "error" else "too long: left out"
        yield {**told, "fate": fate, "cut": len(example), "example": None}
    else:
        try:
            pieces = fit([example], limit, cfg.over_length).examples
        except DataError:
            pieces = []
        for piece in pieces:
            cut = len(example) - len(piece) if cfg.over_length == "truncate" else 0
            yield {**told, "fate": f"{cfg.over_length} to {len(piece)}", "cut": cut, "example": piece}
        if not pieces:
            yield {**told, "fate": "nothing to learn is left of it", "cut": len(example), "example": None}


def _collated(cfg: PreviewOptions, kept: Sequence[Rendered], limit: int) -> Iterator[tuple[list[int], list[int], str]]:
    """Of each example what the batch hands to the model and asks of it: (ids, labels, place)."""
    from llmkit.train.isolation import Isolation
    from llmkit.train.packing import Packed, row_length
    from llmkit.train.padding import Padded
    from llmkit.train.samples import Sample

    if not cfg.causal.packing:
        rows = Padded(kept, batch_size=len(kept), seed=cfg.seed, shuffle=False)
        batch = rows.batch([Sample(0, number) for number in range(len(kept))], len(kept))
        for row, example in enumerate(kept):
            yield _read(batch, row, 0, len(example) - 1)
        return
    length = row_length(cfg.sequence_length, limit, max(map(len, kept)))
    packed = Packed(kept, length=length, isolation=Isolation(0, "positions", True), seed=cfg.seed)
    batch = packed.batch([Sample(0, number) for number in range(len(packed))], len(packed))
    places: dict[int, tuple[int, int]] = {}
    for row, numbers in enumerate(packed.rows):
        at = 0
        for number in numbers:
            places[number] = (row, at)
            at += len(kept[number]) - 1
    for number, example in enumerate(kept):
        row, at = places[number]
        yield _read(batch, row, at, at + len(example) - 1)


def _read(batch: Batch, row: int, start: int, end: int) -> tuple[list[int], list[int], str]:
    ids = batch.inputs["input_ids"][row, start:end].tolist()
    return ids, batch.labels[row, start:end].tolist(), f"row {row}, {start} to {end} of {batch.labels.shape[1]}"


def _told(
    example: Rendered, seen: tuple[list[int], list[int], str], words: Wording, ends: frozenset[int]
) -> dict[str, Any]:
    """What a batch says of an example: its tokens with what is asked for, runs of which are pieces of text."""
    from llmkit.train.examples import begins
    from llmkit.train.samples import IGNORE

    ids, labels, place = seen
    tokens = [(ids[0], False)]
    tokens += [(label, True) if label != IGNORE else (id_, False) for id_, label in zip(ids[1:], labels, strict=False)]
    if labels[-1] != IGNORE:
        tokens.append((labels[-1], True))  # the last token is only ever predicted
    pieces: list[tuple[list[int], bool]] = []
    for id_, learned in tokens:
        if not pieces or pieces[-1][1] != learned:
            pieces.append(([], learned))
        pieces[-1][0].append(id_)
    decode = words.tokenizer.decode
    return {
        "place": place,
        "trained": sum(learned for _, learned in tokens),
        "bos": begins(example, words.tokenizer.bos_token_id),
        "ends": [{"at": at, "learned": learned} for at, (id_, learned) in enumerate(tokens) if id_ in ends],
        "ids": [id_ for id_, _ in tokens],
        "learned": [learned for _, learned in tokens],
        "pieces": [{"text": decode(run), "learned": learned} for run, learned in pieces],
    }


def show(told: Mapping[str, Any]) -> Sequence[Block]:
    """The facts, then each example with what is learned of it marked."""
    facts = told["facts"]
    template = facts.get("template")
    rows = [
        ("template", f"{template['name']} ({template['sha256'][:12]})" if template else "none: plain text"),
        ("learned", {"assistant": "the assistant's turns", "last": "the last turn", "all": "all"}[facts["learn"]]),
        ("begins with", facts["bos"] or "-"),
        ("a reply ends with", " or ".join(facts["ends"]) or "nothing that is known: it would never stop"),
        ("longest", f"{facts['limit']:,} tokens"),
    ]
    blocks: list[Block] = [Table(("", ""), rows, f"What {facts['model']} would learn")]
    blocks += [Line(note, "bad") for note in facts["notes"]]
    for sample in told["samples"]:
        blocks += _shown(sample)
    for bad in told["refused"]:
        blocks += [Line(""), Line(f"{bad['where']}: {bad['message']}", "bad"), Line(f"  {bad['mend']}", "dim")]
    blocks.append(Line(""))
    blocks.append(Line("learned tokens are green on a terminal, else ⟦between such signs⟧", "dim"))
    return blocks


def _shown(sample: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading(sample["where"] or "example", 1)
    if "pieces" not in sample:
        yield Line(f"{sample['length']:,} tokens of {sample['limit']:,}: {sample['fate']}", "bad")
        return
    ends = sample["ends"]
    where = ", ".join(f"{end['at']}{'' if end['learned'] else ' (not learned)'}" for end in ends) or "none"
    taught = any(end["learned"] for end in ends)
    yield Line(
        f"{sample['length']:,} tokens of {sample['limit']:,}, {sample['trained']:,} learned; BOS {sample['bos']}; "
        f"ends at {where}; {sample['place']}" + ("" if sample["fate"] == "whole" else f"; {sample['fate']}"),
        "dim" if taught and sample["bos"] < 2 and sample["fate"] == "whole" else "bad",
    )
    pieces: list[tuple[str, Ink]] = [(p["text"], "learned" if p["learned"] else "read") for p in sample["pieces"]]
    if sample["cut"]:
        pieces.append((f"{sample['cut']:,} tokens", "cut"))
    yield Marked(pieces)
    if not taught:
        yield Line("no end of turn or text is learned from it", "bad")
