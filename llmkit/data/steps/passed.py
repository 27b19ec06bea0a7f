"""What a step of preprocessing hands back: the document it let through, and what it did to it; or a `Drop`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmkit.text.document import Document


@dataclass(frozen=True)
class Passed:
    """A document that a step let through.

    Attributes:
        document: as the step leaves it.
        changes: how often each rule changed something in it; rules that did nothing are absent.
        facts: what the step found out about the document, JSON-serialisable, such as its language.
    """

    document: Document
    changes: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
