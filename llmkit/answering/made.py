"""Questions made of an index's own text, where a user has none: their answers and places are known."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmkit.answering.abstain import Idf, Pseudo, pseudo_questions
from llmkit.answering.offtopic import OFF_TOPIC
from llmkit.evaluation.kinds.rag import RagItem
from llmkit.evaluation.kinds.retrieval import Place, RetrievalItem
from llmkit.retrieval.lexical import FUNCTION_WORDS, has_unspaced, question_words
from llmkit.retrieval.store import View
from llmkit.text.document import Span

GAP = "____"
HOW = "words of sentences of the index's own text, and others that stand elsewhere in it"
HOW_ANSWERED = (
    "sentences of the index with a word taken out, which are easier than what people ask, and questions on other "
    "things, by which the index's threshold was set"
)
_SPARE = 3
"""Chunks sampled for each question that is wanted: some have no sentence, or one that stands in several places."""
_WORD = re.compile(r"[^\W\d_][\w'’-]+|\d[\d.,]*\d")
_RUN = re.compile(r"[ァ-ヶー]{2,}|[㐀-䶿一-鿿々]{2,}|\d[\d.,]*\d")
"""In scripts without spaces, what is mostly a word: a run of katakana or of Chinese characters, a number."""


def retrieval_questions(view: View, most: int, *, seed: int) -> list[RetrievalItem]:
    """Keyword questions (as the threshold is calibrated by), each with the sentence that it was made of."""
    found = []
    for made in _sampled(view, most, seed):
        place = _place(made)
        found.append(RetrievalItem(_id(place), made.text, (place,), made.chunk.source))
    return found


def rag_questions(view: View, most: int, *, seed: int) -> list[RagItem]:
    """Sentences with their rarest word taken out, and as many questions on other things as there are in that script.

    The rarest word is by IDF over the index's chunks; it stands once in its sentence.
    """
    idf = Idf(view)
    found: list[RagItem] = []
    for made in _sampled(view, most, seed):
        sentence = made.chunk.text[slice(*made.sentence)]
        word = _rarest(view, idf, sentence)
        if word is not None:
            place = _place(made)
            asked = " ".join(f"{sentence[: word.start]}{GAP}{sentence[word.end :]}".split())
            answers = (sentence[slice(*word)],)
            found.append(RagItem(_id(place), asked, answers, (place,), made.chunk.source, made=True))
    unspaced = sum(has_unspaced(item.question) for item in found) * 2 > len(found)
    others = [text for text in OFF_TOPIC if has_unspaced(text) == unspaced]
    return [*found, *(RagItem(f"off-topic:{n}", text, ("",), made=True) for n, text in enumerate(others[: len(found)]))]


def _sampled(view: View, most: int, seed: int) -> Iterator[Pseudo]:
    """Questions from distinct places, of sentences that stand in one place only."""
    places: set[str] = set()
    for made in pseudo_questions(view, seed, _SPARE * most):
        if len(places) == most:
            return
        if (place := _id(_place(made))) not in places and _stands_once(view, made):
            places.add(place)
            yield made


def _stands_once(view: View, made: Pseudo) -> bool:
    """Whether no other passage that shares most of the sentence's words holds it; the overlap of two chunks may."""
    sentence = made.chunk.text[slice(*made.sentence)]
    place = _place(made)
    near = view.lexical(question_words(sentence), 20)
    for chunk in view.chunks(list(near)).values():
        at = chunk.text.find(sentence)
        if at < 0:
            continue
        start = chunk.span.start + at
        if (chunk.source, chunk.record, start) != (place.source, place.record, place.span.start if place.span else 0):
            return False
    return True


def _rarest(view: View, idf: Idf, sentence: str) -> Span | None:
    pattern = _RUN if has_unspaced(sentence) else _WORD
    words = [match for match in pattern.finditer(sentence) if match.group().lower() not in FUNCTION_WORDS]
    words = [match for match in words if len(match.group()) > 2 or has_unspaced(sentence)]
    once = [match for match in words if sentence.lower().count(match.group().lower()) == 1]
    if not once:
        return None
    terms = view.terms([match.group() for match in once])
    rarity = idf.of([term for found in terms for term in found])
    scores = [sum(rarity[term] for term in found) / len(found) if found else 0.0 for found in terms]
    best = once[max(range(len(once)), key=scores.__getitem__)]
    return Span(*best.span())


def _place(made: Pseudo) -> Place:
    start = made.chunk.span.start
    return Place(made.chunk.source, Span(start + made.sentence.start, start + made.sentence.end), made.chunk.record)


def _id(place: Place) -> str:
    start = place.span.start if place.span else 0
    return f"{place.source}#{place.record}:{start}" if place.record else f"{place.source}:{start}"
