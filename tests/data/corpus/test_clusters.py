import random
from pathlib import Path

import numpy as np
import pytest

from llmkit.data.corpus.clusters import Clusters, Hashes, find_clusters
from llmkit.data.steps.dedup import BANDS, compared, similarity, sketch
from llmkit.reporting.reporter import Silent

CAPTIONS = ["a", "river", "in", "spring,", "seen", "from", "the", "bridge", "by", "the", "mill"]


def hashes_of(texts: list[str]) -> Hashes:
    sketches = [sketch(text) for text in texts]
    exact = np.frombuffer(b"".join(each.exact for each in sketches), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return Hashes(exact, np.asarray([each.bands for each in sketches], dtype=np.uint64).reshape(-1, BANDS).T)


class Listed:
    """Texts by position, as workers get them; counts what it is asked for."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.asked = 0

    def __call__(self, index: int) -> str:
        self.asked += 1
        return self.texts[index]


def find(texts: list[str], scratch: Path, workers: int = 1, threshold: float = 0.8) -> Clusters:
    scratch.mkdir(exist_ok=True)
    with Silent().progress("") as progress:
        return find_clusters(
            hashes_of(texts), Listed(texts), scratch, threshold=threshold, workers=workers, progress=progress
        )


def corpus(seed: int = 0) -> list[str]:
    """Families of texts: copies, near copies, chains of near copies, and texts of their own."""
    rng = random.Random(seed)
    texts: list[str] = []
    for family in range(30):
        words = [f"w{rng.randrange(4000)}" for _ in range(120)]
        for _ in range(rng.randrange(1, 5)):
            texts.append(" ".join(words) if family % 3 else " ".join(words).upper())
            words[rng.randrange(len(words))] = f"new{rng.randrange(99)}"
    rng.shuffle(texts)
    return texts


def test_the_first_of_a_cluster_is_its_original_and_exact_copies_are_told_from_near_ones(tmp_path: Path) -> None:
    base = " ".join(f"word{n}" for n in range(100))
    near = base.replace("word50", "other")
    found = find(
        [near, base, base.upper() + "\n", "something else entirely, of ten words and some more"], tmp_path / "s"
    )
    assert found.original.tolist() == [0, 0, 0, 3]
    assert found.exact.tolist() == [False, False, True, False]
    assert len({int(each) for each in found.ids[:3]}) == 1
    assert found.ids[3] != found.ids[0]


def test_a_cluster_has_the_same_id_in_whatever_order_its_documents_come(tmp_path: Path) -> None:
    texts = corpus()
    there = find(texts, tmp_path / "a")
    back = find(texts[::-1], tmp_path / "b")
    assert there.ids.tolist() == back.ids.tolist()[::-1]
    assert all(there.original <= np.arange(len(texts)))


def test_every_pair_that_is_joined_is_near_to_a_member_of_its_cluster(tmp_path: Path) -> None:
    texts = corpus(1)
    found = find(texts, tmp_path / "s")
    sets = [compared(text) for text in texts]
    for index, original in enumerate(found.original.tolist()):
        if original != index:
            others = [other for other in np.flatnonzero(found.original == original).tolist() if other != index]
            assert max(similarity(sets[index], sets[other]) for other in others) >= 0.8


def test_workers_and_partitions_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(2)
    expected = find(texts, tmp_path / "one")
    monkeypatch.setattr("llmkit.data.corpus.clusters._WORTH_WORKERS", 0)
    monkeypatch.setattr("llmkit.data.corpus.clusters._BATCH", 4)
    monkeypatch.setattr("llmkit.data.corpus.clusters._PARTITION", 16)
    # One band is enough to show it, and each band starts workers of its own.
    one_band = hashes_of(texts)
    found = find(texts, tmp_path / "parts")
    assert found.original.tolist() == expected.original.tolist()
    assert (found.exact.tolist(), found.ids.tolist()) == (expected.exact.tolist(), expected.ids.tolist())
    monkeypatch.setattr("llmkit.data.corpus.clusters.BANDS", 1)
    results = []
    for workers in (1, 2):
        scratch = tmp_path / str(workers)
        scratch.mkdir()
        with Silent().progress("") as progress:
            clusters = find_clusters(
                one_band, Listed(texts), scratch, threshold=0.8, workers=workers, progress=progress
            )
        results.append(clusters.original.tolist())
    assert results[0] == results[1]


def test_a_band_that_a_thousand_texts_share_does_not_cost_a_million_comparisons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bands are made equal: the worst that a licence header on every file can do."""
    monkeypatch.setattr("llmkit.data.corpus.clusters._MOST_COMPARISONS", 4)
    texts = [f"{number} " + " ".join(f"{word}{number}" for word in CAPTIONS) for number in range(300)] * 2
    hashes = hashes_of(texts)
    hashes.bands[:] = 7
    calls = 0

    def counted(a: np.ndarray, b: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return similarity(a, b)

    monkeypatch.setattr("llmkit.data.corpus.clusters.similarity", counted)
    (tmp_path / "s").mkdir()
    with Silent().progress("") as progress:
        found = find_clusters(hashes, Listed(texts), tmp_path / "s", threshold=0.8, workers=1, progress=progress)
    assert found.original.tolist() == [*range(300), *range(300)]
    assert calls <= BANDS * 300 * 4


def test_texts_are_read_only_where_they_share_a_band(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(10**6)}" for _ in range(60)) for _ in range(200)]
    texts += [texts[0] + " tail"]
    listed = Listed(texts)
    with Silent().progress("") as progress:
        found = find_clusters(hashes_of(texts), listed, tmp_path, threshold=0.8, workers=1, progress=progress)
    assert found.original[-1] == 0
    assert listed.asked <= 2 * BANDS


def test_no_documents_have_no_clusters(tmp_path: Path) -> None:
    found = find([], tmp_path / "s")
    assert (len(found.original), len(found.exact), len(found.ids)) == (0, 0, 0)
