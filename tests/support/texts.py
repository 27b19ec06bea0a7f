"""Texts that several tests of preprocessing are about: prose of one vocabulary, real Japanese, Arabic, a footer."""

from __future__ import annotations

import random

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
BOTCHAN = (
    "親譲りの無鉄砲で小供の時から損ばかりしている。小学校に居る時分学校の二階から飛び降りて一週間ほど腰を抜かした事がある。"
    "なぜそんな無闇をしたと聞く人があるかも知れぬ。別段深い理由でもない。新築の二階から首を出していたら、同級生の一人が冗談に、"
    "いくら威張っても、そこから飛び降りる事は出来まい。弱虫やーい。と囃したからである。小使に負ぶさって帰って来た時、"
    "おやじが大きな眼をして二階ぐらいから飛び降りて腰を抜かす奴があるかと云ったから、この次は抜かさずに飛んで見せますと答えた。"
)
ARABIC = "كان حارس المنارة يكتب كل يوم عن الطقس والبحر والسفن التي تمر من أمام البرج القديم."
QUESTION = "which of the old towers along the northern coast was the first one to have a lamp of glass"
FOOTER = "All rights reserved by the lighthouse society."
WORDS = [
    "the",
    "sea",
    "keeper",
    "of",
    "and",
    "tower",
    "wrote",
    "that",
    "storm",
    "with",
    "be",
    "have",
    "day",
    "night",
    "lamp",
    "stairs",
    "old",
    "ship",
    "came",
    "over",
    "waves",
    "morning",
    "light",
    "walked",
    "down",
    "bread",
]


def prose(seed: int, lines: int = 9) -> str:
    """Lines of fourteen words; equal seeds give equal text."""
    rng = random.Random(seed)
    return "\n".join(" ".join(rng.choice(WORDS) for _ in range(14)).capitalize() + "." for _ in range(lines))
