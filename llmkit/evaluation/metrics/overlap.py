"""BLEU and chrF by sacrebleu and ROUGE by rouge-score, with words as each writing system has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmkit.evaluation.metrics.influence import influences
from llmkit.text.words import words_of

OVERLAPS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")


def corpus_scores(name: str, said: Sequence[str], gold: Sequence[Sequence[str]]) -> tuple[list[float], str]:
    """BLEU or chrF of a corpus, 0 to 100, as `influences` of its items, and sacrebleu's signature."""
    from sacrebleu.metrics import BLEU, CHRF

    scorer: Any = BLEU() if name == "bleu" else CHRF()
    most = max(map(len, gold))
    # Shorter lists of references are filled with None, which sacrebleu passes over.
    references = [[each[at] if at < len(each) else None for each in gold] for at in range(most)]
    if name == "bleu" and any(_spaceless(text) for each in gold for text in each):
        scorer = BLEU(tokenize="char")  # without spaces between words "13a" takes a sentence for one word
    scorer.corpus_score(list(said), references)  # the signature counts the references it has seen
    # The additive statistics are private there; its own bootstrap is made of the same two calls.
    counts = np.array(scorer._extract_corpus_statistics(list(said), references), dtype=np.float64)
    values = influences(counts, lambda total: float(scorer._compute_score_from_stats(list(total)).score))
    return values, str(scorer.get_signature())


class _Words:
    """rouge-score's tokenizer keeps ASCII only: two equal Japanese sentences would score 0."""

    def tokenize(self, text: str) -> list[str]:
        return [text[start:end].lower() for start, end in words_of(text) if text[start].isalnum()]


def rouge(name: str, said: str, gold: Sequence[str]) -> float:
    """ROUGE's F-measure (Lin, 2004), the best over the gold texts."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer: Any = RougeScorer([name], tokenizer=_Words())
    return max(float(scorer.score(each, said)[name].fmeasure) for each in gold)


def _spaceless(text: str) -> bool:
    return any("\u3040" <= char <= "\u30ff" or "\u4e00" <= char <= "\u9fff" for char in text)
