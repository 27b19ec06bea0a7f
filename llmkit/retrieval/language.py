"""Does the encoder know the language of these documents? How much its cosines count is decided by that.

An encoder that was never shown a script breaks it into single characters or unknown tokens, and its cosines are noise:
MiniLM on Japanese questions reaches an nDCG@10 of .07 where BM25 reaches .92. Both signs are in its tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmkit.retrieval.embed import Embedder
from llmkit.retrieval.lexical import has_unspaced

KNOWN_WEIGHT = 0.5
UNKNOWN_WEIGHT = 0.9
"""Of BM25. Measured with MiniLM in benchmarks/retrieval.py."""

CHARACTERS_PER_TOKEN = {False: 2.0, True: 1.2}
"""Least characters per token, by whether the script writes no spaces: English prose has 4.5 with MiniLM, Python source
3.4; Japanese 1.05 with MiniLM and 1.6 to 2 with encoders that learned it."""
UNKNOWN_SHARE = 0.02

_STAND_IN = {
    False: "The library opens at nine, and everyone who lives in the town may borrow books for three weeks.",
    True: "図書館は九時に開館し、町に住んでいる人は誰でも三週間まで本を借りることができます。",
}


@dataclass(frozen=True)
class Fusion:
    """Weight of BM25 against cosine, for questions in spaced scripts and in others."""

    spaced: float = KNOWN_WEIGHT
    unspaced: float = KNOWN_WEIGHT

    def bm25_weight(self, question: str) -> float:
        return self.unspaced if has_unspaced(question) else self.spaced

    def knows(self, question: str) -> bool:
        """Whether the encoder knows the language of this question, as far as its script tells."""
        return self.bm25_weight(question) == KNOWN_WEIGHT

    def to_json(self) -> dict[str, float]:
        return {"spaced": self.spaced, "unspaced": self.unspaced}

    @classmethod
    def from_json(cls, stored: Mapping[str, float] | None) -> Fusion:
        return cls(**stored) if stored else cls()


def measure_fusion(embedder: Embedder, texts: Sequence[str]) -> Fusion:
    """Weights from a sample of the indexed texts; a built-in sentence stands in for a kind of script that has none."""
    weights = {}
    for unspaced in (False, True):
        sample = [text for text in texts if has_unspaced(text) == unspaced] or [_STAND_IN[unspaced]]
        known = knows_language(embedder, sample, unspaced=unspaced)
        weights[unspaced] = KNOWN_WEIGHT if known else UNKNOWN_WEIGHT
    return Fusion(spaced=weights[False], unspaced=weights[True])


def knows_language(embedder: Embedder, texts: Sequence[str], *, unspaced: bool) -> bool:
    """Whether characters per token and unknown tokens are those of a language the encoder was trained on."""
    tokens = sum(embedder.count_tokens(texts)) if texts else 0
    if not tokens:
        return True
    characters = sum(len("".join(text.split())) for text in texts)
    return (
        characters / tokens >= CHARACTERS_PER_TOKEN[unspaced]
        and embedder.unknown_tokens(texts) / tokens <= UNKNOWN_SHARE
    )
