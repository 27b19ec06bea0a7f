"""Documents to chunks: pieces an encoder reads to their end, cut where the text itself has its joints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmkit.errors import ConfigError
from llmkit.retrieval.structure import Block, blocks
from llmkit.text.document import Document, Span
from llmkit.text.sentences import sentence_spans, trimmed

CountTokens = Callable[[Sequence[str]], list[int]]

CHARACTERS_PER_TOKEN = 8
"""A word of a million letters is one unknown token to WordPiece: pieces are bounded by characters as well."""

_PARAGRAPH = re.compile(r"\n[ \t\r\f]*+\n\s*+")


@dataclass(frozen=True)
class ChunkSettings:
    """Sizes in tokens of the embedder.

    Attributes:
        size: most tokens of a chunk with its heading; never above what the embedder reads.
        overlap: most tokens that a chunk repeats of the one before it, inside one section or function.
        merge: neighbours under one parent (short methods, short sections) are joined up to this.
    """

    size: int = 254
    overlap: int = 32
    merge: int = 64

    def __post_init__(self) -> None:
        if not (self.size >= 16 and 0 <= self.overlap <= self.size // 2 and 0 <= self.merge <= self.size):
            raise ConfigError(
                f"chunks of {self.size} tokens with an overlap of {self.overlap} cannot be cut",
                mend="choose a size of at least 16 and an overlap of at most half of it",
            )


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


class _Piece(NamedTuple):
    start: int
    end: int
    tokens: int


class _Heading(NamedTuple):
    text: str
    tokens: int


class _Cut(NamedTuple):
    heading: str
    span: Span
    tokens: int
    """Of its pieces and heading, counted apart."""

    def embedded(self, text: str) -> str:
        return embedded_text(self.heading, text[self.span.start : self.span.end])


def chunk_document(document: Document, count: CountTokens, settings: ChunkSettings) -> list[Chunk]:
    """Chunks of a document in order. Together they hold every character that is not white space.

    Args:
        count: tokens of each text, special tokens not counted.
    """
    text = document.text
    limit = settings.size
    tiled = blocks(document)
    headings = _headings(tiled, count, limit // 4)
    pieces_of = _pieces(text, tiled, count, limit // 2)
    parts = [(heading, pieces) for heading, pieces in zip(headings, pieces_of, strict=True) if pieces]
    cuts: list[_Cut] = []
    for (heading, tokens), pieces in _joined(parts, settings.merge):
        packed = _packed(pieces, limit - tokens, settings.overlap)
        cuts += (_Cut(heading, span, tokens + in_pieces) for span, in_pieces in packed)
    return [_chunk(document, cut.heading, cut.span) for cut in _fitted(text, cuts, count, limit)]


def _headings(tiled: Sequence[Block], count: CountTokens, most: int) -> list[_Heading]:
    """Each block's heading path, or where that is too long its innermost heading, or none."""
    choices = [(" > ".join(block.headings), *block.headings[-1:], "") for block in tiled]
    distinct = list(dict.fromkeys(heading for options in choices for heading in options))
    tokens = dict(zip(distinct, count(distinct), strict=True))
    tokens[""] = 0
    return [next(_Heading(text, tokens[text]) for text in options if tokens[text] <= most) for options in choices]


def _chunk(document: Document, heading: str, span: Span) -> Chunk:
    start, end = span
    line, page = document.source_line(start), document.page_at(start)
    return Chunk(document.id, span, line, page, heading, document.text[start:end])


def _pieces(text: str, tiled: Sequence[Block], count: CountTokens, most: int) -> list[list[_Piece]]:
    """For each block the pieces that stay whole: paragraphs (lines of code), or sentences, or words where too long."""
    found: list[list[_Piece]] = [[] for _ in tiled]
    open_: list[tuple[int, Span]] = []
    for n, block in enumerate(tiled):
        split = _code_lines if block.code else _paragraphs
        open_ += ((n, span) for span in split(text, block.start, block.end))
    for finer in (_sentences, _words, None):
        counts = _counted(text, [span for _, span in open_], count)
        longer: list[tuple[int, Span]] = []
        for (n, span), tokens in zip(open_, counts, strict=True):
            if finer is None or (tokens <= most and len(span) <= most * CHARACTERS_PER_TOKEN):
                found[n].append(_Piece(span.start, span.end, tokens))
            else:
                longer += ((n, piece) for piece in finer(text, span, most))
        open_ = longer
    for pieces in found:
        pieces.sort()
    return found


def _counted(text: str, spans: Sequence[Span], count: CountTokens) -> list[int]:
    """Token counts; a text that stands there twice is counted once, and a huge one not at all (it is split anyway)."""
    texts = [text[start:end] if end - start <= 100_000 else "" for start, end in spans]
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, count(distinct), strict=True))
    return [known[piece] for piece in texts]


def _paragraphs(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _PARAGRAPH.finditer(text, start, end):
        if span := trimmed(text, start, match.start()):
            yield span
        start = match.end()
    if span := trimmed(text, start, end):
        yield span


def _code_lines(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end:
        stop = text.find("\n", start, end) + 1 or end
        if not text[start:stop].isspace():
            # Indentation stays: a quoted line of code looks as it does in its file.
            yield Span(start, start + len(text[start:stop].rstrip()))
        start = stop


def _sentences(text: str, span: Span, most: int) -> Iterator[Span]:
    for start, end in sentence_spans(text[span.start : span.end]):
        yield Span(span.start + start, span.start + end)


def _words(text: str, span: Span, most: int) -> Iterator[Span]:
    """Pieces of at most `most` characters, hence (nearly always) tokens; cut at white space where there is any."""
    start, end = span
    while start < end:
        stop = min(start + most, end)
        if stop < end:
            space = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop), text.rfind("\t", start, stop))
            stop = space + 1 if space > start else stop
        if piece := trimmed(text, start, stop):
            yield piece
        start = stop


def _joined(parts: Sequence[tuple[_Heading, list[_Piece]]], merge: int) -> Iterator[tuple[_Heading, list[_Piece]]]:
    """Short neighbours joined under the first one's heading."""
    held: tuple[_Heading, list[_Piece]] | None = None
    held_tokens = 0
    for heading, pieces in parts:
        tokens = sum(piece.tokens for piece in pieces)
        if held is not None and held_tokens + tokens <= merge:
            held[1].extend(pieces)
            held_tokens += tokens
            continue
        if held is not None:
            yield held
        held, held_tokens = (heading, list(pieces)), tokens
    if held is not None:
        yield held


def _packed(pieces: Sequence[_Piece], room: int, overlap: int) -> Iterator[tuple[Span, int]]:
    """Consecutive pieces, as many as fit; the last ones are repeated at the start of the next chunk."""
    held: list[_Piece] = []
    tokens = 0
    for piece in pieces:
        if held and tokens + piece.tokens > room:
            yield Span(held[0].start, held[-1].end), tokens
            held = _tail(held, min(overlap, room - piece.tokens))
            tokens = sum(kept.tokens for kept in held)
        held.append(piece)
        tokens += piece.tokens
    if held:
        yield Span(held[0].start, held[-1].end), tokens


def _tail(pieces: Sequence[_Piece], most: int) -> list[_Piece]:
    kept: list[_Piece] = []
    for piece in reversed(pieces[1:]):
        most -= piece.tokens
        if most < 0:
            break
        kept.insert(0, piece)
    return kept


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
                halves = _words(text, cut.span, -(-len(cut.span) // 2))
                longer += (cut._replace(span=half) for half in halves)
        doubtful = longer
    return sorted(fitted, key=lambda cut: cut.span)
