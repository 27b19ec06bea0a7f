"""Does the quote stand there? Every quotation is looked up in its source as it is now, before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Callable

from llmkit.answering.answer import Citation
from llmkit.answering.retrieve import Found
from llmkit.errors import LlmkitError
from llmkit.text.document import Document, Span

ReadSource = Callable[[str, str], Document]
"""(source, record) to the document as it is now; raises an LlmkitError where it is gone or cannot be read."""


class Verifier:
    """Looks quotes up; reads each source once."""

    def __init__(self, read_source: ReadSource) -> None:
        self._read_source = read_source
        self._documents: dict[tuple[str, str], Document | None] = {}

    def citation(self, passage: Found, span: Span, score: float) -> Citation | None:
        """The citation of `passage.text[span]`, or None if the source does not hold those words now.

        Where the source has changed the words are looked for in all of it, and the place nearest to the old one counts.
        Lines may now break elsewhere; the quote is what stands there.
        """
        quote = passage.text[span.start : span.end]
        document = self._document(passage.source, passage.record)
        if document is None or not quote:
            return None
        expected = passage.span.start + span.start
        place = _locate(document.text, quote, expected)
        if place is None:
            return None
        start, end = place
        return Citation(
            source=passage.source,
            quote=document.text[start:end],
            start=start,
            end=end,
            line=document.source_line(start),
            page=document.page_at(start),
            score=round(score, 4),
            stale=document.digest != passage.digest,
            record=passage.record,
        )

    def _document(self, source: str, record: str) -> Document | None:
        key = (source, record)
        if key not in self._documents:
            try:
                self._documents[key] = self._read_source(source, record)
            except LlmkitError:
                self._documents[key] = None
        return self._documents[key]


def _locate(text: str, quote: str, expected: int) -> Span | None:
    """The occurrence of `quote` that is nearest to `expected`, exactly, or else but for its white space."""
    if text.startswith(quote, expected):
        return Span(expected, expected + len(quote))
    before = text.rfind(quote, 0, expected + len(quote))
    after = text.find(quote, expected)
    places = [Span(place, place + len(quote)) for place in (before, after) if place >= 0]
    if not places:
        loosely = re.compile(r"\s+".join(map(re.escape, quote.split())))
        places = [Span(*match.span()) for match in loosely.finditer(text)]
    return min(places, key=lambda place: abs(place.start - expected), default=None)
