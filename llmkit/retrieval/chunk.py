"""Documents to chunks: pieces an encoder reads to their end, cut where the chosen chunker sees joints.

- `structure`: at headings, functions and classes, then paragraphs (of code, lines), then sentences, then words.
- `sentences`: whole sentences in a row, as many as fit, whatever they stand under.
- `tokens`: windows of the embedder's tokens, which overlap.

Whatever the chunker, a span is exact in the text, chunks together hold every character that is not white space, none
is longer than the limit, and each has the heading path of the place where it begins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmkit.errors import ConfigError
from llmkit.retrieval.pieces import (
    CountTokens,
    Piece,
    TokenSpans,
    sentence_pieces,
    structure_pieces,
    token_pieces,
    words,
)
from llmkit.retrieval.structure import Block, blocks
from llmkit.text.document import Document, Span

Chunker = Literal["structure", "sentences", "tokens"]

RULES = 1
"""Raised when the same settings would now cut otherwise: an index made before then asks to be rebuilt."""
PART = 400_000
"""Code points that are cut at a time: the memory of cutting does not grow with the document."""


@dataclass(frozen=True)
class ChunkSettings:
    """Sizes in tokens of the embedder.

    Attributes:
        size: most tokens of a chunk with its heading; never above what the embedder reads.
        overlap: most tokens that a chunk repeats of the one before it (by structure: inside one section or function).
        merge: neighbours under one parent (short methods, short sections) are joined up to this; by structure only.
        chunker: where cuts are made.
    """

    size: int = 254
    overlap: int = 32
    merge: int = 64
    chunker: Chunker = "structure"
    rules: int = RULES

    def __post_init__(self) -> None:
        if not (self.size >= 16 and 0 <= self.overlap <= self.size // 2 and 0 <= self.merge <= self.size):
            raise ConfigError(
                f"chunks of {self.size} tokens with an overlap of {self.overlap} cannot be cut",
                mend="choose a size of at least 16 and an overlap of at most half of it",
            )

    def __str__(self) -> str:
        return f"chunks of {self.size} tokens by {self.chunker} with an overlap of {self.overlap}"


class Chunk(NamedTuple):
    """A piece of a document: `document.text[span.start:span.end] == text`.

    `line` and `page` are those of its first character in the source; `heading` is the path to it, outermost first.
    """

    document: str
    span: Span
    line: int
    page: int | None
    heading: str
    text: str

    @property
    def embedded(self) -> str:
        """What the encoder reads."""
        return embedded_text(self.heading, self.text)


def embedded_text(heading: str, text: str) -> str:
    """What an encoder reads of a chunk: a piece of a long text says little without its heading."""
    return f"{heading}\n{text}" if heading else text


@dataclass(frozen=True)
class Meter:
    """How long a text is in tokens of the embedder, special ones not counted.

    Attributes:
        count: tokens of each text.
        spans: where the tokens of a text stand in it, in order; None where nobody can say: words stand for them.
    """

    count: CountTokens
    spans: TokenSpans | None = None


class _Heading(NamedTuple):
    text: str
    tokens: int


class _Section(NamedTuple):
    """Pieces that may share chunks; the heading is that of its first block, or each block's own."""

    pieces: list[Piece]
    headings: list[_Heading]
    starts: list[int]
    """Where each heading begins to hold."""

    def heading(self, offset: int) -> _Heading:
        return self.headings[max(0, bisect_right(self.starts, offset) - 1)]


class _Cut(NamedTuple):
    heading: str
    span: Span
    tokens: int
    """Of its pieces and heading, counted apart."""

    def embedded(self, text: str) -> str:
        return embedded_text(self.heading, text[self.span.start : self.span.end])


def chunk_document(document: Document, meter: Meter | CountTokens, settings: ChunkSettings) -> list[Chunk]:
    """All chunks of a document, in order; see `iter_chunks`."""
    return list(iter_chunks(document, meter, settings))


def iter_chunks(document: Document, meter: Meter | CountTokens, settings: ChunkSettings) -> Iterator[Chunk]:
    """Chunks of a document in order, cut as they are asked for.

    Args:
        meter: of the embedder; or only what counts tokens.
    """
    meter = meter if isinstance(meter, Meter) else Meter(meter)
    cutter = _CUTTERS[settings.chunker]
    text = document.text
    for part in _parts(document):
        cuts: list[_Cut] = []
        for section in cutter(text, part, meter, settings):
            cuts += _packed(section, settings)
        for cut in _fitted(text, cuts, meter.count, settings.size):
            start, end = cut.span
            line, page = document.source_line(start), document.page_at(start)
            yield Chunk(document.id, cut.span, line, page, cut.heading, text[start:end])


def _parts(document: Document) -> Iterator[list[Block]]:
    """The document's blocks, in parts of bounded length; what is longer is cut at a blank line, a line or a word."""
    part: list[Block] = []
    size = 0
    for block in blocks(document):
        start = block.start
        while block.end - start > PART:
            stop = _joint(document.text, start, start + PART)
            yield [*part, block._replace(start=start, end=stop)]
            part, size, start = [], 0, stop
        part.append(block._replace(start=start))
        size += block.end - start
        if size > PART:
            yield part
            part, size = [], 0
    if part:
        yield part


