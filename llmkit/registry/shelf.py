"""Reading the artifacts on disk. Nothing here locks or writes: readers see whole artifacts beside any writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llmkit.errors import DataError
from llmkit.registry.artifact import SCHEMA_VERSION, Artifact, InputRef, Manifest
from llmkit.registry.layout import MANIFEST, TOMBSTONE, Layout
from llmkit.registry.refs import RegistryRef, parse
from llmkit.registry.values import digest_of
from llmkit.registry.values import parse as parse_json

_SEAL = "seal"
"""Key of the manifest that holds the digest of all its others, so that `verify` covers the manifest too."""

_MEND = "restore it from a copy, or remove the artifact with `llmkit registry rm --force` and make it again"


@dataclass(frozen=True)
class Unreadable:
    """An artifact whose manifest cannot be read; its files may be whole."""

    ref: str
    path: Path
    problem: str


def dump_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`."""
    content = manifest.model_dump(mode="json", by_alias=True)
    return json.dumps({**content, _SEAL: digest_of(content)}, indent=2, allow_nan=False).encode() + b"\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`.

    Raises:
        FileNotFoundError: it is not there.
        DataError: it cannot be read, is damaged, or was written by a newer llmkit.
    """
    try:
        content = parse_json(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DataError(
                f"made by a newer llmkit (schema version {version}; this one knows {SCHEMA_VERSION})",
                where=str(path),
                mend="upgrade llmkit",
            )
        if content.pop(_SEAL, None) != digest_of(content):
            raise ValueError("its content is not what was written")
        manifest = Manifest.model_validate(content)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, ValidationError) as error:
        reason = "fields are missing or wrong" if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"the manifest is damaged: {reason}",
            where=str(path),
            mend=_MEND,
        ) from error
    if (manifest.name, str(manifest.version)) != (path.parent.parent.name, path.parent.name):
        raise DataError(
            f"this is the manifest of {manifest.name}@{manifest.version}, in another's place",
            where=str(path),
            mend="move the folder back to where it was",
        )
    return manifest


def names(layout: Layout) -> list[str]:
    """Names that have, or had, a version, sorted."""
    return sorted(path.name for path in _entries(layout.artifacts) if not path.name.startswith("."))


def numbers(layout: Layout, name: str) -> list[int]:
    """Every version number ever given under a name, ascending; removed ones too."""
    return sorted(int(path.name) for path in _entries(layout.artifacts / name) if path.name.isdecimal())


def versions(layout: Layout, name: str) -> list[int]:
    """Version numbers there are under a name, ascending."""
    return [number for number in numbers(layout, name) if not (layout.artifact(name, number) / TOMBSTONE).exists()]


def load(layout: Layout, name: str, version: int) -> Artifact | None:
    """An artifact, or None where there is none (any more).

    Raises:
        DataError: its manifest is damaged, or missing.
    """
    path = layout.artifact(name, version)
    try:
        return Artifact(read_manifest(path / MANIFEST), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        # Removing renames the manifest to the tombstone, so a reader finds one of them.
        if (path / TOMBSTONE).exists() or not path.exists():
            return None
        raise DataError("the manifest is missing", where=str(path / MANIFEST), mend=_MEND) from error


def load_removed(layout: Layout, name: str, version: int) -> Manifest | None:
    """What is remembered of a removed artifact."""
    with suppress(FileNotFoundError, NotADirectoryError, DataError):
        return read_manifest(layout.artifact(name, version) / TOMBSTONE)
    return None


def scan(layout: Layout, *, containing: str = "") -> Iterator[Artifact | Unreadable]:
    """Every artifact, by name and version.

    Args:
        containing: only those whose manifest holds this text: spares parsing the others.
    """
    needle = containing.encode()
    for name in names(layout):
        for version in versions(layout, name):
            path = layout.artifact(name, version)
            try:
                if needle and not _holds(path / MANIFEST, needle):
                    continue
                artifact = load(layout, name, version)
            except (DataError, OSError) as error:
                yield Unreadable(f"{name}@{version}", path, getattr(error, "message", str(error)))
                continue
            if artifact is not None:
                yield artifact


def whole(layout: Layout, *, containing: str = "") -> Iterator[Artifact]:
    """As `scan`, without the unreadable ones."""
    for found in scan(layout, containing=containing):
        if isinstance(found, Artifact):
            yield found


def find_input(layout: Layout, used: InputRef) -> Artifact | None:
    """The artifact an input was: the one of that ref, or else any with the same content."""
    if used.kind is None:
        return None
    ref = parse(used.ref)
    if isinstance(ref, RegistryRef) and ref.version is not None:
        with suppress(DataError):
            exact = load(layout, ref.name, ref.version)
            if exact is not None and exact.digest == used.digest:
                return exact
    return next((other for other in whole(layout, containing=used.digest) if other.digest == used.digest), None)


def files_present(artifact: Artifact) -> bool:
    """Whether every file is there with its size: the quick look before an artifact is reused."""
    try:
        return all((artifact.path / name).stat().st_size == file.size for name, file in artifact.manifest.files.items())
    except OSError:
        return False


def _holds(path: Path, needle: bytes) -> bool:
    try:
        return needle in path.read_bytes()
    except FileNotFoundError:
        return False


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
