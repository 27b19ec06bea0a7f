"""The one over-length policy: every kind of example is refused, dropped, cut and counted alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import DataError, UsageError
from llmkit.train import answers, examples, preference, spans
from llmkit.train.lengths import Shortening, fit


@dataclass(frozen=True)
class Line:
    """So many words, of which all from `learned_from` on are learned."""

    start: int
    end: int
    learned_from: int = 0
    where: str = ""

    def __len__(self):
        return self.end - self.start


def piece(line, start, end):
    made = Line(line.start + start, min(line.start + end, line.end), line.learned_from, line.where)
    return made if made.end > made.learned_from else None


LINES = Shortening(
    lambda line, limit: piece(line, 0, limit),
    lambda line, limit: [piece(line, at, at + limit) for at in range(0, len(line), limit)],
)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 39)), max_size=12), st.integers(1, 20), st.data())
def test_every_token_is_kept_or_counted(sizes, limit, data):
    given_ = [Line(0, length, min(first, length - 1), str(at)) for at, (length, first) in enumerate(sizes)]
    policy = data.draw(st.sampled_from(["drop", "truncate", "split"]))
    found = fit(given_, limit, policy, LINES)
    long = [line for line in given_ if len(line) > limit]
    assert found.longest == max(map(len, given_), default=0)
    assert all(len(line) <= limit for line in found.examples)
    assert [line for line in given_ if len(line) <= limit] == [line for line in found.examples if line in given_]
    if policy == "drop":
        assert (found.dropped, found.truncated, found.split, found.untrainable) == (len(long), 0, 0, 0)
    elif policy == "truncate":
        assert found.truncated + found.untrainable == len(long)
        assert found.untrainable == sum(line.learned_from >= limit for line in long)
    else:
        words = sum(len(line) for line in found.examples)
        lost = sum(line.learned_from // limit * limit for line in long)
        assert found.split == len(long)
        assert words + lost == sum(map(len, given_))


KINDS = {
    "examples": (examples.SHORTENING, "an example", "drop, truncate or split"),
    "answers": (answers.SHORTENING, "a completion", "drop or truncate"),
    "pairs": (preference.SHORTENING, "a prompt with its longer answer", "drop or truncate"),
    "questions": (spans.SHORTENING, "a question", "drop or truncate"),
}


def of_length(kind, length):
    ids = np.arange(length)
    rendered = examples.Rendered(ids, ids >= 1, "f:9")
    return {
        "examples": rendered,
        "answers": answers.Answered(ids[:2], ids, "f:9"),
        "pairs": preference.Pair(rendered, examples.Rendered(ids[:3], ids[:3] >= 1, "f:9"), "f:9"),
        "questions": spans.Asked(0, length, (), "f:9"),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_refused_in_the_same_words_and_counted_alike(kind):
    how, called, policies = KINDS[kind]
    short, long = of_length(kind, 6), of_length(kind, 1200)
    with pytest.raises(DataError, match=f"^f:9: {called} of 1,200 tokens is longer than the limit of 8") as caught:
        fit([short, long], 8, "error", how)
    assert caught.value.mend == f"use --over-length {policies}, a higher --sequence-length, or a model that reads more"
    dropped = fit([short, long], 8, "drop", how)
    assert (dropped.examples, dropped.dropped, dropped.longest) == ([short], 1, 1200)
    cut = fit([short, long], 8, "truncate", how)
    assert (len(cut.examples), cut.truncated, cut.dropped) == (2, 1, 0)
    with pytest.raises(
        DataError, match="no example is left: the longest has 1,200 tokens and the limit is 8"
    ) as caught:
        fit([long], 8, "drop", how).checked()
    assert "--over-length truncate" in caught.value.mend
    if how.pieces is None:
        with pytest.raises(UsageError, match="cannot be split"):
            fit([short], 8, "split", how)


def test_no_examples_at_all_are_no_error_of_length():
    assert fit([], 8, "error", LINES).checked().examples == []
