"""Writing so that a crash, a full disk or a read-only one leaves what was there before."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmkit.errors import StorageError

# EFBIG is how a file-size limit (ulimit -f) shows itself.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# ENOLCK and EOPNOTSUPP: a network file system that has no locks.
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOLCK, errno.EOPNOTSUPP}
)


def storage_error(error: OSError, folder: Path) -> StorageError | None:
    """The error a user can act on, or None where `error` is not about writing under `folder`."""
    if error.errno in _NO_SPACE:
        return StorageError(
            "no space is left to write to",
            where=str(folder),
            mend="free space (`llmkit registry gc` clears leftovers) or set LLMKIT_HOME to a larger disk, "
            "then run the command again; nothing was lost",
        )
    if error.errno in _REFUSED:
        return StorageError(
            f"cannot write here ({os.strerror(error.errno or 0).lower()})",
            where=str(error.filename or folder),
            mend="make it a folder you may write to, or set LLMKIT_HOME to one; nothing was lost",
        )
    return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a failed write under `folder` into a StorageError."""
    try:
        yield
    except OSError as error:
        if (storage := storage_error(error, folder)) is None:
            raise
        raise storage from error


@contextmanager
def lending(folder: Path) -> Iterator[None]:
    """As `writing`, around somebody else's code: a refused permission there may be about its input, so it passes."""
    try:
        yield
    except OSError as error:
        storage = storage_error(error, folder) if error.errno in {*_NO_SPACE, errno.EROFS} else None
        if storage is None:
            raise
        raise storage from error


def sync(path: Path) -> None:
    """Forces a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory; they order renames themselves.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Syncs every file below `folder`, then every directory, itself last."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def write_whole(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` at once: a reader sees the old bytes or the new ones.

    Raises:
        OSError: the write failed; the old file is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync(path.parent)


def discard(folder: Path, trash: Path) -> None:
    """Removes a tree; whoever looks at its path finds all of it or nothing. `trash` is on the same file system."""
    doomed = trash / f".trash-{secrets.token_hex(8)}"
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)  # gc may be at it too, or finds what is left


def tree_size(path: Path) -> int:
    """Bytes of all files below `path` (or of the file itself); what vanishes meanwhile counts nothing."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for parent, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 # a Path per file is slow
    return total


@contextmanager
def all_or_nothing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction: all of the block's rows, or none of them. `db` has no transactions of its own accord."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
