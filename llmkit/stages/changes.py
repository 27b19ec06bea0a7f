"""What a command that stays is told of: files that changed."""

from __future__ import annotations

from typing import Protocol


class Changes(Protocol):
    """What tells that inputs may have changed."""

    @property
    def of(self) -> str:
        """What is looked at, in words."""
        ...

    def wait(self, most: float | None = None) -> None:
        """Returns when something changed since the last call and it has been quiet for a moment, or after `most` s."""
        ...
