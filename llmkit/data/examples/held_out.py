"""Which examples are trained on: the hash of the prompt decides, unless the data have splits of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from llmkit.config.sections import SplitOptions
from llmkit.data.schemas import SpanExample, TrainingExample
from llmkit.data.split import Split, split_clusters
from llmkit.data.steps.dedup import exact_hash

_FEWEST_TO_HOLD_OUT = 10
"""With fewer distinct examples a held-out part would cost more in training than a figure from it is worth."""


def group_of(example: TrainingExample) -> str:
    """32 hex digits that two examples share if they may not be in different splits, as far as that is known."""
    return exact_hash(example.group).hex()


def article_of(example: TrainingExample) -> str | None:
    """32 hex digits of the article that an example's context is a part of, where the data say it."""
    title = example.article if isinstance(example, SpanExample) else None
    return exact_hash(title).hex() if title else None


def holds_out(given: Mapping[str, Split]) -> bool:
    """Whether the data's own splits count: where they are all `train`, something has to be held out of it."""
    return any(split != "train" for split in given.values())


def lacks_validation(given: Mapping[str, Split]) -> bool:
    """Whether the data name a part to test on and none to validate on: that one is then held out of what is `train`."""
    named = set(given.values())
    return "test" in named and "validation" not in named


def splits_of_groups(
    sizes: Mapping[str, int],
    given: Mapping[str, Split],
    options: SplitOptions,
    seed: int,
    articles: Mapping[str, str] | None = None,
) -> Mapping[str, Split]:
    """The split of each group of examples.

    If the data have splits of their own, a group of theirs stays where it is; only a validation part that they lack is
    taken from what they train on, if that has ten groups. If fewer than ten groups differ and
    nothing is given, all are trained on. Groups of one article stay together, where there are at least ten articles:
    else a model would be tested on what it has read half of.

    Args:
        sizes: examples per group.
        given: the groups that have a split, with it.
        options: shares of the splits.
        seed: another one gives another split.
        articles: of the groups that are parts of one.
    """
    kept = given if holds_out(given) else {}
    learned = sum(split == "train" for split in given.values())
    if lacks_validation(given) and options.validation and learned >= _FEWEST_TO_HOLD_OUT:
        kept = {group: split for group, split in kept.items() if split != "train"}
        options = options.model_copy(update={"test": 0.0})
    if not kept and len(sizes) < _FEWEST_TO_HOLD_OUT:
        return dict.fromkeys(sizes, "train")
    if len(kept) == len(sizes):
        return kept
    wholes = {group: (articles or {}).get(group, group) for group in sizes}
    if len(set(wholes.values())) < _FEWEST_TO_HOLD_OUT:
        wholes = {group: group for group in sizes}
    together = Counter[str]()
    for group, size in sizes.items():
        together[wholes[group]] += size
    of = split_clusters(together, options, seed).of
    return {**{group: of[whole] for group, whole in wholes.items()}, **kept}
