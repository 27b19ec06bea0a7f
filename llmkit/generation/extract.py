"""Answers without a language model: the pieces of found passages that say most about a question, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans, trimmed

Terms = Callable[[Sequence[str]], list[list[str]]]
"""Texts to the terms of each, as the index's tokenizer makes them."""
Similarity = Callable[[Sequence[str]], Sequence[float]]
"""Texts to the cosine of each with the question."""

PYTHON = "text/x-python"
COMPARED = 12
"""Candidates that are compared by meaning; the others fell behind by words and place. Embedding them is half of what a
cold `ask` takes."""
COMPARED_CHARACTERS = 300
LONGEST = 600
"""Code points of a quote: three sentences or so."""
PIECE = 300
NEAR_BEST = 0.8
"""A further quote is shown if it scores at least this share of the best one."""

# Shares of the score. The passage's own rank counts too: its heading and neighbours speak for the sentence.
WORDS, MEANING, PLACE = 0.3, 0.35, 0.35
DEFINITION_SHARE, CODE_SHARE = 1.1, 0.8
"""A name with its arguments and purpose says more to a reader than a sentence alone, and bare code less."""
LETTERS = 0.7
"""Of what is printed of prose; a table, a banner or a row of numbers has fewer and counts less."""

_DEFINITION = re.compile(r"^[ \t]*+(?:async[ ]+)?(?:def|class)[ ]+\w+", re.MULTILINE)
_DOCSTRING = re.compile(r"\s*+[rRuUbB]{0,2}(\"\"\"|'''|\"|')")
_STRING_BLOCK = re.compile(r"(\"\"\"|''')(.*?)(?:\1|\Z)", re.DOTALL)
_COMMENT = re.compile(r"(?:^[ \t]*+#[^\n]*+\n?)+", re.MULTILINE)
_MARKS = re.compile("[*_`\"'“”‘’«»]")
_LONGEST_SIGNATURE = 12


class Passage(NamedTuple):
    """A found piece of a document. `score` is its rank's, from 0 to 1; `heading` tells its subject."""

    text: str
    media: str
    score: float
    heading: str = ""


class Quote(NamedTuple):
    """`passages[passage].text[span.start:span.end]`, and how much it says about the question, from 0 to 1.

    `same` are the places in other passages that say it word for word.
    """

    passage: int
    span: Span
    score: float
    same: tuple[tuple[int, Span], ...] = ()


class _Candidate(NamedTuple):
    passage: int
    span: Span
    share: float


def best_quotes(
    passages: Sequence[Passage],
    idf: Mapping[str, float],
    terms: Terms,
    similarity: Similarity | None,
    *,
    most: int = 3,
) -> list[Quote]:
    """The quotes that answer best, best first: one at least where there is any text, `most` at most.

    Args:
        passages: what the search found, best first.
        idf: the question's terms with their rarity.
        similarity: None where there is no encoder for the question's language.
    """
    groups: dict[str, list[_Candidate]] = {}
    for n, passage in enumerate(passages):
        for each in _candidates(n, passage):
            groups.setdefault(_said(_text(passages, each), passage.media), []).append(each)
    candidates = [group[0] for group in groups.values()]
    if not candidates:
        return []
    texts = [_text(passages, found) for found in candidates]
    total = sum(idf.values()) or 1.0
    words = [sum(idf[term] for term in idf.keys() & set(found)) / total for found in terms(texts)]
    scores = [
        found.share * (WORDS * covered + PLACE * passages[found.passage].score)
        for found, covered in zip(candidates, words, strict=True)
    ]
    order = sorted(range(len(candidates)), key=lambda n: -scores[n])[:COMPARED]
    if similarity is not None:
        headed = [f"{passages[candidates[n].passage].heading}\n{texts[n]}"[:COMPARED_CHARACTERS] for n in order]
        for n, cosine in zip(order, similarity(headed), strict=True):
            scores[n] += candidates[n].share * MEANING * max(0.0, float(cosine))
        order.sort(key=lambda n: -scores[n])
    whole = 1.0 if similarity is not None else 1 - MEANING
    same = [tuple((each.passage, each.span) for each in group[1:]) for group in groups.values()]
    ranked = [Quote(*candidates[n][:2], min(1.0, scores[n] / whole), same[n]) for n in order]
    return _continued(_chosen(ranked, most), passages)


def quote_around(passage: Passage, span: Span) -> Span:
    """The sentences (pieces of code) of a passage that hold a span; the span alone where they are too long to read."""
    touched = [
        found.span for found in _candidates(0, passage) if found.span.start < span.end and span.start < found.span.end
    ]
    whole = [piece for piece in touched if piece.start <= span.start and span.end <= piece.end]
    if whole:
        return min(whole, key=len)
    around = Span(min([span.start, *(a for a, _ in touched)]), max([span.end, *(b for _, b in touched)]))
    return around if len(around) <= LONGEST else span


