"""Tags: names for versions that can move, such as `prod`. One small file per artifact name, replaced whole."""

from __future__ import annotations

import json
from pathlib import Path

from llmkit.errors import DataError
from llmkit.registry.disk import write_whole
from llmkit.registry.layout import Layout
from llmkit.registry.values import parse


def read(layout: Layout, name: str) -> dict[str, int]:
    """Versions by tag.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(layout, name)
    try:
        content = parse(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return {tag: version for tag, version in content.items() if isinstance(version, int)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"the tags of '{name}' cannot be read: {error}",
            where=str(path),
            mend="remove this file and set the tags again",
        ) from error


def change(layout: Layout, name: str, tag: str, version: int | None) -> None:
    """Points a tag at a version, or takes it away (None). The caller holds the lock of the name."""
    tags = read(layout, name)
    tags.pop(tag, None)
    if version is not None:
        tags[tag] = version
    if tags:
        write_whole(_path(layout, name), json.dumps(tags, sort_keys=True).encode())
    else:
        _path(layout, name).unlink(missing_ok=True)


def _path(layout: Layout, name: str) -> Path:
    return layout.tags / f"{name}.json"
