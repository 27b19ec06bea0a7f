"""Train, validation and test: each cluster of duplicates goes as a whole where its hash sends it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from llmkit.config.sections import SplitOptions

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """`of` leads from a cluster to its split; `missing` names the splits that were asked for and got no cluster.

    A trainer that finds `validation` missing has one cluster only, and may hold out the tail of its text.
    """

    of: Mapping[str, Split]
    missing: tuple[Split, ...]


def split_clusters(sizes: Mapping[str, int], options: SplitOptions, seed: int = 0) -> Splits:
    """Give each cluster a split by the hash of its id and the seed.

    A cluster stays where it is when others come or go. Three exceptions, for the sake of small collections:

    - the largest cluster is trained on if it holds more than half of all text, or if nothing else would be;
    - a split that the hash leaves empty gets the cluster whose size comes nearest to the share asked for, but never
      the last or the largest of those trained on; validation comes first and may take it from the test split;
    - so of one cluster nothing is held out, and of two there is no test split.

    Args:
        sizes: characters per cluster id.
        seed: another one gives another split.
    """
    of: dict[str, Split] = {cluster: _by_hash(cluster, options, seed) for cluster in sizes}
    if not sizes:
        return Splits(of, ())
    total = sum(sizes.values())
    largest = _largest(sizes, sizes)
    if 2 * sizes[largest] > total or "train" not in of.values():
        of[largest] = "train"
    shares: dict[Split, float] = {"validation": options.validation, "test": options.test}
    for split, share in shares.items():
        if share > 0 and split not in of.values():
            trained = [cluster for cluster in sizes if of[cluster] == "train"]
            spare = [cluster for cluster in trained if cluster != _largest(sizes, trained)]
            if not spare and split == "validation":
                spare = [cluster for cluster in sizes if of[cluster] == "test"]
            if spare:
                of[min(spare, key=lambda cluster: (abs(sizes[cluster] - share * total), cluster))] = split
    return Splits(of, tuple(split for split, share in shares.items() if share > 0 and split not in of.values()))


def _largest(sizes: Mapping[str, int], among: Iterable[str]) -> str:
    return max(among, key=lambda cluster: (sizes[cluster], cluster))


def _by_hash(cluster: str, options: SplitOptions, seed: int) -> Split:
    digest = hashlib.blake2b(f"{seed}:{cluster}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    if point < options.validation:
        return "validation"
    return "test" if point < options.validation + options.test else "train"
