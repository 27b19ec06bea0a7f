"""An answer in a model's words: what it is asked, and what of its reply the documents carry."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmkit.answering.abstain import Idf
from llmkit.answering.answer import Citation
from llmkit.answering.claims import cited_numbers, claims, renumbered
from llmkit.answering.retrieve import Found
from llmkit.answering.verify import Verifier
from llmkit.generation import extract
from llmkit.generation.prompts import neutralise
from llmkit.retrieval.search import Searcher
from llmkit.text.document import Span
from llmkit.text.sentences import sentence_spans

SUPPORT = 0.5
"""Least share of a statement's terms, weighted by rarity, in the sentences it cites."""
UNSUPPORTED = "[unsupported]"

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED = re.compile(r"[\"“]([^\"“”]{8,})[\"”]|「([^「」]{4,})」")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Checked:
    """A reply held against the passages it cites.

    Attributes:
        text: the reply; `[1]` now refers to the first of `citations`, and what nothing carries is marked.
        unsupported: statements whose citation does not hold, or that have none.
        invented: numbers it cites that no passage has.
    """

    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    invented: tuple[int, ...]


def check(searcher: Searcher, passages: Sequence[Found], reply: str, verifier: Verifier) -> Checked:
    """Looks every statement of a reply up in the passages that it cites, and these in their sources."""
    citations: list[Citation] = []
    unsupported: list[str] = []
    parts: list[str] = []
    done = 0
    for claim in claims(reply):
        carried: dict[int, int] = {}
        for cited in claim.cited:
            if 1 <= cited <= len(passages):
                citation = _support(searcher, claim.text, passages[cited - 1], verifier)
                if citation is not None:
                    if citation not in citations:
                        citations.append(citation)
                    carried[cited] = citations.index(citation) + 1
        said = renumbered(reply, claim, carried.get)
        if claim.states and not carried:
            unsupported.append(claim.text)
            said += f" {UNSUPPORTED}"
        parts += [reply[done : claim.span.start] if parts else "", said]
        done = claim.span.end
    invented = tuple(number for number in cited_numbers(reply) if not 1 <= number <= len(passages))
    return Checked("".join(parts), tuple(citations), tuple(unsupported), invented)


def _support(searcher: Searcher, claim: str, passage: Found, verifier: Verifier) -> Citation | None:
    """The sentences of the passage that carry the claim, if they do: its terms, all its numbers, and its quotations."""
    if not _figures(claim) <= _figures(passage.text):
        return None
    quoted = [_place(a or b, passage.text) for a, b in _QUOTED.findall(claim)]
    known = [place for place in quoted if place is not None]
    if len(known) < len(quoted):
        return None
    windows = _windows(passage.text, known)
    texts = [passage.text[slice(*span)] for span in windows]
    terms = searcher.view.terms([claim, *texts])
    idf = Idf(searcher.view).of(terms[0])
    total = sum(idf.values())
    if not total or not windows:
        return None
    shares = [sum(idf[term] for term in idf.keys() & set(found)) / total for found in terms[1:]]
    best = max(range(len(windows)), key=lambda n: (round(shares[n], 6), -len(windows[n])))
    return verifier.citation(passage, windows[best], shares[best]) if shares[best] >= SUPPORT else None


def _windows(text: str, quoted: Sequence[Span]) -> list[Span]:
    """One or two sentences in a row, those that hold all that the claim quotes; where none does, what it quotes."""
    spans = [span for span in sentence_spans(text) if len(span) <= extract.LONGEST]
    windows = spans + [Span(a.start, b.end) for a, b in pairwise(spans)]
    if not quoted:
        return windows
    holding = [window for window in windows if all(window.start <= a and b <= window.end for a, b in quoted)]
    return holding or [Span(min(a for a, _ in quoted), max(b for _, b in quoted))]


def _place(quoted: str, text: str) -> Span | None:
    """Where a quotation stands in a text, however the lines are broken and control tokens were made inert."""
    words = _SPACE.split(neutralise(quoted.strip()))
    match = re.search(r"\s+".join(map(re.escape, words)), neutralise(text))
    return Span(*match.span()) if match else None


def _figures(text: str) -> set[str]:
    """The numbers in a text: `１,024` is 1024."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return {re.sub(r",(?=\d{3}(?:\D|$))", "", number) for number in found}