def _said(text: str, media: str) -> str:
    """The same for texts that say the same: lines may break elsewhere; in prose, emphasis and quotation marks, case and
    the last stop may differ, but no word, number or sign may."""
    text = " ".join(text.split())
    return text if media == PYTHON else _MARKS.sub("", text).casefold().strip(" .!?;:,。！？")


def _text(passages: Sequence[Passage], found: _Candidate) -> str:
    return passages[found.passage].text[slice(*found.span)]


def _chosen(ranked: Sequence[Quote], most: int) -> list[Quote]:
    """The first ones that do not overlap and come near the best."""
    kept: list[Quote] = []
    for quote in ranked:
        if len(kept) == most or quote.score < NEAR_BEST * ranked[0].score:
            break
        apart = (
            o.passage != quote.passage or o.span.end <= quote.span.start or quote.span.end <= o.span.start for o in kept
        )
        if all(apart):
            kept.append(quote)
    return kept


def _continued(quotes: Sequence[Quote], passages: Sequence[Passage]) -> list[Quote]:
    """Quotes of which one goes on where another ends become one."""
    joined: list[Quote] = []
    for quote in quotes:
        for n, other in enumerate(joined):
            first, second = sorted((other, quote), key=lambda each: each.span)
            between = passages[quote.passage].text[first.span.end : second.span.start]
            span = Span(first.span.start, second.span.end)
            if other.passage == quote.passage and len(between) < PIECE and not between.strip() and len(span) <= LONGEST:
                joined[n] = other._replace(span=span, same=())  # copies of the whole are the passage's
                break
        else:
            joined.append(quote)
    return joined


def _candidates(number: int, passage: Passage) -> Iterator[_Candidate]:
    text = passage.text
    pieces = _python(text) if passage.media == PYTHON else ((span, 1.0) for span in sentence_spans(text))
    for span, share in pieces:
        for piece in _readable(text, span):
            printed = "".join(text[slice(*piece)].split())
            letters = sum(map(str.isalpha, printed)) / len(printed)
            yield _Candidate(number, piece, share * min(1.0, letters / LETTERS))


def _python(text: str) -> Iterator[tuple[Span, float]]:
    """Signatures with their docstring's first paragraph, sentences of docstrings, comments, and last the bare lines."""
    said: list[Span] = []
    for match in _DEFINITION.finditer(text):
        span = _introduced(text, match)
        if span is not None:
            said.append(span)
            yield span, DEFINITION_SHARE
    for block in _STRING_BLOCK.finditer(text):
        inside = Span(*block.span(2))
        said.append(inside)
        for start, end in sentence_spans(text[slice(*inside)]):
            yield Span(inside.start + start, inside.start + end), 1.0
    for block in _COMMENT.finditer(text):
        if span := trimmed(text, *block.span()):
            said.append(span)
            yield span, 1.0
    for span in _lines(text):
        if not any(other.start < span.end and span.start < other.end for other in said):
            yield span, CODE_SHARE


def _introduced(text: str, match: re.Match[str]) -> Span | None:
    """From `def` to the end of the docstring's first paragraph, or of its first sentence where that is long; without a
    docstring to the colon. None if the signature is cut off."""
    end = _signature_end(text, match.end())
    if end is None:
        return None
    if docstring := _DOCSTRING.match(text, end):
        begin = docstring.end()
        body = text[begin : begin + LONGEST].split(docstring.group(1), 1)[0]
        paragraph = trimmed(body, 0, len(body.lstrip().split("\n\n", 1)[0]) + len(body) - len(body.lstrip()))
        sentences = sentence_spans(body)
        if paragraph and len(paragraph) <= PIECE:
            end = begin + paragraph.end
        elif sentences:
            end = begin + sentences[0].end
    return trimmed(text, match.start(), end)


def _signature_end(text: str, start: int) -> int | None:
    """Just behind the colon that ends a signature: the first one outside of brackets that ends a line's code."""
    depth = lines = 0
    for n in range(start, min(len(text), start + 2 * LONGEST)):
        character = text[n]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "\n":
            lines += 1
        elif character == ":" and depth == 0:
            return n + 1
        if lines > _LONGEST_SIGNATURE:
            break
    return None


def _lines(text: str) -> Iterator[Span]:
    """Runs of up to four lines without a blank one."""
    start = end = count = 0
    for line in text.splitlines(keepends=True):
        if (not line.strip() or count == 4) and (span := trimmed(text, start, end)):
            yield span
            start, count = end, 0
        end += len(line)
        count += bool(line.strip())
    if span := trimmed(text, start, end):
        yield span


def _readable(text: str, span: Span) -> Iterator[Span]:
    """The span itself, or where it is too long to be read its pieces, cut between words."""
    start, end = span
    if end - start <= LONGEST:
        yield span
        return
    while start < end:
        stop = min(start + PIECE, end)
        if stop < end:
            cut = max(text.rfind(mark, start + PIECE // 2, stop) for mark in (" ", "\n", "、", "，", ",", ";"))
            stop = cut + 1 if cut > 0 else stop
        if piece := trimmed(text, start, stop):
            yield piece
        start = stop
