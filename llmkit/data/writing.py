"""Writing that is either done or not there: full disks and refusals as typed errors, folders published by a rename."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmkit.errors import StorageError

_MENDS = {
    errno.ENOSPC: "free space on that disk and run the command again; nothing was lost",
    errno.EDQUOT: "free space within your quota and run the command again; nothing was lost",
    errno.EROFS: "choose a folder on a disk that can be written; nothing was lost",
    errno.EACCES: "choose a folder you may write to, or change its permissions; nothing was lost",
    errno.EPERM: "choose a folder you may write to, or change its permissions; nothing was lost",
}


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk and missing permissions into a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        mend = _MENDS.get(error.errno or 0)
        if mend is None:
            raise
        raise StorageError(f"cannot write: {os.strerror(error.errno or 0)}", where=str(path), mend=mend) from error


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` at the end of the block, and is removed if the block fails.

    Of several processes that make the same folder at once, the first one's stays and the others' are thrown away.
    """
    building = final.parent / f".{final.name}.{uuid.uuid4().hex[:12]}.tmp"
    with storage(final):
        building.mkdir(parents=True)
        try:
            yield building
            sync_folder(building)
            try:
                building.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Force the files of a folder, and the folder's own list of them, to the disk."""
    for path in (*sorted(folder.iterdir()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
