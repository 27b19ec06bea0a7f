"""Clearing what nobody will use again: the leftovers of dead processes, and caches of artifacts that are gone."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import BusyError
from llmkit.registry import shelf
from llmkit.registry.digests import DIGEST_AREA
from llmkit.registry.disk import tree_size, writing
from llmkit.registry.layout import (
    ANSWER_AREA,
    BUILD_PREFIX,
    CACHE_RECORD,
    DOWNLOAD_AREA,
    TOMBSTONE,
    TRASH_PREFIX,
    Layout,
)
from llmkit.registry.locks import held
from llmkit.registry.upkeep import empty_tombstone

STALE_DAYS = 14.0
"""After how long an interrupted run is taken to be given up."""


@dataclass(frozen=True)
class Leftover:
    """Something gc removes, and why."""

    path: Path
    why: str
    size: int
    """Bytes."""


@dataclass(frozen=True)
class _Candidate:
    path: Path
    lock: Path
    """Held by whoever uses the path."""
    why: Callable[[], str | None]
    """Asked under the lock: the reason to remove it, or None to keep it."""


def gc(layout: Layout, *, days: float = STALE_DAYS, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Removes what nobody will use again; what it was, and its bytes.

    That is: builds whose process is gone, work and remembered digests untouched for `days`, caches and stores whose
    artifacts are gone, and the rest of removals that were cut short. Nothing that a living process holds is touched.

    Args:
        dry_run: only say what would go.

    Raises:
        StorageError: the registry cannot be written to.
    """
    if not layout.home.is_dir():
        return ()
    layout.prepare()
    freed: list[Leftover] = []
    for candidate in _candidates(layout, time.time() - days * 86_400):
        path = candidate.path
        with suppress(BusyError, FileNotFoundError), held(candidate.lock, what=str(path), wait=False):
            if (why := candidate.why()) is None:
                continue
            freed.append(Leftover(path, why, _reclaimable(path)))
            if not dry_run:
                with writing(layout.home):
                    _remove(path)
    if not dry_run:
        _clear_locks(layout)
    return tuple(freed)


def _candidates(layout: Layout, oldest: float) -> Iterator[_Candidate]:
    for path in _children(layout.work):
        if path.name.startswith(BUILD_PREFIX):
            yield _Candidate(path, layout.lock("build", path.name), lambda: "a build whose process is gone")
        elif path.name.startswith(TRASH_PREFIX):
            yield _Candidate(path, layout.lock("trash", path.name), lambda: "a removal that was cut short")
        else:
            why = _if_untouched(path, oldest, "an unfinished run that nobody took up again")
            yield _Candidate(path, layout.lock("work", path.name), why)
    for name in shelf.names(layout):
        for version in shelf.numbers(layout, name):
            folder = layout.artifact(name, version)
            if (folder / TOMBSTONE).exists() and len(_children(folder)) > 1:
                yield _Candidate(folder, layout.lock("name", name), lambda: "a removal that was cut short")
    for path in _children(layout.tags):
        if path.name.startswith("."):
            name = path.name.removeprefix(".").rpartition(".json.")[0]
            yield _Candidate(path, layout.lock("name", name), lambda: "a tag that was not finished")
    for area in _children(layout.cache):
        for path in _children(area):
            if area.name == DIGEST_AREA:
                why = _if_untouched(path, oldest, "digests of files that were not looked at for long")
            elif area.name == ANSWER_AREA:
                why = _if_untouched(path, oldest, "a model's answers to evaluations that were not repeated for long")
            elif area.name == DOWNLOAD_AREA:
                why = _if_untouched(path, oldest, "copies of what was fetched and not asked for again")
            else:
                why = _if_sources_gone(layout, path)
            yield _Candidate(path, layout.lock(f"cache-{area.name}", path.name), why)
    for path in _children(layout.stores):
        yield _Candidate(path, layout.lock("store", path.name), _if_index_gone(layout, path, oldest))


def _if_untouched(path: Path, oldest: float, reason: str) -> Callable[[], str | None]:
    return lambda: reason if _touched(path) < oldest else None


def _if_sources_gone(layout: Layout, cache: Path) -> Callable[[], str | None]:
    def why() -> str | None:
        try:
            sources = json.loads((cache / CACHE_RECORD).read_bytes())["sources"]
        except (OSError, ValueError, KeyError, TypeError):
            return "a damaged cache"
        living = (any(shelf.whole(layout, containing=str(source))) for source in sources)
        return None if all(living) else "a cache of artifacts that are gone"

    return why


def _if_index_gone(layout: Layout, store: Path, oldest: float) -> Callable[[], str | None]:
    def why() -> str | None:
        if shelf.versions(layout, store.name):
            return None
        if shelf.numbers(layout, store.name):
            return "the store of an index that was removed"
        return "the store of an index that was never finished" if _touched(store) < oldest else None

    return why


def _remove(path: Path) -> None:
    if (path / TOMBSTONE).exists():
        empty_tombstone(path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _reclaimable(path: Path) -> int:
    tombstone = path / TOMBSTONE
    return tree_size(path) - (tree_size(tombstone) if tombstone.exists() else 0)


def _touched(path: Path) -> float:
    """The latest modification time of anything below."""
    times = []
    for entry in (path, *path.rglob("*")):
        with suppress(OSError):
            times.append(entry.lstat().st_mtime)
    return max(times, default=0.0)


def _clear_locks(layout: Layout) -> None:
    """Removes the lock files of the dead: taking a lock and letting go of it does."""
    for path in _children(layout.locks):
        with suppress(BusyError), held(path, what=str(path), wait=False):
            pass


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
