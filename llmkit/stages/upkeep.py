"""Looking after everything that was made: artifacts and the stores beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.errors import LlmkitError
from llmkit.registry.upkeep import verify
from llmkit.stages.knowledge import rows_as_published

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry


@dataclass(frozen=True)
class Problem:
    """One file that is not as it was published."""

    ref: str
    what: str
    path: str


def verify_all(registry: Registry, refs: Sequence[str]) -> list[Problem]:
    """Damaged files of the named artifacts, or of all; an index's rows are checked too.

    Raises:
        NotFoundError: a reference names nothing.
    """
    artifacts = [registry.resolve(ref) for ref in refs] if refs else list(registry.artifacts())
    problems = [] if refs else [Problem(item.ref, "manifest", item.problem) for item in registry.unreadable()]
    for artifact in artifacts:
        problems += [Problem(artifact.ref, damage.problem, str(damage.path)) for damage in verify(artifact)]
        if artifact.kind == "index":
            problems += _rows(registry, artifact)
    return problems


def _rows(registry: Registry, artifact: Artifact) -> list[Problem]:
    store = registry.store_path(artifact.name)
    try:
        return [Problem(artifact.ref, found, str(store)) for found in rows_as_published(artifact, store)]
    except LlmkitError as error:
        return [Problem(artifact.ref, error.message, error.where or str(store))]
