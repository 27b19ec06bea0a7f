"""Keeping the registry sound: verifying artifacts and removing them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmkit.errors import DataError, NotFoundError, UsageError
from llmkit.registry import shelf, tags
from llmkit.registry.artifact import Artifact
from llmkit.registry.digests import digest_of_files, hash_file
from llmkit.registry.disk import sync, tree_size, write_whole, writing
from llmkit.registry.layout import MANIFEST, TOMBSTONE, Layout
from llmkit.registry.lineage import derived
from llmkit.registry.locks import held


@dataclass(frozen=True)
class Damage:
    """One file of an artifact that is not as it was published."""

    path: Path
    problem: Literal["changed", "missing", "unreadable", "extra"]


def verify(artifact: Artifact) -> tuple[Damage, ...]:
    """Hashes every file again; the files that are not as published, or nothing."""
    path, files = artifact.path, artifact.manifest.files
    damages = [damage for name, file in files.items() if (damage := _check(path / name, file.sha256))]
    damages += [
        Damage(other, "extra")
        for other in sorted(path.rglob("*"))
        if not other.is_dir() and other.relative_to(path).as_posix() not in {*files, MANIFEST}
    ]
    try:
        manifest = shelf.read_manifest(path / MANIFEST)
    except (OSError, DataError):
        damages.append(Damage(path / MANIFEST, "unreadable"))
    else:
        digest = digest_of_files({name: file.sha256 for name, file in manifest.files.items()})
        if manifest != artifact.manifest or digest != manifest.digest:
            damages.append(Damage(path / MANIFEST, "changed"))
    return tuple(damages)


def remove(layout: Layout, name: str, version: int, *, force: bool = False) -> int:
    """Removes an artifact, readable or not; the bytes that were freed. Its number is never given again.

    Args:
        force: also when something was made from it or a tag points to it; that tag goes too.

    Raises:
        NotFoundError: it is not there.
        UsageError: something is derived from it, a tag points to it, or it is damaged, and `force` is not set.
        StorageError: the registry cannot be written to.
    """
    layout.prepare()
    folder = layout.artifact(name, version)
    with held(layout.lock("name", name), what=f"the name {name}", wait=True), writing(layout.home):
        if version not in shelf.versions(layout, name):
            raise NotFoundError(f"there is no {name}@{version}", mend="`llmkit registry list` shows what there is")
        pointing = sorted(tag for tag, number in tags.read(layout, name).items() if number == version)
        if not force:
            _refuse_if_needed(layout, name, version, pointing)
        size = tree_size(folder)
        for tag in pointing:
            tags.change(layout, name, tag, None)
        # One rename turns the artifact into its tombstone: it needs no free space, so it works on a full disk.
        try:
            (folder / MANIFEST).rename(folder / TOMBSTONE)
            sync(folder)
        except FileNotFoundError:  # a damaged one
            write_whole(folder / TOMBSTONE, b"{}")
        empty_tombstone(folder)
        return size - tree_size(folder)


def empty_tombstone(folder: Path) -> None:
    """Deletes all of a removed artifact but its tombstone."""
    for entry in folder.iterdir():
        if entry.name == TOMBSTONE:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _check(path: Path, sha256: str) -> Damage | None:
    try:
        return None if hash_file(path) == sha256 else Damage(path, "changed")
    except FileNotFoundError:
        return Damage(path, "missing")
    except OSError:
        return Damage(path, "unreadable")


def _refuse_if_needed(layout: Layout, name: str, version: int, pointing: list[str]) -> None:
    ref = f"{name}@{version}"
    if pointing:
        raise UsageError(
            f"{ref} is tagged: {', '.join(pointing)}",
            mend=f"take the tag away first (`llmkit registry tag --remove {name}@{pointing[0]}`), or add --force",
        )
    try:
        artifact = shelf.load(layout, name, version)
    except DataError as error:
        raise UsageError(f"{ref} is damaged: {error.message}", mend="add --force to remove it all the same") from error
    users = [user.ref for user in derived(layout, artifact)] if artifact else []
    if users:
        raise UsageError(
            f"{ref} is what these were made from: {', '.join(users)}",
            mend="remove those first, or add --force (they stay, and their lineage will show it as removed)",
        )
