"""Where an artifact came from, what was made from it, and how two differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.registry import shelf
from llmkit.registry.artifact import Artifact, InputRef, Manifest
from llmkit.registry.layout import Layout
from llmkit.registry.refs import RegistryRef, parse
from llmkit.registry.values import flat

State = Literal["present", "removed", "missing", "files"]


@dataclass(frozen=True)
class Node:
    """An artifact, or raw files, in a tree whose branches are what it was made from."""

    ref: str
    kind: str | None
    digest: str
    state: State
    """`removed` is remembered and its inputs are known; `missing` was never here, or not any more; `files` are raw."""
    role: str | None = None
    """What it was to the node above; None at the root."""
    alias_of: str | None = None
    inputs: tuple[Node, ...] = ()
    repeated: bool = False
    """Its inputs are shown where it first occurs in the tree."""

    def to_json(self) -> dict[str, Any]:
        return {
            "ref": self.ref,
            "kind": self.kind,
            "digest": self.digest,
            "state": self.state,
            "role": self.role,
            "alias_of": self.alias_of,
            "repeated": self.repeated,
            "inputs": [node.to_json() for node in self.inputs],
        }


@dataclass(frozen=True)
class Change:
    """One key whose value differs; None where a side does not have it."""

    key: str
    before: object
    after: object


@dataclass(frozen=True)
class Diff:
    """How artifact `after` differs from `before`, section by section."""

    before: str
    after: str
    same_content: bool
    config: tuple[Change, ...]
    inputs: tuple[Change, ...]
    metrics: tuple[Change, ...]
    packages: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        sections = {"config": self.config, "inputs": self.inputs, "metrics": self.metrics, "packages": self.packages}
        return {
            "before": self.before,
            "after": self.after,
            "same_content": self.same_content,
            **{name: [vars(change) for change in changes] for name, changes in sections.items()},
        }


def lineage(layout: Layout, artifact: Artifact) -> Node:
    """The tree of all that an artifact was made from, down to raw files."""
    return _node(layout, artifact.manifest, state="present", role=None, seen=set())


def derived(layout: Layout, artifact: Artifact) -> tuple[Artifact, ...]:
    """The artifacts that were made directly from this one."""
    return tuple(
        other
        for other in shelf.whole(layout, containing=artifact.digest)
        if any(_is(layout, artifact, used) for used in other.manifest.inputs)
    )


def diff(before: Artifact, after: Artifact) -> Diff:
    """The differences in config, inputs, metrics and packages, by dotted key."""
    old, new = before.manifest, after.manifest
    return Diff(
        before=before.ref,
        after=after.ref,
        same_content=before.digest == after.digest,
        config=_changes(old.config, new.config),
        inputs=_changes(_inputs(old), _inputs(new)),
        metrics=_changes(old.metrics, new.metrics),
        packages=_changes(old.packages, new.packages),
    )


def _is(layout: Layout, artifact: Artifact, used: InputRef) -> bool:
    if used.digest != artifact.digest:
        return False
    found = shelf.find_input(layout, used)
    return found is not None and found.ref == artifact.ref


def _node(layout: Layout, manifest: Manifest, *, state: State, role: str | None, seen: set[str]) -> Node:
    ref = f"{manifest.name}@{manifest.version}"
    repeated = ref in seen and bool(manifest.inputs)
    seen.add(ref)
    return Node(
        ref=ref,
        kind=manifest.kind,
        digest=manifest.digest,
        state=state,
        role=role,
        alias_of=manifest.alias_of,
        inputs=() if repeated else tuple(_branch(layout, used, seen) for used in manifest.inputs),
        repeated=repeated,
    )


def _branch(layout: Layout, used: InputRef, seen: set[str]) -> Node:
    if used.kind is None:
        return Node(ref=used.ref, kind=None, digest=used.digest, state="files", role=used.role)
    if found := shelf.find_input(layout, used):
        return _node(layout, found.manifest, state="present", role=used.role, seen=seen)
    ref = parse(used.ref)
    if isinstance(ref, RegistryRef) and ref.version is not None:
        removed = shelf.load_removed(layout, ref.name, ref.version)
        if removed is not None and removed.digest == used.digest:
            return _node(layout, removed, state="removed", role=used.role, seen=seen)
    return Node(ref=used.ref, kind=used.kind, digest=used.digest, state="missing", role=used.role)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    before, after = dict(flat(old)), dict(flat(new))
    keys = sorted({*before, *after})
    return tuple(
        Change(key, before.get(key), after.get(key))
        for key in keys
        if key not in before or key not in after or before[key] != after[key]
    )


def _inputs(manifest: Manifest) -> dict[str, str]:
    """Refs with the start of their digests, by role; several of one role are numbered."""
    inputs: dict[str, str] = {}
    for used in manifest.inputs:
        earlier = sum(role.partition("[")[0] == used.role for role in inputs)
        inputs[f"{used.role}[{earlier}]" if earlier else used.role] = f"{used.ref} ({used.digest[:12]})"
    return inputs
