"""Which examples are trained on: the hash of the prompt decides, unless the data have splits of their own."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.config.sections import SplitOptions
from llmkit.data.schemas import TrainingExample
from llmkit.data.split import Split, split_clusters
from llmkit.data.steps.dedup import exact_hash

_FEWEST_TO_HOLD_OUT = 10
"""With fewer distinct examples a held-out part would cost more in training than a figure from it is worth."""


def group_of(example: TrainingExample) -> str:
    """32 hex digits that two examples share if they may not be in different splits, as far as that is known."""
    return exact_hash(example.group).hex()


def holds_out(given: Mapping[str, Split]) -> bool:
    """Whether the data's own splits count: where they are all `train`, something has to be held out of it."""
    return any(split != "train" for split in given.values())


def splits_of_groups(
    sizes: Mapping[str, int], given: Mapping[str, Split], options: SplitOptions, seed: int
) -> Mapping[str, Split]:
    """The split of each group of examples.

    If the data have splits of their own, a group of theirs stays where it is. If fewer than ten groups differ and
    nothing is given, all are trained on.

    Args:
        sizes: examples per group.
        given: the groups that have a split, with it.
        options: shares of the splits.
        seed: another one gives another split.
    """
    kept = given if holds_out(given) else {}
    if not kept and len(sizes) < _FEWEST_TO_HOLD_OUT:
        return dict.fromkeys(sizes, "train")
    if len(kept) == len(sizes):
        return kept
    return {**split_clusters(sizes, options, seed).of, **kept}
