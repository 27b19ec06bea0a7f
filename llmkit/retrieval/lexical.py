"""Lexical search by SQLite's FTS5: what is indexed of a text, how a question becomes a query, and terms for scoring.

FTS5's `porter unicode61` splits at everything that is no letter or digit, so `json.dumps` and `file_digest` fall into
their words by themselves. Two things it cannot do are done here to the text before it sees it: scripts without spaces
become character bigrams, cut where the script changes (`2011年` must not glue; nDCG@10 on JaQuAD is .245 without them),
and camelCase names are repeated as their words.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Sequence

TOKENIZER = "porter unicode61"

_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA = "\u3041-\u309f"
_KATAKANA = "\u30a0-\u30ff\u31f0-\u31ff"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_SOUTHEAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = re.compile(f"[{_HAN}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+|[{_HANGUL}]+|[{_SOUTHEAST_ASIAN}]+")
_HAN_RUN = re.compile(f"[{_HAN}]+")
_HIRAGANA_RUN = re.compile(f"[{_HIRAGANA}]+")
_CAMEL = re.compile(r"\b[A-Z]?[a-z]{2,}(?:[A-Z][a-z]{2,})+\b|\b[A-Z]{2,}(?:[A-Z][a-z]{2,})+\b")
_CAMEL_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+")
_WORD = re.compile(r"[^\W_]+")

_FUNCTION_WORDS = """
a about am an and any are as at be because been but by can could did do does for from get had has have he her his
how i if in into is it its let like may me might must my no not of on one or our shall she should so some such than
that the their them then there these they this those to us use used using want was we were what when where which who
whom why will with would you your"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that carry no subject. They are in half of all chunks: FTS5 would rank most of the index for each."""


def has_unspaced(text: str) -> bool:
    """Whether any of the text is in a script that writes no spaces between words."""
    return _UNSPACED.search(text) is not None


def is_hiragana(term: str) -> bool:
    """Whether a term is all hiragana: in Japanese these carry the grammar, and seldom the subject."""
    return _HIRAGANA_RUN.fullmatch(term) is not None


def indexed_form(text: str) -> str:
    """What FTS5 is given in the place of `text`."""
    text = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()
    names = [" ".join(_CAMEL_PART.findall(name)) for name in _CAMEL.findall(text)]
    if has_unspaced(text):
        text = _UNSPACED.sub(lambda run: f" {' '.join(_pieces(run.group()))} ", text)
    return "\n".join([text, *names]) if names else text


def _pieces(run: str) -> list[str]:
    """Bigrams, and of Chinese characters each one as well: many are words (nDCG@10 on JaQuAD .915 against .901)."""
    pairs = [run[n : n + 2] for n in range(len(run) - 1)]
    return [*pairs, *run] if not pairs or _HAN_RUN.fullmatch(run) else pairs


def question_words(question: str) -> list[str]:
    """The words (bigrams) of a question that are worth looking up, lower case, each once, in order."""
    words = [word.lower() for word in _WORD.findall(indexed_form(question))]
    kept = [word for word in words if word not in FUNCTION_WORDS]
    # A lone kana is a particle. A question of nothing but function words ("how to use it") keeps them.
    kept = [word for word in kept if len(word) > 1 or not is_hiragana(word)]
    return list(dict.fromkeys(kept or words))


def match_query(words: Sequence[str]) -> str:
    """FTS5 query for any of `words`. Each is quoted, so nothing in a question is FTS5 syntax."""
    return " OR ".join(f'"{word}"' for word in words)


class Stemmer:
    """The terms FTS5 makes of texts: its own tokenizer, in memory, so that scoring and index never disagree."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(f"CREATE VIRTUAL TABLE texts USING fts5(body, content='', tokenize='{TOKENIZER}')")
        self._db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, instance)")
        self._known: dict[str, list[str]] = {}

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """Terms of each text, in the order in which they stand there."""
        return self._tokenised([indexed_form(text) for text in texts])

    def stems(self, words: Sequence[str]) -> list[list[str]]:
        """The terms of each of `question_words`: mostly one."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if new:
            self._known.update(zip(new, self._tokenised(new), strict=True))
        return [self._known[word] for word in words]

    def _tokenised(self, texts: Sequence[str]) -> list[list[str]]:
        found: list[list[tuple[int, str]]] = [[] for _ in texts]
        with self._db:
            self._db.executemany("INSERT INTO texts(rowid, body) VALUES (?, ?)", enumerate(texts))
            for term, row, offset in self._db.execute("SELECT term, doc, offset FROM terms"):
                found[row].append((offset, term))
            self._db.execute("INSERT INTO texts(texts) VALUES ('delete-all')")
        return [[term for _, term in sorted(pairs)] for pairs in found]
