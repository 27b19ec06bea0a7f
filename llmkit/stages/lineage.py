"""Lineage as trees: what each artifact was made from, down to the files."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit.registry.artifact import Artifact
from llmkit.registry.lineage import Node, lineage
from llmkit.registry.store import Registry
from llmkit.reporting.blocks import Style, Tree

STYLES: dict[str, Style] = {"removed": "dim", "missing": "bad", "files": "dim"}


def tree(node: Node) -> Tree:
    """One artifact over what it was made from."""
    parts = [f"{node.role}: {node.ref}" if node.role else node.ref]
    parts.append(node.kind or "files")
    if node.alias_of:
        parts.append(f"same as {node.alias_of}")
    if node.state in ("removed", "missing"):
        parts.append(node.state)
    if node.repeated:
        parts.append("as above")
    if node.kind is None:
        parts[1:] = [f"sha256 {node.digest[:12]}"]
    children = [tree(child) for child in node.inputs]
    return Tree("  ".join(parts), children, STYLES.get(node.state, "plain"))


def family_tree(registry: Registry, artifacts: Sequence[Artifact]) -> list[Tree]:
    """The trees of those artifacts that no other of them was made from: together they show them all."""
    used = {ref.digest for artifact in artifacts for ref in artifact.manifest.inputs}
    sinks = [artifact for artifact in artifacts if artifact.digest not in used]
    return [tree(lineage(registry.layout, artifact)) for artifact in sinks]
