"""Why a document is not in the result: the record that every step leaves of what it threw away."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.text.document import Document


@dataclass(frozen=True)
class Drop:
    """One document, row or file that did not get through.

    Attributes:
        source: file path or URI, as in `Document`.
        step: which step dropped it: collect, read, normalise, language, quality, privacy, dedup, lines,
            decontaminate; of examples read, check, dedup, conflicts.
        reason: a short code to count by, such as `binary` or `near_duplicate`.
        detail: one sentence for a person; where it applies, with the line.
        record: which record of the source, as in `Document`.
        of: the id of the document that it repeats, if it is dropped for that.
        pages: how many pages without text it is dropped for: scans.
    """

    source: str
    step: str
    reason: str
    detail: str = ""
    record: str = ""
    of: str = ""
    pages: int = 0

    @property
    def id(self) -> str:
        """The id the document has, or would have had."""
        return Document(self.source, "", record=self.record).id
