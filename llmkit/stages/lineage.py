"""Lineage as trees: what each artifact was made from, down to the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmkit.registry.lineage import Node, lineage
from llmkit.reporting.blocks import Style, Tree

if TYPE_CHECKING:
    from llmkit.registry.artifact import Artifact
    from llmkit.registry.store import Registry

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
    """The trees of those artifacts that no other of them was made from, the largest first.

    Together they show all of them; what one tree has shown, the next ones only name.
    """
    used = {ref.digest for artifact in artifacts for ref in artifact.manifest.inputs}
    roots = [lineage(registry.layout, artifact) for artifact in artifacts if artifact.digest not in used]
    shown: set[str] = set()
    return [tree(_once(root, shown)) for root in sorted(roots, key=_size, reverse=True)]


def _size(node: Node) -> int:
    return 1 + sum(_size(child) for child in node.inputs)


def _once(node: Node, shown: set[str]) -> Node:
    if node.inputs and node.ref in shown:
        return replace(node, inputs=(), repeated=True)
    shown.add(node.ref)
    return replace(node, inputs=tuple(_once(child, shown) for child in node.inputs))
