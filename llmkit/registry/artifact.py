"""The records of the registry: what a manifest says of an artifact. All are frozen; none holds NaN or a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from llmkit.registry.refs import check_name
from llmkit.registry.values import plain

Kind = Literal["dataset", "tokenizer", "model", "adapter", "index", "report"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DataSchema = Literal["text", "chat", "label", "span", "preference", "tag"]

SCHEMA_VERSION = 1
"""Raised when an older llmkit could no longer read a manifest rightly; new optional fields do not raise it."""


def _recordable(value: object, info: ValidationInfo) -> object:
    return plain(value, info.field_name or "")


Plain = Annotated[Mapping[str, Any], BeforeValidator(_recordable)]
PlainText = Annotated[str, BeforeValidator(_recordable)]
Name = Annotated[str, AfterValidator(check_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    # A field of a later llmkit of the same schema version is passed over, not an error. Validators are built at first
    # use, which takes 30 ms off every import.
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)


class InputRef(_Record):
    """One thing an artifact was made from: another artifact, or raw files (`kind` None), always with its digest."""

    role: str
    """What it was used as: `data`, `tokenizer`, `base`, `init`, `files` …"""
    ref: PlainText
    """`name@version` of an artifact, else the path or reference as the user gave it."""
    kind: Kind | None = None
    digest: Sha256


class FileRecord(_Record):
    sha256: Sha256
    size: int
    """Bytes."""


class GitState(_Record):
    """The revision of the working tree a command ran in, and whether tracked files differed from it."""

    revision: str | None
    dirty: bool


class Draft(_Record):
    """What a stage knows of an artifact when it has made it; publishing adds the rest.

    Raises:
        UsageError: the name is not legal.
        ConfigError: a URL with a password in any of the recorded values.
    """

    kind: Kind
    name: Name
    command: str
    stage_version: int = 1
    key: Sha256
    """`reuse_key` of the run: equal keys mean that the work need not be done again."""
    config: Plain = Field(default_factory=dict)
    """Every option as resolved."""
    given: Annotated[tuple[str, ...], BeforeValidator(_recordable)] = ()
    """Dotted keys of the options that were given explicitly."""
    inputs: tuple[InputRef, ...] = ()
    git: GitState | None = None
    packages: Mapping[str, str] = Field(default_factory=dict)
    device: str | None = None
    seed: int | None = None
    started: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    metrics: Plain = Field(default_factory=dict)
    warnings: Annotated[tuple[str, ...], BeforeValidator(_recordable)] = ()
    data_schema: DataSchema | None = Field(default=None, alias="schema")
    """Of a dataset: the shape of its rows."""
    licence: PlainText | None = None
    completes: tuple[str, ...] | None = ()
    """Refs of the artifacts this run published before this one, which closes it. None: more of this run follow, so
    this artifact alone is not reused in place of the run."""


class Manifest(Draft):
    """The content of `manifest.json`."""

    schema_version: int = SCHEMA_VERSION
    version: int
    digest: Sha256
    """sha256 over the sorted paths and digests of all files."""
    files: Mapping[str, FileRecord]
    """By path inside the artifact, with `/`; the manifest itself is not among them."""
    ended: AwareDatetime
    alias_of: str | None = None
    """`name@version` of the artifact whose files these are, where the same work was asked for under a new name."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact: its manifest and the directory that holds its files."""

    manifest: Manifest
    path: Path

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def kind(self) -> Kind:
        return self.manifest.kind

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.manifest.files.values())

    def as_input(self, role: str) -> InputRef:
        """The record of this artifact's use as `role` in making another."""
        return InputRef(role=role, ref=self.ref, kind=self.kind, digest=self.digest)

    def to_json(self) -> dict[str, str]:
        """As `--json` shows an artifact."""
        return {"ref": self.ref, "kind": self.kind, "path": str(self.path), "digest": self.digest}
