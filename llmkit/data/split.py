"""Train, validation and test: each cluster of duplicates goes as a whole where its hash sends it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmkit.config.sections import SplitOptions

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_TRAIN, _VALIDATION, _TEST = range(3)


@dataclass(frozen=True)
class Splits:
    """`of` leads from a cluster to its split; `missing` names the splits that were asked for and got no cluster.

    A trainer that finds `validation` missing has one cluster only, and may hold out the tail of its text.
    """

    of: Mapping[str, Split]
    missing: tuple[Split, ...]


def split_clusters(sizes: Mapping[str, int], options: SplitOptions, seed: int = 0) -> Splits:
    """`assign_splits` for a few clusters: `sizes` has the characters per cluster id."""
    names = sorted(sizes)
    codes, missing = assign_splits(names, np.asarray([sizes[name] for name in names], dtype=np.int64), options, seed)
    return Splits({name: SPLITS[code] for name, code in zip(names, codes.tolist(), strict=True)}, missing)


def assign_splits(
    clusters: Sequence[str], sizes: np.ndarray, options: SplitOptions, seed: int
) -> tuple[np.ndarray, tuple[Split, ...]]:
    """Give each cluster a split by the hash of its id and the seed; also the splits that got nothing.

    A cluster stays where it is when others come or go. Three exceptions, for the sake of small collections:

    - the largest cluster is trained on if it holds more than half of all text, or if nothing else would be;
    - a split that the hash leaves empty gets the cluster whose size comes nearest to the share asked for, but never
      the last or the largest of those trained on; validation comes first and may take it from the test split, which
      may take one of several from it;
    - so of one cluster nothing is held out, and of two there is no test split.

    Args:
        clusters: ids, sorted, so that ties are broken the same way each time.
        sizes: int64, characters of each.
        seed: another one gives another split.

    Returns:
        uint8, for each cluster the position of its split in `SPLITS`.
    """
    codes = np.fromiter((_by_hash(each, options, seed) for each in clusters), dtype=np.uint8, count=len(clusters))
    if not len(codes):
        return codes, ()
    total = int(sizes.sum())
    largest = _largest(sizes, np.ones(len(sizes), dtype=bool))
    if 2 * int(sizes[largest]) > total or not (codes == _TRAIN).any():
        codes[largest] = _TRAIN
    shares = {_VALIDATION: options.validation, _TEST: options.test}
    for code, share in shares.items():
        if share > 0 and not (codes == code).any():
            spare = codes == _TRAIN
            spare[_largest(sizes, spare)] = False
            if not spare.any():
                spare = codes == (_TEST if code == _VALIDATION else _VALIDATION)
                if code == _TEST and spare.sum() == 1:
                    spare[:] = False
            if spare.any():
                distance = np.where(spare, np.abs(sizes - share * total), np.inf)
                codes[int(np.argmin(distance))] = code
    missing = tuple(SPLITS[code] for code, share in shares.items() if share > 0 and not (codes == code).any())
    return codes, missing


def _largest(sizes: np.ndarray, among: np.ndarray) -> int:
    """The position of the largest size; of equal ones the last."""
    masked = np.where(among, sizes, -1)
    return len(masked) - 1 - int(np.argmax(masked[::-1]))


def _by_hash(cluster: str, options: SplitOptions, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{cluster}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    if point < options.validation:
        return _VALIDATION
    return _TEST if point < options.validation + options.test else _TRAIN
