"""Metrics that compare an answer with gold answers (Rajpurkar et al., SQuAD: 2016; with no-answer: 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalise_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces: SQuAD's notion of "the same"."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1.0 if the normalised answer equals any normalised gold answer."""
    return _best(answer, gold, lambda a, g: float(a == g))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 between the answer's bag of words and a gold answer's.

    Where either side has no words left (SQuAD 2.0's "no answer"), it is 1.0 if both have none.
    """
    return _best(answer, gold, _f1)


def _best(answer: str, gold: Sequence[str], score: Callable[[str, str], float]) -> float:
    given = normalise_answer(answer)
    return max(score(given, normalise_answer(g)) for g in gold)


def _f1(answer: str, gold: str) -> float:
    given, wanted = answer.split(), gold.split()
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
