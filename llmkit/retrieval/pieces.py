"""What chunks are put together from: paragraphs, lines of code, sentences, words, tokens; each is kept whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from llmkit.retrieval.structure import Block
from llmkit.text.document import Span
from llmkit.text.scripts import UNSPACED
from llmkit.text.sentences import sentence_spans, trimmed

CountTokens = Callable[[Sequence[str]], list[int]]
TokenSpans = Callable[[str], Sequence[Span] | None]

CHARACTERS_PER_TOKEN = 8
"""A word of a million letters is one unknown token to WordPiece: pieces are bounded by characters as well."""

_PARAGRAPH = re.compile(r"\n[ \t\r\f]*+\n\s*+")
_COUNTED_WHOLE = 100_000
"""Code points from which a text is not counted: it is split anyway."""

_WORD_OR_SIGN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]|_+")
_GLUED = re.compile(rf"[^\W_{UNSPACED}]{{2}}")
_TOKENS_OF_A_WORD = 16
"""A word of more tokens than this may be cut between them."""
_LONGEST_TOKEN = 200


class Piece(NamedTuple):
    """`text[start:end]`, trimmed, with its length in tokens."""

    start: int
    end: int
    tokens: int


def structure_pieces(text: str, part: Sequence[Block], count: CountTokens, most: int) -> list[list[Piece]]:
    """Each block's paragraphs (of code, lines), or sentences, or words where those have more than `most` tokens."""
    spans = ((n, span) for n, block in enumerate(part) for span in _coarse(text, block))
    return _refined(text, spans, len(part), count, (_sentences, words), most)


def sentence_pieces(text: str, part: Sequence[Block], count: CountTokens, most: int) -> list[Piece]:
    """The sentences of all blocks (of code, the lines) in order, or words where they have more than `most` tokens."""
    spans = (
        (0, sentence)
        for block in part
        for span in ([Span(block.start, block.end)] if not block.code else _code_lines(text, block.start, block.end))
        for sentence in ([span] if block.code else _sentences(text, span, most))
    )
    return _refined(text, spans, 1, count, (words,), most)[0]


def token_pieces(text: str, start: int, end: int, spans: TokenSpans | None) -> list[Piece]:
    """The tokens of `text[start:end]`, those of one word together; with what lies between them, nothing is left out.

    Args:
        spans: of the embedder's tokens; words and signs where there is none.
    """
    part = text[start:end]
    found = spans(part) if spans else None
    if found is None:
        found = [Span(*match.span()) for match in _WORD_OR_SIGN.finditer(part)]
    pieces: list[Piece] = []
    begin, tokens = start, 0
    for at in _borders(part, found):
        if at.start and begin < start + at.start:
            pieces += _whole_or_cut(text, begin, start + at.start, tokens)
            begin, tokens = start + at.start, 0
        tokens += at.tokens
    return [*pieces, *_whole_or_cut(text, begin, end, tokens)]


class _Border(NamedTuple):
    """A place before which may be cut, and the tokens from there to the next one."""

    start: int
    tokens: int


def _borders(part: str, tokens: Iterable[Span]) -> Iterator[_Border]:
    at, held = 0, 0
    for start, _ in tokens:
        # Some tokenizers have several tokens within a character.
        inside = start <= at or (held < _TOKENS_OF_A_WORD and _GLUED.match(part, start - 1) is not None)
        if not inside:
            yield _Border(at, held)
            at, held = start, 0
        held += 1
    yield _Border(at, held)


def _whole_or_cut(text: str, start: int, end: int, tokens: int) -> Iterator[Piece]:
    span = trimmed(text, start, end)
    if span is None:
        return
    if len(span) <= _LONGEST_TOKEN:
        yield Piece(span.start, span.end, max(1, tokens))
    else:
        for piece in words(text, span, _LONGEST_TOKEN):
            yield Piece(piece.start, piece.end, max(1, tokens))


Finer = Callable[[str, Span, int], Iterator[Span]]


def _refined(
    text: str, spans: Iterable[tuple[int, Span]], groups: int, count: CountTokens, finer: Sequence[Finer], most: int
) -> list[list[Piece]]:
    """Pieces by group; what has more than `most` tokens is split by the next of `finer`, and stays after the last."""
    found: list[list[Piece]] = [[] for _ in range(groups)]
    open_ = list(spans)
    for split in (*finer, None):
        counts = counted(text, [span for _, span in open_], count)
        longer: list[tuple[int, Span]] = []
        for (n, span), tokens in zip(open_, counts, strict=True):
            if split is None or (tokens <= most and len(span) <= most * CHARACTERS_PER_TOKEN):
                found[n].append(Piece(span.start, span.end, tokens))
            else:
                longer += ((n, piece) for piece in split(text, span, most))
        open_ = longer
    for pieces in found:
        pieces.sort()
    return found


def counted(text: str, spans: Sequence[Span], count: CountTokens) -> list[int]:
    """Token counts; a text that stands there twice is counted once, and a huge one not at all (it is split anyway)."""
    texts = [text[start:end] if end - start <= _COUNTED_WHOLE else "" for start, end in spans]
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, count(distinct), strict=True))
    return [known[piece] for piece in texts]


def _coarse(text: str, block: Block) -> Iterator[Span]:
    return (_code_lines if block.code else _paragraphs)(text, block.start, block.end)


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


def words(text: str, span: Span, most: int) -> Iterator[Span]:
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
