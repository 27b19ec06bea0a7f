"""What every task of a suite has: the base of the models that stand beside the kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TaskSpec(BaseModel):
    """A task of a suite."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(
        default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Name of the task in results and gates."
    )
    limit: int | None = Field(default=None, ge=1, description="Evaluate at most this many items, drawn by a hash.")

    @model_validator(mode="before")
    @classmethod
    def _id_is_the_kind(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "id" not in values and "kind" in values:
            return {**values, "id": values["kind"]}
        return values


class DatasetSpec(TaskSpec):
    """A task on a dataset, a file or a folder."""

    data: str = Field(description="A dataset of the registry, a file or a folder.")
    split: Literal["train", "validation", "test"] = Field(default="test", description="Which part of a dataset.")
