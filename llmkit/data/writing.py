"""A folder that is either done or not there, made by whichever process is first."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmkit.registry.disk import sync_tree, writing


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` at the end of the block, and is removed if the block fails.

    Of several processes that make the same folder at once, the first one's stays and the others' are thrown away.
    """
    building = final.parent / f".{final.name}.{uuid.uuid4().hex[:12]}.tmp"
    with writing(final.parent):
        building.mkdir(parents=True)
        try:
            yield building
            sync_tree(building)
            try:
                building.rename(final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
