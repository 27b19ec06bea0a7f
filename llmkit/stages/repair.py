"""`llmkit index repair`: an index checked part by part, and whatever can be made again is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import LlmkitError, NotFoundError, UnavailableError
from llmkit.registry.locks import held
from llmkit.registry.refs import RegistryRef, parse
from llmkit.reporting.blocks import Block, Line, Table
from llmkit.stages.knowledge import INDEX_FILE, rows_as_published

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry
    from llmkit.reporting.reporter import Reporter
    from llmkit.retrieval.repair import Finding


def repair(ref: str, registry: Registry, reporter: Reporter) -> dict[str, Any]:
    """Checks and mends the store behind an index. JSON-ready: `index`, `findings`, `left` (what is still not well).

    Raises:
        NotFoundError: there is no such index.
        BusyError: it is being written.
        DataError: the documents' own rows are damaged; the mend says how to build them again.
    """
    from llmkit.retrieval.repair import repair as mend
    from llmkit.retrieval.schema import FILE, LOCK, connect

    name, versions = _named(ref, registry)
    folder = registry.store_path(name)
    if not (folder / FILE).is_file():
        raise NotFoundError(f"the store of {name} is gone", where=str(folder), mend=_again(versions))
    server = json.loads((versions[-1].path / INDEX_FILE).read_text("utf-8"))["server"] if versions else None

    def sending(batches: Iterator[int]) -> None:
        with reporter.progress("vectors into Chroma", unit="vectors") as bar:
            for sent in batches:
                bar.advance(sent)

    findings: list[Finding] = []
    left: list[LlmkitError] = []
    with registry.store(name), held(folder / LOCK, what=f"the index {name}", wait=False):
        db = connect(folder, write=True)
        try:
            findings += mend(folder, db, server, sending)
        except UnavailableError as error:
            left.append(error)
        finally:
            db.close()
    for artifact in versions:
        left += _as_published(artifact, folder)
    return {
        "index": name,
        "findings": [finding._asdict() for finding in findings],
        "versions": [artifact.ref for artifact in versions],
        "left": [{"code": e.exit_code, "message": e.message, "where": e.where, "mend": e.mend} for e in left],
    }


def _named(ref: str, registry: Registry) -> tuple[str, list[Artifact]]:
    """An index's name, and its versions that are there: none of one whose first build was killed."""
    wanted = parse(ref)
    name = wanted.name if isinstance(wanted, RegistryRef) else None
    versions = [artifact for artifact in registry.artifacts("index") if artifact.name == name]
    if name is None or not (versions or registry.store_path(name).is_dir()):
        name = registry.resolve(ref, "index").name  # says what there is instead
    return name, versions


def _as_published(artifact: Artifact, folder: Path) -> list[LlmkitError]:
    from llmkit.errors import DataError

    try:
        wrong = rows_as_published(artifact, folder)
    except LlmkitError as error:
        return [error]
    if not wrong:
        return []
    said = f"{wrong[0]}{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}"
    return [DataError(f"{artifact.ref}: {said}", where=str(folder), mend=_again([artifact]))]


def _again(versions: Sequence[Artifact]) -> str:
    inputs = versions[-1].manifest.config.get("inputs") if versions else None
    words = " ".join(map(str, inputs)) if isinstance(inputs, list) else "..."
    name = versions[-1].name if versions else "NAME"
    return f"build it again: llmkit index {words} --name {name} --rebuild --force"


def show(told: Mapping[str, Any]) -> Sequence[Block]:
    """A line for each part, then what could not be mended."""
    rows = [(finding["part"], finding["found"], finding["mended"] or "-") for finding in told["findings"]]
    blocks: list[Block] = [Table(("part", "found", "mended"), rows)]
    if told["left"]:
        return blocks
    versions = ", ".join(told["versions"])
    mended = sum(bool(finding["mended"]) for finding in told["findings"])
    said = f"{mended} part{'s' if mended != 1 else ''} mended; all is well now" if mended else "all is well"
    return [*blocks, Line(f"{said}{f', the rows of {versions} are as published' if versions else ''}", "good")]
