"""The stores beside the indexes: what each version has of them, and what nobody will ask for any more."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import BusyError, LlmkitError, UnavailableError
from llmkit.registry.cleanup import Leftover
from llmkit.registry.disk import discard, tree_size, writing
from llmkit.registry.locks import held
from llmkit.stages.knowledge import INDEX_FILE

if TYPE_CHECKING:
    import sqlite3

    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

MUCH = 0.2
"""Share of the vectors that goes at which Chroma's folder is made anew: points it forgets leave their space behind."""


@dataclass(frozen=True)
class Pruned:
    """What pruning a store did, or would do. `later` says why something has to wait."""

    leftover: Leftover | None = None
    later: str = ""


def store_shares(registry: Registry, artifacts: Sequence[Artifact]) -> dict[str, int]:
    """Bytes of the stores by reference of index artifact: of each store a part for its chunks."""
    shares: dict[str, int] = {}
    for name, versions in _by_name(artifacts).items():
        folder = registry.store_path(name)
        chunks = {artifact.ref: _info(artifact).get("chunks", 0) for artifact in versions}
        total = sum(chunks.values())
        size = tree_size(folder) if total and folder.is_dir() else 0
        shares |= {ref: size * count // total for ref, count in chunks.items() if total}
    return shares


def prune_stores(registry: Registry, *, dry_run: bool = False) -> list[Pruned]:
    """Prunes the store of every index that still has a version; those of others are `registry.cleanup`'s."""
    names = _by_name(registry.artifacts("index"))
    return [prune_store(registry, name, dry_run=dry_run) for name in names]


def prune_store(registry: Registry, name: str, *, dry_run: bool = False) -> Pruned:
    """Takes out of an index's store what none of its versions shows any more, and makes its files smaller.

    The newest version of a store is kept whatever becomes of its artifact: the next run starts from it. Where no
    version is left all of the store goes.
    """
    from llmkit.retrieval.schema import FILE

    folder = registry.store_path(name)
    if not (folder / FILE).is_file():
        return Pruned()
    versions = _by_name(registry.artifacts("index")).get(name, [])
    if any(item.ref.startswith(f"{name}@") for item in registry.unreadable()):
        return Pruned(later=f"a version of {name} is damaged and does not say which rows are its own")
    if not all(isinstance(_info(artifact).get("version"), int) for artifact in versions):
        return Pruned(later=f"a version of {name} is damaged and does not say which rows are its own")
    try:
        with _writing(registry, name) as db:
            if not versions:
                return _all_of_it(registry, folder, dry_run=dry_run)
            return _pruned(db, folder, versions, dry_run=dry_run)
    except BusyError as error:
        return Pruned(later=f"{error.message}; `llmkit registry gc` takes its rows later")


def _pruned(db: sqlite3.Connection, folder: Path, versions: Sequence[Artifact], *, dry_run: bool) -> Pruned:
    from llmkit.retrieval.pruning import dead_documents, prune, shrink
    from llmkit.retrieval.store import versions as finished

    before = tree_size(folder)
    there = {info.version for info in finished(db)}
    keep = {int(_info(artifact).get("version", 0)) for artifact in versions} | {max(there, default=0)}
    gone = there - keep
    why = f"rows of {len(gone)} versions of {versions[0].name} that were removed"
    if dry_run:
        dead, chunks = len(dead_documents(db, keep)), db.execute("SELECT count(*) FROM documents").fetchone()[0]
        return Pruned(Leftover(folder, why, before * dead // max(1, chunks)) if gone and dead else None)
    if not gone and not db.execute("PRAGMA freelist_count").fetchone()[0]:
        return Pruned()
    with writing(folder):
        prune(db, folder, keep | {max(there, default=0) + 1})
        shrink(db, folder)
        later = _tell_chroma(db, folder, _info(versions[-1]).get("server"))
        shrink(db, folder)
    return Pruned(Leftover(folder, why, max(0, before - tree_size(folder))), later)


def _all_of_it(registry: Registry, folder: Path, *, dry_run: bool) -> Pruned:
    freed = Leftover(folder, "the store of an index that was removed", tree_size(folder))
    if not dry_run:
        with writing(folder):
            discard(folder, registry.layout.work)
    return Pruned(freed)


def _tell_chroma(db: sqlite3.Connection, folder: Path, server: str | None) -> str:
    """Has Chroma forget the vectors that are gone; why it has to wait, where it has to."""
    from llmkit.retrieval.vectors import ChromaVectors

    spaces = db.execute(
        "SELECT s.digest, (SELECT count(*) FROM journal j WHERE j.space = s.space AND op = 'remove'), "
        "(SELECT count(*) FROM vectors v WHERE v.space = s.space) FROM spaces s"
    ).fetchall()
    for digest, removed, left in spaces:
        if not removed:
            continue
        chroma = ChromaVectors(folder, digest, server=server)
        try:
            for _ in chroma.catch_up(anew=not server and removed > MUCH * (removed + left)):
                pass
        except UnavailableError as error:
            return f"{error.where}: {error.message}; it is told at the next `llmkit index`"
        finally:
            chroma.close()
    return ""


@contextmanager
def _writing(registry: Registry, name: str) -> Iterator[sqlite3.Connection]:
    from llmkit.retrieval.schema import LOCK, connect

    folder = registry.store_path(name)
    with registry.store(name), held(folder / LOCK, what=f"the index {name}", wait=False):
        db = connect(folder, write=True)
        try:
            yield db
        finally:
            db.close()


def _by_name(artifacts: Sequence[Artifact]) -> Mapping[str, list[Artifact]]:
    found: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        if artifact.kind == "index":
            found[artifact.name].append(artifact)
    return found


def _info(artifact: Artifact) -> dict[str, Any]:
    with suppress(OSError, ValueError, LlmkitError):
        info = json.loads((artifact.path / INDEX_FILE).read_text("utf-8"))
        if isinstance(info, dict):
            return info
    return {}
