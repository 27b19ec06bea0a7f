"""What a command hands back: the artifacts, how they came about, and the one JSON object that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact

RESULT_SCHEMA = 1
BATCH = "batch"
"""Key of a payload that holds several results; each is printed as an object of its own."""


@dataclass(frozen=True)
class Result:
    """What `--json` prints."""

    command: str
    artifacts: Sequence[Artifact]
    reused: bool
    resumed_from: int | None
    metrics: Mapping[str, object]
    warnings: Sequence[str]
    seconds: float
    payload: Mapping[str, Any]

    @property
    def artifact(self) -> Artifact | None:
        return self.artifacts[0] if self.artifacts else None

    def to_json(self) -> dict[str, Any]:
        """The one object that `--json` prints; of a batch, what its objects have in common."""
        described = [
            {
                "ref": a.ref,
                "kind": a.kind,
                "path": str(a.path),
                "digest": a.digest,
                "name": a.name,
                "version": a.version,
            }
            for a in self.artifacts
        ]
        return {
            "schema": RESULT_SCHEMA,
            "command": self.command,
            "artifact": described[0] if described else None,
            "artifacts": described,
            "reused": self.reused,
            "resumed_from": self.resumed_from,
            "metrics": dict(self.metrics),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
            **{key: value for key, value in self.payload.items() if key != BATCH},
        }

    def json_lines(self) -> list[dict[str, Any]]:
        """What `--json` prints, a line each: one object, or one for each result of a batch."""
        common = self.to_json()
        return [{**common, **each} for each in self.payload[BATCH]] if BATCH in self.payload else [common]
