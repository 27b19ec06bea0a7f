from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmkit.registry.artifact import Artifact, Draft, InputRef, Kind
from llmkit.registry.store import Registry

Make = Callable[..., Artifact]


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / ".llmkit")


@pytest.fixture
def make(registry: Registry) -> Make:
    """Publishes a small artifact; what is not named gets a plain value."""

    def publish(
        name: str,
        kind: Kind = "dataset",
        *,
        files: Mapping[str, str] | None = None,
        key: str = "",
        inputs: Sequence[InputRef] = (),
        completes: Sequence[str] | None = (),
        **more: Any,
    ) -> Artifact:
        with registry.building() as folder:
            for path, text in (files or {"data.txt": f"{name} {key}"}).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8")
            draft = Draft(
                kind=kind,
                name=name,
                command="preprocess",
                key=key_of(key or name),
                inputs=tuple(inputs),
                completes=None if completes is None else tuple(completes),
                **more,
            )
            return registry.publish(folder, draft)

    return publish
