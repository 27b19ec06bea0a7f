"""What was seen first of something whose content nobody vouched for: later it must be the same (trust on first use).

One small JSON file each, below the registry's `trust/`. It is no cache: gc leaves it alone, and who removes a file says
that what is there now is to be trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.registry.disk import write_whole, writing
from llmkit.registry.locks import held
from llmkit.registry.refs import slug

Record = Mapping[str, Any]


def record_path(folder: Path, subject: str) -> Path:
    """Where the record of a subject lies, such as `hf:org/name@revision` or an endpoint."""
    return folder / f"{slug(subject)[:80]}-{hashlib.sha256(subject.encode()).hexdigest()[:8]}.json"


def agreed(folder: Path, subject: str, settle: Callable[[Record], Record]) -> Record:
    """The record of a subject after `settle`, which is handed what is on record (nothing, at first) and raises where
    that is not what it sees. One process settles at a time; what did not change is not written.

    Raises:
        DataError: the record cannot be read.
        StorageError: it cannot be written.
    """
    path = record_path(folder, subject)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(path.with_suffix(".lock"), what=f"the record of {subject}", wait=True):
        known = _read(path)
        settled = settle(known)
        if settled != known:
            with writing(folder):
                write_whole(path, json.dumps({"subject": subject, **settled}, indent=1).encode())
    return settled


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        found.pop("subject")
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, KeyError) as error:
        raise DataError(
            "the record of what was seen first cannot be read",
            where=str(path),
            mend="restore it, or remove it to trust what is there now",
        ) from error
    return dict(found)