def _joint(text: str, start: int, stop: int) -> int:
    for mark in ("\n\n", "\n", "。", " "):
        at = text.rfind(mark, start + (stop - start) // 2, stop)
        if at >= 0:
            return at + len(mark)
    return stop


def _by_structure(text: str, part: Sequence[Block], meter: Meter, settings: ChunkSettings) -> Iterator[_Section]:
    """A section per block; short neighbours are joined under the first one's heading."""
    headings = _headings(part, meter.count, settings.size // 4)
    pieces_of = structure_pieces(text, part, meter.count, settings.size // 2)
    held: _Section | None = None
    tokens_held = 0
    for block, heading, pieces in zip(part, headings, pieces_of, strict=True):
        if not pieces:
            continue
        tokens = sum(piece.tokens for piece in pieces)
        if held is not None and tokens_held + tokens <= settings.merge:
            held.pieces.extend(pieces)
            tokens_held += tokens
            continue
        if held is not None:
            yield held
        held, tokens_held = _Section(list(pieces), [heading], [block.start]), tokens
    if held is not None:
        yield held


def _by_sentences(text: str, part: Sequence[Block], meter: Meter, settings: ChunkSettings) -> Iterator[_Section]:
    yield _across(part, meter, settings, sentence_pieces(text, part, meter.count, settings.size // 2))


def _by_tokens(text: str, part: Sequence[Block], meter: Meter, settings: ChunkSettings) -> Iterator[_Section]:
    yield _across(part, meter, settings, token_pieces(text, part[0].start, part[-1].end, meter.spans))


def _across(part: Sequence[Block], meter: Meter, settings: ChunkSettings, pieces: list[Piece]) -> _Section:
    headings = _headings(part, meter.count, settings.size // 4)
    return _Section(pieces, headings, [block.start for block in part])


_CUTTERS: dict[Chunker, Callable[[str, Sequence[Block], Meter, ChunkSettings], Iterator[_Section]]] = {
    "structure": _by_structure,
    "sentences": _by_sentences,
    "tokens": _by_tokens,
}


def _headings(tiled: Sequence[Block], count: CountTokens, most: int) -> list[_Heading]:
    """Each block's heading path, or where that is too long its innermost heading, or none."""
    choices = [(" > ".join(block.headings), *block.headings[-1:], "") for block in tiled]
    distinct = list(dict.fromkeys(heading for options in choices for heading in options))
    tokens = dict(zip(distinct, count(distinct), strict=True))
    tokens[""] = 0
    return [next(_Heading(text, tokens[text]) for text in options if tokens[text] <= most) for options in choices]


def _packed(section: _Section, settings: ChunkSettings) -> Iterator[_Cut]:
    """Consecutive pieces, as many as fit; the last ones are repeated at the start of the next chunk."""
    held: list[Piece] = []
    tokens = 0
    heading = _Heading("", 0)
    for piece in section.pieces:
        if held and heading.tokens + tokens + piece.tokens > settings.size:
            yield _Cut(heading.text, Span(held[0].start, held[-1].end), heading.tokens + tokens)
            held = _tail(held, settings.overlap)
            tokens = sum(kept.tokens for kept in held)
            while held and section.heading(held[0].start).tokens + tokens + piece.tokens > settings.size:
                tokens -= held.pop(0).tokens
            heading = section.heading((held or [piece])[0].start)
        elif not held:
            heading = section.heading(piece.start)
        held.append(piece)
        tokens += piece.tokens
    if held:
        yield _Cut(heading.text, Span(held[0].start, held[-1].end), heading.tokens + tokens)


def _tail(pieces: Sequence[Piece], most: int) -> list[Piece]:
    kept: list[Piece] = []
    for piece in reversed(pieces[1:]):
        most -= piece.tokens
        if most < 0:
            break
        kept.append(piece)
    return kept[::-1]


def _fitted(text: str, cuts: Sequence[_Cut], count: CountTokens, limit: int) -> list[_Cut]:
    """Halves what is too long as a whole: counts of pieces do not add up exactly in every tokenizer.

    A joint adds at most the token of its white space, and each piece has one token or more: what counts half the limit
    apart cannot pass it together.
    """
    fitted = [cut for cut in cuts if cut.tokens <= limit // 2]
    doubtful = [cut for cut in cuts if cut.tokens > limit // 2]
    while doubtful:
        longer: list[_Cut] = []
        for cut, tokens in zip(doubtful, count([cut.embedded(text) for cut in doubtful]), strict=True):
            if tokens <= limit or len(cut.span) == 1:
                fitted.append(cut)
            else:
                halves = words(text, cut.span, -(-len(cut.span) // 2))
                longer += (cut._replace(span=half) for half in halves)
        doubtful = longer
    return sorted(fitted, key=lambda cut: cut.span)
