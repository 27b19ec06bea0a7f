"""What tells duplicates apart from one another: exact hashes, MinHash bands for candidates, true Jaccard similarity.

Near means that the sets of 5-token shingles of two texts have a Jaccard similarity of at least 0.8 (a token is a word,
or a character where the script has no spaces). See Broder 1997, "On the resemblance and containment of documents", and
Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3, for the banding.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np
import xxhash
from rensa import RMinHash

from llmkit.text.ngrams import Hashes, jaccard, shingle_hashes

SHINGLE_TOKENS = 5

# Two texts of similarity J agree in one MinHash value with probability J, so in all ROWS values of a band with J^ROWS,
# and in at least one band with 1 - (1 - J^ROWS)^BANDS:
#
#     J       0.5    0.6    0.7    0.8    0.85   0.9    0.95
#     14 x 8  0.053  0.211  0.565  0.924  0.988  0.9996 1.0000
#     8 x 16  0.0001 0.002  0.026  0.204  0.461  0.806  0.989
#
# 14 x 8 misses few true pairs, and what it proposes below the threshold costs one comparison of two sets each.
BANDS = 14
ROWS = 8
_SEED = 1

_COMPARED_CHARS = 1_000_000
"""A longer text is compared by its beginning: that bounds the time and memory that one document can cost."""

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_WIDE_DIGITS = str.maketrans("１２３４５６７８９０", "0000000000")
_SHORTEST_LINE = 10


@dataclass(frozen=True)
class Sketch:
    """What is kept of a text to find its duplicates.

    Attributes:
        exact: 16 bytes that two texts share if they differ in nothing but case and spacing.
        bands: one unsigned 64-bit hash per band.
    """

    exact: bytes
    bands: tuple[int, ...]


def sketch(text: str) -> Sketch:
    """The sketch of a text; runs in worker processes, and is the same on every machine."""
    hashes = compared(text)
    rows = np.asarray([0, len(hashes)], dtype=np.uint64)
    signature = RMinHash.digest_matrix_from_flat_token_hashes(hashes, rows, BANDS * ROWS, _SEED).to_rows()[0]
    values = array("I", signature).tobytes()
    width = len(values) // BANDS
    bands = tuple(xxhash.xxh3_64_intdigest(values[band * width : (band + 1) * width]) for band in range(BANDS))
    return Sketch(exact_hash(text), bands)


def exact_hash(text: str) -> bytes:
    """16 bytes that two texts share if they differ in nothing but case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode(), digest_size=16).digest()


def compared(text: str) -> Hashes:
    """The set of a text's shingles, as `similarity` takes it."""
    return shingle_hashes(text[:_COMPARED_CHARS], SHINGLE_TOKENS)


def similarity(a: Hashes, b: Hashes) -> float:
    """Jaccard similarity of two texts by their `compared`; below a half, an upper bound of it."""
    if min(len(a), len(b)) < 0.5 * max(len(a), len(b)):
        return min(len(a), len(b)) / max(1, len(a), len(b))
    return jaccard(a, b)


def line_hash(line: str) -> int | None:
    """A hash by which a line is known in other documents, figures aside (`Page 3 of 12`); None for a short line.

    Lines of a few characters (a brace, a bullet, a number) repeat in any text and mean nothing by it.
    """
    bare = line.strip()
    if len(bare) < (_SHORTEST_LINE if bare.isascii() else _SHORTEST_LINE // 2):
        return None
    if not bare.isascii():
        bare = bare.translate(_WIDE_DIGITS)
    return xxhash.xxh3_64_intdigest(bare.encode("utf-8", "surrogatepass").translate(_DIGITS))


def line_hashes(text: str) -> np.ndarray:
    """The distinct `line_hash`es of a text, uint64."""
    found = {line_hash(line) for line in text.split("\n")} - {None}
    return np.fromiter((each for each in found if each is not None), dtype=np.uint64, count=len(found))
