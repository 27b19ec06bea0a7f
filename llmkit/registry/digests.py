"""Digests of files and of runs: what decides that work need not be done again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import DataError, NotFoundError
from llmkit.registry.disk import write_whole
from llmkit.registry.values import canonical, digest_of, parse, plain

DIGEST_AREA = "digests"
"""The cache area of remembered digests."""

RACY_NS = 2_000_000_000
"""A file changed within the last two seconds may change again without its time stamp moving (FAT counts in 2 s, and
kernels stamp by the clock tick), so its digest is not remembered."""


@dataclass(frozen=True)
class FilesDigest:
    """The digest of a set of files: of their names and contents, independent of order and times."""

    digest: str
    files: Mapping[str, str]
    """sha256 of each file's content, by name."""
    size: int
    """Bytes."""


def hash_file(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(files: Mapping[str, str]) -> str:
    """One sha256 over the sorted names and content digests of files."""
    lines = sorted(name.encode("utf-8", "surrogateescape") + b"\0" + sha.encode() for name, sha in files.items())
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def reuse_key(command: str, stage_version: int, identity: object, inputs: Mapping[str, str]) -> str:
    """What a run would do, as one sha256: two runs with equal keys give the same result.

    Args:
        identity: the resolved config without its name and display options.
        inputs: digest of each input, by role.

    Raises:
        ConfigError: a URL with a password in `identity`.
    """
    return digest_of(plain({"command": command, "stage": stage_version, "config": identity, "inputs": inputs}))


def input_digest(paths: Iterable[Path], *, root: Path | None = None, cache: Path | None = None) -> FilesDigest:
    """Digest of raw input files.

    Args:
        paths: files; a folder stands for all files below it (links to folders are not followed).
        root: files below it are named relative to it, all others by their absolute path. A digest with names relative
            to a folder survives the folder's move; one with absolute names tells two copies apart.
        cache: a folder that remembers digests between runs, by path, size, times and inode; it may be read-only.

    Raises:
        NotFoundError: a path is not there.
        DataError: a file cannot be read.
    """
    base = Path.cwd() / root if root else None
    found = sorted({os.path.abspath(file) for path in paths for file in _files(path)})  # noqa: PTH100 # links stay
    memory = _Memory(cache, found)
    digests: dict[str, str] = {}
    size = 0
    for file in found:
        name = _name(file, base)
        digests[name], bytes_ = memory.digest(file)
        size += bytes_
    memory.save()
    return FilesDigest(digest_of_files(digests), digests, size)


class _Memory:
    """Digests remembered by stat, one file per set of paths, so that it holds nothing that is no longer asked for."""

    def __init__(self, folder: Path | None, paths: list[str]) -> None:
        self._file = folder / f"{digest_of([*paths])}.json" if folder else None
        self._known = self._load()
        self._now: dict[str, tuple[list[int], str]] = {}

    def digest(self, path: str) -> tuple[str, int]:
        """sha256 and size of one file."""
        try:
            before = os.stat(path)  # noqa: PTH116 # a Path per file is slow
            known = self._known.get(path)
            if known and known[0] == _identity(before):
                self._now[path] = known
                return known[1], before.st_size
            sha = hash_file(Path(path))
            after = os.stat(path)  # noqa: PTH116
        except FileNotFoundError as error:
            raise NotFoundError(f"no such file: {path}", mend="it may have just been removed; run again") from error
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path, mend="check its permissions") from error
        settled = time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) > RACY_NS
        if settled and _identity(before) == _identity(after):
            self._now[path] = (_identity(after), sha)
        return sha, after.st_size

    def save(self) -> None:
        """Remembers, as far as the disk allows: without it only time is lost."""
        if self._file and self._now != self._known:
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(
                    self._file, canonical({path: [[*identity], sha] for path, (identity, sha) in self._now.items()})
                )

    def _load(self) -> dict[str, tuple[list[int], str]]:
        if self._file is None:
            return {}
        try:
            stored = parse(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        known: dict[str, tuple[list[int], str]] = {}
        for path, entry in (stored if isinstance(stored, dict) else {}).items():
            match entry:
                case [list(identity), str(sha)]:
                    known[path] = ([int(str(number)) for number in identity], sha)
        return known


def _identity(stat: os.stat_result) -> list[int]:
    # The change time catches what sets the modification time back: rsync -t, cp -p, touch -r.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _files(path: Path) -> Iterator[str]:
    if path.is_dir():
        for parent, folders, files in os.walk(path):
            folders.sort()
            candidates = (os.path.join(parent, name) for name in files)  # noqa: PTH118 # a Path per file is slow
            # Pipes, sockets and broken links have no content.
            yield from (file for file in candidates if os.path.isfile(file))  # noqa: PTH113
    elif path.exists():
        yield str(path)
    else:
        raise NotFoundError(f"no such file or folder: {path}", mend="check the path")


def _name(file: str, base: Path | None) -> str:
    if base is not None:
        prefix = os.path.abspath(base)  # noqa: PTH100
        if file == prefix:
            return base.name
        if file.startswith(prefix + os.sep):
            return file[len(prefix) + 1 :].replace(os.sep, "/")
    return file.replace(os.sep, "/")
