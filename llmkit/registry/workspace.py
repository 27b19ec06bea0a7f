"""Directories that outlive a killed run: checkpoints of unfinished work, and caches of what can be built again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from llmkit.registry.disk import discard, lending, sync, sync_tree, write_whole, writing
from llmkit.registry.layout import CACHE_RECORD, Layout
from llmkit.registry.locks import held
from llmkit.registry.publish import building
from llmkit.registry.refs import check_name


@contextmanager
def workspace(layout: Layout, key: str, *, restart: bool = False) -> Iterator[Path]:
    """The directory of the run with this reuse key, held by one process at a time.

    When the block ends normally the directory is removed; when it is left by an error, an interruption or a kill,
    what it holds is there for the next run with the same key. Publish inside the block.

    Args:
        restart: throw away what an earlier, interrupted run left.

    Raises:
        BusyError: the same run is going on in another process.
        StorageError: the home cannot be written to, or the disk fills while the block runs.
    """
    layout.prepare()
    folder = layout.work / check_name(key)
    with held(layout.lock("work", key), what="the work of this very run", wait=False):
        with writing(folder):
            if restart and folder.exists():
                discard(folder, layout.work)
            folder.mkdir(exist_ok=True)
        try:
            with lending(folder):
                yield folder
        except BaseException:
            with suppress(OSError):  # it holds something worth keeping
                folder.rmdir()
            raise
        with writing(folder):
            discard(folder, layout.work)


@contextmanager
def shared_workspace(layout: Layout, key: str, part: str) -> Iterator[Path]:
    """The directory of the run with this reuse key, for one of several processes that each do a part of it.

    Each part is held by one process at a time; what it leaves is for the run that puts the parts together.

    Raises:
        BusyError: the same part is being done in another process.
        StorageError: the home cannot be written to, or the disk fills while the block runs.
    """
    layout.prepare()
    folder = layout.work / check_name(key)
    with held(layout.lock("work", f"{key}-{check_name(part)}"), what=f"part {part} of this run", wait=False):
        with writing(folder):
            folder.mkdir(exist_ok=True)
        with lending(folder):
            yield folder


def cached(layout: Layout, area: str, key: str, *, sources: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The directory `cache/AREA/KEY`, built by `build(empty folder)` if it is not there, and then complete.

    A second process that wants the same waits for the first.

    Args:
        area: what is cached, such as `tokens`.
        key: what decides the content.
        sources: digests of the artifacts it was made from; when one of them is gone, gc removes it.

    Raises:
        StorageError: the disk is full, read-only or refuses.
    """
    folder = layout.cache / check_name(area) / check_name(key)
    if (folder / CACHE_RECORD).exists():
        return folder
    layout.prepare()
    with held(layout.lock(f"cache-{area}", key), what=f"the {area} cache", wait=True):
        if (folder / CACHE_RECORD).exists():
            return folder
        with building(layout) as draft:
            build(draft)
            with writing(folder):
                sync_tree(draft)
                write_whole(draft / CACHE_RECORD, json.dumps({"sources": list(sources)}).encode())
                folder.parent.mkdir(exist_ok=True)
                draft.rename(folder)
                sync(folder.parent)
    return folder


@contextmanager
def store(layout: Layout, name: str) -> Iterator[Path]:
    """The mutable directory `stores/NAME`, held by one writer at a time. Readers use the path without this.

    Raises:
        BusyError: another process is writing to it.
        StorageError: the home cannot be written to, or the disk fills while the block runs.
    """
    layout.prepare()
    folder = layout.stores / check_name(name)
    with held(layout.lock("store", name), what=f"the store of '{name}'", wait=False):
        with writing(folder):
            folder.mkdir(exist_ok=True)
        with lending(folder):
            yield folder
