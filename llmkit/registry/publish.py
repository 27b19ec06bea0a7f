"""Publishing: an artifact is built aside, hashed, and appears whole by one rename onto a version number of its own."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry import shelf
from llmkit.registry.artifact import Artifact, Draft, FileRecord, Kind, Manifest
from llmkit.registry.digests import digest_of_files, hash_file
from llmkit.registry.disk import lending, sync, sync_tree, write_whole, writing
from llmkit.registry.layout import BUILD_PREFIX, MANIFEST, Layout
from llmkit.registry.locks import held
from llmkit.registry.refs import check_name

_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP})


@contextmanager
def building(layout: Layout) -> Iterator[Path]:
    """An empty directory to build an artifact in; what is not published from it is removed at the end.

    Raises:
        StorageError: the home cannot be written to, or the disk fills while the block runs.
    """
    layout.prepare()
    folder = layout.work / f"{BUILD_PREFIX}{secrets.token_hex(8)}"
    # The lock is there before the folder: a folder whose lock is free has lost its owner, and gc may take it.
    with held(layout.lock("build", folder.name), what="this build", wait=False):
        try:
            with writing(folder):
                folder.mkdir()
            with lending(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(layout: Layout, folder: Path, draft: Draft) -> Artifact:
    """Publishes the files of `folder`, which `building` gave, as the next version of the draft's name.

    Returns when the artifact is safe on the disk. After any failure the registry is as it was.

    Raises:
        UsageError: the name belongs to an artifact of another kind.
        StorageError: the disk is full, read-only or refuses.
        ValueError: the folder is empty, or holds a link or a `manifest.json` of its own.
    """
    with writing(layout.home):
        files = _hash(folder)
        sync_tree(folder)
        draft_values = {name: getattr(draft, name) for name in Draft.model_fields}
        sealed = Manifest(
            **draft_values,
            version=1,
            digest=digest_of_files({name: file.sha256 for name, file in files.items()}),
            files=files,
            ended=datetime.now(UTC),
        )
        return _place(layout, folder, sealed)


def publish_alias(layout: Layout, original: Artifact, name: str, completes: Sequence[str] | None) -> Artifact:
    """Publishes the files of `original` again, as the next version of `name`.

    The files are hard links (copies where the disk has no links): they cost nothing, and stay when the original goes.

    Raises:
        UsageError, StorageError: as `publish`.
    """
    changes = {
        "name": check_name(name),
        "completes": None if completes is None else tuple(completes),
        "alias_of": original.manifest.alias_of or original.ref,
    }
    with building(layout) as folder, writing(layout.home):
        for file in original.manifest.files:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(original.path / file, target)
        sync_tree(folder)
        return _place(layout, folder, original.manifest.model_copy(update=changes))


def _place(layout: Layout, folder: Path, manifest: Manifest) -> Artifact:
    """Renames the synced `folder` onto the next free version; the manifest is written for the number that it gets."""
    name = manifest.name
    shelf_of_name = layout.artifacts / name
    with held(layout.lock("name", name), what=f"the name {name}", wait=True):
        check_kind(layout, name, manifest.kind)
        shelf_of_name.mkdir(exist_ok=True)
        sync(layout.artifacts)
        version = max(shelf.numbers(layout, name), default=0) + 1
        while True:
            placed = manifest.model_copy(update={"version": version})
            write_whole(folder / MANIFEST, shelf.dump_manifest(placed))
            target = layout.artifact(name, version)
            try:
                folder.rename(target)
            except OSError as error:
                # A directory with something in it is never replaced. The lock makes this rare; a file system whose
                # locks do not reach other machines makes it needed.
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                version += 1
                continue
            sync(shelf_of_name)
            return Artifact(placed, target)


def check_kind(layout: Layout, name: str, kind: Kind) -> None:
    """Names are unique across kinds.

    Raises:
        UsageError: `name` belongs to artifacts of another kind.
    """
    for version in reversed(shelf.versions(layout, name)):
        try:
            artifact = shelf.load(layout, name, version)
        except DataError:
            continue
        if artifact is None:
            continue
        if artifact.kind != kind:
            raise UsageError(
                f"the name '{name}' belongs to {artifact.ref}, of kind {artifact.kind}; this would be of kind {kind}",
                mend=f"choose another --name, such as `{name}-{kind}`",
            )
        return


def _hash(folder: Path) -> dict[str, FileRecord]:
    files: dict[str, FileRecord] = {}
    for path in _regular_files(folder):
        files[path.relative_to(folder).as_posix()] = FileRecord(sha256=hash_file(path), size=path.stat().st_size)
    if not files:
        raise ValueError("an artifact has at least one file")
    if MANIFEST in files:
        raise ValueError(f"{MANIFEST} is the registry's own file")
    return files


def _regular_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            yield path
        elif not stat.S_ISDIR(mode):
            raise ValueError(f"{path} is neither a file nor a folder: an artifact holds its own bytes")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise NotFoundError(
            "a file of the artifact is missing", where=str(source), mend="run with --force to make it again"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
