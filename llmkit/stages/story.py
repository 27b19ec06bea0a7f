"""`llmkit preprocess explain`: one document's way into a dataset or out of it, told again from its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import NotFoundError, closest
from llmkit.reporting.blocks import Block, Diff, Line, Quote, Table
from llmkit.reporting.reporter import Silent

if TYPE_CHECKING:
    from llmkit.data.dataset import Dataset
    from llmkit.data.drops import Drop
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.stages.base import Inputs
    from llmkit.stages.preprocess import PreprocessConfig
    from llmkit.text.document import Document

_SHOWN_CHARS = 1_000_000
_EXCERPT = 400


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
    facts = ", ".join(f"{name} {value}" for name, value in step["facts"].items())
    said = "; ".join(part for part in (changes, facts, step["dropped"]) if part)
    return f"{step['step']}: {said or 'nothing to change'}"


def _ending(dataset: Dataset, wanted: str) -> Ending:
    row = dataset.row(wanted)
    if row is not None:
        return Ending(row["id"], row["source"], row["record"], row=row)
    found: dict[str, Ending] = {}
    for each in dataset.documents():
        document = each.document
        if document.source == wanted or document.source.endswith(f"/{wanted}"):
            found[document.id] = Ending(document.id, document.source, document.record, row=dataset.row(document.id))
    for drop in dataset.drops():
        if wanted == drop.id or drop.source == wanted or drop.source.endswith(f"/{wanted}"):
            found[drop.id] = Ending(drop.id, drop.source, drop.record, drop=drop)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        some = ", ".join(f"{ending.id} (record {ending.record})" for ending in list(found.values())[:5])
        raise NotFoundError(f"'{wanted}' is the source of {len(found)} documents: {some}", mend="give one's id")
    ids = [drop.id for drop in dataset.drops()]
    raise NotFoundError(
        f"no document '{wanted}' is in the set or among its drops{closest(wanted, ids)}",
        where=str(dataset.folder),
        mend="ids are in documents.parquet, drops.parquet and the report",
    )


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
    from llmkit.data.prepare import prepare, steps_of
    from llmkit.stages.corpus import prepare_options
    from llmkit.stages.preprocess import PreprocessConfig, fetch_inputs, inputs

    cfg = PreprocessConfig.model_validate(artifact.manifest.config)
    try:
        found = inputs(cfg, registry, fetch_inputs(cfg, registry, Silent(), offline=True))
    except NotFoundError as error:
        story["note"] = f"its source cannot be read again: {error}"
        return
    document = _read_again(cfg, found, ending)
    if document is None:
        story["note"] = "its source does not hold it any more" if not _unread(ending) else "it could not be read"
        return
    if ending.row is not None and ending.row.get("digest") not in (None, document.digest[:16]):
        story["note"] = "its source has changed since: what follows is about the text that is there now"
    before = document.text
    for stage in prepare(document, steps_of(prepare_options(cfg, found))):
        story["steps"].append(_step(stage.step, before, stage.result))
        before = getattr(getattr(stage.result, "document", None), "text", before)
    story["text"] = before


def _step(name: str, before: str, result: Any) -> dict[str, Any]:
    from llmkit.data.drops import Drop

    if isinstance(result, Drop):
        return {"step": name, "changes": {}, "facts": {}, "dropped": result.detail}
    told = {"step": name, "changes": dict(result.changes), "facts": dict(result.facts), "dropped": ""}
    if result.document.text != before:
        told |= {"before": before[:_SHOWN_CHARS], "after": result.document.text[:_SHOWN_CHARS]}
    return told


def _read_again(cfg: PreprocessConfig, found: Inputs, ending: Ending) -> Document | None:
    from llmkit.data.drops import Drop
    from llmkit.data.shards import Unit, read_unit
    from llmkit.stages.corpus import read_options

    base = ending.source.split("!/")[0]
    for file in found.raw["files"].value.files:
        if file.form == "dataset" or base in (file.source or str(file.path), str(file.path)):
            for item in read_unit(Unit(file, file.size), read_options(cfg)):
                if not isinstance(item, Drop) and item.id == ending.id:
                    return item
    return None


def _unread(ending: Ending) -> bool:
    return ending.drop is not None and ending.drop.step == "read"


def _original(dataset: Dataset, document_id: str, text: str | None) -> dict[str, Any]:
    from llmkit.data.dedup import compared, similarity

    row = dataset.row(document_id)
    if row is None:
        return {"id": document_id, "source": "(dropped as well)"}
    told = {"id": document_id, "source": row["source"], "record": row["record"]}
    if text is not None:
        told["similarity"] = similarity(compared(row["text"]), compared(text))
        told |= {"before": row["text"][:_SHOWN_CHARS], "after": text[:_SHOWN_CHARS]}
    return told
