import random
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.corpus.clusters import Clusters, Hashes, find_clusters
from llmkit.data.steps.dedup import BANDS, ROWS, sketch
from llmkit.reporting.reporter import Silent
from llmkit.text.ngrams import word_tokens

STDLIB = Path(sysconfig.get_path("stdlib"))


def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    """The definition, by which the hashes are checked."""
    tokens = word_tokens(text)
    return {tokens[i : i + n] for i in range(max(1, len(tokens) - n + 1))}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


class Found(NamedTuple):
    original: list[int | None]
    exact: list[bool]
    ids: list[int]


def clusters(texts: list[str], threshold: float = 0.8) -> Found:
    sketches = [sketch(text) for text in texts]
    exact = np.frombuffer(b"".join(each.exact for each in sketches), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    bands = np.asarray([each.bands for each in sketches], dtype=np.uint64).T
    with tempfile.TemporaryDirectory() as scratch, Silent().progress("") as progress:
        found: Clusters = find_clusters(
            Hashes(exact, bands),
            texts.__getitem__,
            Path(scratch),
            threshold=threshold,
            workers=1,
            progress=progress,
        )
        original = [None if first == index else first for index, first in enumerate(found.original.tolist())]
        return Found(original, found.exact.tolist(), found.ids.tolist())


def words(seed: int, count: int = 400) -> list[str]:
    rng = random.Random(seed)
    return [f"word{rng.randrange(5000)}" for _ in range(count)]


def changed(tokens: list[str], times: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    tokens = list(tokens)
    for position in rng.sample(range(len(tokens)), times):
        tokens[position] = f"other{rng.randrange(5000)}"
    return tokens


def test_texts_that_differ_in_case_and_spacing_are_exact_duplicates() -> None:
    found = clusters(["A text, twice over.", "something else entirely", "a  text,\ntwice OVER. "])
    assert found.original == [None, None, 0]
    assert found.exact == [False, False, True]
    assert found.ids[0] == found.ids[2] != found.ids[1]


def test_a_slightly_changed_text_is_a_near_duplicate() -> None:
    base = words(1)
    texts = [" ".join(base), " ".join(words(2)), " ".join(changed(base, 4))]
    assert jaccard(shingles(texts[0], 5), shingles(texts[2], 5)) > 0.8
    found = clusters(texts)
    assert found.original == [None, None, 0]
    assert found.exact[2] is False


def test_a_candidate_below_the_threshold_is_not_a_duplicate() -> None:
    joined = 0
    for seed in range(10):
        base = words(seed)
        texts = [" ".join(base), " ".join(changed(base, 11, seed))]
        similarity = jaccard(shingles(texts[0], 5), shingles(texts[1], 5))
        assert 0.7 < similarity < 0.8
        assert clusters(texts).original == [None, None]
        joined += clusters(texts, threshold=similarity).original == [None, 0]
    assert joined >= 5, "the bands do propose most such pairs; the threshold is what keeps them apart"


def test_near_duplicates_in_japanese_are_found_without_spaces() -> None:
    rng = random.Random(5)
    kana = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん東京都日本語"
    base = [rng.choice(kana) for _ in range(500)]
    near = list(base)
    near[100], near[300] = "猫", "犬"
    other = [rng.choice(kana) for _ in range(500)]
    assert clusters(["".join(base), "".join(near), "".join(other)]).original == [None, 0, None]


def test_the_id_of_a_cluster_does_not_depend_on_order() -> None:
    base = words(1)
    texts = [" ".join(base), " ".join(changed(base, 3)), " ".join(words(9))]
    forwards, backwards = clusters(texts), clusters(texts[::-1])
    assert forwards.ids == backwards.ids[::-1]


def test_recall_of_the_bands_is_what_the_formula_says() -> None:
    """At J >= 0.85 the formula gives at least 0.988; the true similarity is computed by brute force."""
    found = near = 0
    for seed in range(60):
        base = words(seed)
        pair = [" ".join(base), " ".join(changed(base, 4, seed))]
        if jaccard(shingles(pair[0], 5), shingles(pair[1], 5)) >= 0.85:
            near += 1
            found += clusters(pair).original[1] == 0
    assert near > 40
    assert found >= 0.95 * near
    assert 1 - (1 - 0.85**ROWS) ** BANDS > 0.98


def test_every_pair_of_modules_agrees_with_brute_force() -> None:
    """Oracle: all pairs of real sources, compared as sets."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(STDLIB.glob("*.py"))[:60]]
    texts.append(texts[7] + "\n# one more line at the end\n")
    found = clusters(texts)
    sets = [shingles(text, 5) for text in texts]
    for i in range(len(texts)):
        for j in range(i):
            alike = jaccard(sets[i], sets[j]) >= 0.8
            assert (found.ids[i] == found.ids[j]) == alike, (i, j)


def test_a_crowd_that_shares_only_a_header_stays_apart_and_ends_soon() -> None:
    header = " ".join(words(0, 30))
    texts = [f"{header} {' '.join(words(seed, 10))}" for seed in range(1, 300)]
    assert len(set(clusters(texts).ids)) > 250


def test_a_huge_text_costs_bounded_memory() -> None:
    big = "word " * 1_000_000
    assert clusters([big, big + "tail", "other text here"]).original == [None, 0, None]


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""], ["!!!", "???"]])
def test_degenerate_collections_are_fine(texts: list[str]) -> None:
    assert len(clusters(texts).ids) == len(texts)


@given(st.lists(st.text(max_size=30), max_size=8))
def test_clusters_are_a_partition_led_by_their_first_text(texts: list[str]) -> None:
    found = clusters(texts)
    for index, original in enumerate(found.original):
        if original is not None:
            assert original < index
            assert found.original[original] is None
            assert found.ids[original] == found.ids[index]
