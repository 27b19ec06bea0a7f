"""`llmkit preprocess explain`: one document's way into a dataset or out of it, told again from its source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import LlmkitError, NotFoundError, closest
from llmkit.reporting.blocks import Block, Diff, Line, Quote, Table
from llmkit.stages.base import Inputs

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.data.drops import Drop
    from llmkit.data.sources.collect import SourceFile
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.stages.preprocess import PreprocessConfig
    from llmkit.text.document import Document

_SHOWN_CHARS = 1_000_000
_EXCERPT = 400
_COMPARED_IDS = 10_000
"""Ids among which the closest to an unknown one is looked for."""


@dataclass(frozen=True)
class Ending:
    """What the dataset says of the document: the row it has, or the drop that is recorded of it."""

    id: str
    source: str
    record: str
    row: Mapping[str, Any] | None = None
    drop: Drop | None = None


def explain(artifact: Artifact, wanted: str, registry: Registry) -> dict[str, Any]:
    """The story of a document, JSON-ready: each step with what it changed, and how it ended.

    Args:
        artifact: a dataset of texts.
        wanted: a document's id, or its source as the dataset has it (the end of a path is enough).

    Raises:
        NotFoundError: the dataset knows no such document, or several.
    """
    from llmkit.data.dataset import Dataset
    from llmkit.stages.models import require_schema

    require_schema(artifact, "text")
    dataset = Dataset.open(artifact.path)
    ending = _ending(dataset, wanted)
    story: dict[str, Any] = {
        "dataset": artifact.ref,
        "id": ending.id,
        "source": ending.source,
        "record": ending.record,
        "steps": [],
    }
    story |= _outcome(ending)
    _tell(story, artifact, ending, registry)
    if ending.drop is not None and ending.drop.of:
        story["original"] = _original(dataset, ending.drop.of, story.get("text"))
    return story


def show(story: Mapping[str, Any]) -> Sequence[Block]:
    """The story as blocks: where it comes from, each step with a diff, the end."""
    place = f"{story['source']}, record {story['record']}" if story["record"] else story["source"]
    blocks: list[Block] = [Line(f"{story['id']}  {place}", "heading")]
    if note := story.get("note"):
        blocks.append(Line(note, "bad"))
    for step in story["steps"]:
        blocks.append(Line(_headline(step), "bad" if step["dropped"] else "plain"))
        if "before" in step:
            blocks.append(Diff(step["before"], step["after"]))
    if story["kept"]:
        blocks.append(Line(f"kept: in the {story['split']} split, cluster {story['cluster']}", "good"))
        if excerpt := story.get("excerpt"):
            blocks.append(Quote(excerpt))
    else:
        blocks.append(
            Line(f"dropped by {story['step']}: {story['reason'].replace('_', ' ')}: {story['detail']}", "bad")
        )
    if original := story.get("original"):
        facts = [("repeats", original["source"]), ("its id", original["id"])]
        if original.get("similarity") is not None:
            facts.append(("similarity", f"{original['similarity']:.3f}"))
        blocks.append(Table(("", ""), facts))
        if "before" in original:
            blocks.append(Diff(original["before"], original["after"], "the original and this document"))
    return blocks


def _headline(step: Mapping[str, Any]) -> str:
    changes = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in step["changes"].items())
    known = {name: fact for name, fact in step["facts"].items() if fact not in (step["changes"], {}, [])}
    facts = ", ".join(f"{name.replace('_', ' ')} {_in_words(fact)}".strip() for name, fact in known.items())
    said = "; ".join(part for part in (changes, facts, step["dropped"]) if part)
    return f"{step['step']}: {said or 'nothing to change'}"


def _in_words(fact: object) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in fact.items())
    return ", ".join(map(str, fact)) if isinstance(fact, list | tuple) else str(fact)


def _ending(dataset: Dataset, wanted: str) -> Ending:
    row = dataset.row(wanted)
    if row is not None:
        return Ending(row["id"], row["source"], row["record"], row=row)
    found: dict[str, Ending] = {}
    for each in dataset.documents():
        document = each.document
        if _named(document.source, document.record, wanted):
            found[document.id] = Ending(document.id, document.source, document.record)
    ids: list[str] = []
    for drop in dataset.drops():
        if wanted == drop.id or _named(drop.source, drop.record, wanted):
            found[drop.id] = Ending(drop.id, drop.source, drop.record, drop=drop)
        if len(ids) < _COMPARED_IDS:
            ids.append(drop.id)
    if len(found) == 1:
        (ending,) = found.values()
        return ending if ending.drop else replace(ending, row=dataset.row(ending.id))
    if found:
        some = ", ".join(f"{ending.id} (record {ending.record})" for ending in list(found.values())[:5])
        raise NotFoundError(f"'{wanted}' is the source of {len(found)} documents: {some}", mend="give one's id")
    raise NotFoundError(
        f"no document '{wanted}' is in the set or among its drops{closest(wanted, ids)}",
        where=str(dataset.folder),
        mend="ids are in documents.parquet, drops.parquet and the report",
    )


def _named(source: str, record: str, wanted: str) -> bool:
    """Whether a document is meant by its source or the end of it, by its record, or by `source:record`."""
    if record and wanted == record:
        return True
    place = wanted.removesuffix(f":{record}") if record else wanted
    return source == place or source.endswith(f"/{place}")


def _outcome(ending: Ending) -> dict[str, Any]:
    if ending.row is not None:
        return {
            "kept": True,
            "split": ending.row["split"],
            "cluster": ending.row["cluster"],
            "excerpt": ending.row["text"][:_EXCERPT],
        }
    assert ending.drop is not None  # noqa: S101  # one of the two is there
    return {"kept": False, "step": ending.drop.step, "reason": ending.drop.reason, "detail": ending.drop.detail}


def _tell(story: dict[str, Any], artifact: Artifact, ending: Ending, registry: Registry) -> None:
    """Take the document through the steps again, with the options that the dataset was made with."""
    from llmkit.data.corpus.prepare import prepare, steps_of
    from llmkit.stages.corpus import prepare_options
    from llmkit.stages.preprocess import PreprocessConfig

    cfg = PreprocessConfig.model_validate(artifact.manifest.config)
    try:
        document = _read_again(cfg, artifact, ending, registry)
    except LlmkitError as error:
        story["note"] = f"its source cannot be read again: {error}"
        return
    if document is None:
        story["note"] = "its source does not hold it any more" if not _unread(ending) else "it could not be read"
        return
    same = ending.row is not None and ending.row.get("digest") in (None, document.digest[:16])
    if ending.row is not None and not same:
        story["note"] = "its source has changed since: what follows is about the text that is there now"
    before = document.text
    for stage in prepare(document, steps_of(prepare_options(cfg, Inputs()))):
        story["steps"].append(_step(stage.step, before, stage.result))
        before = getattr(getattr(stage.result, "document", None), "text", before)
    story["text"] = before
    if ending.row is not None and same and ending.row["text"] != before:
        story["steps"].append(_lines_step(before, ending.row["text"]))


def _lines_step(before: str, after: str) -> dict[str, Any]:
    """Lines that went because other documents have them too: known from the result alone."""
    removed = before.count("\n") - after.count("\n")
    told = {"step": "lines", "changes": {"repeated_lines": removed}, "facts": {}, "dropped": ""}
    return told | {"before": before[:_SHOWN_CHARS], "after": after[:_SHOWN_CHARS]}


def _step(name: str, before: str, result: Any) -> dict[str, Any]:
    from llmkit.data.drops import Drop

    if isinstance(result, Drop):
        return {"step": name, "changes": {}, "facts": {}, "dropped": result.detail}
    told = {"step": name, "changes": dict(result.changes), "facts": dict(result.facts), "dropped": ""}
    if result.document.text != before:
        told |= {"before": before[:_SHOWN_CHARS], "after": result.document.text[:_SHOWN_CHARS]}
    return told


def _read_again(cfg: PreprocessConfig, artifact: Artifact, ending: Ending, registry: Registry) -> Document | None:
    """The document as it is read now: if possible with the text it had, else with what is there under its id."""
    from llmkit.data.corpus.shards import Unit, read_unit
    from llmkit.data.drops import Drop
    from llmkit.stages.sources import read_options

    digest = ending.row.get("digest") if ending.row is not None else None
    other: Document | None = None
    for file in _files(cfg, artifact, ending, registry):
        for item in read_unit(Unit(file, file.size), read_options(cfg)):
            if isinstance(item, Drop) or item.id != ending.id:
                continue
            if digest in (None, item.digest[:16]):
                return item
            other = other or item
    return other


def _files(cfg: PreprocessConfig, artifact: Artifact, ending: Ending, registry: Registry) -> Iterator[SourceFile]:
    """Where the document may have been read from: a dataset of the registry, a file, a copy of what was fetched.

    Raises:
        LlmkitError: it is gone.
    """
    from llmkit.data.sources.collect import SourceFile
    from llmkit.stages.preprocess import inputs
    from llmkit.stages.sources import dataset_file, fetched_before

    datasets = [ref.ref for ref in artifact.manifest.inputs if re.fullmatch(r"data(-\d+)?", ref.role)]
    for ref in datasets:
        yield dataset_file(registry.resolve(ref, "dataset"))
    base = ending.source.split("!/")[0]
    path = Path(base)
    if path.is_file():
        yield SourceFile(path, path.name, path.stat().st_size)
    elif path.is_absolute() and not datasets:
        raise NotFoundError("it is not there any more", where=base)
    elif not path.is_absolute():
        found = inputs(cfg, registry, fetched_before(cfg.inputs, cfg.web, registry))
        for file in found.raw["files"].value.files:
            # The pages of a web archive have their own addresses.
            if base in (file.source, str(file.path)) or ".warc" in file.path.name:
                yield file


def _unread(ending: Ending) -> bool:
    return ending.drop is not None and ending.drop.step in ("collect", "read")


def _original(dataset: Dataset, document_id: str, text: str | None) -> dict[str, Any]:
    from llmkit.data.steps.dedup import compared, similarity

    row = dataset.row(document_id)
    if row is None:
        return {"id": document_id, "source": "(dropped as well)"}
    told = {"id": document_id, "source": row["source"], "record": row["record"]}
    if text is not None:
        told["similarity"] = similarity(compared(row["text"]), compared(text))
        told |= {"before": row["text"][:_SHOWN_CHARS], "after": text[:_SHOWN_CHARS]}
    return told
